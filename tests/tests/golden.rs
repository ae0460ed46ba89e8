//! Every golden case passes: those of the repository, and the larger set where it is there.

#![allow(clippy::print_stdout)] // A skip must be seen.

use scfm_tests::row::Verdict;

#[test]
fn cases_of_the_repository_pass() {
    let reports = scfm_tests::run(&scfm_tests::committed(), "");
    let failed: Vec<_> = reports
        .iter()
        .filter(|r| r.verdict != Verdict::Pass)
        .map(|r| format!("{}: {:?} {:?}", r.name, r.reason, failing(r)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(scfm_tests::lacking(&reports, &scfm_tests::REQUIRED), None);
}

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
    let lacking = scfm_tests::lacking(&reports, &scfm_tests::REQUIRED_OUTSIDE);
    assert_eq!(lacking, None, "renamed, or no longer recognised");
}

fn failing(report: &scfm_tests::Report) -> Vec<String> {
    let rows = report.rows.iter().filter(|r| r.verdict == Verdict::Fail);
    rows.map(|r| format!("{} {:.2e} > {:.2e}", r.name, r.error, r.floor))
        .collect()
}
