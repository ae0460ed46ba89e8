//! Per-class results of each row's linear probe.

use super::format::{count, score};
use super::summary::Method;
use crate::results::{Family, ProbeDetail};

/// Above this many classes a confusion matrix is unreadable.
const MOST_CLASSES: usize = 60;

/// The classes of one method.
pub(super) struct Detail {
    pub(super) label: String,
    pub(super) setting: String,
    /// Per class: its name and the columns of the table.
    pub(super) rows: Vec<(String, Vec<String>)>,
    /// Names of the columns of the confusion matrix.
    pub(super) names: Vec<String>,
    /// Per true class: its name, and per predicted class the cells with their share.
    pub(super) matrix: Vec<(String, Vec<(String, String)>)>,
}

/// Details of every model and baseline that has a linear probe; first seed.
pub(super) fn details(methods: &[Method<'_>]) -> Vec<Detail> {
    let evaluated = methods.iter().filter(|m| m.family != Family::Control);
    evaluated
        .filter_map(|m| {
            let probe = m.runs.iter().find_map(|r| r.probe.as_ref())?;
            Some(detail(&m.label, probe))
        })
        .collect()
}

fn detail(label: &str, probe: &ProbeDetail) -> Detail {
    let or_dash = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), score);
    let mut order: Vec<usize> = (0..probe.classes.len()).collect();
    order.sort_by_key(|&k| std::cmp::Reverse(probe.classes[k].cells));
    let scored: Vec<usize> = order
        .iter()
        .copied()
        .filter(|&k| probe.classes[k].cells > 0)
        .collect();
    let rows = scored.iter().map(|&k| {
        let class = &probe.classes[k];
        let [precision, recall, f1] = probe.scores(k);
        let donors = class.donors.map_or("–".to_owned(), |d| d.to_string());
        let other = (0..probe.classes.len())
            .filter(|&o| o != k && class.taken_for.get(o).is_some_and(|&n| n > 0))
            .max_by_key(|&o| class.taken_for[o]);
        let mistake = match other {
            _ if !class.trained => "no training cell has this label".to_owned(),
            Some(o) => format!("{} ({})", probe.classes[o].name, class.taken_for[o]),
            None => String::new(),
        };
        let columns = vec![
            count(class.cells as u64),
            donors,
            or_dash(precision),
            or_dash(recall),
            or_dash(f1),
            mistake,
        ];
        (class.name.clone(), columns)
    });
    let small = probe.classes.len() <= MOST_CLASSES;
    let matrix = scored.iter().filter(|_| small).map(|&k| {
        let class = &probe.classes[k];
        let cells = order.iter().map(|&o| {
            let n = class.taken_for.get(o).copied().unwrap_or(0);
            let shown = if n == 0 { String::new() } else { n.to_string() };
            (
                shown,
                format!("{:.2}", n as f64 / class.cells.max(1) as f64),
            )
        });
        (class.name.clone(), cells.collect())
    });
    Detail {
        label: label.to_owned(),
        setting: probe.setting.clone().unwrap_or_default(),
        rows: rows.collect(),
        names: order
            .iter()
            .map(|&k| probe.classes[k].name.clone())
            .collect(),
        matrix: matrix.collect(),
    }
}
