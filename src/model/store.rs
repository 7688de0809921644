//! A store: its definition, status and public inventory, a store to add, and changes of a
//! definition.

use std::num::NonZeroU16;

use super::{
    Capacity, HostKey, Hostname, ImageDir, MarkerId, MountLocation, SshAddress, SshCredentials,
    StoreUuid, Tags, ZoneUuid,
};
use crate::common::{Timestamp, string_enum};

/// The durable definition of a store and the known facts of its parts. Its secrets are sealed and
/// stored separately, and its health is the lifecycle's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The store.
    pub uuid: StoreUuid,
    /// The name; at most 255 characters.
    pub name: String,
    /// The description; at most 2048 characters.
    pub description: String,
    /// The directory of its images. It never changes.
    pub image_dir: ImageDir,
    /// The address that its SSH server listens on.
    pub address: SshAddress,
    /// The user that logs in; at most 255 characters.
    pub username: String,
    /// The administrator's switch.
    pub state: State,
    /// Zones that the store is attached to.
    pub zone_uuids: Vec<String>,
    /// The time at which it was added.
    pub created: Timestamp,
    /// The time of the last change of its definition.
    pub changed: Timestamp,
    /// The marker that was read or written when it was added.
    pub marker: MarkerId,
    /// The mount that contained it at the last good probe.
    pub mount: MountLocation,
    /// True if `registry/` or `export/` has been seen under it.
    pub had_registry: bool,
    /// The server key that logins must match.
    pub pinned_key: Option<HostKey>,
    /// Fingerprints given with the store. If there are any, the first host key that is pinned must
    /// have one of them.
    pub given_fingerprints: Vec<String>,
    /// The address that the stored secrets were given for. It differs from `address` if an update
    /// moved the store to another address of the server with the pinned key.
    pub credentials_address: SshAddress,
}

impl Store {
    /// Returns true if both definitions describe the same login.
    pub fn has_same_login(&self, other: &Self) -> bool {
        self.pinned_key == other.pinned_key && self.has_same_account(other)
    }

    /// Returns true if the secrets that were committed with this definition belong to the login of
    /// `observed`. The observed definition may have a first host key that is not committed yet.
    pub fn covers_login_of(&self, observed: &Self) -> bool {
        let has_same_key = self.pinned_key.is_none() || self.pinned_key == observed.pinned_key;
        has_same_key && self.has_same_account(observed)
    }

    fn has_same_account(&self, other: &Self) -> bool {
        self.address == other.address
            && self.username == other.username
            && self.given_fingerprints == other.given_fingerprints
            && self.credentials_address == other.credentials_address
    }
}

/// A store to add, lexically checked.
#[derive(Clone, Debug)]
pub struct AddStore {
    /// A version 1 to 5 uuid. The daemon chooses one if it is absent.
    pub uuid: Option<StoreUuid>,
    /// The name; 1 to 255 characters.
    pub name: String,
    /// The description; at most 2048 characters, and may be empty.
    pub description: String,
    /// The image directory, at or below an allowed root.
    pub image_dir: ImageDir,
    /// The address that the store's SSH server listens on.
    pub address: SshAddress,
    /// The user that logs in; 1 to 255 characters.
    pub username: String,
    /// A password, a private key, or both.
    pub credentials: SshCredentials,
    /// Fingerprints of which the first host key must have one. If the list is empty, the host key
    /// policy decides.
    pub given_fingerprints: Vec<String>,
    /// True if a directory of another node may be moved to this node.
    pub take_over: bool,
    /// True if the login is made although the server has rejected it too often.
    pub force: bool,
    /// The fields of the request that ask for something that the daemon does not do.
    pub without_effect: Vec<&'static str>,
    /// Tags of the first notice.
    pub tags: Tags,
}

/// Changes of a store's definition, lexically checked. A field that is `None` does not change.
#[derive(Clone, Debug, Default)]
pub struct StoreUpdate {
    /// The name; 1 to 255 characters.
    pub name: Option<String>,
    /// The description; at most 2048 characters.
    pub description: Option<String>,
    /// The address or name of the host of the store's SSH server.
    pub hostname: Option<Hostname>,
    /// The port that the store's SSH server listens on.
    pub port: Option<NonZeroU16>,
    /// The user that logs in; 1 to 255 characters.
    pub username: Option<String>,
    /// Credentials that replace all stored secrets.
    pub credentials: Option<SshCredentials>,
    /// Fingerprints that replace the given ones. An empty list changes nothing.
    pub given_fingerprints: Vec<String>,
    /// The `url` of the request. It is no change: it must be that of the store.
    pub given_url: Option<String>,
    /// True if the login is made although the server has rejected it too often. This changes
    /// nothing in the definition.
    pub force: bool,
    /// True if the caller may decide which host key is accepted.
    pub by_admin: bool,
    /// Tags of the attempt that follows.
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

/// A change of the part that a store has in the management node's choice of a place for images. It
/// concerns neither the login nor the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacementChange {
    /// Set the administrator's switch. The present state is not an error.
    State(State),
    /// Attach the store to a zone that it is not attached to.
    AttachZone(ZoneUuid),
    /// Detach the store from a zone that it is attached to.
    DetachZone(ZoneUuid),
}

string_enum! {
    /// A store's health (`BackupStorageStatus`).
    pub Status {
        /// An attempt is running.
        Connecting = "Connecting",
        /// The last attempt succeeded and no fault has disconnected the store since.
        Connected = "Connected",
        /// An attempt failed, or a fault disconnected the store.
        Disconnected = "Disconnected",
    }
}

string_enum! {
    /// The administrator's switch (`BackupStorageState`). It stops neither probes nor reconnects.
    pub State {
        /// New images may be placed here.
        Enabled = "Enabled",
        /// No new images may be placed here.
        Disabled = "Disabled",
    }
}

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

impl Inventory {
    /// The type of every store of the daemon, as ZStack names it.
    pub const TYPE: &'static str = "ImageStoreBackupStorage";
}
