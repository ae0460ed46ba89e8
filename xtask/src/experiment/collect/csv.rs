//! `results.csv`: one row per method, seed and metric.

use sc_eval::results::RunResult;
use serde::Serialize;

const HEADER: &str =
    "data,method,family,objective,seed,device,metric,group,mode,value,low,high,cells,donors,note\n";

/// The table, with a header.
pub(super) fn table(results: &[RunResult]) -> String {
    let mut out = String::from(HEADER);
    for run in results {
        for m in &run.metrics {
            let number = |v: Option<f64>| v.map_or_else(String::new, |v| v.to_string());
            let fields = [
                run.data.file.clone(),
                run.method.clone(),
                word(&run.family),
                run.objective.clone().unwrap_or_default(),
                run.seed.to_string(),
                run.device.clone(),
                m.name.clone(),
                word(&m.group),
                word(&m.mode),
                number(m.value),
                number(m.low),
                number(m.high),
                m.cells.to_string(),
                m.donors.to_string(),
                m.note.clone().unwrap_or_default(),
            ];
            let quoted: Vec<String> = fields.iter().map(|f| quote(f)).collect();
            out.push_str(&quoted.join(","));
            out.push('\n');
        }
    }
    out
}

/// The name under which serde writes a variant.
fn word(variant: &impl Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

/// A field as RFC 4180 wants it.
fn quote(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sc_eval::results::{Family, Mode};

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(quote("plain"), "plain");
        assert_eq!(quote("a,\"b\""), "\"a,\"\"b\"\"\"");
    }

    #[test]
    fn variants_have_their_serde_names() {
        assert_eq!(word(&Family::Baseline), "baseline");
        assert_eq!(word(&Mode::Strict), "strict");
    }
}
