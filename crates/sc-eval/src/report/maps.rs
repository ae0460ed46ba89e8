//! UMAPs of the scored cells, coloured by cell type and by batch.

use super::summary::Method;
use super::svg::{PALETTE, colour};
use crate::results::Map2d;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// More cells make the page large and the plot no clearer.
const MAX_CELLS: usize = 2000;
/// Side of a plot in SVG units; integers keep the page small.
const SIDE: f32 = 1000.0;

/// The two plots of one method.
pub(super) struct Maps {
    pub(super) label: String,
    pub(super) by_label: String,
    pub(super) by_batch: String,
    /// Number of cells drawn and in total.
    pub(super) drawn: (usize, usize),
}

/// Names with one colour each, the same in all plots of a data set.
pub(super) struct Legend {
    names: Vec<String>,
}

impl Legend {
    fn new<'m>(names: impl Iterator<Item = &'m String>) -> Self {
        let mut names: Vec<String> = names.cloned().collect();
        names.sort();
        names.dedup();
        Self { names }
    }

    /// Number, mark and name of every entry.
    pub(super) fn entries(&self) -> Vec<(usize, String, String)> {
        let numbered = self.names.iter().enumerate();
        numbered
            .map(|(i, n)| {
                let mark = Shape::of(i).path(&[(10.0, 10.0)], 0.5);
                let svg = format!(
                    "<svg viewBox=\"0 0 20 20\" class=\"mark\" aria-hidden=\"true\">{}</svg>",
                    mark.replace("STROKE", colour(i))
                );
                (i + 1, svg, n.clone())
            })
            .collect()
    }

    fn place(&self, name: &str) -> usize {
        self.names.iter().position(|n| n == name).unwrap_or(0)
    }
}

/// Plots of every method with a UMAP, and the legends of cell types and batches.
pub(super) fn maps(methods: &[Method<'_>]) -> (Vec<Maps>, Legend, Legend) {
    let held: Vec<(&Method<'_>, &Map2d)> = methods
        .iter()
        .filter_map(|m| Some((m, m.runs.iter().find_map(|r| r.map.as_ref())?)))
        .filter(|(_, map)| is_whole(map))
        .collect();
    // Only what is drawn: other categories would be missing from the plot.
    let drawn = |codes: fn(&Map2d) -> &[u32], names: fn(&Map2d) -> &[String]| {
        Legend::new(held.iter().flat_map(move |(_, map)| {
            let of = move |i: usize| &names(map)[codes(map)[i] as usize];
            subsample(map.xy.len()).into_iter().map(of)
        }))
    };
    let labels = drawn(|m| &m.labels, |m| &m.label_names);
    let batches = drawn(|m| &m.batches, |m| &m.batch_names);
    let drawn = held.iter().map(|(method, map)| {
        let kept = subsample(map.xy.len());
        Maps {
            label: method.label.clone(),
            by_label: draw(
                map,
                &kept,
                &Colouring {
                    codes: &map.labels,
                    names: &map.label_names,
                    legend: &labels,
                    marks: Marks::Numbers,
                },
            ),
            by_batch: draw(
                map,
                &kept,
                &Colouring {
                    codes: &map.batches,
                    names: &map.batch_names,
                    legend: &batches,
                    marks: Marks::None,
                },
            ),
            drawn: (kept.len(), map.xy.len()),
        }
    });
    (drawn.collect(), labels, batches)
}

/// Whether all codes have a name and all cells coordinates.
fn is_whole(map: &Map2d) -> bool {
    let n = map.xy.len();
    let known = |codes: &[u32], names: &[String]| {
        codes.len() == n && codes.iter().all(|c| (*c as usize) < names.len())
    };
    n > 0
        && known(&map.labels, &map.label_names)
        && known(&map.batches, &map.batch_names)
        && map.xy.iter().flatten().all(|v| v.is_finite())
}

/// Evenly spaced cells: the same for every method, and every donor keeps its share.
fn subsample(cells: usize) -> Vec<usize> {
    let kept = cells.min(MAX_CELLS);
    (0..kept).map(|i| i * cells / kept).collect()
}

/// Whether groups are numbered in the plot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marks {
    Numbers,
    /// Mixed groups have no meaningful centre.
    None,
}

/// Grouping by which cells are coloured.
struct Colouring<'a> {
    codes: &'a [u32],
    names: &'a [String],
    legend: &'a Legend,
    marks: Marks,
}

/// Groups are drawn in this many interleaved rounds, so that the last does not hide the others.
const TURNS: usize = 6;

fn draw(map: &Map2d, kept: &[usize], by: &Colouring<'_>) -> String {
    let bounds = |axis: usize| {
        let values = map.xy.iter().map(|p| p[axis]);
        values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        })
    };
    let ((x0, x1), (y0, y1)) = (bounds(0), bounds(1));
    let scale = |v: f32, low: f32, high: f32| {
        30.0 + (v - low) / (high - low).max(f32::MIN_POSITIVE) * (SIDE - 60.0)
    };
    let mut groups: BTreeMap<usize, Vec<(f32, f32)>> = BTreeMap::new();
    for &i in kept {
        let [x, y] = map.xy[i];
        let place = by.legend.place(&by.names[by.codes[i] as usize]);
        groups
            .entry(place)
            .or_default()
            .push((scale(x, x0, x1), SIDE - scale(y, y0, y1)));
    }
    let size = if kept.len() > 800 { 0.7 } else { 1.0 };
    let mut svg =
        format!("<svg class=\"map\" viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\"><g class=\"dots\">");
    for turn in 0..TURNS {
        for (&place, points) in &groups {
            let some: Vec<(f32, f32)> = points.iter().skip(turn).step_by(TURNS).copied().collect();
            if !some.is_empty() {
                let path = Shape::of(place).path(&some, size);
                svg.push_str(&path.replace("STROKE", colour(place)));
            }
        }
    }
    svg.push_str("</g>");
    if by.marks == Marks::Numbers {
        svg.push_str("<g class=\"marks\">");
        for (&place, points) in &groups {
            let (x, y) = middle(points);
            let number = place + 1;
            let _ = write!(svg, "<text x=\"{x:.0}\" y=\"{y:.0}\">{number}</text>");
        }
        svg.push_str("</g>");
    }
    svg.push_str("</svg>");
    svg
}

/// Mark of a cell; after sixteen categories colours repeat with another shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Dot,
    Square,
    Cross,
    Bar,
}

impl Shape {
    fn of(place: usize) -> Self {
        match place / PALETTE.len() % 4 {
            0 => Self::Dot,
            1 => Self::Square,
            2 => Self::Cross,
            _ => Self::Bar,
        }
    }

    /// One path with a mark at every point, its colour left as `STROKE`.
    fn path(self, points: &[(f32, f32)], size: f32) -> String {
        let mut d = String::new();
        // A line of zero length with a cap is a mark in a third of a circle's bytes.
        let (cap, width) = match self {
            Self::Dot => ("round", 16.0),
            Self::Square => ("square", 12.0),
            Self::Cross | Self::Bar => ("butt", 5.0),
        };
        let r = 11.0 * size;
        for (x, y) in points {
            let _ = match self {
                Self::Dot | Self::Square => write!(d, "M{x:.0} {y:.0}h0"),
                Self::Cross => write!(
                    d,
                    "M{:.0} {y:.0}h{:.0}M{x:.0} {:.0}v{:.0}",
                    x - r,
                    2.0 * r,
                    y - r,
                    2.0 * r
                ),
                Self::Bar => write!(d, "M{:.0} {y:.0}h{:.0}", x - r, 2.0 * r),
            };
        }
        let width = width * size;
        format!(
            "<path stroke=\"STROKE\" stroke-width=\"{width:.1}\" stroke-linecap=\"{cap}\" d=\"{d}\"/>"
        )
    }
}

/// The point nearest to the coordinate-wise median, so that the number sits on a cell.
fn middle(points: &[(f32, f32)]) -> (f32, f32) {
    let median = |axis: fn(&(f32, f32)) -> f32| {
        let mut values: Vec<f32> = points.iter().map(axis).collect();
        values.sort_by(f32::total_cmp);
        values[values.len() / 2]
    };
    let (mx, my) = (median(|p| p.0), median(|p| p.1));
    let distance = |p: &(f32, f32)| (p.0 - mx).powi(2) + (p.1 - my).powi(2);
    let nearest = points
        .iter()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)));
    nearest.copied().unwrap_or((mx, my))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsamples_are_even_and_bounded() {
        assert_eq!(subsample(3), [0, 1, 2]);
        let kept = subsample(5001);
        assert_eq!(kept.len(), MAX_CELLS);
        assert!(kept.windows(2).all(|w| w[0] < w[1]) && kept[MAX_CELLS - 1] < 5001);
    }

    #[test]
    fn thirty_seven_categories_have_marks_of_their_own() {
        let mark = |i| (colour(i), Shape::of(i));
        for i in 0..64 {
            assert!((0..i).all(|j| mark(i) != mark(j)), "{i}");
        }
    }

    #[test]
    fn broken_maps_are_left_out() {
        let mut map = Map2d {
            xy: vec![[0.0, 0.0]],
            labels: vec![1],
            batches: vec![0],
            label_names: vec!["a".to_owned()],
            batch_names: vec!["b".to_owned()],
        };
        assert!(!is_whole(&map));
        map.labels = vec![0];
        assert!(is_whole(&map));
    }
}
