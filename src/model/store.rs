//! A store as it was defined, without its health; a store to add; and a change of a definition.

use std::num::NonZeroU16;

use super::{
    HostKey, Hostname, ImageDir, MarkerId, MountLocation, SshAddress, SshCredentials, State,
    StoreUuid, Tags,
};
use crate::common::Timestamp;

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
    pub mount: MountLocation,
    /// Whether `registry/` or `export/` has been seen under it.
    pub had_registry: bool,
    /// The server's key that logins must meet.
    pub pinned_key: Option<HostKey>,
    /// Fingerprints given with the store, for the `strict` host key policy.
    pub given_fingerprints: Vec<String>,
}

/// A store to add, lexically checked.
#[derive(Clone, Debug)]
pub struct AddStore {
    /// A version 1 to 5 uuid. The daemon chooses one if it is absent.
    pub uuid: Option<StoreUuid>,
    /// 1 to 255 characters.
    pub name: String,
    /// At most 2048 characters; may be empty.
    pub description: String,
    /// At or below an allowed root.
    pub image_dir: ImageDir,
    /// The address that the store's SSH server listens on.
    pub address: SshAddress,
    /// The user that logs in; 1 to 255 characters.
    pub username: String,
    /// A password, a private key, or both.
    pub credentials: SshCredentials,
    /// Fingerprints of which the host key must have one; empty if any key is accepted.
    pub given_fingerprints: Vec<String>,
    /// Whether a directory of another node may be moved to this node.
    pub take_over: bool,
    /// Whether to log in although the server has rejected this login too often.
    pub force: bool,
    /// The first notice carries them.
    pub tags: Tags,
}

/// Changes of a store's definition, lexically checked. A field that is `None` does not change.
#[derive(Clone, Debug, Default)]
pub struct StoreUpdate {
    /// 1 to 255 characters.
    pub name: Option<String>,
    /// At most 2048 characters.
    pub description: Option<String>,
    /// The address or name of the host of the store's SSH server.
    pub hostname: Option<Hostname>,
    /// The port that the store's SSH server listens on.
    pub port: Option<NonZeroU16>,
    /// The user that logs in; 1 to 255 characters.
    pub username: Option<String>,
    /// Replaces all stored secrets.
    pub credentials: Option<SshCredentials>,
    /// Replaces the given fingerprints; empty if they do not change.
    pub given_fingerprints: Vec<String>,
    /// Whether to log in although the server has rejected this login too often. This changes nothing
    /// of the definition.
    pub force: bool,
    /// The attempt that follows carries them.
    pub tags: Tags,
}

impl StoreUpdate {
    /// Returns the names of the fields that change. The API and the history use these names.
    pub fn changed_fields(&self) -> Vec<&'static str> {
        let secrets = self.credentials.as_ref();
        let fields = [
            ("name", self.name.is_some()),
            ("description", self.description.is_some()),
            ("hostname", self.hostname.is_some()),
            ("sshPort", self.port.is_some()),
            ("username", self.username.is_some()),
            ("password", secrets.is_some_and(|secrets| secrets.password.is_some())),
            ("privateKey", secrets.is_some_and(|secrets| secrets.private_key.is_some())),
            ("hostKeyFingerprint", !self.given_fingerprints.is_empty()),
        ];
        fields.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }

    /// Returns true if anything but the name and the description changes.
    pub fn changes_login(&self) -> bool {
        self.hostname.is_some()
            || self.port.is_some()
            || self.username.is_some()
            || self.credentials.is_some()
            || !self.given_fingerprints.is_empty()
    }
}
