//! The checks of the settings.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::child::{ChildError, OWN_PROGRAM, run_child};
use crate::catalog::{DoctorCheck, Observation};
use crate::diagnosis::{Finding, Summary, Verdict};
use crate::settings::{ListenUse, Settings, environment_variables};

/// The word that makes this program read the settings file and end. It is not a command for users.
pub const SETTINGS_WORKER: &str = "settings-worker";
/// Maximum duration of the check of the settings and their files.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time to read the settings file alone.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of the check of the settings.
#[derive(Debug)]
pub(super) struct SettingsCheck {
    /// The finding.
    pub(super) finding: Finding,
    /// True if the settings file cannot be read in time. This process would not end then either.
    pub(super) is_hung: bool,
}

/// Checks the settings and their files as `check-config` does, in a process of its own: a file may
/// be on a disk that hangs.
pub(super) async fn check_settings(config: Option<&Path>) -> SettingsCheck {
    let check = DoctorCheck::SettingsValid;
    let named = config.map(|path| [OsString::from("--config"), path.as_os_str().to_owned()]);
    let args = named.into_iter().flatten().chain([OsString::from("check-config")]);
    let run = run_child(OWN_PROGRAM, args, SETTINGS_TIMEOUT).await;
    let is_hung = matches!(run, Err(ChildError::TimedOut)) && !is_readable(config).await;
    let finding = match run {
        Ok(output) if output.status.success() => {
            let warnings = output.stdout.lines().filter_map(|line| line.strip_prefix("warning: "));
            let warnings: Vec<&str> = warnings.collect();
            match warnings.as_slice() {
                [] => Finding::new(check, Verdict::Ok, Observation::SettingsValid),
                _ => Finding::new(check, Verdict::Warning, Summary::quoted(warnings.join("; "))),
            }
        }
        Ok(output) => {
            let faults = output.stderr.lines().map(str::trim).filter(|line| !line.is_empty());
            let faults: Vec<&str> = faults.collect();
            Finding::new(check, Verdict::Error, Summary::quoted(faults.join("; ")))
        }
        Err(ChildError::TimedOut) => {
            let summary = match is_hung {
                true => Observation::SettingsHang,
                false => Observation::NamedFileHangs,
            };
            Finding::new(check, Verdict::Error, summary)
        }
        Err(ChildError::NotStarted(error)) => {
            Finding::skipped(check, Observation::NeedsProcess { problem: error.to_string() })
        }
    };
    SettingsCheck { finding, is_hung }
}

/// Returns true if the settings file can be read in time, as far as a process of its own shows.
async fn is_readable(config: Option<&Path>) -> bool {
    let args = [Some(OsStr::new(SETTINGS_WORKER)), config.map(Path::as_os_str)];
    run_child(OWN_PROGRAM, args.into_iter().flatten(), READ_TIMEOUT).await.is_ok()
}

/// Loads the settings as `doctor` does, and ends. Its end shows that the file can be read.
pub fn settings_worker_main(config: Option<PathBuf>) -> ExitCode {
    let loaded =
        Settings::load_for(ListenUse::Replaced, config.as_deref(), environment_variables());
    if loaded.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Checks that have an id, and that this version does not make.
const UNMADE: [DoctorCheck; 6] = [
    DoctorCheck::SettingsSandbox,
    DoctorCheck::ServiceClock,
    DoctorCheck::ManagementCallback,
    DoctorCheck::ManagementAgentAllow,
    DoctorCheck::CertificateServer,
    DoctorCheck::CertificateClient,
];

/// Returns the findings of the checks that are not made.
pub(super) fn unmade_checks() -> impl Iterator<Item = Finding> {
    UNMADE.into_iter().map(|check| Finding::skipped(check, Observation::NeedsLaterVersion))
}

/// Returns the findings about the addresses and the callers. `is_loaded` is false if the settings
/// are invalid, so that these are the built-in ones.
pub(super) fn diagnose_settings(settings: &Settings, is_loaded: bool) -> Vec<Finding> {
    let checks = [DoctorCheck::ListenTls, DoctorCheck::ListenReachable, DoctorCheck::AuthSessions];
    if !is_loaded {
        return checks.map(|check| Finding::skipped(check, DoctorCheck::SettingsValid)).to_vec();
    }
    vec![listen_tls(settings), listen_reachable(settings), auth_sessions(settings)]
}

/// Returns the addresses beyond loopback.
fn outside_addresses(settings: &Settings) -> Vec<String> {
    let outside = settings.server.listen.iter().filter(|address| !address.ip().is_loopback());
    outside.map(ToString::to_string).collect()
}

fn listen_tls(settings: &Settings) -> Finding {
    let check = DoctorCheck::ListenTls;
    let outside = outside_addresses(settings);
    match (&settings.server.tls, outside.is_empty()) {
        (Some(_), _) => Finding::new(check, Verdict::Ok, Observation::TlsEverywhere),
        (None, true) => Finding::new(check, Verdict::Ok, Observation::OnLoopback),
        (None, false) => {
            let addresses = outside.join(", ");
            Finding::new(check, Verdict::Warning, Observation::WithoutTls { addresses })
        }
    }
}

/// Returns true if clients beyond this host are configured.
fn has_clients(settings: &Settings) -> bool {
    let auth = &settings.auth;
    auth.tokens_file.is_some()
        || auth.accounts_file.is_some()
        || auth.access_keys_file.is_some()
        || auth.session_check_url.is_some()
        || !settings.server.agent_allow.is_empty()
        || settings.server.tls.as_ref().is_some_and(|tls| tls.clients_file.is_some())
}

fn listen_reachable(settings: &Settings) -> Finding {
    let check = DoctorCheck::ListenReachable;
    let outside = outside_addresses(settings);
    match (outside.is_empty(), has_clients(settings)) {
        (false, _) => {
            let addresses = outside.join(", ");
            Finding::new(check, Verdict::Ok, Observation::ListensOn { addresses })
        }
        (true, true) => Finding::new(check, Verdict::Warning, Observation::ClientsOnLoopback),
        (true, false) => Finding::skipped(check, Observation::NeedsClient),
    }
}

fn auth_sessions(settings: &Settings) -> Finding {
    let check = DoctorCheck::AuthSessions;
    match has_clients(settings) {
        true => Finding::new(check, Verdict::Ok, Observation::CallersConfigured),
        // A node that only its own operators use over the Unix socket needs none.
        false => Finding::skipped(check, Observation::NeedsCallers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(change: impl FnOnce(&mut Settings)) -> Vec<Verdict> {
        let mut settings = Settings::built_in();
        change(&mut settings);
        diagnose_settings(&settings, true).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn addresses_and_callers_decide() {
        use Verdict::{Ok, Skipped, Warning};
        let loopback = vec!["127.0.0.1:7811".parse().unwrap()];
        let outside = vec!["0.0.0.0:7811".parse().unwrap()];
        let tokens = Some("/etc/tokens".into());
        assert_eq!(verdicts(|s| s.server.listen = loopback.clone()), [Ok, Skipped, Skipped]);
        assert_eq!(verdicts(|s| s.server.listen = outside.clone()), [Warning, Ok, Skipped]);
        let with_tokens = |listen: Vec<_>| {
            let tokens = tokens.clone();
            move |s: &mut Settings| (s.server.listen, s.auth.tokens_file) = (listen, tokens)
        };
        assert_eq!(verdicts(with_tokens(loopback)), [Ok, Warning, Ok]);
        assert_eq!(verdicts(with_tokens(outside)), [Warning, Ok, Ok]);
        let needed = Finding::skipped(DoctorCheck::ListenTls, DoctorCheck::SettingsValid);
        let skipped = diagnose_settings(&Settings::built_in(), false);
        assert!(skipped.iter().all(|finding| finding.summary == needed.summary));
    }
}
