//! `golden [FILTER]`: one line a tensor or metric, and a last line that counts cases.

// A report on standard output is what this program is for.
#![allow(clippy::print_stdout)]

use scfm_tests::row::Verdict;

fn main() -> std::process::ExitCode {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let Some(folder) = scfm_tests::folder() else {
        println!("golden: skipped, there is no golden folder (set SCFM_GOLDEN)");
        return std::process::ExitCode::SUCCESS;
    };
    let reports = scfm_tests::run(&folder, &filter);
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
