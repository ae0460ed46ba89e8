//! Tables of scores, ready to render.

use super::catalogue::{self, Direction};
use super::format::{interval, plural, score, signed, signed_interval};
use super::paired::{Difference, Outcome};
use super::summary::{Found, Method, Score};
use crate::results::{Family, Group, Mode};
use std::collections::BTreeMap;

/// One cell of a table.
#[derive(Default)]
pub(super) struct Entry {
    /// The number, or a dash.
    pub(super) value: String,
    /// Second line: the interval.
    pub(super) interval: String,
    /// Third line: range over seeds, or cells and donors where they differ from the column's.
    pub(super) detail: String,
    /// A note, shown on hover and as a footnote.
    pub(super) note: String,
    /// Shade between 0 and 1, among models and baselines; empty for none.
    pub(super) shade: String,
    /// Whether it is the best of models and baselines.
    pub(super) best: bool,
}

/// One row.
pub(super) struct Row {
    pub(super) label: String,
    /// Its exposure to the scored cells; empty for none.
    pub(super) mark: &'static str,
    pub(super) entries: Vec<Entry>,
}

/// Rows of one family.
pub(super) struct FamilyRows {
    pub(super) title: &'static str,
    pub(super) rows: Vec<Row>,
}

/// A column.
pub(super) struct Column {
    pub(super) title: String,
    /// Explanation of the metric.
    pub(super) meaning: &'static str,
    /// Cells and donors behind it, where all rows agree.
    pub(super) behind: String,
}

/// A table of one group of metrics.
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) question: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) families: Vec<FamilyRows>,
    /// Reasons of undefined entries and notes on others, each once.
    pub(super) footnotes: Vec<String>,
}

impl Table {
    /// Columns, counting the row's name.
    pub(super) fn width(&self) -> usize {
        self.columns.len() + 1
    }
}

/// Tables of all groups in `mode`, in the order of groups; groups without metrics are left out.
pub(super) fn by_group(methods: &[Method<'_>], mode: Mode) -> Vec<Table> {
    let mut names: BTreeMap<(Group, Part), Vec<&str>> = BTreeMap::new();
    for record in methods
        .iter()
        .flat_map(|m| &m.runs)
        .flat_map(|r| &r.metrics)
    {
        if record.mode == mode {
            let key = (record.group, Part::of(&record.name));
            let of_group = names.entry(key).or_default();
            if !of_group.contains(&record.name.as_str()) {
                of_group.push(&record.name);
            }
        }
    }
    names
        .into_iter()
        .map(|((group, part), mut names)| {
            names.sort_by_key(|n| (catalogue::rank(n), *n));
            let (title, question) = match part {
                Part::Whole => catalogue::group_title(group),
                Part::NearestNeighbours => (
                    "Nearest neighbours",
                    "The same scores for a kNN classifier.",
                ),
            };
            table(methods, &names, mode, title, question)
        })
        .collect()
}

/// The two probes have separate tables, since one would be too wide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    NearestNeighbours,
}

impl Part {
    fn of(name: &str) -> Self {
        if name.starts_with("probe_knn") {
            Self::NearestNeighbours
        } else {
            Self::Whole
        }
    }
}

/// A table with the metrics `names` as columns.
pub(super) fn table(
    methods: &[Method<'_>],
    names: &[&str],
    mode: Mode,
    title: &'static str,
    question: &'static str,
) -> Table {
    let mut footnotes = Vec::new();
    let mut columns = Vec::new();
    let mut cells: Vec<Vec<Entry>> = methods.iter().map(|_| Vec::new()).collect();
    for name in names {
        let found: Vec<Found> = methods.iter().map(|m| m.score(name, mode)).collect();
        let behind = shared_behind(&found);
        let entries = column(methods, &found, behind, catalogue::direction(name));
        for (row, entry) in cells.iter_mut().zip(entries) {
            row.push(entry);
        }
        let title = catalogue::title(name);
        for (method, f) in methods.iter().zip(&found) {
            let text = match f {
                Found::Undefined(why) => format!("undefined, {why}"),
                Found::Score(Score {
                    note: Some(text), ..
                }) if !is_whole(text) => text.clone(),
                Found::Score(_) | Found::Absent => continue,
            };
            note(&mut footnotes, &title, &text, &method.label);
        }
        let title = match catalogue::direction(name) {
            Direction::Up => title,
            Direction::Down => format!("{title} ↓"),
        };
        columns.push(Column {
            title,
            meaning: catalogue::meaning(name),
            behind: behind.map_or_else(String::new, |(c, d)| {
                format!("{}{}", plural(c, "cell"), of_donors(d))
            }),
        });
    }
    let footnotes = once(footnotes, columns.len());
    Table {
        title,
        question,
        columns,
        families: by_family(methods, cells),
        footnotes,
    }
}

/// Where a note applies: a metric and its methods.
type Concern = (String, Vec<String>);

/// A metric, its note, and the methods it applies to.
type Note = (String, String, Vec<String>);

fn note(notes: &mut Vec<Note>, metric: &str, why: &str, who: &str) {
    match notes.iter_mut().find(|n| n.0 == metric && n.1 == why) {
        Some(n) => n.2.push(who.to_owned()),
        None => notes.push((metric.to_owned(), why.to_owned(), vec![who.to_owned()])),
    }
}

/// Every note once, with the metrics and methods it applies to.
fn once(notes: Vec<Note>, columns: usize) -> Vec<String> {
    let mut texts: Vec<(String, Vec<Concern>)> = Vec::new();
    for (metric, why, who) in notes {
        match texts.iter_mut().find(|t| t.0 == why) {
            Some(text) => text.1.push((metric, who)),
            None => texts.push((why, vec![(metric, who)])),
        }
    }
    let print = |(why, of): (String, Vec<Concern>)| {
        let alike = of.iter().all(|o| o.1 == of[0].1);
        let concerns = match (alike, of.len()) {
            (true, n) if n > 1 && n == columns => format!("All of {}", of[0].1.join(", ")),
            (true, _) => {
                let metrics: Vec<&str> = of.iter().map(|o| o.0.as_str()).collect();
                format!("{} of {}", metrics.join(", "), of[0].1.join(", "))
            }
            (false, _) => {
                let each = of
                    .iter()
                    .map(|(m, who)| format!("{m} of {}", who.join(", ")));
                each.collect::<Vec<_>>().join("; ")
            }
        };
        format!("{concerns}: {why}.")
    };
    texts.into_iter().map(print).collect()
}

/// "mean of 5 of 5 metrics" is not worth a note.
fn is_whole(note: &str) -> bool {
    let words: Vec<&str> = note.split_whitespace().collect();
    matches!(words.as_slice(), ["mean", "of", a, "of", b, "metrics"] if a == b)
}

/// Cells and donors, when all scores of a column share them.
fn shared_behind(found: &[Found]) -> Option<(usize, usize)> {
    let mut behind = found.iter().filter_map(|f| match f {
        Found::Score(s) => Some((s.cells, s.donors)),
        _ => None,
    });
    let first = behind.next()?;
    behind.all(|b| b == first).then_some(first)
}

fn column(
    methods: &[Method<'_>],
    found: &[Found],
    behind: Option<(usize, usize)>,
    direction: Direction,
) -> Vec<Entry> {
    let evaluated = |m: &Method<'_>| m.family != Family::Control;
    let values = methods.iter().zip(found).filter_map(|(m, f)| match f {
        Found::Score(s) if evaluated(m) => Some(s.value()),
        _ => None,
    });
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v: f64| {
        (l.min(v), h.max(v))
    });
    let spread = high - low;
    let entries = methods.iter().zip(found).map(|(method, f)| match f {
        Found::Absent => Entry {
            value: "·".to_owned(),
            ..Entry::default()
        },
        Found::Undefined(why) => Entry {
            value: "–".to_owned(),
            note: why.clone(),
            ..Entry::default()
        },
        Found::Score(s) => {
            let mut entry = number(s);
            if behind.is_none() {
                let own = format!("{}{}", plural(s.cells, "cell"), of_donors(s.donors));
                join(&mut entry.detail, &own);
            }
            if evaluated(method) && spread > 0.0 {
                let (from_worst, best) = match direction {
                    Direction::Up => (s.value() - low, high),
                    Direction::Down => (high - s.value(), low),
                };
                entry.shade = format!("{:.2}", from_worst / spread);
                entry.best = s.value() == best;
            }
            entry
        }
    });
    entries.collect()
}

fn number(s: &Score) -> Entry {
    let mut entry = Entry {
        value: score(s.value()),
        interval: s.interval().map_or_else(String::new, interval),
        note: s.note.clone().unwrap_or_default(),
        ..Entry::default()
    };
    if let Some((low, high)) = s.spread()
        && score(low) != score(high)
    {
        entry.detail = format!("seeds {}–{}", score(low), score(high));
    }
    entry
}

/// The number of donors, where known.
fn of_donors(donors: usize) -> String {
    if donors == 0 {
        ", donors unknown".to_owned()
    } else {
        format!(", {}", plural(donors, "donor"))
    }
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    text.push_str(more);
}

/// Heading of a family.
pub(super) fn family_title(family: Family) -> &'static str {
    match family {
        Family::Model => "Foundation models",
        Family::Neural => "Neural baselines",
        Family::Baseline => "Classical baselines",
        Family::Control => "Controls",
    }
}

/// Rows split by family; `cells` holds one row per method.
pub(super) fn by_family(methods: &[Method<'_>], cells: Vec<Vec<Entry>>) -> Vec<FamilyRows> {
    let mut out: Vec<FamilyRows> = Vec::new();
    for (method, entries) in methods.iter().zip(cells) {
        let title = family_title(method.family);
        let row = Row {
            label: method.label.clone(),
            mark: super::verdict::mark(method.exposure()),
            entries,
        };
        match out.last_mut() {
            Some(last) if last.title == title => last.rows.push(row),
            _ => out.push(FamilyRows {
                title,
                rows: vec![row],
            }),
        }
    }
    out
}

/// Paired differences of every model to every baseline of both kinds.
pub(super) fn differences(methods: &[Method<'_>], metric: &str) -> Option<Table> {
    let scored = |families: &'static [Family]| {
        let of_family = methods.iter().filter(move |m| families.contains(&m.family));
        of_family.filter_map(|m| Some((m, m.score(metric, Mode::Strict).score()?)))
    };
    let baselines: Vec<_> = scored(&[Family::Neural, Family::Baseline]).collect();
    let rows: Vec<Row> = scored(&[Family::Model])
        .map(|(method, own)| Row {
            label: method.label.clone(),
            mark: super::verdict::mark(method.exposure()),
            entries: baselines
                .iter()
                .map(
                    |(other, theirs)| match method.saw_labels() || other.saw_labels() {
                        true => leaked(),
                        false => difference(&own, theirs),
                    },
                )
                .collect(),
        })
        .collect();
    if rows.is_empty() || baselines.is_empty() {
        return None;
    }
    let columns = baselines.iter().map(|(m, _)| Column {
        title: format!("− {}", m.label),
        meaning: "",
        behind: String::new(),
    });
    Some(Table {
        title: "Paired differences",
        question: "Model minus baseline, paired over donors.",
        columns: columns.collect(),
        families: vec![FamilyRows {
            title: family_title(Family::Model),
            rows,
        }],
        footnotes: Vec::new(),
    })
}

/// For a row trained on labels of scored cells.
fn leaked() -> Entry {
    Entry {
        value: "–".to_owned(),
        detail: "not compared".to_owned(),
        note: "it saw labels of scored cells".to_owned(),
        ..Entry::default()
    }
}

fn difference(a: &Score, b: &Score) -> Entry {
    let d = Difference::between(a, b);
    let outcome = d.outcome();
    Entry {
        value: signed(d.value),
        interval: d.ends().map_or_else(String::new, signed_interval),
        detail: outcome.words().to_owned(),
        note: match outcome {
            Outcome::Untestable(why) => why,
            _ => String::new(),
        },
        ..Entry::default()
    }
}

/// Number of defined strict metrics, and of all strict metrics of a method, over its seeds.
pub(super) fn defined(method: &Method<'_>) -> (usize, usize) {
    let strict = method.runs.iter().flat_map(|r| &r.metrics).filter(|m| {
        m.mode == Mode::Strict && !matches!(m.group, Group::Aggregate | Group::Control)
    });
    let (mut with_value, mut all) = (0, 0);
    for record in strict {
        all += 1;
        with_value += usize::from(record.value.is_some_and(f64::is_finite));
    }
    let seeds = method.runs.len().max(1);
    (with_value / seeds, all / seeds)
}
