//! The checks of one connect attempt, side by side.

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Tools;
use crate::lifecycle::Measured;
use crate::model::{Failure, Fault, ImageDir, Store};
use crate::probe::{Examined, Purpose, Slot};
use crate::ssh::{Login, Verified};

/// What a successful attempt has proven.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) examined: Examined,
    pub(super) verified: Verified,
}

impl Proven {
    /// What the status machine is told of it.
    pub(super) fn measured(&self) -> Measured {
        measured(&self.examined)
    }
}

/// What the status machine is told of a good probe.
pub(super) fn measured(examined: &Examined) -> Measured {
    Measured { capacity: examined.capacity, inodes: examined.inodes }
}

/// Logs in and probes at the same time and reports every check that failed. Ends by `deadline`:
/// each check is given it and keeps it.
///
/// Dropping the future stops the checks: the connection is closed and the worker killed.
pub(super) async fn connect(
    tools: &Tools,
    store: &Store,
    slot: &Mutex<Slot>,
    deadline: Instant,
) -> Result<Proven, Failure> {
    // Before the probe takes the slot.
    let patience = patience(tools, slot, deadline).await;
    let login = async {
        let credentials = tools.ledger.credentials(store.uuid).await?;
        let login = Login {
            address: store.address.clone(),
            username: store.username.clone(),
            credentials,
            pinned: store.pinned_key.clone(),
            given_fingerprints: store.given_fingerprints.clone(),
        };
        tools.verifier.verify(&login, patience).await
    };
    let purpose = serve(store, true);
    let probe = examine(tools, &store.image_dir, slot, &purpose, deadline);
    both(tokio::join!(probe, login))
}

/// Until when to wait for the login: while a worker is stuck the attempt has failed already, and its
/// callers are told within the time of a probe.
async fn patience(tools: &Tools, slot: &Mutex<Slot>, deadline: Instant) -> Instant {
    let mut slot = slot.lock().await;
    // It may have gone since it was looked at last.
    slot.settle().await;
    match slot.stuck() {
        Some(_) => deadline.min(Instant::now() + tools.probe_deadline),
        None => deadline,
    }
}

/// What is expected of a directory that this daemon serves.
pub(super) fn serve(store: &Store, write: bool) -> Purpose {
    Purpose::Serve {
        store: store.uuid,
        marker: store.marker,
        place: store.place.clone(),
        had_registry: store.had_registry,
        write,
    }
}

/// One probe, within the probe's own deadline and the caller's.
pub(super) async fn examine(
    tools: &Tools,
    dir: &ImageDir,
    slot: &Mutex<Slot>,
    purpose: &Purpose,
    deadline: Instant,
) -> Result<Examined, Fault> {
    let deadline = deadline.min(Instant::now() + tools.probe_deadline);
    // Held by an aborted probe for the moment it takes to kill its worker.
    let mut slot = slot.lock().await;
    tools.prober.examine(&mut slot, dir, purpose, deadline).await
}

pub(super) fn both(
    (examined, verified): (Result<Examined, Fault>, Result<Verified, Fault>),
) -> Result<Proven, Failure> {
    match (examined, verified) {
        (Ok(examined), Ok(verified)) => Ok(Proven { examined, verified }),
        (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => Err(Failure::of(fault)),
        (Err(storage), Err(ssh)) => {
            let failure = Failure::from_faults([storage.clone(), ssh]);
            Err(failure.unwrap_or_else(|| Failure::of(storage)))
        }
    }
}
