//! Arguments of the command `doctor`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::connection::ConnectionArgs;
use crate::catalog::{DoctorCheck, Language};
use crate::cli::store_reference::StoreReference;

/// The name of a file that stands for the standard output.
const STDOUT: &str = "-";

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Stores to check, each by its name, its uuid, or the first digits of its uuid, at least 6
    /// [default: the daemon and all stores]
    #[arg(value_name = "STORE")]
    pub stores: Vec<StoreReference>,
    /// Print the findings as one JSON document.
    #[arg(long)]
    pub json: bool,
    /// Print only what is not well: nothing if all is well.
    #[arg(long)]
    pub brief: bool,
    /// Exit with 1 also for a warning.
    #[arg(long)]
    pub strict: bool,
    /// Make only this check. Repeat the option for several checks.
    #[arg(long = "check", value_name = "ID", value_parser = PossibleValuesParser::new(
        DoctorCheck::ALL.iter().map(|check| check.as_str()))
        .try_map(|id| id.parse::<DoctorCheck>()), hide_possible_values = true)]
    pub checks: Vec<DoctorCheck>,
    /// Print the ids of all checks, each with the fact that it verifies. Takes --json and --lang.
    #[arg(long, conflicts_with_all = ["stores", "brief", "strict", "checks", "wait", "fresh",
        "login", "report", "daemon_url"])]
    pub list_checks: bool,
    /// Repeat the checks until all is well, at most for this time, such as 60s or 5m.
    #[arg(long, value_name = "DURATION", value_parser = parse_wait)]
    pub wait: Option<Duration>,
    /// Let the daemon probe each store first, as its monitor does. A store takes one such request
    /// in monitor.interval.
    #[arg(long)]
    pub fresh: bool,
    /// Let the daemon log in to the server of each store first. A login that the server rejects
    /// counts as each other one, and the last one before the logins are suspended is not made.
    #[arg(long)]
    pub login: bool,
    /// Write a report without secrets to this new file, to send it to those who help. `-` is the
    /// standard output, and the findings then go to stderr.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Language of the output: en or zh [default: that of LC_ALL, LC_MESSAGES or LANG]
    #[arg(long, value_name = "LANGUAGE", value_parser = PossibleValuesParser::new(["en", "zh"])
        .try_map(|word| word.parse::<Language>()), hide_possible_values = true)]
    pub lang: Option<Language>,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl DoctorArgs {
    /// Returns true if the report goes to the standard output.
    pub fn writes_report_to_stdout(&self) -> bool {
        self.report.as_deref() == Some(Path::new(STDOUT))
    }
}

/// Reads a duration of 1 s to 1 h.
fn parse_wait(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration of 1s to 1h, such as 60s or 5m".to_owned();
    let span: jiff::SignedDuration = text.parse().map_err(|_| expected())?;
    let wait = Duration::try_from(span).map_err(|_| expected())?;
    let range = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
    if range.contains(&wait) { Ok(wait) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_duration_within_bounds() {
        assert_eq!(parse_wait("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_wait("5m"), Ok(Duration::from_secs(300)));
        for text in ["", "60", "0s", "2h", "-5s", "soon", "500ms"] {
            assert!(parse_wait(text).is_err(), "{text}");
        }
    }
}
