//! `cargo xtask bench backends`: every architecture on several devices, and whether they agree.

use super::{architectures, measured, program_for};
use crate::error::Error;
use sc_data::io::atomic::write_bytes_atomic;
use sc_eval::report::table_page;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Devices to compare; each but flex is a feature of the build.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "flex,ndarray,wgpu"
    )]
    devices: Vec<String>,
    /// Only these architectures.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Preset of every architecture: tiny, small or paper.
    #[arg(long, default_value = "tiny")]
    preset: String,
    /// Number of timed steps, after one warm-up step.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    /// Threads of the host.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Folder for backends.json and backends.html.
    #[arg(short = 'o', long = "output", default_value = "target/bench")]
    out: PathBuf,
}

/// An architecture on a device.
#[derive(Clone, Debug, Serialize)]
struct Row {
    architecture: String,
    device: String,
    train: Option<Step>,
    embed: Option<Step>,
    /// Absent on `flex`, with which it compares.
    agreement: Option<Agreement>,
    /// Why something is absent.
    failure: Option<String>,
}

/// A line of the program `step`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Step {
    cells: usize,
    cells_per_second: f64,
    seconds_forward: f64,
    /// Speed of its products, and that of large ones on the device.
    gflops: f64,
    largest_gflops: f64,
    peak_memory_bytes: u64,
    device_memory_bytes: Option<u64>,
}

/// Differences from `flex`, as shares.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Agreement {
    embeddings: f64,
    losses: f64,
    gradients: f64,
    weights: f64,
}

const COLUMNS: [&str; 13] = [
    "architecture",
    "device",
    "forward, cells/s",
    "training, cells/s",
    "embedding, cells/s",
    "share of peak, training",
    "share of peak, embedding",
    "host memory, GB",
    "device memory, GB",
    "embeddings",
    "losses",
    "gradients",
    "weights",
];

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let step = program_for("step", &args.devices)?;
    let names = architectures(&step, &args.only)?;
    println!(
        "| {} |\n|{}",
        COLUMNS.join(" | "),
        "---|".repeat(COLUMNS.len())
    );
    let mut rows = Vec::new();
    for name in &names {
        for device in &args.devices {
            let row = measure(&step, name, device, args);
            println!("| {} |", cells(&row).join(" | "));
            if let Some(failure) = &row.failure {
                eprintln!("{name} on {device}: {failure}");
            }
            rows.push(row);
        }
    }
    let code = match rows.iter().any(|r| r.failure.is_some()) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    };
    write(&rows, args)?;
    Ok(code)
}

fn measure(step: &Path, name: &str, device: &str, args: &Args) -> Row {
    let mut row = Row {
        architecture: name.to_owned(),
        device: device.to_owned(),
        train: None,
        embed: None,
        agreement: None,
        failure: None,
    };
    let command = |work: &str| {
        let mut command = Command::new(step);
        command.args([name, work, "--preset", &args.preset]);
        command.arg(format!("device={device}"));
        command.arg(format!("steps={}", args.steps));
        command.arg(format!("threads={}", args.threads));
        command
    };
    // What fails leaves a dash; the others keep their numbers.
    let mut kept = |failure: Error| row.failure = Some(failure.to_string());
    let train = measured(&mut command("train")).map_err(&mut kept).ok();
    let embed = measured(&mut command("embed")).map_err(&mut kept).ok();
    let agreement = match device {
        "flex" => None,
        _ => measured(&mut command("agree")).map_err(&mut kept).ok(),
    };
    Row {
        train,
        embed,
        agreement,
        ..row
    }
}

/// The row of the table.
fn cells(row: &Row) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or("–".into(), |v| format!("{v:.3}"));
    let rate = |value: Option<f64>| value.map_or("–".into(), super::step::three);
    let share = |value: Option<f64>| value.map_or("–".into(), |v| format!("{v:.0e}"));
    let percent = |step: Option<Step>| {
        step.map_or("–".into(), |s| {
            format!("{:.0} %", 100.0 * s.gflops / s.largest_gflops)
        })
    };
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let forward = row.train.map(|t| t.cells as f64 / t.seconds_forward);
    let device = row.train.and_then(|t| t.device_memory_bytes);
    let agreement = |of: fn(Agreement) -> f64| share(row.agreement.map(of));
    vec![
        row.architecture.clone(),
        row.device.clone(),
        rate(forward),
        rate(row.train.map(|t| t.cells_per_second)),
        rate(row.embed.map(|t| t.cells_per_second)),
        percent(row.train),
        percent(row.embed),
        number(row.train.map(|t| gigabytes(t.peak_memory_bytes))),
        number(device.map(gigabytes)),
        agreement(|a| a.embeddings),
        agreement(|a| a.losses),
        agreement(|a| a.gradients),
        agreement(|a| a.weights),
    ]
}

fn write(rows: &[Row], args: &Args) -> Result<(), Error> {
    std::fs::create_dir_all(&args.out).map_err(Error::io(&args.out))?;
    let json = serde_json::to_vec_pretty(rows).map_err(Error::json("backends.json"))?;
    write_bytes_atomic(&args.out.join("backends.json"), &json)?;
    let notes = [
        format!(
            "Preset {}, {} steps after one warm-up step, {} threads of the host.",
            args.preset, args.steps, args.threads
        ),
        "The share of the peak is that of the products' speed in the speed of large products, \
         measured in the same process."
            .to_owned(),
        "The last four columns are differences from flex, as shares: of embeddings, of any loss, of \
         the first gradient, and of the change of the weights."
            .to_owned(),
    ];
    let lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let page = table_page("Devices compared", &notes, &COLUMNS, &lines)?;
    write_bytes_atomic(&args.out.join("backends.html"), page.as_bytes())?;
    println!(
        "\nwrote backends.json and backends.html to {}",
        args.out.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_a_dash_and_the_rest_has_its_numbers() {
        let row = Row {
            architecture: "vae".into(),
            device: "wgpu".into(),
            train: Some(Step {
                cells: 10,
                cells_per_second: 12.34,
                seconds_forward: 0.5,
                gflops: 100.0,
                largest_gflops: 400.0,
                peak_memory_bytes: 1_500_000_000,
                device_memory_bytes: Some(250_000_000),
            }),
            embed: None,
            agreement: Some(Agreement {
                embeddings: 1.2e-7,
                losses: 0.0,
                gradients: 3e-6,
                weights: 0.01,
            }),
            failure: Some("embed failed".into()),
        };
        let cells = cells(&row);
        assert_eq!(cells.len(), COLUMNS.len());
        assert_eq!(
            cells[2..].join(" "),
            "20.0 12.3 – 25 % – 1.500 0.250 1e-7 0e0 3e-6 1e-2"
        );
    }
}
