//! L-BFGS in f64 for smooth convex functions.
//!
//! Liu and Nocedal 1989, with a diagonal starting matrix and the bisection line search of Lewis
//! and Overton 2013 (weak Wolfe conditions).

use crate::eigen::dot;
use std::collections::VecDeque;

/// Pairs of steps and gradient changes kept.
const MEMORY: usize = 12;

/// How the search ended.
pub(crate) struct Minimum {
    pub(crate) x: Vec<f64>,
    pub(crate) value: f64,
    pub(crate) iterations: usize,
}

/// Minimises `f(x, gradient) -> value` from `x` until no entry of the gradient exceeds
/// `tolerance`, the line search can go no further, or `max_iterations` have passed.
///
/// `refresh` sets an approximation to the inverse of the Hessian's diagonal where `f` was called
/// last; it is called before every step.
pub(crate) fn minimise(
    mut x: Vec<f64>,
    tolerance: f64,
    max_iterations: usize,
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
    mut refresh: impl FnMut(&mut [f64]),
) -> Minimum {
    let n = x.len();
    let mut gradient = vec![0f64; n];
    let mut value = f(&x, &mut gradient);
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
    let mut iterations = 0;
    let mut diagonal = vec![1f64; n];
    let (mut trial, mut trial_gradient) = (vec![0f64; n], vec![0f64; n]);
    while iterations < max_iterations && gradient.iter().any(|g| g.abs() > tolerance) {
        refresh(&mut diagonal);
        let direction = direction(&gradient, &memory, &diagonal);
        let slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            if memory.is_empty() {
                break;
            }
            memory.clear();
            continue;
        }
        iterations += 1;
        let (mut low, mut high, mut step) = (0f64, f64::INFINITY, 1f64);
        let mut found = None;
        for _ in 0..50 {
            for i in 0..n {
                trial[i] = x[i] + step * direction[i];
            }
            let v = f(&trial, &mut trial_gradient);
            if !v.is_finite() || v > value + 1e-4 * step * slope {
                high = step;
            } else if dot(&trial_gradient, &direction) < 0.9 * slope {
                found = Some(v);
                low = step;
            } else {
                found = Some(v);
                break;
            }
            step = if high.is_finite() {
                f64::midpoint(low, high)
            } else {
                2.0 * step
            };
            if high - low <= 1e-14 * high {
                found = None;
                break;
            }
        }
        let Some(v) = found else {
            // Rounding hides any further descent; one restart may still find some.
            if memory.is_empty() {
                break;
            }
            memory.clear();
            continue;
        };
        let s: Vec<f64> = trial.iter().zip(&x).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = trial_gradient
            .iter()
            .zip(&gradient)
            .map(|(a, b)| a - b)
            .collect();
        let sy = dot(&s, &y);
        if sy > 1e-300 {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((s, y, sy));
        }
        x.copy_from_slice(&trial);
        gradient.copy_from_slice(&trial_gradient);
        value = v;
    }
    Minimum {
        x,
        value,
        iterations,
    }
}

fn direction(
    gradient: &[f64],
    memory: &VecDeque<(Vec<f64>, Vec<f64>, f64)>,
    diagonal: &[f64],
) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut factors = vec![0f64; memory.len()];
    for (a, (s, y, sy)) in factors.iter_mut().zip(memory).rev() {
        *a = dot(s, &q) / sy;
        q.iter_mut().zip(y).for_each(|(q, y)| *q -= *a * y);
    }
    let scale = memory.back().map_or(1.0, |(_, y, sy)| {
        sy / y
            .iter()
            .zip(diagonal)
            .map(|(y, d)| y * y * d)
            .sum::<f64>()
            .max(f64::MIN_POSITIVE)
    });
    q.iter_mut()
        .zip(diagonal)
        .for_each(|(q, d)| *q *= d * scale);
    for (a, (s, y, sy)) in factors.iter().zip(memory) {
        let b = dot(y, &q) / sy;
        q.iter_mut().zip(s).for_each(|(q, s)| *q += (a - b) * s);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_the_minimum_of_a_badly_scaled_quadratic() {
        let scales: Vec<f64> = (0..20).map(|i| 10f64.powi(i % 5)).collect();
        let f = |x: &[f64], g: &mut [f64]| {
            let mut v = 0.0;
            for i in 0..20 {
                g[i] = scales[i] * (x[i] - i as f64);
                v += 0.5 * scales[i] * (x[i] - i as f64).powi(2);
            }
            v
        };
        let found = minimise(vec![3.0; 20], 1e-9, 500, f, |_| {});
        assert!(
            found
                .x
                .iter()
                .enumerate()
                .all(|(i, v)| (v - i as f64).abs() < 1e-8)
        );
    }
}
