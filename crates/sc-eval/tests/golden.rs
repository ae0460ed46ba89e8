//! Parity of this crate alone; the whole golden harness is the workspace member `tests`, whose
//! files are compiled here as well because it builds everything else first.

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/src/case.rs"]
mod case;
#[allow(unreachable_pub)]
#[path = "../../../tests/src/metrics_golden.rs"]
mod metrics_golden;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/src/row.rs"]
mod row;

use row::Verdict;
use std::path::{Path, PathBuf};

#[test]
#[allow(clippy::print_stdout)]
fn metrics_agree_with_their_packages() {
    let folder = std::env::var_os("SCFM_GOLDEN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/public"),
        PathBuf::from,
    );
    let Ok(cases) = std::fs::read_dir(folder.join("metrics")) else {
        println!("golden: skipped, there is no golden folder (set SCFM_GOLDEN)");
        return;
    };
    let mut failed = Vec::new();
    for case in cases.flatten() {
        let name = case.file_name().to_string_lossy().into_owned();
        let rows = metrics_golden::run_case(&case.path()).unwrap();
        for row in &rows {
            let line = format!(
                "{name} {} {:.2e} {:.2e} {}",
                row.name, row.error, row.floor, row.verdict
            );
            println!("{line}");
            if row.verdict == Verdict::Fail {
                failed.push(line);
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} rows failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
