//! Keeps what the listener shows as it is on disk: a certificate that was renewed is shown to the next
//! connection, and the ones that are open go on.

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

/// Between two looks at the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// What stands in the files; none of it is kept.
type FilesDigest = Vec<u8>;

/// What one look at the files found: what stands in them and, if that is new, whether it is of use.
type CheckResult = (FilesDigest, Option<Result<TlsAcceptance, String>>);

/// Looks every 10 s, and when asked, until `stop`. A certificate whose key has not come yet, or anything
/// else that is of no use, changes nothing and is looked at again.
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
        // Read at the start by somebody else: the first look takes it for new, which harms nothing.
        let look = look_at(files.clone(), if insists { FilesDigest::new() } else { known.clone() });
        // On a disk that hangs this waits, on a thread of its own, and nothing else does.
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

/// None when the thread broke off, which is told by its panic.
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

/// A digest of all files; one that cannot be read counts as empty, and is told when it is loaded.
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
