//! Stored forms of store definitions.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{DecodeError, Persist, as_text, invalid};
use crate::common::Timestamp;
use crate::model::{
    HostKey, Hostname, ImageDir, MarkerId, MountLocation, MountedPart, SshAddress, State, Store,
    StoreUuid,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ledger) struct StoredStore {
    #[serde(with = "as_text")]
    uuid: StoreUuid,
    name: String,
    description: String,
    image_dir: String,
    #[serde(with = "as_text")]
    hostname: Hostname,
    port: NonZeroU16,
    username: String,
    #[serde(with = "as_text")]
    state: State,
    zone_uuids: Vec<String>,
    created: i64,
    changed: i64,
    #[serde(with = "as_text")]
    marker: MarkerId,
    place: StoredMount,
    had_registry: bool,
    pinned_key: Option<StoredHostKey>,
    given_fingerprints: Vec<String>,
    /// Absent if the secrets were given for the address of the store. Ledgers of version 0.1 have
    /// no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credentials_address: Option<StoredAddress>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredAddress {
    #[serde(with = "as_text")]
    hostname: Hostname,
    port: NonZeroU16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ledger) struct StoredMount {
    mount_point: String,
    fs_type: String,
    device: String,
    on_root_disk: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<StoredPart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quota_folder: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredPart {
    Whole,
    Folder(String),
}

impl StoredMount {
    pub(crate) fn from_mount(place: &MountLocation) -> Self {
        let MountLocation { mount_point, fs_type, device, on_root_disk, part, quota_folder } =
            place.clone();
        let part = part.map(|part| match part {
            MountedPart::Whole => StoredPart::Whole,
            MountedPart::Folder(folder) => StoredPart::Folder(folder),
        });
        Self { mount_point, fs_type, device, on_root_disk, part, quota_folder }
    }

    pub(super) fn into_mount(self) -> MountLocation {
        let Self { mount_point, fs_type, device, on_root_disk, part, quota_folder } = self;
        let part = part.map(|part| match part {
            StoredPart::Whole => MountedPart::Whole,
            StoredPart::Folder(folder) => MountedPart::Folder(folder),
        });
        MountLocation { mount_point, fs_type, device, on_root_disk, part, quota_folder }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredHostKey {
    algorithm: String,
    blob: String,
    fingerprint: String,
}

impl Persist for MountLocation {
    type Form = StoredMount;

    fn to_form(&self) -> StoredMount {
        StoredMount::from_mount(self)
    }

    fn from_form(form: StoredMount) -> Result<Self, DecodeError> {
        Ok(form.into_mount())
    }
}

impl Persist for Store {
    type Form = StoredStore;

    fn to_form(&self) -> StoredStore {
        let key = |HostKey { algorithm, blob, fingerprint }| StoredHostKey {
            algorithm,
            blob,
            fingerprint,
        };
        StoredStore {
            uuid: self.uuid,
            name: self.name.clone(),
            description: self.description.clone(),
            image_dir: self.image_dir.as_str().to_owned(),
            hostname: self.address.hostname.clone(),
            port: self.address.port,
            username: self.username.clone(),
            state: self.state,
            zone_uuids: self.zone_uuids.clone(),
            created: self.created.0,
            changed: self.changed.0,
            marker: self.marker,
            place: StoredMount::from_mount(&self.mount),
            had_registry: self.had_registry,
            pinned_key: self.pinned_key.clone().map(key),
            given_fingerprints: self.given_fingerprints.clone(),
            credentials_address: (self.credentials_address != self.address).then(|| {
                let SshAddress { hostname, port } = self.credentials_address.clone();
                StoredAddress { hostname, port }
            }),
        }
    }

    fn from_form(form: StoredStore) -> Result<Self, DecodeError> {
        let key = |StoredHostKey { algorithm, blob, fingerprint }| HostKey {
            algorithm,
            blob,
            fingerprint,
        };
        let address = SshAddress { hostname: form.hostname, port: form.port };
        let credentials_address = form.credentials_address.map_or_else(
            || address.clone(),
            |given| SshAddress { hostname: given.hostname, port: given.port },
        );
        Ok(Self {
            uuid: form.uuid,
            name: form.name,
            description: form.description,
            image_dir: ImageDir::parse(&form.image_dir).map_err(invalid)?,
            address,
            username: form.username,
            state: form.state,
            zone_uuids: form.zone_uuids,
            created: Timestamp(form.created),
            changed: Timestamp(form.changed),
            marker: form.marker,
            mount: form.place.into_mount(),
            had_registry: form.had_registry,
            pinned_key: form.pinned_key.map(key),
            given_fingerprints: form.given_fingerprints,
            credentials_address,
        })
    }
}
