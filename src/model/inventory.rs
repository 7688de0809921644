//! The inventory of a store: its public description.

use super::{Capacity, ImageDir, SshAddress, State, Status, StoreUuid};
use crate::common::Timestamp;

/// One store as the management node sees it. It never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// The store.
    pub uuid: StoreUuid,
    /// Its name.
    pub name: String,
    /// Its description; may be empty.
    pub description: String,
    /// The image directory. Its name on the wire is `url`.
    pub image_dir: ImageDir,
    /// The last good figures, or `None` before the first good probe.
    pub capacity: Option<Capacity>,
    /// The administrator's switch.
    pub state: State,
    /// The health of the store.
    pub status: Status,
    /// The time at which the store was added.
    pub created: Timestamp,
    /// The time of the last change of its definition or status.
    pub last_op: Timestamp,
    /// Zones that the store is attached to.
    pub zone_uuids: Vec<String>,
    /// The address of the SSH server.
    pub address: SshAddress,
    /// The user that logs in.
    pub username: String,
}
