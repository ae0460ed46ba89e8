//! `results.csv`: one row per method, seed and metric.

use crate::results::{Exposure, Family, Group, Mode, RunResult};

const HEADER: &str = "data,method,family,seen,objective,seed,device,metric,group,mode,value,low,high,cells,donors,note\n";

/// Every number of every result, one row each, with a header.
pub fn csv(results: &[RunResult]) -> String {
    let mut out = String::from(HEADER);
    for run in results {
        for m in &run.metrics {
            let number = |v: Option<f64>| v.map_or_else(String::new, |v| v.to_string());
            let fields = [
                run.data.file.clone(),
                run.method.clone(),
                family(run.family).to_owned(),
                seen(&run.exposure).to_owned(),
                run.objective.clone().unwrap_or_default(),
                run.seed.to_string(),
                run.device.clone(),
                m.name.clone(),
                group(m.group).to_owned(),
                mode(m.mode).to_owned(),
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

fn family(family: Family) -> &'static str {
    match family {
        Family::Model => "model",
        Family::Neural => "neural",
        Family::Baseline => "baseline",
        Family::Control => "control",
    }
}

fn seen(exposure: &Exposure) -> &'static str {
    match exposure {
        Exposure::Nothing => "nothing",
        Exposure::Cells { .. } => "cells",
        Exposure::Labels { .. } => "labels",
        Exposure::Unknown => "unknown",
    }
}

fn group(group: Group) -> &'static str {
    match group {
        Group::Bio => "bio",
        Group::Batch => "batch",
        Group::Geometry => "geometry",
        Group::Probe => "probe",
        Group::Aggregate => "aggregate",
        Group::Control => "control",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Strict => "strict",
        Mode::Compat => "compat",
    }
}

/// A field quoted as in RFC 4180.
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

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(quote("plain"), "plain");
        assert_eq!(quote("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
