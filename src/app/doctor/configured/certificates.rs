//! The certificates: those that the daemon uses, and those in their files.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::catalog::DoctorCheck;
use crate::common::{Clock as _, SystemClock, run_blocking};
use crate::diagnosis::{
    CertificateFact, CertificateFacts, Finding, NOT_AFTER, NOT_BEFORE, SHA256, diagnose_certificate,
};
use crate::settings::{FilePolicy, Settings};
use crate::tls::certificate_in_file;

/// Maximum time to read a file. The check of the settings has read it before.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the finding about a certificate. `known` is the finding of the daemon.
pub(in crate::app::doctor) async fn check_certificate(
    check: DoctorCheck,
    settings: &Settings,
    known: Option<&Value>,
) -> Finding {
    let (key, path) = match check {
        DoctorCheck::CertificateClient => {
            ("callback.client_cert", settings.callback.client_cert.clone())
        }
        _ => ("server.tls.cert", settings.server.tls.as_ref().map(|tls| tls.cert.clone())),
    };
    let in_use = known.and_then(certificate_in);
    // A daemon that uses one shows it as evidence.
    let is_unused = known.is_some() && in_use.is_none() && path.is_some();
    let file = match path {
        Some(path) => read(key, path).await,
        None => None,
    };
    let facts = CertificateFacts { check, in_use, is_unused, file, now: SystemClock.now() };
    diagnose_certificate(&facts, key)
}

/// Returns the certificate that the daemon uses, as the evidence of its finding has it.
fn certificate_in(known: &Value) -> Option<CertificateFact> {
    let text = |name: &str| known.get("evidence")?.get(name)?.as_str();
    Some(CertificateFact {
        not_before: text(NOT_BEFORE)?.parse().ok()?,
        not_after: text(NOT_AFTER)?.parse().ok()?,
        sha256: text(SHA256)?.to_owned(),
    })
}

/// Reads a file. Returns `None` if this process cannot tell what the file has for the daemon.
async fn read(key: &'static str, path: PathBuf) -> Option<Result<CertificateFact, String>> {
    // The check of the settings judges the owner and the mode.
    let policy = FilePolicy { takes_unsafe: true, ..FilePolicy::of_process() };
    let is_readable = {
        let path = path.clone();
        move || nix::unistd::access(&path, nix::unistd::AccessFlags::R_OK)
    };
    let read = move || match is_readable() {
        // Another user has less access than the daemon.
        Err(nix::errno::Errno::EACCES) => None,
        _ => Some(certificate_in_file(key, &path, &policy)),
    };
    let read = run_blocking(Instant::now() + READ_TIMEOUT, read).await;
    let read = read.map_err(|error| error.to_string()).transpose()?;
    Some(read.and_then(|read| read.map_err(|error| error.to_string())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::Language;
    use crate::common::Timestamp;
    use crate::diagnosis::Verdict;

    #[test]
    fn the_certificate_in_use_is_that_of_the_evidence() {
        let evidence = json!({"evidence": {
            NOT_BEFORE: "1970-01-01T00:00:00Z", NOT_AFTER: "1970-01-01T00:00:01Z", SHA256: "ab",
        }});
        let expected = CertificateFact {
            not_before: Timestamp(0),
            not_after: Timestamp(1000),
            sha256: "ab".to_owned(),
        };
        assert_eq!(certificate_in(&evidence), Some(expected));
        assert_eq!(certificate_in(&json!({"evidence": {}})), None);
    }

    #[tokio::test]
    async fn a_daemon_without_the_certificate_of_the_settings_is_a_warning() {
        let mut settings = Settings::built_in();
        let check = DoctorCheck::CertificateClient;
        let skipped = json!({"id": check.as_str(), "verdict": "skipped", "evidence": {}});
        let found = check_certificate(check, &settings, Some(&skipped)).await;
        assert_eq!(found.verdict, Verdict::Skipped);
        let file = tempfile::NamedTempFile::new().unwrap();
        let signed = rcgen::generate_simple_self_signed(["node".to_owned()]).unwrap();
        std::fs::write(file.path(), signed.cert.pem()).unwrap();
        settings.callback.client_cert = Some(file.path().to_owned());
        let found = check_certificate(check, &settings, None).await;
        let alone = found.summary.text(Language::English);
        assert!(!alone.contains("uses no certificate"), "{alone}");
        let found = check_certificate(check, &settings, Some(&skipped)).await;
        let summary = found.summary.text(Language::English);
        assert_eq!(found.verdict, Verdict::Warning, "{summary}");
        assert!(summary.contains("uses no certificate"), "{summary}");
        assert!(summary.contains(&alone), "{summary}");
    }
}
