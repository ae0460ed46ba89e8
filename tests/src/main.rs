//! `golden [FILTER] [--device NAME]`: one line per tensor or metric, and a last line that counts cases.

// A report on standard output is what this program is for.
#![allow(clippy::print_stdout)]

use scfm_tests::row::Verdict;

fn main() -> std::process::ExitCode {
    let filter = match arguments() {
        Ok(filter) => filter,
        Err(e) => {
            println!("golden: {e}");
            return std::process::ExitCode::from(2);
        }
    };
    let mut reports = scfm_tests::run(&scfm_tests::committed(), &filter);
    match scfm_tests::folder() {
        Some(folder) => {
            // The larger set holds those of the repository as well.
            reports.retain(|r| !folder.join(&r.name).is_dir());
            reports.extend(scfm_tests::run(&folder, &filter));
        }
        None => println!(
            "golden: the cases of the repository only; SCFM_GOLDEN names the folder of the others"
        ),
    }
    for report in &reports {
        for row in &report.rows {
            println!(
                "{} {} {:.2e} {:.2e} {}",
                report.name, row.name, row.error, row.floor, row.verdict
            );
        }
        if let Some(reason) = &report.reason {
            println!("{} - - - {}: {reason}", report.name, report.verdict);
        }
    }
    let count = |v| reports.iter().filter(|r| r.verdict == v).count();
    let failed = count(Verdict::Fail);
    println!(
        "golden: {} cases passed, {failed} failed, {} not built yet",
        count(Verdict::Pass),
        count(Verdict::NotBuilt)
    );
    if failed == 0 {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::from(1)
    }
}

/// The filter; a device that is named is opened for the cases.
fn arguments() -> Result<String, String> {
    let (mut filter, mut arguments) = (String::new(), std::env::args().skip(1));
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--device" => {
                let name = arguments.next().ok_or("--device needs a name, as wgpu")?;
                let device = sc_models::device::open(&name).map_err(|e| e.to_string())?;
                scfm_tests::run_on(device);
            }
            flag if flag.starts_with('-') => return Err(format!("there is no {flag}")),
            _ => filter = argument,
        }
    }
    Ok(filter)
}
