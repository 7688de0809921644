//! The callers over TCP that the settings name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::{DoctorCheck, Observation};
use crate::common::{parse_lines, run_blocking};
use crate::diagnosis::{Finding, Verdict};
use crate::settings::{FilePolicy, FilePurpose, Settings, read_text};

/// Maximum time to read the files. The check of the settings has read them before.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the files that have one caller in each line, with the names of their settings.
fn files(settings: &Settings) -> Vec<(&'static str, PathBuf)> {
    let auth = &settings.auth;
    let clients = settings.server.tls.as_ref().and_then(|tls| tls.clients_file.clone());
    let files = [
        ("auth.tokens_file", auth.tokens_file.clone()),
        ("auth.accounts_file", auth.accounts_file.clone()),
        ("auth.access_keys_file", auth.access_keys_file.clone()),
        ("server.tls.clients_file", clients),
    ];
    files.into_iter().filter_map(|(key, path)| Some((key, path?))).collect()
}

/// Returns true if callers that no file names are accepted.
fn has_other_callers(settings: &Settings) -> bool {
    settings.auth.session_check_url.is_some() || !settings.server.agent_allow.is_empty()
}

/// Returns true if clients beyond this host are configured.
pub(super) fn are_configured(settings: &Settings) -> bool {
    has_other_callers(settings) || !files(settings).is_empty()
}

/// Returns the finding `auth.sessions`.
pub(super) async fn check_callers(settings: &Settings) -> Finding {
    let check = DoctorCheck::AuthSessions;
    let files = files(settings);
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    if !are_configured(settings) {
        // A node that only its own operators use over the Unix socket needs none.
        return Finding::skipped(check, Observation::NeedsCallers);
    }
    let paths: Vec<PathBuf> = files.iter().map(|(_, path)| path.clone()).collect();
    let any = move || paths.iter().any(|path| may_have_caller(path));
    let found = run_blocking(Instant::now() + READ_TIMEOUT, any).await;
    if has_other_callers(settings) || found.unwrap_or(true) {
        return Finding::new(check, Verdict::Ok, Observation::CallersConfigured);
    }
    let summary = Observation::NoCallerLine { files: names.join(", ") };
    Finding::new(check, Verdict::Warning, summary)
}

/// Returns false if the file has no caller. This process may not be able to read it, as the daemon
/// can.
fn may_have_caller(path: &Path) -> bool {
    // The check of the settings judges the owner and the mode.
    let policy = FilePolicy { takes_unsafe: true, ..FilePolicy::of_process() };
    let Ok(text) = read_text(path, FilePurpose::Secret, &policy) else { return true };
    parse_lines(&text, |_| Ok::<_, &str>(())).is_ok_and(|lines| !lines.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_without_a_line_has_no_caller() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let mut settings = Settings::built_in();
        let verdict = async |settings: &Settings| check_callers(settings).await.verdict;
        assert_eq!(verdict(&settings).await, Verdict::Skipped);
        settings.auth.tokens_file = Some(path.clone());
        for (text, expected) in
            [("# none\n\n", Verdict::Warning), ("mn-1:a-session\n", Verdict::Ok)]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(verdict(&settings).await, expected, "{text}");
        }
        std::fs::write(&path, "").unwrap();
        settings.server.agent_allow = vec!["192.0.2.0/24".parse().unwrap()];
        assert_eq!(verdict(&settings).await, Verdict::Ok);
    }
}
