//! Data frames: `obs`, `var` and `raw/var` in every encoding since anndata 0.6.

use super::column::Column;
use crate::error::{DataError, Result};
use crate::io::h5::{
    Attribute, ElementType, FieldValues, H5Source, NodeKind, Numbers, in_other_files,
    text_attribute, vector,
};

/// Names of a data frame's columns, and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    node: String,
    index: String,
    columns: Vec<String>,
    len: usize,
    records: bool,
}

impl FrameInfo {
    /// Names of the columns, in the file's order, without the index.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Name of the column with the row names, such as `_index`.
    pub fn index_name(&self) -> &str {
        &self.index
    }

    /// Whether there is a column of this name.
    pub fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|c| c == name)
    }
}

/// Reads the names of a frame.
pub(super) fn open(source: &dyn H5Source, node: &str) -> Result<FrameInfo> {
    let fail = |message: String| DataError::file(source.path(), format!("{node}: {message}"));
    if source.kind(node)? == Some(NodeKind::Dataset) {
        let info = source.info(node)?;
        let (ElementType::Compound(mut fields), &[len]) = (info.element, &info.shape[..]) else {
            return Err(fail("is neither a group nor a table of records".into()));
        };
        let at = fields
            .iter()
            .position(|f| f == "index" || f == "_index")
            .unwrap_or(0);
        if fields.is_empty() {
            return Err(fail("has no fields".into()));
        }
        let index = fields.remove(at);
        return Ok(FrameInfo {
            node: node.to_owned(),
            index,
            columns: fields,
            len: len as usize,
            records: true,
        });
    }
    let index = text_attribute(source, node, "_index")?.unwrap_or_else(|| "_index".into());
    let children = super::names_below(source, node)?;
    if !children.contains(&index) {
        return Err(fail(format!(
            "has no index '{index}'; the file is damaged or not an .h5ad"
        )));
    }
    let mut columns = match source.attribute(node, "column-order")? {
        Some(Attribute::Strings(order)) => order,
        _ => Vec::new(),
    };
    columns.retain(|c| children.contains(c));
    for child in &children {
        if *child != index && child != "__categories" && !columns.contains(child) {
            columns.push(child.clone());
        }
    }
    let len = index_length(source, &format!("{node}/{index}"))?;
    Ok(FrameInfo {
        node: node.to_owned(),
        index,
        columns,
        len,
        records: false,
    })
}

fn index_length(source: &dyn H5Source, node: &str) -> Result<usize> {
    let data = match source.kind(node)? {
        Some(NodeKind::Group) if source.kind(&format!("{node}/codes"))?.is_some() => {
            format!("{node}/codes")
        }
        Some(NodeKind::Group) => format!("{node}/values"),
        _ => node.to_owned(),
    };
    match source.info(&data)?.shape[..] {
        // One bit per row is less than any index needs: a longer one means a damaged length.
        [n] if n / 8 <= crate::io::h5::allocation_limit(source.size()) => Ok(n as usize),
        ref other => Err(DataError::file(
            source.path(),
            format!("{node}: expected one dimension of a possible length, found shape {other:?}"),
        )),
    }
}

/// The row names as strings.
pub(super) fn index(source: &dyn H5Source, frame: &FrameInfo) -> Result<Vec<String>> {
    let column = read(source, frame, &frame.index)?;
    Ok(match column {
        Column::Strings(v) => v.into_iter().map(Option::unwrap_or_default).collect(),
        other => (0..other.len())
            .map(|i| other.text(i).unwrap_or_default())
            .collect(),
    })
}

/// One named column.
pub(super) fn column(source: &dyn H5Source, frame: &FrameInfo, name: &str) -> Result<Column> {
    if name == frame.index || name == "_index" || name == "index" && !frame.has(name) {
        return read(source, frame, &frame.index);
    }
    if !frame.has(name) {
        let hint = match closest(name, &frame.columns) {
            Some(near) => format!("did you mean '{near}'? "),
            None => String::new(),
        };
        let there = format!(
            "{hint}it has {}{}",
            listing(&frame.columns),
            in_other_files(source)
        );
        if frame.node == "obs" {
            return Err(DataError::NoColumn {
                path: source.path().to_path_buf(),
                column: name.to_owned(),
                there,
            });
        }
        let what = format!("{} has no column '{name}'; {there}", frame.node);
        return Err(DataError::file(source.path(), what));
    }
    read(source, frame, name)
}

fn read(source: &dyn H5Source, frame: &FrameInfo, name: &str) -> Result<Column> {
    let column = if frame.records {
        record_column(source, &frame.node, name)?
    } else {
        group_column(source, &frame.node, name)?
    };
    if column.len() != frame.len {
        return Err(DataError::file(
            source.path(),
            format!(
                "{}/{name}: has {} values for {} rows; the file is damaged",
                frame.node,
                column.len(),
                frame.len
            ),
        ));
    }
    Ok(column)
}

fn group_column(source: &dyn H5Source, frame: &str, name: &str) -> Result<Column> {
    let node = format!("{frame}/{name}");
    if source.kind(&node)? == Some(NodeKind::Group) {
        if source.kind(&format!("{node}/codes"))?.is_some() {
            let ordered = matches!(source.attribute(&node, "ordered")?,
                Some(Attribute::Ints(v)) if v.first().is_some_and(|&o| o != 0));
            let codes = vector(source, &format!("{node}/codes"))?;
            let categories = dataset_column(source, &format!("{node}/categories"))?;
            return categorical(source, &node, codes, &categories, ordered);
        }
        let values = dataset_column(source, &format!("{node}/values"))?;
        let mask = vector(source, &format!("{node}/mask"))?.into_i64();
        return masked(source, &node, values, &mask);
    }
    // anndata 0.7 kept the categories in a separate group next to the columns.
    let categories = format!("{frame}/__categories/{name}");
    if source.kind(&format!("{frame}/__categories"))?.is_some()
        && source.kind(&categories)?.is_some()
    {
        let ordered = matches!(source.attribute(&categories, "ordered")?,
            Some(Attribute::Ints(v)) if v.first().is_some_and(|&o| o != 0));
        let codes = vector(source, &node)?;
        let names = dataset_column(source, &categories)?;
        return categorical(source, &node, codes, &names, ordered);
    }
    dataset_column(source, &node)
}

fn record_column(source: &dyn H5Source, frame: &str, name: &str) -> Result<Column> {
    let node = format!("{frame}/{name}");
    match source.field(frame, name)? {
        FieldValues::Strings(values) => Ok(Column::from_strings(values)),
        FieldValues::Numbers(numbers) => {
            let categories = format!("uns/{name}_categories");
            let integers = !matches!(
                numbers,
                Numbers::F32(_) | Numbers::F64(_) | Numbers::Bool(_)
            );
            if integers && source.kind("uns")?.is_some() && source.kind(&categories)?.is_some() {
                let names = dataset_column(source, &categories)?;
                return categorical(source, &node, numbers, &names, false);
            }
            Ok(plain(numbers))
        }
    }
}

fn dataset_column(source: &dyn H5Source, node: &str) -> Result<Column> {
    // A nullable array may be used where a plain one usually is, as categories of a categorical.
    if source.kind(node)? == Some(NodeKind::Group) {
        let values = dataset_column(source, &format!("{node}/values"))?;
        let mask = vector(source, &format!("{node}/mask"))?.into_i64();
        return masked(source, node, values, &mask);
    }
    match source.info(node)?.element {
        ElementType::String => Ok(Column::from_strings(source.strings(node)?)),
        ElementType::Compound(_) | ElementType::Other(_) => Err(DataError::file(
            source.path(),
            format!(
                "{node}: the type of this column is unknown; save the file with a current anndata"
            ),
        )),
        _ => Ok(plain(vector(source, node)?)),
    }
}

fn plain(numbers: Numbers) -> Column {
    match numbers {
        Numbers::Bool(v) => Column::Bools(v.into_iter().map(Some).collect()),
        floats @ (Numbers::F32(_) | Numbers::F64(_)) => Column::Floats(floats.into_f64()),
        ints => Column::Ints(ints.into_i64().into_iter().map(Some).collect()),
    }
}

fn categorical(
    source: &dyn H5Source,
    node: &str,
    codes: Numbers,
    names: &Column,
    ordered: bool,
) -> Result<Column> {
    let categories: Vec<String> = (0..names.len())
        .map(|i| names.text(i).unwrap_or_else(|| "nan".into()))
        .collect();
    let mut out = Vec::with_capacity(codes.len());
    for (row, code) in codes.into_i64().into_iter().enumerate() {
        // pandas writes −1 for missing; very old files wrote it into an unsigned type.
        let missing = code < 0 || code == 255 && categories.len() < 255;
        if !missing && code as u64 >= categories.len() as u64 {
            return Err(DataError::file(
                source.path(),
                format!(
                    "{node}: row {row} has category {code}, but there are {}; the file is damaged",
                    categories.len()
                ),
            ));
        }
        out.push(if missing { -1 } else { code as i32 });
    }
    Ok(Column::Categorical {
        codes: out,
        categories,
        ordered,
    })
}

fn masked(source: &dyn H5Source, node: &str, values: Column, mask: &[i64]) -> Result<Column> {
    if mask.len() != values.len() {
        return Err(DataError::file(
            source.path(),
            format!(
                "{node}: {} values but {} mask entries",
                values.len(),
                mask.len()
            ),
        ));
    }
    fn apply<T>(values: Vec<Option<T>>, mask: &[i64]) -> Vec<Option<T>> {
        values
            .into_iter()
            .zip(mask)
            .map(|(v, &m)| if m == 0 { v } else { None })
            .collect()
    }
    Ok(match values {
        Column::Strings(v) => Column::Strings(apply(v, mask)),
        Column::Bools(v) => Column::Bools(apply(v, mask)),
        Column::Ints(v) => Column::Ints(apply(v, mask)),
        Column::Floats(v) => Column::Floats(
            v.into_iter()
                .zip(mask)
                .map(|(v, &m)| if m == 0 { v } else { f64::NAN })
                .collect(),
        ),
        other @ Column::Categorical { .. } => other,
    })
}

/// At most 30 names, quoted, for messages.
pub(super) fn listing(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    let mut text = names
        .iter()
        .take(30)
        .map(|n| format!("'{n}'"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > 30 {
        text.push_str(&format!(" and {} more", names.len() - 30));
    }
    text
}

/// The name closest to `wanted`, if any is close.
pub(crate) fn closest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    names
        .iter()
        .map(|n| (edit_distance(&wanted, &n.to_lowercase()), n.as_str()))
        .filter(|(d, n)| *d <= wanted.len().max(n.len()) / 2)
        .min_by_key(|(d, _)| *d)
        .map(|(_, n)| n)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn closest_name_ignores_case_and_gives_up_when_far() {
        let names = vec!["Batch".to_owned(), "cell_type".to_owned()];
        assert_eq!(closest("batch", &names), Some("Batch"));
        assert_eq!(closest("celltype", &names), Some("cell_type"));
        assert_eq!(closest("xyz", &names), None);
    }
}
