//! What the world is told about a store.

use super::{Capacity, ImageDir, SshAddress, State, Status, StoreUuid};
use crate::common::Timestamp;

/// One store as the management node sees it; never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// The store.
    pub uuid: StoreUuid,
    /// Its name.
    pub name: String,
    /// Its description; empty when none was given.
    pub description: String,
    /// The image directory, on the wire `url`.
    pub image_dir: ImageDir,
    /// The last good figures; none before the first good probe.
    pub capacity: Option<Capacity>,
    /// The administrator's switch.
    pub state: State,
    /// Health.
    pub status: Status,
    /// When the store was added.
    pub created: Timestamp,
    /// When its definition or status last changed.
    pub last_op: Timestamp,
    /// Zones the store is attached to.
    pub zone_uuids: Vec<String>,
    /// The SSH server.
    pub address: SshAddress,
    /// The login's user.
    pub username: String,
}
