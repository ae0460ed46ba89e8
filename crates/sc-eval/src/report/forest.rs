//! Forest plot: one line per method with value and interval, every seed as a small tick.

use super::format::{interval, score};
use super::summary::{Found, Method, Score};
use super::svg::{Axis, escape};
use crate::results::{Family, Mode};
use std::fmt::Write as _;

/// Positions in a plot, in SVG units.
struct Layout {
    class: &'static str,
    row: f64,
    left: f64,
    right: f64,
    width: f64,
    ticks: usize,
    /// Whether names and values stand above the bars instead of beside them.
    stacked: bool,
}

/// For a screen or paper.
const WIDE: Layout = Layout {
    class: "plot wide",
    row: 26.0,
    left: 190.0,
    right: 600.0,
    width: 780.0,
    ticks: 6,
    stacked: false,
};
/// For a phone, where the wide plot would be unreadable.
const NARROW: Layout = Layout {
    class: "plot narrow",
    row: 46.0,
    left: 4.0,
    right: 346.0,
    width: 360.0,
    ticks: 4,
    stacked: true,
};

/// The plot, once for wide and once for narrow pages, or nothing when no method has the metric.
pub(super) fn forest(methods: &[Method<'_>], metric: &str, title: &str) -> Option<String> {
    let of = |layout| plot(methods, metric, title, layout);
    Some(of(&WIDE)? + &of(&NARROW)?)
}

fn plot(methods: &[Method<'_>], metric: &str, title: &str, layout: &Layout) -> Option<String> {
    let mut rows: Vec<(&Method<'_>, Found)> = methods
        .iter()
        .map(|m| (m, m.score(metric, Mode::Strict)))
        .collect();
    rows.retain(|r| !matches!(r.1, Found::Absent));
    let value = |f: &Found| match f {
        Found::Score(s) => s.value(),
        Found::Undefined(_) | Found::Absent => f64::NEG_INFINITY,
    };
    rows.sort_by(|a, b| {
        a.0.family
            .cmp(&b.0.family)
            .then(value(&b.1).total_cmp(&value(&a.1)))
    });
    let ends = rows.iter().filter_map(|r| match &r.1 {
        Found::Score(s) => Some(s),
        _ => None,
    });
    let axis = Axis::over(
        ends.flat_map(|s| {
            let (low, high) = s.interval().unwrap_or((s.value(), s.value()));
            [s.value(), low, high]
                .into_iter()
                .chain(s.by_seed.iter().copied())
        }),
        layout.left + 10.0,
        layout.right,
        layout.ticks,
    )?;
    let best = rows
        .iter()
        .filter(|r| r.0.is_comparable())
        .map(|r| value(&r.1))
        .fold(f64::NEG_INFINITY, f64::max);
    Some(draw(&rows, &axis, best, (title, layout)))
}

fn draw(
    rows: &[(&Method<'_>, Found)],
    axis: &Axis,
    best: f64,
    (title, layout): (&str, &Layout),
) -> String {
    let bottom = 12.0 + layout.row * rows.len() as f64;
    let mut svg = format!(
        "<svg class=\"{}\" viewBox=\"0 0 {} {:.0}\" role=\"img\" aria-label=\"{}\">",
        layout.class,
        layout.width,
        bottom + 44.0,
        escape(title)
    );
    for (x, label) in axis.ticks() {
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} 6V{bottom:.0}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{label}</text>",
            bottom + 16.0
        );
    }
    if best.is_finite() {
        let _ = write!(
            svg,
            "<path class=\"best\" d=\"M{0:.1} 6V{bottom:.0}\"/>",
            axis.at(best)
        );
    }
    let mut family = rows.first().map(|r| r.0.family);
    for (i, (method, found)) in rows.iter().enumerate() {
        let y = 12.0 + layout.row * (i as f64 + 0.5);
        if family != Some(method.family) {
            family = Some(method.family);
            let _ = write!(
                svg,
                "<path class=\"axis\" d=\"M0 {0:.1}H{1}\"/>",
                y - layout.row / 2.0,
                layout.width
            );
        }
        let (name_x, anchor, name_y) = match layout.stacked {
            true => (layout.left, "start", y - 8.0),
            false => (layout.left, "end", y + 4.5),
        };
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{name_x}\" y=\"{name_y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escape(&method.label)
        );
        let bar = if layout.stacked { y + 8.0 } else { y };
        let (value_x, anchor) = match layout.stacked {
            true => (layout.width - 4.0, "end"),
            false => (layout.right + 14.0, "start"),
        };
        let text = match found {
            Found::Score(s) => {
                row(&mut svg, method.family, s, axis, bar);
                let range = s.interval();
                let range = range.map_or_else(String::new, |i| format!(" {}", interval(i)));
                format!("{}<tspan class=\"soft\">{range}</tspan>", score(s.value()))
            }
            Found::Undefined(_) | Found::Absent => "undefined".to_owned(),
        };
        let _ = write!(
            svg,
            "<text class=\"value\" x=\"{value_x:.0}\" y=\"{name_y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }
    let _ = write!(
        svg,
        "<text class=\"tick\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text></svg>",
        (layout.left + layout.right) / 2.0,
        bottom + 36.0,
        escape(title)
    );
    svg
}

fn row(svg: &mut String, family: Family, s: &Score, axis: &Axis, y: f64) {
    let class = match family {
        Family::Model => "f-model",
        Family::Neural => "f-neural",
        Family::Baseline => "f-baseline",
        Family::Control => "f-control",
    };
    let _ = write!(svg, "<g class=\"{class}\">");
    if let Some((low, high)) = s.interval() {
        let (a, b) = (axis.at(low), axis.at(high));
        let _ = write!(svg, "<path class=\"bar\" d=\"M{a:.1} {y:.1}H{b:.1}\"/>");
    }
    if s.by_seed.len() > 1 {
        for v in &s.by_seed {
            let (x, top) = (axis.at(*v), y - 7.0);
            let _ = write!(svg, "<path class=\"seed\" d=\"M{x:.1} {top:.1}v14\"/>");
        }
    }
    let x = axis.at(s.value());
    let _ = match family {
        Family::Model => write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"),
        Family::Neural => write!(svg, "<path d=\"M{x:.1} {:.1}l5.5 9.5h-11z\"/>", y - 5.5),
        Family::Baseline => {
            write!(svg, "<path d=\"M{:.1} {:.1}h9v9h-9z\"/>", x - 4.5, y - 4.5)
        }
        Family::Control => {
            write!(
                svg,
                "<path d=\"M{x:.1} {:.1}l5.5 5.5l-5.5 5.5l-5.5-5.5z\"/>",
                y - 5.5
            )
        }
    };
    svg.push_str("</g>");
}
