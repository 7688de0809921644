//! What the daemon around the stores knows: the part of the health view that no store's task has.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::delivery::Verdict;
use crate::model::{Condition, NodeId, StoreUuid, Timestamp};
use crate::notifier::NotifierHandle;

/// What the daemon's own process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessFigures {
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Processor time since the start, in milliseconds.
    pub cpu_milliseconds: u64,
}

/// Read when somebody looks.
pub type ReadFigures = Arc<dyn Fn() -> ProcessFigures + Send + Sync>;

/// The daemon around the stores.
#[derive(Clone)]
pub struct Around {
    /// This installation.
    pub node: NodeId,
    /// When the daemon started.
    pub started: Timestamp,
    /// `ssh.legacy`
    pub legacy: Vec<String>,
    /// Whether `ssh.host_key_policy` takes any key.
    pub accepts_any_host_key: bool,
    /// None without a callback.
    pub notifier: Option<NotifierHandle>,
    /// What is wrong with the state disk.
    pub state_disk: watch::Receiver<Option<String>>,
    /// What the process uses.
    pub process: ReadFigures,
}

/// A condition, what was seen, and since when.
pub type Held = (Condition, String, Option<Timestamp>);

impl Around {
    /// The conditions of a store that come from around it.
    pub fn conditions(&self, store: StoreUuid) -> Vec<Held> {
        let started = Some(self.started);
        let legacy = (!self.legacy.is_empty()).then(|| {
            let told = format!("ssh.legacy re-enables {}", self.legacy.join(", "));
            (Condition::LegacyAlgorithms, told, started)
        });
        let any_key = self.accepts_any_host_key.then(|| {
            let told = "ssh.host_key_policy is accept-any".to_owned();
            (Condition::AcceptsAnyHostKey, told, started)
        });
        let disk = self.state_disk.borrow().clone();
        let disk = disk.map(|why| (Condition::StateDiskTrouble, why, None));
        legacy
            .into_iter()
            .chain(any_key)
            .chain(self.delivery_condition(store))
            .chain(disk)
            .collect()
    }

    fn delivery_condition(&self, store: StoreUuid) -> Option<Held> {
        let notifier = self.notifier.as_ref()?;
        let trouble = notifier.lane(store).and_then(|lane| lane.trouble);
        let (condition, told) = match (trouble, notifier.unhandled()) {
            (Some(trouble), _) => match trouble.verdict {
                Verdict::Refused | Verdict::Gone => {
                    (Condition::DeliveryRefused, trouble.reply.to_string())
                }
                Verdict::Again(_) => (Condition::DeliveryBehind, trouble.reply.to_string()),
                Verdict::Delivered | Verdict::Unhandled => return None,
            },
            (None, Some(reply)) => {
                let told = format!("taken as delivered, though nobody handles it: {reply}");
                (Condition::DeliveryRefused, told)
            }
            (None, None) => return None,
        };
        Some((condition, told, None))
    }

    /// What waits for the management node; none without a callback.
    pub(super) fn delivery(&self, store: StoreUuid) -> Option<Value> {
        let lane = self.notifier.as_ref()?.lane(store).unwrap_or_default();
        Some(json!({
            "pending": lane.waiting,
            "destination": self.notifier.as_ref().and_then(NotifierHandle::destination),
            "lastReply": lane.trouble.map(|trouble| trouble.reply.to_string()),
            "nextTry": lane.next_try.map(|at| at.to_string()),
        }))
    }
}
