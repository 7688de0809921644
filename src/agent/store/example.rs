//! The store that the tests of this folder begin with.

use crate::common::Timestamp;
use crate::model::{ImageDir, MarkerId, MountLocation, SshAddress, State, Store, StoreUuid};

/// Creates a store that is enabled, in no zone, and whose host key is not known yet.
pub(super) fn example_store() -> Store {
    let address = SshAddress { hostname: "node".parse().unwrap(), port: std::num::NonZeroU16::MIN };
    Store {
        uuid: StoreUuid::from_u128(1),
        name: "images".into(),
        description: String::new(),
        image_dir: ImageDir::parse("/srv/images").unwrap(),
        address: address.clone(),
        username: "root".into(),
        state: State::Enabled,
        zone_uuids: Vec::new(),
        created: Timestamp(1),
        changed: Timestamp(1),
        marker: MarkerId::from_u128(2),
        mount: MountLocation {
            mount_point: "/srv/images".into(),
            fs_type: "xfs".into(),
            device: "8:1".into(),
            on_root_disk: false,
            part: None,
            quota_folder: None,
        },
        had_registry: true,
        pinned_key: None,
        given_fingerprints: Vec::new(),
        credentials_address: address,
    }
}
