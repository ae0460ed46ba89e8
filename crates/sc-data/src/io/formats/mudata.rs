//! MuData (`.h5mu`, or a Zarr folder of it): one modality, read as a file.

use std::sync::Arc;

use super::part::Part;
use super::view::View;
use crate::error::{DataError, Result};
use crate::io::h5::{H5Source, NodeKind, Numbers, vector};
use crate::io::h5ad::{Column, H5ad};

/// The modality `part` (`rna` or `mod/rna`), else `rna`, `gex` or the only one. Columns that only the
/// `obs` of all modalities has are added to that of the modality.
pub(super) fn open(source: Arc<dyn H5Source>, part: Option<&str>) -> Result<Arc<dyn H5Source>> {
    let modalities = source.children("mod")?;
    let listed = modalities.join(", ");
    let wanted = part.map(|p| p.strip_prefix("mod/").unwrap_or(p));
    let found = match wanted {
        Some(name) => modalities.iter().find(|m| *m == name).ok_or_else(|| {
            DataError::file(
                source.path(),
                format!("has no modality '{name}'; it has {listed}"),
            )
        })?,
        None => {
            let usual = ["rna", "gex"].into_iter();
            let usual = usual
                .filter_map(|u| modalities.iter().find(|m| *m == u))
                .next();
            match (usual, &modalities[..]) {
                (Some(found), _) | (None, [found]) => found,
                _ => {
                    return Err(DataError::file(
                        source.path(),
                        format!(
                            "holds the modalities {listed}; choose one, as in {}/{}",
                            source.path().display(),
                            modalities.first().map_or("NAME", String::as_str)
                        ),
                    ));
                }
            }
        }
    };
    let prefix = format!("mod/{found}");
    let part = Part::new(Arc::clone(&source), prefix, "MuData");
    // The annotation shared by all modalities is optional: the modality works without it.
    match shared_columns(&source, found) {
        Ok(Some((names, rows))) => {
            let shown = names.clone();
            let read = move || gathered(&source, &shown, &rows);
            Ok(Arc::new(part.with_columns(names, Box::new(read))))
        }
        Ok(None) | Err(_) => Ok(Arc::new(part)),
    }
}

/// Row of the `obs` of all modalities for every cell of one.
type Rows = Vec<Option<usize>>;

/// The columns that only the `obs` of all modalities has, and where its rows are.
fn shared_columns(
    source: &Arc<dyn H5Source>,
    modality: &str,
) -> Result<Option<(Vec<String>, Rows)>> {
    let whole = H5ad::from_source(Arc::clone(source))?;
    let prefix = format!("mod/{modality}");
    let own = H5ad::from_source(Arc::new(Part::new(Arc::clone(source), prefix, "MuData")))?;
    let missing = |c: &&String| !own.obs().has(c) && *c != own.obs().index_name();
    let names: Vec<String> = whole
        .obs()
        .columns()
        .iter()
        .filter(missing)
        .cloned()
        .collect();
    if names.is_empty() {
        return Ok(None);
    }
    let map = format!("obsmap/{modality}");
    if source.kind(&map)? != Some(NodeKind::Dataset) {
        return Ok(None);
    }
    let mut rows: Rows = vec![None; own.n_obs()];
    // Counted from 1; 0 means that the modality does not have the cell.
    for (row, at) in vector(&**source, &map)?.into_i64().into_iter().enumerate() {
        let slot = usize::try_from(at - 1).ok().and_then(|at| rows.get_mut(at));
        if let Some(slot) = slot.filter(|_| row < whole.n_obs()) {
            *slot = Some(row);
        }
    }
    Ok(Some((names, rows)))
}

/// The named columns of the `obs` of all modalities, at these rows.
fn gathered(source: &Arc<dyn H5Source>, names: &[String], rows: &Rows) -> Result<View> {
    let whole = H5ad::from_source(Arc::clone(source))?;
    let mut view = View::new(source.path(), source.size());
    for name in names {
        let node = format!("obs/{name}");
        match whole.obs_column(name)? {
            Column::Categorical {
                codes, categories, ..
            } => {
                let at = |row: &Option<usize>| row.and_then(|r| codes.get(r).copied());
                let codes = rows.iter().map(|r| at(r).unwrap_or(-1)).collect();
                view.hold(&format!("{node}/codes"), Numbers::I32(codes));
                view.texts(&format!("{node}/categories"), categories);
            }
            Column::Floats(values) => {
                let at = |row: &Option<usize>| row.and_then(|r| values.get(r).copied());
                let values = rows.iter().map(|r| at(r).unwrap_or(f64::NAN)).collect();
                view.hold(&node, Numbers::F64(values));
            }
            Column::Ints(values) => {
                let taken = taken(&values, rows);
                let numbers = taken.iter().map(|v| v.unwrap_or_default()).collect();
                masked(&mut view, &node, &taken, Numbers::I64(numbers));
            }
            Column::Bools(values) => {
                let taken = taken(&values, rows);
                let numbers = taken.iter().map(|v| v.unwrap_or_default()).collect();
                masked(&mut view, &node, &taken, Numbers::Bool(numbers));
            }
            Column::Strings(values) => {
                let taken = taken(&values, rows);
                let texts = taken
                    .iter()
                    .map(|v| v.clone().unwrap_or_default())
                    .collect();
                view.texts(&format!("{node}/values"), texts);
                view.hold(&format!("{node}/mask"), mask(&taken));
            }
        }
    }
    Ok(view)
}

fn taken<T: Clone>(values: &[Option<T>], rows: &Rows) -> Vec<Option<T>> {
    rows.iter()
        .map(|row| row.and_then(|r| values.get(r).cloned().flatten()))
        .collect()
}

fn mask<T>(taken: &[Option<T>]) -> Numbers {
    Numbers::Bool(taken.iter().map(Option::is_none).collect())
}

/// Numbers, with a mask where some are missing.
fn masked<T>(view: &mut View, node: &str, taken: &[Option<T>], numbers: Numbers) {
    if taken.iter().all(Option::is_some) {
        return view.hold(node, numbers);
    }
    view.hold(&format!("{node}/values"), numbers);
    view.hold(&format!("{node}/mask"), mask(taken));
}
