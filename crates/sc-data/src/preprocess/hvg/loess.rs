//! Local quadratic regression on one variable, as Cleveland's loess with its interpolated surface.
//!
//! The curve is not evaluated at every point: a k-d tree (here, bisection) splits the range until a
//! cell holds at most `floor(n · span · 0.2)` points, a weighted quadratic is fitted at every cell
//! border, and cubic Hermite polynomials join values and slopes between borders. (Cleveland & Grosse
//! 1991.) Published HVG lists depend on that interpolation, so it is reproduced, not improved.

use crate::error::{DataError, Result};

/// Share of a neighbourhood in one cell of the tree.
const CELL: f64 = 0.2;

/// Fitted values at every `x`, for tricube weights over the nearest `span` of the points.
///
/// # Errors
/// [`DataError::Invalid`] when lengths differ, values are not finite, or a neighbourhood holds fewer
/// than four points.
pub fn fit(x: &[f64], y: &[f64], span: f64) -> Result<Vec<f64>> {
    let n = x.len();
    let neighbours = n.min((n as f64 * span + 1e-5).floor() as usize);
    if n != y.len() || neighbours < 4 {
        return Err(DataError::invalid(format!(
            "loess: {n} genes vary, and a span of {span} leaves {neighbours} to fit; at \
             least 4 are needed (more genes, or the seurat flavour)"
        )));
    }
    if x.iter().chain(y).any(|v| !v.is_finite()) {
        return Err(DataError::invalid(
            "loess: means and variances must be finite",
        ));
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
    let xs: Vec<f64> = order.iter().map(|&i| x[i]).collect();
    let ys: Vec<f64> = order.iter().map(|&i| y[i]).collect();
    let capacity = (n as f64 * (span * CELL)).floor() as usize;
    let borders = borders(&xs, capacity);
    let vertices: Vec<(f64, f64)> = borders
        .iter()
        .map(|&q| local(&xs, &ys, q, neighbours))
        .collect();
    Ok(x.iter().map(|&z| hermite(&borders, &vertices, z)).collect())
}

/// Borders of the cells, ascending, the outermost half a percent outside the data.
fn borders(xs: &[f64], capacity: usize) -> Vec<f64> {
    let (low, high) = (xs[0], xs[xs.len() - 1]);
    let margin = 0.005 * (high - low).max(1e-10 * low.abs().max(high.abs()) + 1e-30);
    let (low, high) = (low - margin, high + margin);
    let mut cuts = vec![low, high];
    let mut cells = vec![(0usize, xs.len() - 1, low, high)];
    while let Some((l, u, left, right)) = cells.pop() {
        if u - l < capacity.max(1) || right <= left {
            continue;
        }
        let m = cut(xs, l, u);
        if xs[m] == left || xs[m] == right {
            continue;
        }
        cuts.push(xs[m]);
        cells.push((l, m, left, xs[m]));
        if m < u {
            cells.push((m + 1, u, xs[m], right));
        }
    }
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    cuts
}

/// The last point of the lower half, moved to the nearest position where neighbours differ.
fn cut(xs: &[f64], l: usize, u: usize) -> usize {
    let m = (l + u) / 2;
    for step in 0..=(u - l) {
        for at in [m.checked_add(step), m.checked_sub(step)]
            .into_iter()
            .flatten()
        {
            if at >= u || at < l {
                return m;
            }
            if xs[at] != xs[at + 1] {
                return at;
            }
        }
    }
    m
}

/// Value and slope at `q` of the quadratic fitted to its nearest neighbours.
fn local(xs: &[f64], ys: &[f64], q: f64, neighbours: usize) -> (f64, f64) {
    let window = nearest(xs, q, neighbours);
    let radius = window
        .clone()
        .map(|i| (xs[i] - q).powi(2))
        .fold(0.0, f64::max);
    let mut columns = [Vec::new(), Vec::new(), Vec::new()];
    let mut rhs = Vec::with_capacity(neighbours);
    for i in window {
        let d = xs[i] - q;
        let w = if radius > 0.0 {
            (1.0 - (d * d / radius).sqrt().powi(3)).powi(3).sqrt()
        } else {
            1.0
        };
        columns[0].push(w);
        columns[1].push(w * d);
        columns[2].push(w * d * d);
        rhs.push(w * ys[i]);
    }
    let coefficients = least_squares(columns, rhs);
    (coefficients[0], coefficients[1])
}

/// The `k` points nearest to `q`, contiguous in sorted order.
fn nearest(xs: &[f64], q: f64, k: usize) -> std::ops::Range<usize> {
    let mut start = xs.partition_point(|&x| x < q).saturating_sub(k);
    while start + k < xs.len() && (xs[start + k] - q).abs() < (q - xs[start]).abs() {
        start += 1;
    }
    start.min(xs.len() - k)..start.min(xs.len() - k) + k
}

/// Least squares by orthogonalisation and a singular value decomposition of the small factor, values
/// below `100 ε` of the largest taken as zero.
fn least_squares(mut columns: [Vec<f64>; 3], mut rhs: Vec<f64>) -> [f64; 3] {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let mut norms = [1.0; 3];
    for (column, norm) in columns.iter_mut().zip(&mut norms) {
        let length = dot(column, column).sqrt();
        if length > 0.0 {
            *norm = length;
            column.iter_mut().for_each(|v| *v /= length);
        }
    }
    let mut r = [[0.0; 3]; 3];
    let mut projected = [0.0; 3];
    for j in 0..3 {
        for _ in 0..2 {
            for i in 0..j {
                let (before, rest) = columns.split_at_mut(j);
                let overlap = dot(&before[i], &rest[0]);
                r[i][j] += overlap;
                rest[0]
                    .iter_mut()
                    .zip(&before[i])
                    .for_each(|(v, b)| *v -= overlap * b);
            }
        }
        r[j][j] = dot(&columns[j], &columns[j]).sqrt();
        if r[j][j] > 0.0 {
            let scale = r[j][j];
            columns[j].iter_mut().for_each(|v| *v /= scale);
        }
        projected[j] = dot(&columns[j], &rhs);
        let p = projected[j];
        rhs.iter_mut()
            .zip(&columns[j])
            .for_each(|(v, c)| *v -= p * c);
    }
    let solution = pseudo_solve(r, projected);
    [
        solution[0] / norms[0],
        solution[1] / norms[1],
        solution[2] / norms[2],
    ]
}

/// `r⁺ b` by one-sided Jacobi rotations of the columns of `r`.
fn pseudo_solve(mut a: [[f64; 3]; 3], b: [f64; 3]) -> [f64; 3] {
    let mut v = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let dot =
        |a: &[[f64; 3]; 3], p: usize, q: usize| (0..3).map(|i| a[i][p] * a[i][q]).sum::<f64>();
    for _ in 0..60 {
        let mut rotated = false;
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            let (alpha, beta, gamma) = (dot(&a, p, p), dot(&a, q, q), dot(&a, p, q));
            if gamma.abs() <= 1e-17 * (alpha * beta).sqrt() || gamma == 0.0 {
                continue;
            }
            rotated = true;
            let zeta = (beta - alpha) / (2.0 * gamma);
            let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
            let c = 1.0 / (1.0 + t * t).sqrt();
            let s = c * t;
            for m in [&mut a, &mut v] {
                for row in m.iter_mut() {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
            }
        }
        if !rotated {
            break;
        }
    }
    let sigma: [f64; 3] = std::array::from_fn(|j| dot(&a, j, j).sqrt());
    let tolerance = 100.0 * f64::EPSILON * sigma.iter().copied().fold(0.0, f64::max);
    let mut x = [0.0; 3];
    for j in (0..3).filter(|&j| sigma[j] > tolerance) {
        let weight = (0..3).map(|i| a[i][j] * b[i]).sum::<f64>() / (sigma[j] * sigma[j]);
        for (xi, row) in x.iter_mut().zip(&v) {
            *xi += weight * row[j];
        }
    }
    x
}

/// The cubic between the borders around `z`; a border belongs to the cell on its left.
fn hermite(borders: &[f64], vertices: &[(f64, f64)], z: f64) -> f64 {
    let right = borders
        .partition_point(|&b| b < z)
        .clamp(1, borders.len() - 1);
    let left = right - 1;
    let width = borders[right] - borders[left];
    let h = (z - borders[left]) / width;
    let ((f0, s0), (f1, s1)) = (vertices[left], vertices[right]);
    (1.0 - h).powi(2) * (1.0 + 2.0 * h) * f0
        + h * h * (3.0 - 2.0 * h) * f1
        + (h * (1.0 - h).powi(2) * s0 + h * h * (h - 1.0) * s1) * width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quadratic_is_reproduced() {
        let x: Vec<f64> = (0..200).map(|i| f64::from(i) / 50.0).collect();
        let y: Vec<f64> = x.iter().map(|v| 1.0 - 2.0 * v + 0.5 * v * v).collect();
        for (fitted, y) in fit(&x, &y, 0.3).unwrap().iter().zip(&y) {
            assert!((fitted - y).abs() < 1e-10, "{fitted} {y}");
        }
    }

    #[test]
    fn ties_and_too_few_points() {
        let x = [1.0; 50];
        let fitted = fit(&x, &[2.0; 50], 0.5).unwrap();
        assert!(fitted.iter().all(|v| (v - 2.0).abs() < 1e-9));
        assert!(fit(&[1.0, 2.0], &[1.0, 2.0], 0.3).is_err());
    }
}
