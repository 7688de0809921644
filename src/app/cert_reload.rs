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

use crate::http::TlsAcceptance;
use crate::settings;
use crate::settings::read_file;

/// Interval between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// A SHA-256 digest of the contents of the files. The contents themselves are not kept.
type FilesDigest = Vec<u8>;

/// The result of one check of the files: their digest and, if it is new, the loaded TLS
/// configuration or the reason why it cannot be used.
type CheckResult = (FilesDigest, Option<Result<TlsAcceptance, String>>);

/// Checks the files every 10 s, and whenever `asked` is notified, until `stop`. Files that cannot
/// be used, such as a certificate whose key has not been replaced yet, change nothing. They are
/// read again at the next check.
pub(super) async fn watch_certificates(
    files: settings::TlsSettings,
    shown: watch::Sender<Arc<TlsAcceptance>>,
    asked: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut looks = interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut known, mut told) = (FilesDigest::new(), None);
    loop {
        let insists = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = asked.notified() => true,
            _ = looks.tick() => false,
        };
        // `StartupFiles` has loaded the files at the start. The first check loads them once more,
        // which does no harm.
        let look = look_at(files.clone(), if insists { FilesDigest::new() } else { known.clone() });
        // If the disk hangs, only this task and its blocking thread wait.
        let Some(Some((stamp, found))) = stop.run_until_cancelled(look).await else { continue };
        match found {
            None => {}
            Some(Ok(tls)) => {
                if !known.is_empty() || insists {
                    info!("certificates reloaded");
                }
                shown.send_replace(Arc::new(tls));
                (known, told) = (stamp, None);
            }
            Some(Err(why)) => {
                if insists || told.as_ref() != Some(&why) {
                    warn!(
                        why,
                        "the certificates on disk are of no use; those before them are shown"
                    );
                }
                told = Some(why);
            }
        }
    }
}

/// Reads the files on a blocking thread. Returns `None` if that thread panicked, which the panic
/// itself reports.
async fn look_at(files: settings::TlsSettings, known: FilesDigest) -> Option<CheckResult> {
    #[expect(clippy::disallowed_methods, reason = "certificates are read on a blocking thread")]
    let reading = tokio::task::spawn_blocking(move || {
        let stamp = digest_files(&files);
        let load = || TlsAcceptance::load(&files).map_err(|bad| bad.to_string());
        let found = (stamp != known).then(load);
        (stamp, found)
    });
    reading.await.ok()
}

/// Returns the digest of all files. A file that cannot be read counts as empty, and loading it
/// reports the error.
fn digest_files(files: &settings::TlsSettings) -> FilesDigest {
    let settings::TlsSettings { cert, key, client_ca, clients_file } = files;
    let mut digest = Context::new(&SHA256);
    let all = [Some(cert), Some(key), client_ca.as_ref(), clients_file.as_ref()];
    for path in all.into_iter().flatten() {
        let bytes = read_file(Path::new(path)).unwrap_or_default();
        digest.update(&bytes.len().to_be_bytes());
        digest.update(&bytes);
    }
    digest.finish().as_ref().to_vec()
}
