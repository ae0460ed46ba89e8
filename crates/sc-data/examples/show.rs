//! What every file holds, one line each: for comparison with other readers.
#![allow(clippy::print_stdout, reason = "an example prints")]
use sc_data::H5ad;
use sc_data::store::CellStore;
fn main() {
    for path in std::env::args().skip(1) {
        let shown = (|| -> Result<String, sc_data::DataError> {
            let file = H5ad::open(std::path::Path::new(&path))?;
            let mut out = format!("{} x {}", file.n_obs(), file.n_vars());
            for slot in file.slots() {
                let store = CellStore::of(&file, slot.clone())?;
                let all: Vec<usize> = (0..store.rows()).collect();
                let m = store.read_rows(&all)?;
                let sum: f64 = m.values().iter().map(|v| f64::from(*v)).sum();
                out += &format!(
                    " {slot}:{}x{} nnz {} sum {sum:.3}",
                    m.rows(),
                    m.cols(),
                    m.nnz()
                );
            }
            for c in file.obs().columns() {
                let v = file.obs_column(c)?;
                out += &format!(" obs[{c}]={}", v.text(0).unwrap_or("-".into()));
            }
            for c in file.var().columns() {
                if let Err(e) = file.var_column(c) {
                    out += &format!(" VAR {e}");
                }
            }
            out += &format!(
                " first {:?} {:?}",
                file.obs_names()?.first(),
                file.var_names()?.first()
            );
            Ok(out)
        })();
        match shown {
            Ok(s) => println!("{path}: {}", s.chars().take(100_000).collect::<String>()),
            Err(e) => println!("ERROR {e}"),
        }
    }
}
