//! Every golden case passes, or is not built yet.

#![allow(clippy::print_stdout)] // A skip must be seen.

use scfm_tests::row::Verdict;

#[test]
fn golden_cases_pass() {
    let Some(folder) = scfm_tests::folder() else {
        println!("skipped: there is no golden folder (set SCFM_GOLDEN)");
        return;
    };
    let reports = scfm_tests::run(&folder, "");
    assert!(!reports.is_empty(), "{} holds no case", folder.display());
    let failed: Vec<String> = reports
        .iter()
        .filter(|r| r.verdict == Verdict::Fail)
        .map(|r| format!("{}: {:?} {:?}", r.name, r.reason, failing(r)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn failing(report: &scfm_tests::Report) -> Vec<String> {
    let rows = report.rows.iter().filter(|r| r.verdict == Verdict::Fail);
    rows.map(|r| format!("{} {:.2e} > {:.2e}", r.name, r.error, r.floor))
        .collect()
}
