//! Reloads the TLS files of the listener when they change on disk. The next connection gets the
//! renewed certificate, and open connections continue.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::common::run_blocking;
use crate::http::TlsListenerConfig;
use crate::settings;
use crate::settings::{FilePolicy, FilePurpose, read_file};

/// Interval between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum time for one check. A disk that hangs holds the thread of the check, so that a further
/// check, with a further thread, is rare.
const READ_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A SHA-256 digest of the contents of the files. The contents themselves are not kept.
type FilesDigest = Vec<u8>;

/// The result of one check of the files: their digest and, if it is new, the loaded TLS
/// configuration or the reason why it cannot be used.
type CheckResult = (FilesDigest, Option<Result<TlsListenerConfig, String>>);

/// Checks the files every 10 s, and whenever `reload_requests` is notified, until `stop`. Files
/// that cannot be used, such as a certificate whose key has not been replaced yet, are ignored
/// until the next check.
pub(super) async fn watch_certificates(
    files: settings::TlsSettings,
    policy: FilePolicy,
    current_tls: watch::Sender<Arc<TlsListenerConfig>>,
    reload_requests: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut ticks = interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut loaded_digest, mut reported_error) = (FilesDigest::new(), None);
    loop {
        let forced = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = reload_requests.notified() => true,
            _ = ticks.tick() => false,
        };
        // `StartupFiles` has loaded the files at the start. The first check loads them once more,
        // which does no harm.
        let check = check_files(
            files.clone(),
            policy,
            if forced { FilesDigest::new() } else { loaded_digest.clone() },
        );
        // If the disk hangs, only this task and its blocking thread wait.
        let Some(Some((digest, result))) = stop.run_until_cancelled(check).await else { continue };
        match result {
            None => {}
            Some(Ok(tls)) => {
                if !loaded_digest.is_empty() || forced {
                    info!("certificates reloaded");
                }
                current_tls.send_replace(Arc::new(tls));
                (loaded_digest, reported_error) = (digest, None);
            }
            Some(Err(why)) => {
                if forced || reported_error.as_ref() != Some(&why) {
                    warn!(why, "certificate reload failed; the previous certificates stay in use");
                }
                reported_error = Some(why);
            }
        }
    }
}

/// Reads the files on a blocking thread. Returns `None` if that thread panicked, which the panic
/// itself reports, or if the disk hangs for [`READ_TIMEOUT`].
async fn check_files(
    files: settings::TlsSettings,
    policy: FilePolicy,
    loaded_digest: FilesDigest,
) -> Option<CheckResult> {
    let reading = run_blocking(Instant::now() + READ_TIMEOUT, move || {
        let digest = digest_files(&files, &policy);
        let load = || TlsListenerConfig::load(&files, &policy).map_err(|error| error.to_string());
        let result = (digest != loaded_digest).then(load);
        (digest, result)
    });
    reading.await.ok()
}

/// Returns the digest of all files. A file that cannot be read counts as empty, and loading it
/// reports the error. The owner and the mode are checked when the file is loaded.
fn digest_files(files: &settings::TlsSettings, policy: &FilePolicy) -> FilesDigest {
    let settings::TlsSettings { cert, key, client_ca, clients_file } = files;
    let mut digest = Context::new(&SHA256);
    let all = [Some(cert), Some(key), client_ca.as_ref(), clients_file.as_ref()];
    for path in all.into_iter().flatten() {
        let bytes = read_file(Path::new(path), FilePurpose::Public, policy).unwrap_or_default();
        digest.update(&bytes.len().to_be_bytes());
        digest.update(&bytes);
    }
    digest.finish().as_ref().to_vec()
}
