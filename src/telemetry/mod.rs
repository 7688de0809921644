//! Layer 9. Where log lines go and in what form.
//!
//! Promises: lines on stderr, as text with colours on a terminal and as one JSON object a line
//! elsewhere, with UTC time, the spans and their fields. `RUST_LOG` chooses the levels: a comma-separated
//! list of `target=level` and at most one `level` for the rest, as `tracing_subscriber`'s `Targets`
//! reads it. Rules about spans and their fields are not taken: they cost every line a look, and every
//! daemon a regular-expression engine. Who logs does not wait for who reads the log.
//! Never: lets russh say more than warnings, whatever `RUST_LOG` asks for: below that it logs what
//! peers send (`msg = {msg:?}` in its `client/mod.rs`, version 0.65.1). It redacts passwords there;
//! that stays true without our trusting it. Never panics when stderr is gone.

mod non_blocking;

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

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Something in this process has set up logging before; a fault of the caller.
    #[error("logging is already set up")]
    AlreadySet(#[source] TryInitError),
    /// The system has no thread to write lines with.
    #[error("no thread to write the log with")]
    Thread(#[source] io::Error),
}

/// Sends the log of this process to stderr for as long as the guard lives. A `RUST_LOG` that cannot be
/// read is warned about and passed over: a typo in it is no reason not to serve. Lines of the targets
/// `kept` come at level INFO, unless it names them.
///
/// # Errors
/// [`TelemetryError`]
pub fn init(kept: &[&str]) -> Result<LogGuard, TelemetryError> {
    let wanted = std::env::var("RUST_LOG").ok();
    let (filter, refused) = level_filter(wanted.as_deref(), kept);
    let form = if io::stderr().is_terminal() { LogForm::Text } else { LogForm::Json };
    let spool = NonBlockingWriter::default();
    build_subscriber(form, filter, spool.clone()).try_init().map_err(TelemetryError::AlreadySet)?;
    let guard = spool.start_writer(io::stderr()).map_err(TelemetryError::Thread)?;
    if let Some(error) = refused {
        tracing::warn!(%error, "RUST_LOG cannot be read, the default filter is taken");
    }
    Ok(guard)
}

#[derive(Clone, Copy)]
enum LogForm {
    Text,
    Json,
}

/// What is logged unless `wanted` says otherwise: the libraries' peer-by-peer news is noise. With it,
/// what is wrong with the one that was wanted. Who asks for more of one thing, or for less of the others,
/// does not mean the `kept` ones.
fn level_filter(wanted: Option<&str>, kept: &[&str]) -> (Targets, Option<ParseError>) {
    let (filter, refused) = match wanted.filter(|text| !text.trim().is_empty()).map(str::parse) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (default_filter(), Some(error)),
        None => (default_filter(), None),
    };
    let named: Vec<String> = filter.iter().map(|(target, _)| target.to_owned()).collect();
    let missing = kept.iter().filter(|target| {
        !named.iter().any(|name| name == *target) && !filter.would_enable(target, &Level::INFO)
    });
    let missing: Vec<_> = missing.map(|&target| (target, Level::INFO)).collect();
    (filter.with_targets(missing), refused)
}

fn default_filter() -> Targets {
    let quiet = ["hyper", "hyper_util", "rustls"].map(|library| (library, Level::WARN));
    Targets::new().with_default(Level::INFO).with_targets(quiet)
}

/// Nothing of russh and its parts below a warning.
fn limit_russh(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("russh") || *metadata.level() <= Level::WARN
}

fn build_subscriber<W>(form: LogForm, filter: Targets, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A line that cannot be written is lost: the other way tells stderr about it, and panics when
    // that is what is gone.
    let lines = fmt::layer().with_timer(UtcTime).with_writer(writer).log_internal_errors(false);
    let lines = match form {
        LogForm::Text => lines.boxed(),
        // The list of spans holds the current one too.
        LogForm::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    registry().with(filter).with(FilterFn::new(limit_russh)).with(lines)
}

/// RFC 3339 in UTC with microseconds.
struct UtcTime;

impl FormatTime for UtcTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "the time of a log line is shown and never decided upon"
    )]
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        write!(w, "{:.6}", jiff::Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    /// What `act` logs.
    fn logged(form: LogForm, wanted: Option<&str>, act: impl FnOnce()) -> String {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&buffer);
        let writer = move || Sink(Arc::clone(&sink));
        with_default(build_subscriber(form, level_filter(wanted, &["audit"]).0, writer), act);
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
        let text = logged(LogForm::Json, None, || {
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
    fn russh_says_warnings_at_most_whatever_is_asked_for() {
        for wanted in [None, Some("trace"), Some("russh=trace,russh::client=trace")] {
            let text = logged(LogForm::Text, wanted, || {
                tracing::debug!(target: "russh::client", "password hunter2");
                tracing::info!(target: "russh", "peer hunter2");
                tracing::warn!(target: "russh", "odd");
            });
            assert!(text.contains("odd") && !text.contains("hunter2"), "{wanted:?}: {text}");
        }
    }

    #[test]
    fn the_default_filter_is_info_without_the_news_of_libraries() {
        for wanted in [None, Some(""), Some("imagestore_agent=loud")] {
            let text = logged(LogForm::Text, wanted, || {
                tracing::debug!("quiet");
                tracing::info!(target: "hyper::proto", "quiet");
                tracing::info!("heard");
            });
            assert!(text.contains("heard") && !text.contains("quiet"), "{wanted:?}: {text}");
        }
        assert!(level_filter(Some("imagestore_agent=loud"), &[]).1.is_some());
    }

    #[test]
    fn what_is_kept_is_silenced_by_its_name_alone() {
        let lines = |wanted| {
            logged(LogForm::Text, wanted, || {
                tracing::info!(target: "audit", "change asked");
                tracing::debug!(target: "audit", "the same again");
            })
        };
        for wanted in [None, Some("warn"), Some("off"), Some("imagestore_agent=debug")] {
            let text = lines(wanted);
            assert!(text.contains("change asked") && text.lines().count() == 1, "{wanted:?}");
        }
        assert_eq!(lines(Some("info,audit=off")), "");
        for more in ["warn,audit=debug", "debug"] {
            assert_eq!(lines(Some(more)).lines().count(), 2, "{more}");
        }
    }

    #[test]
    fn logging_is_set_up_once() {
        let _guard = init(&[]).unwrap();
        assert_eq!(init(&[]).unwrap_err().to_string(), "logging is already set up");
    }
}
