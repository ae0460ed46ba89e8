//! Spatial neighbourhoods of cells: counts of every cell type among the neighbours.
//!
//! Source: reference/saturn-uce-scprint-nicheformer.md D5 (`X_niche`). Neighbours are found with a
//! grid, so no matrix is cells × cells.

use crate::error::{DataError, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Definition of neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Within {
    /// All cells within this distance, in the unit of the coordinates.
    Radius(f64),
    /// This many nearest cells; ties go to the cell that comes first in the file.
    Nearest(usize),
}

/// Spatial coordinates of cells, in up to three dimensions.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Coordinates, `[cells, dims]` row-major.
    pub coordinates: &'a [f32],
    /// Dimensions, 2 or 3.
    pub dims: usize,
    /// Section of every cell; cells of different sections are not neighbours.
    pub section: &'a [u32],
}

/// Counts of every type among the neighbours of every cell, itself excluded, `[cells, types]`
/// row-major; a cell whose type is not in `types` is not counted.
///
/// # Errors
/// [`DataError::Invalid`] for a coordinate that is NaN or infinite, lengths that differ, or a
/// radius or number of neighbours that is not positive.
pub fn composition(
    places: &Places<'_>,
    types: (&[u32], usize),
    within: Within,
) -> Result<Vec<f32>> {
    let (codes, width) = types;
    let cells = codes.len();
    check(places, cells, within)?;
    let mut out = vec![0f32; cells * width];
    let mut sections: HashMap<u32, Vec<usize>> = HashMap::new();
    for (cell, &section) in places.section.iter().enumerate() {
        sections.entry(section).or_default().push(cell);
    }
    for members in sections.values() {
        let grid = Grid::new(places, members, within);
        for &cell in members {
            grid.neighbours(cell, within, |other| {
                if let Some(count) = (codes[other] as usize)
                    .lt(&width)
                    .then(|| &mut out[cell * width + codes[other] as usize])
                {
                    *count += 1.0;
                }
            });
        }
    }
    Ok(out)
}

fn check(places: &Places<'_>, cells: usize, within: Within) -> Result<()> {
    let fail = |what: String| Err(DataError::invalid(what));
    if !(1..=3).contains(&places.dims) {
        return fail(format!(
            "cells have {} coordinates; expected 2 or 3",
            places.dims
        ));
    }
    if places.coordinates.len() != cells * places.dims || places.section.len() != cells {
        return fail(format!(
            "there are {} coordinates and {} sections for {cells} cells",
            places.coordinates.len() / places.dims,
            places.section.len()
        ));
    }
    if let Some(at) = places.coordinates.iter().position(|v| !v.is_finite()) {
        return fail(format!(
            "cell {} has the coordinate {}; remove cells without coordinates",
            at / places.dims,
            places.coordinates[at]
        ));
    }
    match within {
        Within::Radius(r) if !(r > 0.0 && r.is_finite()) => {
            fail(format!("radius = {r}; must be above 0"))
        }
        Within::Nearest(0) => fail("nearest = 0; must be at least 1".into()),
        _ => Ok(()),
    }
}

/// Cells by the grid square (or cube) they are in.
struct Grid<'a> {
    places: &'a Places<'a>,
    origin: [f64; 3],
    side: f64,
    squares: HashMap<[i64; 3], Vec<usize>>,
    /// Maximum number of squares along a section.
    across: i64,
}

impl<'a> Grid<'a> {
    fn new(places: &'a Places<'a>, members: &[usize], within: Within) -> Self {
        let mut low = [f64::INFINITY; 3];
        let mut high = [f64::NEG_INFINITY; 3];
        for &cell in members {
            for (d, v) in at(places, cell).into_iter().enumerate() {
                low[d] = low[d].min(v);
                high[d] = high[d].max(v);
            }
        }
        let widest = (0..3).fold(0f64, |m, d| m.max(high[d] - low[d]));
        let side = match within {
            Within::Radius(r) => r.max(widest / 1e6),
            // About two cells per square, if they were spread evenly over a plane.
            Within::Nearest(_) => {
                let squares = (members.len() as f64 / 2.0).sqrt().max(1.0);
                widest / squares
            }
        };
        // All at one point.
        let side = if side > 0.0 { side } else { 1.0 };
        let mut squares: HashMap<[i64; 3], Vec<usize>> = HashMap::new();
        for &cell in members {
            squares
                .entry(square(at(places, cell), low, side))
                .or_default()
                .push(cell);
        }
        Self {
            places,
            origin: low,
            side,
            squares,
            across: (widest / side).ceil() as i64 + 1,
        }
    }

    fn neighbours(&self, cell: usize, within: Within, mut each: impl FnMut(usize)) {
        let here = at(self.places, cell);
        let home = square(here, self.origin, self.side);
        let distance = |other: usize| {
            let there = at(self.places, other);
            (0..3).map(|d| (here[d] - there[d]).powi(2)).sum::<f64>()
        };
        match within {
            Within::Radius(r) => {
                let reach = (r / self.side).ceil() as i64;
                for ring in 0..=reach {
                    self.ring(home, ring, |other| {
                        if other != cell && distance(other) <= r * r {
                            each(other);
                        }
                    });
                }
            }
            Within::Nearest(k) => {
                let mut found: Vec<(f64, usize)> = Vec::new();
                for ring in 0..=self.across {
                    self.ring(home, ring, |other| {
                        if other != cell {
                            found.push((distance(other), other));
                        }
                    });
                    // Cells in rings further out are at least this far away.
                    let safe = ring as f64 * self.side;
                    found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                    if found.len() >= k && found[k - 1].0 <= safe * safe {
                        break;
                    }
                }
                found.into_iter().take(k).for_each(|(_, other)| each(other));
            }
        }
    }

    /// All cells in the squares at exactly this many steps from `home`.
    fn ring(&self, home: [i64; 3], ring: i64, mut each: impl FnMut(usize)) {
        let depth = if self.places.dims == 3 { ring } else { 0 };
        for dz in -depth..=depth {
            for dy in -ring..=ring {
                let edge = dz.abs() == ring && self.places.dims == 3 || dy.abs() == ring;
                let step = if edge || ring == 0 { 1 } else { 2 * ring };
                let mut dx = -ring;
                while dx <= ring {
                    let key = [home[0] + dx, home[1] + dy, home[2] + dz];
                    if let Some(cells) = self.squares.get(&key) {
                        cells.iter().for_each(|&c| each(c));
                    }
                    dx += step;
                }
            }
        }
    }
}

fn at(places: &Places<'_>, cell: usize) -> [f64; 3] {
    let mut out = [0.0; 3];
    let row = &places.coordinates[cell * places.dims..(cell + 1) * places.dims];
    for (o, &v) in out.iter_mut().zip(row) {
        *o = f64::from(v);
    }
    out
}

fn square(place: [f64; 3], origin: [f64; 3], side: f64) -> [i64; 3] {
    std::array::from_fn(|d| ((place[d] - origin[d]) / side).floor() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn brute(places: &Places<'_>, types: (&[u32], usize), within: Within) -> Vec<f32> {
        let (codes, width) = types;
        let mut out = vec![0.0; codes.len() * width];
        for cell in 0..codes.len() {
            let mut others: Vec<(f64, usize)> = (0..codes.len())
                .filter(|&o| o != cell && places.section[o] == places.section[cell])
                .map(|o| {
                    let (a, b) = (at(places, cell), at(places, o));
                    ((0..3).map(|d| (a[d] - b[d]).powi(2)).sum(), o)
                })
                .collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            match within {
                Within::Radius(r) => others.retain(|o| o.0 <= r * r),
                Within::Nearest(k) => others.truncate(k),
            }
            for (_, o) in others {
                out[cell * width + codes[o] as usize] += 1.0;
            }
        }
        out
    }

    proptest! {
        #[test]
        fn the_grid_finds_whom_a_search_of_all_pairs_finds(
            points in prop::collection::vec((-50f32..50.0, -50f32..50.0, 0f32..20.0, 0u32..3, 0u32..2), 1..60),
            radius in 0.5f64..60.0, nearest in 1usize..9, dims in 2usize..4,
        ) {
            let coordinates: Vec<f32> = points
                .iter()
                .flat_map(|p| [p.0, p.1, p.2].into_iter().take(dims))
                .collect();
            let types: Vec<u32> = points.iter().map(|p| p.3).collect();
            let section: Vec<u32> = points.iter().map(|p| p.4).collect();
            let places = Places { coordinates: &coordinates, dims, section: &section };
            for within in [Within::Radius(radius), Within::Nearest(nearest)] {
                let ours = composition(&places, (&types, 3), within).unwrap();
                prop_assert_eq!(ours, brute(&places, (&types, 3), within));
            }
        }
    }

    #[test]
    fn cells_on_one_spot_and_cells_without_a_place() {
        let places = |coordinates| Places {
            coordinates,
            dims: 2,
            section: &[0, 0, 0],
        };
        let found = composition(&places(&[1.0; 6]), (&[0, 1, 1], 2), Within::Nearest(2)).unwrap();
        assert_eq!(found, [0.0, 2.0, 1.0, 1.0, 1.0, 1.0]);
        let nowhere = [0.0, 0.0, f32::NAN, 0.0, 1.0, 1.0];
        let error = composition(&places(&nowhere), (&[0; 3], 1), Within::Radius(1.0));
        assert!(error.unwrap_err().to_string().contains("cell 1"));
    }
}
