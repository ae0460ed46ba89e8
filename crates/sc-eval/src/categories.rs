//! The cells of every category.

pub use sc_data::Categories;

/// The cells of every code that occurs, in ascending order of the codes.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    /// The codes that occur, ascending.
    pub(crate) codes: Vec<u32>,
    /// Cells of each, ascending.
    pub(crate) members: Vec<Vec<u32>>,
    /// Position in `codes` of every cell's code.
    pub(crate) of_cell: Vec<u32>,
}

impl Groups {
    pub(crate) fn new(codes: &[u32]) -> Self {
        let mut distinct = codes.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut members = vec![Vec::new(); distinct.len()];
        let of_cell: Vec<u32> = codes
            .iter()
            .map(|c| distinct.partition_point(|d| d < c) as u32)
            .collect();
        for (cell, &g) in of_cell.iter().enumerate() {
            members[g as usize].push(cell as u32);
        }
        Self {
            codes: distinct,
            members,
            of_cell,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.codes.len()
    }
}
