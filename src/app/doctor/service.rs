//! The service as systemd sees it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::child::{ChildError, run_child};
use crate::catalog::{DoctorCheck, Observation};
use crate::common::Timestamp;
use crate::diagnosis::{Finding, Verdict};

/// The unit of the package.
pub(super) const UNIT: &str = "imagestore-agent.service";
/// The properties that `systemctl show` prints (systemd.unit(5), org.freedesktop.systemd1(5)).
const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,NRestarts,ActiveEnterTimestamp";
/// Timeout of `systemctl`. It answers within milliseconds.
const SYSTEMCTL_TIMEOUT: Duration = Duration::from_secs(5);
/// The folder that exists if systemd is the init process (sd_booted(3)).
const SYSTEMD_FOLDER: &str = "/run/systemd/system";
/// The number of automatic restarts from which the service is reported as restarting again and
/// again.
const MANY_RESTARTS: u32 = 3;

/// Returns true if systemd manages this system.
#[expect(clippy::disallowed_methods, reason = "the folder is in memory")]
pub(super) fn is_booted() -> bool {
    Path::new(SYSTEMD_FOLDER).exists()
}

/// Returns the finding about the unit.
pub(super) async fn diagnose_service() -> Finding {
    match show_unit(PROPERTIES).await {
        Ok(properties) => unit_finding(&properties),
        Err(need) => Finding::skipped(DoctorCheck::ServiceRunning, need),
    }
}

/// Returns these properties of the unit. They contain `LoadState`.
///
/// # Errors
/// Returns what the question needs.
pub(super) async fn show_unit(names: &str) -> Result<BTreeMap<String, String>, Observation> {
    if !is_booted() {
        return Err(Observation::NeedsSystemd);
    }
    let args = ["show", UNIT, "--timestamp=unix", "--property", names];
    match run_child("systemctl", args, SYSTEMCTL_TIMEOUT).await {
        Ok(output) if output.status.success() => parse_properties(&output.stdout),
        Ok(output) => Err(Observation::NeedsSystemctl { problem: output.stderr.trim().to_owned() }),
        Err(ChildError::NotStarted(error)) => {
            Err(Observation::NeedsSystemctl { problem: error.to_string() })
        }
        Err(ChildError::TimedOut) => Err(Observation::NeedsSystemctlAnswer),
    }
}

/// Reads the properties, one `name=value` per line.
///
/// # Errors
/// Returns the need of a unit that is not installed.
fn parse_properties(lines: &str) -> Result<BTreeMap<String, String>, Observation> {
    let found: BTreeMap<String, String> = lines
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match found.get("LoadState").map(String::as_str) {
        Some("not-found") => Err(Observation::NeedsUnit { unit: UNIT.to_owned() }),
        _ => Ok(found),
    }
}

/// Judges the properties of the unit.
fn unit_finding(properties: &BTreeMap<String, String>) -> Finding {
    let check = DoctorCheck::ServiceRunning;
    let property = |name: &str| properties.get(name).map_or("", String::as_str);
    let restarts: u32 = property("NRestarts").parse().unwrap_or_default();
    let (active, sub) = (property("ActiveState"), property("SubState"));
    let (unit, state) = (UNIT.to_owned(), format!("{active} ({sub})"));
    let (verdict, summary) = match (active, property("Result")) {
        ("active", _) if restarts < MANY_RESTARTS => {
            (Verdict::Ok, Observation::UnitState { unit, state })
        }
        ("active", _) => {
            let restarts = restarts.to_string();
            (Verdict::Warning, Observation::UnitRestarts { unit, state, restarts })
        }
        (_, "" | "success") => (Verdict::Error, Observation::UnitState { unit, state }),
        (_, result) => {
            let result = result.to_owned();
            (Verdict::Error, Observation::UnitResult { unit, state, result })
        }
    };
    let mut finding = Finding::new(check, verdict, summary);
    for name in ["ActiveState", "SubState", "Result"] {
        let key = format!("{}{}", name[..1].to_lowercase(), &name[1..]);
        finding.evidence.facts.insert(key, property(name).into());
    }
    finding.evidence.facts.insert("restarts".to_owned(), restarts.into());
    let seconds = property("ActiveEnterTimestamp").trim_start_matches('@').parse::<i64>().ok();
    finding.evidence.since =
        seconds.filter(|at| *at > 0).map(|at| Timestamp(at.saturating_mul(1000)));
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Language;

    fn finding(load: &str, active: &str, sub: &str, result: &str, restarts: u32) -> Finding {
        let lines = format!(
            "LoadState={load}\nActiveState={active}\nSubState={sub}\nResult={result}\n\
             NRestarts={restarts}\nActiveEnterTimestamp=@1482426606\n"
        );
        match parse_properties(&lines) {
            Ok(properties) => unit_finding(&properties),
            Err(need) => Finding::skipped(DoctorCheck::ServiceRunning, need),
        }
    }

    #[test]
    fn the_state_of_the_unit_decides() {
        for (load, active, sub, result, restarts, verdict, words) in [
            ("loaded", "active", "running", "success", 0, Verdict::Ok, "active (running)"),
            ("loaded", "active", "running", "success", 3, Verdict::Warning, "3 automatic restarts"),
            ("loaded", "inactive", "dead", "success", 0, Verdict::Error, "inactive (dead)"),
            ("loaded", "failed", "failed", "exit-code", 0, Verdict::Error, "result exit-code"),
            ("loaded", "activating", "auto-restart", "signal", 9, Verdict::Error, "signal"),
            ("not-found", "inactive", "dead", "success", 0, Verdict::Skipped, "not installed"),
        ] {
            let found = finding(load, active, sub, result, restarts);
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.summary.text(Language::English).contains(words), "{found:?}");
        }
        let running = finding("loaded", "active", "running", "success", 1);
        assert_eq!(running.evidence.since, Some(Timestamp(1_482_426_606_000)));
        assert_eq!(running.evidence.facts.get("restarts"), Some(&1_u32.into()));
        assert_eq!(running.evidence.facts.get("subState"), Some(&"running".into()));
    }
}
