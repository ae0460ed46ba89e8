//! The few primitives all plots share.

use super::format;

/// Text escaped for SVG and HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A linear axis from data to pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    /// An axis over `values` with rounded ends; `None` when no value is finite.
    pub(super) fn over(
        values: impl Iterator<Item = f64>,
        from: f64,
        to: f64,
        ticks: usize,
    ) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in values.filter(|v| v.is_finite()) {
            low = low.min(v);
            high = high.max(v);
        }
        if low > high {
            return None;
        }
        if high - low < 1e-9 * high.abs().max(1.0) {
            low -= 0.5 * low.abs().max(0.1);
            high += 0.5 * high.abs().max(0.1);
        }
        let step = round_step((high - low) / ticks.max(1) as f64);
        Some(Self {
            low: (low / step).floor() * step,
            high: (high / step).ceil() * step,
            from,
            to,
            step,
        })
    }

    /// Pixel position of a value.
    pub(super) fn at(&self, v: f64) -> f64 {
        self.from + (v - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Positions and labels of the ticks.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let n = ((self.high - self.low) / self.step).round() as usize;
        (0..=n)
            .map(|i| {
                let v = self.low + i as f64 * self.step;
                (self.at(v), format::tick(v, self.step))
            })
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, at least `raw`.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|m| m * power >= raw * 0.999);
    step.unwrap_or(10.0) * power
}

/// Colours that colour-blind readers can distinguish: Okabe and Ito's eight, then Tol's muted set.
/// Plots number their categories as well, since no fourteen colours are safe.
pub(super) const PALETTE: [&str; 16] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8ab1f", "#7f7f7f",
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#cc6677", "#882255", "#aa4499",
];

/// Colour of category `i`.
pub(super) fn colour(i: usize) -> &'static str {
    PALETTE[i % PALETTE.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ends() {
        let Some(axis) = Axis::over([0.123, 0.877].into_iter(), 0.0, 100.0, 5) else {
            panic!("finite values give an axis")
        };
        assert!((axis.low - 0.0).abs() < 1e-12 && (axis.high - 1.0).abs() < 1e-12);
        let labels: Vec<String> = axis.ticks().into_iter().map(|t| t.1).collect();
        assert_eq!(labels, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert!(Axis::over([f64::NAN].into_iter(), 0.0, 1.0, 3).is_none());
        assert!(Axis::over([0.5, 0.5].into_iter(), 0.0, 1.0, 3).is_some());
    }

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }
}
