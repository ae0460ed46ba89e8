//! Numbers as text: aligned decimals, a true minus sign, readable units.

/// Three decimals.
pub(super) fn score(v: f64) -> String {
    minus(format!("{v:.3}"))
}

/// Three decimals with a sign, for differences. A zero keeps its sign: it shows on which side of
/// zero the end of an interval lies.
pub(super) fn signed(v: f64) -> String {
    format!("{v:+.3}").replace('-', "\u{2212}")
}

/// `[low, high]`.
pub(super) fn interval((low, high): (f64, f64)) -> String {
    format!("[{}, {}]", score(low), score(high))
}

/// `[low, high]` with signs, for differences.
pub(super) fn signed_interval((low, high): (f64, f64)) -> String {
    format!("[{}, {}]", signed(low), signed(high))
}

fn minus(text: String) -> String {
    match text.strip_prefix('-') {
        // Rounded to nothing: no sign.
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_owned(),
        Some(rest) => format!("\u{2212}{rest}"),
        None => text,
    }
}

/// Integers with thin spaces between thousands.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// A count and what is counted: `1 donor`, `5 donors`.
pub(super) fn plural(n: usize, what: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{} {what}{ending}", count(n as u64))
}

/// Seconds in a readable unit.
pub(super) fn seconds(s: f64) -> String {
    if s < 10.0 {
        format!("{s:.2} s")
    } else if s < 600.0 {
        format!("{s:.0} s")
    } else if s < 36_000.0 {
        format!("{:.1} min", s / 60.0)
    } else {
        format!("{:.1} h", s / 3600.0)
    }
}

/// Bytes in decimal units.
pub(super) fn bytes(b: f64) -> String {
    if b <= 0.0 {
        "–".to_owned()
    } else if b < 1e9 {
        format!("{:.0} MB", b / 1e6)
    } else {
        format!("{:.2} GB", b / 1e9)
    }
}

/// An axis label without trailing zeros.
pub(super) fn tick(v: f64, step: f64) -> String {
    let decimals = (-step.abs().log10().floor()).clamp(0.0, 6.0) as usize;
    minus(format!("{v:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(score(-0.1234), "\u{2212}0.123");
        assert_eq!(score(-0.0001), "0.000");
        assert_eq!(signed(0.05), "+0.050");
        assert_eq!(signed(-0.0004), "\u{2212}0.000");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(seconds(3.456), "3.46 s");
        assert_eq!(bytes(1.5e9), "1.50 GB");
        assert_eq!(tick(0.30000000000000004, 0.1), "0.3");
    }
}
