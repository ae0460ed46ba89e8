//! One line of the parity report.

use std::fmt;

/// How a comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Pass,
    /// Outside the tolerance, or missing.
    Fail,
    /// Nothing here computes it yet.
    NotBuilt,
}

/// One tensor or metric compared with its reference.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the tensor or metric.
    pub name: String,
    /// The error found.
    pub error: f64,
    /// The error allowed.
    pub floor: f64,
    /// How it ended.
    pub verdict: Verdict,
}

impl Row {
    /// Passes when `error` is a number not above `tolerance`.
    pub fn check(name: impl Into<String>, error: f64, tolerance: f64) -> Self {
        let verdict = if error <= tolerance {
            Verdict::Pass
        } else {
            Verdict::Fail
        };
        Self {
            name: name.into(),
            error,
            floor: tolerance,
            verdict,
        }
    }

    /// Something the reference has and we do not compute yet.
    pub fn not_built(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            name,
            error: f64::NAN,
            floor: f64::NAN,
            verdict: Verdict::NotBuilt,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::NotBuilt => "not built",
        })
    }
}
