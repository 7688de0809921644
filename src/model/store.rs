//! A store as it was defined, without its health.

use super::{FsPlace, HostKey, ImageDir, MarkerId, SshAddress, State, StoreUuid, Timestamp};

/// The durable definition of a store and what is known of its parts. Its secrets are kept apart,
/// sealed, and its health is the lifecycle's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The store.
    pub uuid: StoreUuid,
    /// At most 255 characters.
    pub name: String,
    /// At most 2048 characters.
    pub description: String,
    /// Where its images lie; never changes.
    pub image_dir: ImageDir,
    /// Where its SSH server listens.
    pub address: SshAddress,
    /// The login's user; at most 255 characters.
    pub username: String,
    /// The administrator's switch.
    pub state: State,
    /// Zones the store is attached to.
    pub zone_uuids: Vec<String>,
    /// When it was added.
    pub created: Timestamp,
    /// When its definition last changed.
    pub changed: Timestamp,
    /// The marker that was read or written when it was added.
    pub marker: MarkerId,
    /// The mount it was on when last good.
    pub place: FsPlace,
    /// Whether `registry/` or `export/` has been seen under it.
    pub had_registry: bool,
    /// The server's key that logins must meet.
    pub pinned_key: Option<HostKey>,
    /// Fingerprints given with the store, for the `strict` host key policy.
    pub given_fingerprints: Vec<String>,
}
