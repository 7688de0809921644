//! The checks of the settings, and of what they name: addresses, callers, receivers and
//! certificates.

mod callback;
mod callers;
mod certificates;
mod sandbox;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::unistd::{AccessFlags, access, geteuid};
use serde_json::Value;

use super::child::{ChildError, ChildOutput, OWN_PROGRAM, run_child};
use crate::catalog::{DoctorCheck, Observation};
use crate::diagnosis::{Finding, Summary, Verdict};
use crate::settings::{ListenUse, Settings, environment_variables, settings_file};

/// The word that makes this program read the settings file and end. It is not a command for users.
pub const SETTINGS_WORKER: &str = "settings-worker";
/// Maximum duration of the check of the settings and their files.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time to read the settings file alone.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Exit status of the process that reads the settings if its user is neither root nor the daemon's
/// user, and may not read the files of the daemon.
const OTHER_USER: u8 = 77;

/// The result of the check of the settings.
#[derive(Debug)]
pub(super) struct SettingsCheck {
    /// The finding.
    pub(super) finding: Finding,
    /// True if the settings file cannot be read in time. This process would not end then either.
    pub(super) is_hung: bool,
    /// True if each file that the settings name could be read, or refused, in time.
    pub(super) can_read_files: bool,
}

/// Checks the settings and their files as `check-config` does, in a process of its own: a file may
/// be on a disk that hangs.
pub(super) async fn check_settings(config: Option<&Path>) -> SettingsCheck {
    let check = DoctorCheck::SettingsValid;
    let named = config.map(|path| [OsString::from("--config"), path.as_os_str().to_owned()]);
    let args = named.into_iter().flatten().chain([OsString::from("check-config")]);
    let run = run_child(OWN_PROGRAM, args, SETTINGS_TIMEOUT).await;
    let can_read_files = run.is_ok();
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
        // The faults may be only those of this user.
        Ok(_) if !geteuid().is_root() && is_other_user(config).await => {
            Finding::skipped(check, Observation::NeedsAccount)
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
    SettingsCheck { finding, is_hung, can_read_files }
}

/// Returns true if the settings file can be read in time, as far as a process of its own shows.
async fn is_readable(config: Option<&Path>) -> bool {
    run_settings_worker(config).await.is_ok()
}

/// Returns true if this user may not read the files of the daemon.
async fn is_other_user(config: Option<&Path>) -> bool {
    let run = run_settings_worker(config).await;
    run.is_ok_and(|output| output.status.code() == Some(OTHER_USER.into()))
}

async fn run_settings_worker(config: Option<&Path>) -> Result<ChildOutput, ChildError> {
    let args = [Some(OsStr::new(SETTINGS_WORKER)), config.map(Path::as_os_str)];
    run_child(OWN_PROGRAM, args.into_iter().flatten(), READ_TIMEOUT).await
}

/// Loads the settings as `doctor` does, and ends. Its end shows that the file can be read, and its
/// status shows if this is the user to judge the files of the daemon.
pub fn settings_worker_main(config: Option<PathBuf>) -> ExitCode {
    let loaded =
        Settings::load_for(ListenUse::Replaced, config.as_deref(), environment_variables());
    let file = settings_file(config.as_deref(), environment_variables());
    let is_denied = || access(&file, AccessFlags::R_OK) == Err(Errno::EACCES);
    match loaded {
        Ok(loaded) if is_of_other_user(&loaded.settings.state.dir) => ExitCode::from(OTHER_USER),
        Ok(_) => ExitCode::SUCCESS,
        Err(_) if is_denied() => ExitCode::from(OTHER_USER),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Returns true if this user is neither root nor the one that owns the state directory.
fn is_of_other_user(state_dir: &Path) -> bool {
    let own = geteuid();
    let is_other = match stat(state_dir) {
        Ok(status) => status.st_uid != own.as_raw(),
        Err(errno) => errno == Errno::EACCES,
    };
    !own.is_root() && is_other
}

/// The checks of what the settings name.
const NAMED: [DoctorCheck; 5] = [
    DoctorCheck::SettingsSandbox,
    DoctorCheck::AuthSessions,
    DoctorCheck::ManagementCallback,
    DoctorCheck::CertificateServer,
    DoctorCheck::CertificateClient,
];

/// Makes those checks of what the settings name that are chosen. `known` are the findings of the
/// daemon: those that a check here contains are removed. `settings` is `None` if they are invalid,
/// or if a file that they name cannot be read in time.
pub(super) async fn check_named(
    settings: Option<&Settings>,
    known: &mut Vec<Value>,
    is_chosen: impl Fn(DoctorCheck) -> bool,
) -> Vec<Finding> {
    let of_daemon = |check: DoctorCheck| {
        known.iter().find(|it| it["id"] == check.as_str() && it["store"].is_null())
    };
    let Some(settings) = settings else {
        let unknown = NAMED.into_iter().filter(|check| of_daemon(*check).is_none());
        return unknown.map(|it| Finding::skipped(it, DoctorCheck::SettingsValid)).collect();
    };
    let check = async |check: DoctorCheck| {
        if !is_chosen(check) {
            return None;
        }
        let known = of_daemon(check);
        Some(match check {
            DoctorCheck::SettingsSandbox => sandbox::check_sandbox(settings).await,
            DoctorCheck::AuthSessions => callers::check_callers(settings).await,
            DoctorCheck::ManagementCallback => {
                callback::check_callback(&settings.callback, known).await
            }
            _ => certificates::check_certificate(check, settings, known).await,
        })
    };
    let [sandbox, sessions, callback, server, client] = NAMED;
    let made = tokio::join!(
        check(sandbox),
        check(sessions),
        check(callback),
        check(server),
        check(client)
    );
    let made: Vec<Finding> =
        [made.0, made.1, made.2, made.3, made.4].into_iter().flatten().collect();
    known.retain(|it| {
        !it["store"].is_null() || made.iter().all(|made| it["id"] != made.check.as_str())
    });
    made
}

/// Returns the findings about the addresses. `is_loaded` is false if the settings are invalid, so
/// that these are the built-in ones.
pub(super) fn diagnose_settings(settings: &Settings, is_loaded: bool) -> Vec<Finding> {
    let checks = [DoctorCheck::ListenTls, DoctorCheck::ListenReachable];
    if !is_loaded {
        return checks.map(|check| Finding::skipped(check, DoctorCheck::SettingsValid)).to_vec();
    }
    vec![listen_tls(settings), listen_reachable(settings)]
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

fn listen_reachable(settings: &Settings) -> Finding {
    let check = DoctorCheck::ListenReachable;
    let outside = outside_addresses(settings);
    match (outside.is_empty(), callers::are_configured(settings)) {
        (false, _) => {
            let addresses = outside.join(", ");
            Finding::new(check, Verdict::Ok, Observation::ListensOn { addresses })
        }
        (true, true) => Finding::new(check, Verdict::Warning, Observation::ClientsOnLoopback),
        (true, false) => Finding::skipped(check, Observation::NeedsClient),
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
    fn addresses_decide() {
        use Verdict::{Ok, Skipped, Warning};
        let loopback = vec!["127.0.0.1:7811".parse().unwrap()];
        let outside = vec!["0.0.0.0:7811".parse().unwrap()];
        let tokens = Some("/etc/tokens".into());
        assert_eq!(verdicts(|s| s.server.listen = loopback.clone()), [Ok, Skipped]);
        assert_eq!(verdicts(|s| s.server.listen = outside.clone()), [Warning, Ok]);
        let with_tokens = |listen: Vec<_>| {
            let tokens = tokens.clone();
            move |s: &mut Settings| (s.server.listen, s.auth.tokens_file) = (listen, tokens)
        };
        assert_eq!(verdicts(with_tokens(loopback)), [Ok, Warning]);
        assert_eq!(verdicts(with_tokens(outside)), [Warning, Ok]);
        let needed = Finding::skipped(DoctorCheck::ListenTls, DoctorCheck::SettingsValid);
        let skipped = diagnose_settings(&Settings::built_in(), false);
        assert!(skipped.iter().all(|finding| finding.summary == needed.summary));
    }
}
