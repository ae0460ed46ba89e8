//! Log lines: `-v`, `-vv` and `SCFM_LOG`.

use crate::args::Args;
use crate::error::{Result, message};
use std::fmt;
use std::time::Instant;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FmtSpan, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// The environment variable with the level.
const VARIABLE: &str = "SCFM_LOG";

/// Levels, fewest lines first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The crates that levels apply to; of others only warnings are logged.
const OURS: [&str; 7] = [
    "sc_data",
    "sc_models",
    "sc_train",
    "sc_eval",
    "sc_experiment",
    "sc_run",
    "scfm",
];

/// Begins to log to standard error. Flags take precedence over the variable. A span is logged when it
/// ends, with the time it took.
pub(crate) fn begin(args: &Args) -> Result<()> {
    let variable = match std::env::var(VARIABLE) {
        Ok(text) if !text.trim().is_empty() => read(text.trim()).map_err(message)?,
        Ok(_) | Err(std::env::VarError::NotPresent) => of_ours("warn"),
        Err(e) => return Err(message(format!("{VARIABLE}: {e}"))),
    };
    let filter = match (args.quiet, args.verbose) {
        (true, _) => of_ours("warn"),
        (false, 0) => variable,
        (false, 1) => of_ours("info"),
        (false, _) => of_ours("debug"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::CLOSE)
        .event_format(Plain {
            begun: Instant::now(),
        })
        .init();
    Ok(())
}

fn of_ours(level: &str) -> String {
    let each = OURS.map(|name| format!("{name}={level}"));
    format!("warn,{}", each.join(","))
}

/// The filter for a level, or for levels of parts of the program.
fn read(text: &str) -> Result<String, String> {
    let is_level = |level: &str| LEVELS.contains(&level.to_lowercase().as_str());
    if is_level(text) {
        return Ok(match text.to_lowercase().as_str() {
            "off" => "off".to_owned(),
            level => of_ours(level),
        });
    }
    let fine = |part: &str| match part.trim().split_once('=') {
        Some((name, level)) => OURS.iter().any(|o| name.starts_with(o)) && is_level(level),
        None => is_level(part.trim()),
    };
    match text.split(',').find(|part| !fine(part)) {
        None => Ok(text.to_owned()),
        Some(part) => Err(format!(
            "{VARIABLE}={text}: '{part}' is not a level; use {} or {}, or levels of parts, as in \
             warn,sc_train=debug (parts: {})",
            LEVELS[..5].join(", "),
            LEVELS[5],
            OURS.join(", ")
        )),
    }
}

/// One readable line per event; details come with the time since the start.
struct Plain {
    begun: Instant,
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let word = match level {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        write!(writer, "{word}: ")?;
        if level > Level::INFO {
            write!(writer, "{:.6} s: ", self.begun.elapsed().as_secs_f64())?;
        }
        for span in (context.event_scope().into_iter()).flat_map(Scope::from_root) {
            write!(writer, "{}", span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                write!(writer, " {fields}")?;
            }
            write!(writer, ": ")?;
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_other_words_refused() {
        assert!(read("INFO").is_ok_and(|f| f.starts_with("warn,sc_data=info")));
        assert_eq!(
            read("warn,sc_train=debug"),
            Ok("warn,sc_train=debug".to_owned())
        );
        for wrong in ["loud", "info,sc_train=loud", "burn=info", "3"] {
            let said = read(wrong).unwrap_err();
            let last = wrong.rsplit(',').next().unwrap();
            assert!(
                said.contains(&format!("'{last}' is not a level; use off")),
                "{said}"
            );
        }
    }
}
