//! Layer 9. The log: the destination and the format of log lines.
//!
//! # Guarantees
//! - Lines go to stderr: as text with colours on a terminal, otherwise as one JSON object per line.
//! - Every line has the UTC time, the spans and their fields.
//! - `RUST_LOG` sets the levels: a comma-separated list of `target=level` and at most one `level`
//!   for the rest, in the syntax of `Targets` of `tracing_subscriber`.
//! - Directives for spans and fields are not supported, because they would cost a check per line
//!   and a regular-expression engine in the binary.
//! - A task that logs does not wait for the reader of the log.
//! - Other lines do not use up the room that the queue keeps for the audit lines of changes.
//! - A field is one line and controls no terminal: hidden characters are escaped, in the text
//!   format as `\u{1b}` and in JSON as `\u001b`.
//!
//! # Never
//! - russh never logs below a warning, whatever `RUST_LOG` sets. Below that it logs messages of
//!   peers (`msg = {msg:?}` in its `client/mod.rs`, version 0.65.1). russh redacts passwords there,
//!   but the daemon does not rely on it.
//! - The log never panics when stderr is closed.

mod non_blocking;
mod safe_text;

use std::io::{self, IsTerminal as _};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, ParseError, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

pub use self::non_blocking::LogGuard;
use self::non_blocking::NonBlockingWriter;
use self::safe_text::{SafeFields, SafeJsonLines};

/// Error of the setup of the log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Logging was already set up in this process. This is an internal error of the caller.
    #[error("logging is already set up")]
    AlreadySet(#[source] TryInitError),
    /// The system could not start the thread that writes lines.
    #[error("cannot start the log thread")]
    Thread(#[source] io::Error),
}

/// Sends the log of this process to stderr for the lifetime of the guard. An invalid `RUST_LOG` is
/// logged as a warning and ignored, because a typo must not prevent the start. Lines of the targets
/// `always_on` are logged at level INFO unless `RUST_LOG` names these targets. The queue of lines
/// keeps room for events with the name `priority_event`.
///
/// # Errors
/// Returns a [`TelemetryError`] if the log cannot be set up.
pub fn init(always_on: &[&str], priority_event: &'static str) -> Result<LogGuard, TelemetryError> {
    let directives = std::env::var("RUST_LOG").ok();
    let (filter, parse_error) = level_filter(directives.as_deref(), always_on);
    #[expect(clippy::disallowed_methods, reason = "the log is the only output of the daemon")]
    let is_terminal = io::stderr().is_terminal();
    let format = if is_terminal { LogFormat::Text } else { LogFormat::Json };
    let writer = NonBlockingWriter::new(priority_event);
    build_subscriber(format, filter, writer.clone())
        .try_init()
        .map_err(TelemetryError::AlreadySet)?;
    #[expect(clippy::disallowed_methods, reason = "the log is the only output of the daemon")]
    let guard = writer.start_writer(io::stderr()).map_err(TelemetryError::Thread)?;
    if let Some(error) = parse_error {
        tracing::warn!(%error, "RUST_LOG is invalid; the default filter is used");
    }
    Ok(guard)
}

#[derive(Clone, Copy)]
enum LogFormat {
    Text,
    Json,
}

/// Returns the filter for `directives`. If they are invalid, it returns the default filter and the
/// error. The default hides the informational lines of libraries. The `always_on` targets stay at
/// INFO unless `directives` names them, because a level for other targets is not meant for them.
fn level_filter(directives: Option<&str>, always_on: &[&str]) -> (Targets, Option<ParseError>) {
    let (filter, parse_error) =
        match directives.filter(|text| !text.trim().is_empty()).map(str::parse) {
            Some(Ok(filter)) => (filter, None),
            Some(Err(error)) => (default_filter(), Some(error)),
            None => (default_filter(), None),
        };
    let named_targets: Vec<String> = filter.iter().map(|(target, _)| target.to_owned()).collect();
    let missing = always_on.iter().filter(|target| {
        !named_targets.iter().any(|name| name == *target)
            && !filter.would_enable(target, &Level::INFO)
    });
    let missing: Vec<_> = missing.map(|&target| (target, Level::INFO)).collect();
    (filter.with_targets(missing), parse_error)
}

fn default_filter() -> Targets {
    let quiet = ["hyper", "hyper_util", "rustls"].map(|library| (library, Level::WARN));
    Targets::new().with_default(Level::INFO).with_targets(quiet)
}

/// Returns true unless the line comes from russh and is below a warning.
fn limit_russh(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("russh") || *metadata.level() <= Level::WARN
}

fn build_subscriber<W>(
    format: LogFormat,
    filter: Targets,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A line that cannot be written is dropped. Otherwise the layer would report the error on
    // stderr, and panic if stderr is closed.
    let lines = fmt::layer().with_timer(UtcTime).log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.with_writer(writer).fmt_fields(SafeFields).boxed(),
        // The list of spans includes the current span.
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(SafeJsonLines(writer))
            .boxed(),
    };
    registry().with(filter).with(FilterFn::new(limit_russh)).with(lines)
}

/// Formats the time in UTC with microseconds (RFC 3339).
struct UtcTime;

impl FormatTime for UtcTime {
    #[expect(clippy::disallowed_methods, reason = "the time of a log line is only displayed")]
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        write!(w, "{:.6}", jiff::Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;
    use crate::common::is_hidden;

    /// Returns the lines that `act` logs.
    fn logged(format: LogFormat, directives: Option<&str>, act: impl FnOnce()) -> String {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&buffer);
        let writer = move || Sink(Arc::clone(&sink));
        with_default(build_subscriber(format, level_filter(directives, &["audit"]).0, writer), act);
        let bytes = buffer.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_has_time_level_fields_and_spans() {
        let text = logged(LogFormat::Json, None, || {
            let _attempt = tracing::info_span!("attempt", store = "ab", attempt = 3).entered();
            tracing::info!(old = "Connecting", "status changed");
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "status changed");
        assert_eq!(line["old"], "Connecting");
        assert_eq!(line["target"], "imagestore_agent::telemetry::tests");
        assert_eq!(line["spans"][0]["name"], "attempt");
        assert_eq!(line["spans"][0]["attempt"], 3);
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'), "{time}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_field_or_message_of_others_is_one_line_and_controls_nothing() {
        let hostile =
            "a\u{1b}[2J\nERROR\u{85}\u{9b}31m\u{202e}\u{2028}\u{200b}\u{feff}\u{e0041}\x7f画像";
        let error = io::Error::other(hostile);
        let act = || {
            let _span = tracing::info_span!("request", path = hostile, peer = %hostile).entered();
            tracing::info!(text = hostile, shown = %hostile, quoted = ?hostile, "{hostile}");
            tracing::info!(error = &error as &dyn std::error::Error, "failed");
        };
        let text = logged(LogFormat::Text, None, act);
        let plain = text.replace("\u{1b}[0m", "").replace("\u{1b}[1m", "");
        let plain = ["2m", "3m", "32m", "31m"]
            .iter()
            .fold(plain, |text, style| text.replace(&format!("\u{1b}[{style}"), ""));
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(plain.lines().all(|line| !line.contains(is_hidden)), "{plain:?}");
        assert_eq!(plain.matches("画像").count(), 9, "{plain}");
        let json = logged(LogFormat::Json, None, act);
        assert!(json.lines().all(|line| !line.contains(is_hidden)), "{json:?}");
        let lines: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["text"], hostile);
        assert_eq!(lines[0]["message"], hostile);
        assert_eq!(lines[0]["spans"][0]["path"], hostile);
    }

    #[test]
    fn russh_says_warnings_at_most_whatever_is_asked_for() {
        for directives in [None, Some("trace"), Some("russh=trace,russh::client=trace")] {
            let text = logged(LogFormat::Text, directives, || {
                tracing::debug!(target: "russh::client", "password hunter2");
                tracing::info!(target: "russh", "peer hunter2");
                tracing::warn!(target: "russh", "odd");
            });
            assert!(text.contains("odd") && !text.contains("hunter2"), "{directives:?}: {text}");
        }
    }

    #[test]
    fn the_default_filter_is_info_without_the_news_of_libraries() {
        for directives in [None, Some(""), Some("imagestore_agent=loud")] {
            let text = logged(LogFormat::Text, directives, || {
                tracing::debug!("quiet");
                tracing::info!(target: "hyper::proto", "quiet");
                tracing::info!("heard");
            });
            assert!(text.contains("heard") && !text.contains("quiet"), "{directives:?}: {text}");
        }
        assert!(level_filter(Some("imagestore_agent=loud"), &[]).1.is_some());
    }

    #[test]
    fn what_is_kept_is_silenced_by_its_name_alone() {
        let lines = |directives| {
            logged(LogFormat::Text, directives, || {
                tracing::info!(target: "audit", "request");
                tracing::debug!(target: "audit", "the same again");
            })
        };
        for directives in [None, Some("warn"), Some("off"), Some("imagestore_agent=debug")] {
            let text = lines(directives);
            assert!(text.contains("request") && text.lines().count() == 1, "{directives:?}");
        }
        assert_eq!(lines(Some("info,audit=off")), "");
        for more in ["warn,audit=debug", "debug"] {
            assert_eq!(lines(Some(more)).lines().count(), 2, "{more}");
        }
    }

    #[test]
    fn logging_is_set_up_once() {
        let _guard = init(&[], "").unwrap();
        assert_eq!(init(&[], "").unwrap_err().to_string(), "logging is already set up");
    }
}
