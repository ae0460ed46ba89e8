//! `cargo xtask bench step`: both sides of every architecture at its `small` preset.

use super::{architectures, measured, program};
use crate::error::Error;
use crate::process::root;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A Python with torch and the packages listed in benches/peers/README.md; `none` measures
    /// scfm only.
    #[arg(long, default_value = "python3")]
    python: String,
    /// Only these architectures.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Embedding passes instead of training steps.
    #[arg(long)]
    embed: bool,
    /// Number of timed steps, after one warm-up step.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    /// Threads of both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// The peer of an architecture, with settings that give both the same sizes.
struct Peer {
    architecture: &'static str,
    script: &'static str,
    theirs: &'static [&'static str],
    ours: &'static [&'static str],
}

/// Peers at the sizes of `configs/models/*-small.toml`, which most of them have by default.
/// An architecture without a peer is measured alone.
const PEERS: [Peer; 12] = [
    Peer {
        architecture: "cellplm",
        script: "cellplm_step.py",
        theirs: &[
            "--cells=512",
            "--genes=8000",
            "--hidden=256",
            "--latent=128",
        ],
        ours: &["density=0.08"],
    },
    Peer {
        architecture: "scgpt",
        script: "scgpt_step.py",
        theirs: &[
            "--minibatch=32",
            "--tokens=512",
            "--vocabulary=8000",
            "--width=256",
            "--layers=4",
        ],
        ours: &[],
    },
    peer("uce", "uce_step.py"),
    peer("saturn", "saturn_step.py"),
    peer("scprint", "scprint_step.py"),
    peer("nicheformer", "nicheformer_step.py"),
    peer("schyena", "schyena_step.py"),
    Peer {
        ours: &["density=0.05"],
        ..peer("scclip", "scclip_step.py")
    },
    Peer {
        ours: &["density=0.08"],
        ..peer("vae", "vae_step.py")
    },
    Peer {
        theirs: &["autoencoder", "--preset=deep"],
        ours: &["density=0.08"],
        ..peer("autoencoder", "perceptron_step.py")
    },
    Peer {
        theirs: &["mlp", "--preset=deep"],
        ours: &["density=0.08"],
        ..peer("mlp", "perceptron_step.py")
    },
    Peer {
        theirs: &["islander"],
        ours: &["density=0.08"],
        ..peer("islander", "perceptron_step.py")
    },
];

/// A peer with the same defaults.
const fn peer(architecture: &'static str, script: &'static str) -> Peer {
    Peer {
        architecture,
        script,
        theirs: &[],
        ours: &[],
    }
}

/// Result printed by either side.
#[derive(Clone, Debug, Deserialize)]
struct Line {
    cells_per_second: f64,
    peak_memory_bytes: u64,
    /// Trained parameters; embedding passes of scfm do not count them.
    parameters: u64,
    /// Speed of the products of scfm, and that of large ones on the same device.
    #[serde(default)]
    gflops: f64,
    #[serde(default)]
    largest_gflops: f64,
    /// Peers: share of the processors they had.
    #[serde(default)]
    processor_share: Option<f64>,
    /// Peers: whether the network is the original's.
    #[serde(default)]
    model: Option<String>,
}

/// Below this share of the processors, other processes used the cores.
const BUSY: f64 = 0.8;

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let ours = program("step")?;
    let names = architectures(&ours, &args.only)?;
    println!(
        "{}",
        row([
            "",
            "scfm",
            "peer",
            "ratio",
            "of peak",
            "memory",
            "parameters",
            ""
        ])
    );
    let mut code = ExitCode::SUCCESS;
    for name in names.iter().map(String::as_str) {
        let peer = PEERS.iter().find(|p| p.architecture == name);
        let flags = peer.map_or(&[][..], |p| p.ours);
        let mine = measured::<Line>(&mut ours_of(&ours, name, flags, args));
        let theirs = peer.filter(|_| args.python != "none");
        let theirs = theirs.map(|p| measured::<Line>(&mut theirs_of(p, args)));
        // If one side fails, the other lines keep their time.
        let failed = [
            mine.as_ref().err(),
            theirs.as_ref().and_then(|t| t.as_ref().err()),
        ];
        for e in failed.into_iter().flatten() {
            eprintln!("{name}: {e}");
            code = ExitCode::FAILURE;
        }
        let theirs = theirs.and_then(Result::ok);
        println!("{}", table_row(name, mine.ok().as_ref(), theirs.as_ref()));
    }
    println!(
        "\ncells/s, share of the speed of large products, GB and trained parameters at the preset `small`, {} threads, {} steps after one warm-up step",
        args.threads, args.steps
    );
    Ok(code)
}

fn ours_of(program: &Path, name: &str, flags: &[&str], args: &Args) -> Command {
    let mut command = Command::new(program);
    command
        .args([name, work(args), "--preset", "small"])
        .args(flags)
        .arg(format!("steps={}", args.steps))
        .arg(format!("threads={}", args.threads));
    command
}

fn theirs_of(peer: &Peer, args: &Args) -> Command {
    let script: PathBuf = root().join("benches/peers").join(peer.script);
    let mut command = Command::new(&args.python);
    command
        .arg(script)
        .args(peer.theirs)
        .args(["--mode", work(args)])
        .arg(format!("--steps={}", args.steps))
        .arg(format!("--threads={}", args.threads));
    command
}

fn work(args: &Args) -> &'static str {
    if args.embed { "embed" } else { "train" }
}

fn table_row(name: &str, ours: Option<&Line>, theirs: Option<&Line>) -> String {
    let of = |line: Option<&Line>, tell: fn(&Line) -> String| line.map_or("–".into(), tell);
    let both = |tell: fn(&Line) -> String| format!("{} of {}", of(ours, tell), of(theirs, tell));
    let ratio = ours
        .zip(theirs)
        .map(|(o, t)| o.cells_per_second / t.cells_per_second);
    let mut remarks: Vec<String> = theirs.and_then(|t| t.model.clone()).into_iter().collect();
    if theirs
        .and_then(|t| t.processor_share)
        .is_some_and(|s| s < BUSY)
    {
        remarks.push("other processes used the cores".into());
    }
    row([
        name,
        &of(ours, |l| three(l.cells_per_second)),
        &of(theirs, |l| three(l.cells_per_second)),
        &ratio.map_or("–".into(), |r| format!("{r:.2}")),
        &of(ours, |l| {
            format!("{:.0} %", 100.0 * l.gflops / l.largest_gflops)
        }),
        &both(|l| format!("{:.2}", l.peak_memory_bytes as f64 / 1e9)),
        &both(|l| match l.parameters {
            0 => "–".into(),
            n => n.to_string(),
        }),
        &remarks.join("; "),
    ])
}

/// Three figures.
pub(super) fn three(v: f64) -> String {
    let decimals = (2 - v.max(1e-9).log10().floor() as i32).max(0) as usize;
    format!("{v:.decimals$}")
}

fn row(cells: [&str; 8]) -> String {
    let [
        name,
        ours,
        theirs,
        ratio,
        share,
        memory,
        parameters,
        remarks,
    ] = cells;
    let line = format!(
        "{name:<12} {ours:>8} {theirs:>8} {ratio:>6} {share:>8}  {memory:<14} {parameters:<20} {remarks}"
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cells_per_second: f64, processor_share: Option<f64>) -> Line {
        Line {
            cells_per_second,
            peak_memory_bytes: 1_500_000_000,
            parameters: 7,
            gflops: 90.0,
            largest_gflops: 200.0,
            processor_share,
            model: None,
        }
    }

    #[test]
    fn a_line_has_the_ratio_and_a_side_that_failed_a_dash() {
        let (ours, theirs) = (line(30.0, None), line(12.34, Some(0.5)));
        let both = table_row("m", Some(&ours), Some(&theirs));
        for part in [
            "30.0",
            "12.3",
            "2.43",
            "45 %",
            "1.50 of 1.50",
            "7 of 7",
            "other processes",
        ] {
            assert!(both.contains(part), "{part}: {both}");
        }
        let alone = table_row("m", Some(&ours), None);
        assert!(alone.contains("1.50 of –"), "{alone}");
        assert_eq!([0.4326, 7037.0].map(three), ["0.433", "7037"]);
    }

    #[test]
    fn the_scripts_of_the_peers_are_there() {
        for peer in PEERS {
            let script = root().join("benches/peers").join(peer.script);
            assert!(script.is_file(), "{}", script.display());
        }
    }
}
