//! A number that can be computed again on a resampled set of cells.

use crate::error::Undefined;

/// Computes a score again with cell `i` counted `multiplicity[i]` times; `None` where undefined.
pub type Resample = Box<dyn Fn(&[u32]) -> Option<f64> + Send + Sync>;

/// A score and the way to recompute it under resampling.
///
/// Resampling is *conditional*: the neighbour graph, the clustering, the per-cell silhouettes and
/// the fitted classifier stay as they are, only the weights of the cells change. The interval
/// therefore speaks about which donors happened to be sampled, not about refitting the method.
/// With every multiplicity 1 the closure returns `value`.
pub struct Scored {
    /// The score.
    pub value: f64,
    /// The score under multiplicities, one per scored cell.
    pub resample: Resample,
}

impl std::fmt::Debug for Scored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scored")
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// What every metric returns.
pub type Outcome = Result<Scored, Undefined>;

impl Scored {
    /// A score whose value is the closure's own answer for multiplicities of 1.
    ///
    /// # Errors
    /// `otherwise`, when the closure is undefined there.
    pub(crate) fn from_resample(
        cells: usize,
        otherwise: Undefined,
        resample: impl Fn(&[u32]) -> Option<f64> + Send + Sync + 'static,
    ) -> Outcome {
        match resample(&vec![1; cells]) {
            Some(value) => Ok(Self {
                value,
                resample: Box::new(resample),
            }),
            None => Err(otherwise),
        }
    }

    /// The same score with `f` applied to every value it gives.
    pub(crate) fn map(self, f: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Self {
        let Self { value, resample } = self;
        Self {
            value: f(value),
            resample: Box::new(move |m| resample(m).map(&f)),
        }
    }
}

/// Weighted mean of `values`; `None` when all weights are zero.
pub(crate) fn weighted_mean(values: &[f64], weights: &[u32]) -> Option<f64> {
    let (mut sum, mut total) = (0.0, 0u64);
    for (&v, &w) in values.iter().zip(weights) {
        sum += v * f64::from(w);
        total += u64::from(w);
    }
    (total > 0).then(|| sum / total as f64)
}

/// Mean over the groups that hold any weight of the weighted mean inside each group.
///
/// `members` lists the cells of every group.
pub(crate) fn mean_of_group_means(
    values: &[f64],
    members: &[Vec<u32>],
    weights: &[u32],
) -> Option<f64> {
    let (mut sum, mut groups) = (0.0, 0usize);
    for group in members {
        let (mut inner, mut total) = (0.0, 0u64);
        for &i in group {
            let w = weights[i as usize];
            inner += values[i as usize] * f64::from(w);
            total += u64::from(w);
        }
        if total > 0 {
            sum += inner / total as f64;
            groups += 1;
        }
    }
    (groups > 0).then(|| sum / groups as f64)
}

/// Values sorted once, so that the weighted median is one walk.
pub(crate) struct SortedValues {
    order: Vec<u32>,
    values: Vec<f64>,
}

impl SortedValues {
    /// Sorts `values`, which must not hold NaN.
    pub(crate) fn new(values: Vec<f64>) -> Self {
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_by(|&a, &b| {
            values[a as usize]
                .total_cmp(&values[b as usize])
                .then(a.cmp(&b))
        });
        Self { order, values }
    }

    /// Median of the list in which value `i` stands `weights[i]` times (mean of the two middle
    /// entries of an even list, as numpy).
    pub(crate) fn median(&self, weights: &[u32]) -> Option<f64> {
        let total: u64 = weights.iter().map(|&w| u64::from(w)).sum();
        if total == 0 {
            return None;
        }
        let (low, high) = ((total - 1) / 2, total / 2);
        let mut seen = 0u64;
        let mut first = None;
        for &i in &self.order {
            seen += u64::from(weights[i as usize]);
            let v = self.values[i as usize];
            if first.is_none() && seen > low {
                first = Some(v);
            }
            if seen > high {
                return first.map(|f| if f == v { v } else { (f + v) / 2.0 });
            }
        }
        None
    }
}
