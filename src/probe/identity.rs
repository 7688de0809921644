//! Identity check of an image directory. It runs before anything is written.

use super::marker::IdentityMarker;
use super::mount_check::{
    is_another_disk, mount_is_missing, not_mounted_fault, root_disk_fault, with_mount_details,
};
use super::types::{KnownStores, MarkerClaim, ProbeExpectation};
use super::worker::protocol::{MarkerState, MountState};
use crate::model::{Fault, MarkerId, MountLocation, NodeId, Reason, Remedy, StoreUuid};

/// Maximum number of characters that a fault quotes from an unreadable marker's error. A marker may
/// contain up to 4 KiB of arbitrary text.
const MAX_QUOTED_CHARS: usize = 200;

/// The observations and options that the identity check evaluates.
pub(super) struct IdentityInput<'a> {
    pub(super) node: NodeId,
    pub(super) allow_root_disk: bool,
    pub(crate) mount: &'a MountState,
    pub(crate) marker: &'a MarkerState,
    pub(crate) registry: bool,
}

/// Returns the identifier of the existing marker if the directory is the expected one.
///
/// # Errors
/// The most specific fault: a wrong disk comes before a missing marker, and a marker comes before
/// the other contents of the directory.
pub(super) fn check_identity(
    expectation: &ProbeExpectation,
    input: &IdentityInput<'_>,
) -> Result<Option<MarkerId>, Fault> {
    match expectation {
        ProbeExpectation::Serve { store, marker, place, had_registry, .. } => {
            check_existing(*store, *marker, place, *had_registry, input).map(Some)
        }
        ProbeExpectation::Add { store, known, take_over } => {
            let marker = ensure_markable(input)?;
            check_new(*store, known, *take_over, marker.as_ref(), input)?;
            Ok(marker.map(|marker| marker.id))
        }
        ProbeExpectation::Init => Ok(ensure_markable(input)?.map(|marker| marker.id)),
    }
}

/// Verifies that the directory is still the one that was examined, before its marker is written.
///
/// # Errors
/// `not_mounted` if the directory lies on another mount. Otherwise the fault of
/// [`concurrent_marker_fault`], such as `wrong_store` or `taken_over`, if the marker has changed
/// since the examination.
pub(super) fn ensure_unchanged(
    claim: &MarkerClaim,
    input: &IdentityInput<'_>,
) -> Result<(), Fault> {
    if !input.mount.to_location(None).is_same_mount(&claim.place) {
        return Err(not_mounted_fault(&claim.place, input.mount));
    }
    match input.marker.is_marker(claim.previous_marker.0.as_deref()) {
        true => Ok(()),
        false => Err(concurrent_marker_fault(input.node, input.marker, input.mount)),
    }
}

/// Returns the fault for a marker that is neither the one to be written nor the one before it. The
/// fault names the owner of that marker.
pub(super) fn concurrent_marker_fault(
    node: NodeId,
    marker: &MarkerState,
    mount: &MountState,
) -> Fault {
    let details = "another writer marked the directory while it was being added";
    let fault = match read_marker(marker) {
        Err(fault) => fault,
        Ok(None) => Fault::new(Reason::WrongStore, details),
        Ok(Some(marker)) => {
            let is_other_node = marker.owner.is_some_and(|(_, owner)| owner != node);
            let reason = if is_other_node { Reason::TakenOver } else { Reason::WrongStore };
            with_marker_details(Fault::new(reason, details), &marker)
        }
    };
    with_mount_details(fault, mount).with_remedy(Remedy::FindOtherAdd)
}

/// Adds the contents of the marker to a fault.
fn with_marker_details(fault: Fault, marker: &IdentityMarker) -> Fault {
    let fault = fault.with_detail("marker", marker.id.to_string());
    match marker.owner {
        Some((store, node)) => fault
            .with_detail("storeUuid", store.to_string())
            .with_detail("nodeId", node.to_string()),
        None => fault,
    }
}

fn check_existing(
    store: StoreUuid,
    expected: MarkerId,
    place: &MountLocation,
    had_registry: bool,
    input: &IdentityInput<'_>,
) -> Result<MarkerId, Fault> {
    let mount_missing = mount_is_missing(place, input.mount);
    let marker = match read_marker(input.marker) {
        Ok(Some(marker)) => marker,
        Ok(None)
            if mount_missing
                || input.mount.mount_point != place.mount_point
                || is_another_disk(place, input.mount) =>
        {
            return Err(not_mounted_fault(place, input.mount));
        }
        Ok(None) => {
            let details = "the directory has no .imagestore-agent/identity.json";
            return Err(with_mount_details(
                Fault::new(Reason::MarkerMissing, details),
                input.mount,
            ));
        }
        Err(fault) => return Err(with_mount_details(fault, input.mount)),
    };
    // A copy of the store that lies below the mount point is not the store. Its disk is missing.
    if mount_missing {
        return Err(not_mounted_fault(place, input.mount));
    }
    let marker_fault = |reason, details: String| {
        with_mount_details(with_marker_details(Fault::new(reason, details), &marker), input.mount)
            .with_detail("expectedMarker", expected.to_string())
    };
    match marker.owner {
        Some((_, node)) if node != input.node => {
            let details = format!("the marker names node {node}, but this node is {}", input.node);
            Err(marker_fault(Reason::TakenOver, details))
        }
        Some((other, _)) if other != store => {
            Err(marker_fault(Reason::WrongStore, format!("the marker names store {other}")))
        }
        None => Err(marker_fault(Reason::WrongStore, "the marker names no store".to_owned())),
        Some(_) if marker.id != expected => Err(marker_fault(
            Reason::WrongStore,
            "the marker names this store but has another id".to_owned(),
        )),
        Some(_) if had_registry && !input.registry => {
            let details =
                "the directory contained registry/ or export/ before and contains neither now";
            Err(with_mount_details(Fault::new(Reason::RegistryMissing, details), input.mount))
        }
        Some(_) => Ok(marker.id),
    }
}

/// Checks the conditions for every directory that gets a marker. Returns the existing marker.
fn ensure_markable(input: &IdentityInput<'_>) -> Result<Option<IdentityMarker>, Fault> {
    if !input.allow_root_disk
        && let Some(fault) = root_disk_fault(input.mount)
    {
        return Err(fault);
    }
    read_marker(input.marker).map_err(|fault| with_mount_details(fault, input.mount))
}

fn check_new(
    store: StoreUuid,
    known: &KnownStores,
    take_over: bool,
    marker: Option<&IdentityMarker>,
    input: &IdentityInput<'_>,
) -> Result<(), Fault> {
    match marker.and_then(|marker| marker.owner) {
        Some((other, _)) if other != store && known.contains(other) => {
            let details = format!("the directory belongs to store {other} of this daemon");
            let fault =
                Fault::new(Reason::WrongStore, details).with_detail("storeUuid", other.to_string());
            Err(with_mount_details(fault, input.mount))
        }
        Some((other, node)) if node != input.node && !take_over => {
            let details = format!("the directory belongs to store {other} of node {node}");
            let fault = Fault::new(Reason::TakenOver, details)
                .with_detail("storeUuid", other.to_string())
                .with_detail("nodeId", node.to_string());
            Err(with_mount_details(fault, input.mount))
        }
        // The owner is `None` after `init`. Otherwise the store was removed, or its ledger was
        // lost.
        _ => Ok(()),
    }
}

fn read_marker(state: &MarkerState) -> Result<Option<IdentityMarker>, Fault> {
    let unreadable = |why: &str| {
        let why: String = why.chars().take(MAX_QUOTED_CHARS).collect();
        let details = format!(".imagestore-agent/identity.json cannot be read: {why}");
        Fault::new(Reason::MarkerUnreadable, details)
    };
    match state {
        MarkerState::Nothing => Ok(None),
        MarkerState::Text(text) => {
            IdentityMarker::parse_marker(text).map(Some).map_err(|why| unreadable(&why))
        }
        MarkerState::Unreadable(why) => Err(unreadable(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::Timestamp;
    use crate::probe::root_disk::RootRelation;

    const ME: NodeId = NodeId::from_u128(1);
    const OTHER: NodeId = NodeId::from_u128(2);
    const STORE: StoreUuid = StoreUuid::from_u128(10);
    const REMOVED: StoreUuid = StoreUuid::from_u128(11);
    const SERVED: StoreUuid = StoreUuid::from_u128(12);
    const MARKER: MarkerId = MarkerId::from_u128(20);

    fn mount(mount_point: &str, on_root_disk: bool) -> MountState {
        mounted("8:1", mount_point, on_root_disk)
    }

    fn mounted(device: &str, mount_point: &str, on_root_disk: bool) -> MountState {
        MountState {
            mount_point: mount_point.to_owned(),
            fs_type: "xfs".to_owned(),
            device: device.to_owned(),
            folder: None,
            root_relation: match on_root_disk {
                true => RootRelation::RootDevice,
                false => RootRelation::Separate,
            },
            superblock_read_only: false,
        }
    }

    fn text(owner: Option<(StoreUuid, NodeId)>) -> MarkerState {
        MarkerState::Text(IdentityMarker { id: MARKER, owner }.to_text(Timestamp(0)))
    }

    fn bad() -> MarkerState {
        MarkerState::Unreadable("it is a symbolic link".to_owned())
    }

    fn outcome(result: Result<Option<MarkerId>, Fault>) -> Result<Option<MarkerId>, Reason> {
        result.map_err(|fault| fault.reason())
    }

    fn serve(
        marker: &MarkerState,
        mount: &MountState,
        registry: bool,
    ) -> Result<Option<MarkerId>, Reason> {
        let place = MountLocation {
            mount_point: "/srv/disk".to_owned(),
            fs_type: "xfs".to_owned(),
            device: "7:7".to_owned(),
            on_root_disk: false,
            part: None,
            quota_folder: None,
        };
        let expectation = ProbeExpectation::Serve {
            store: STORE,
            marker: MARKER,
            place,
            had_registry: true,
            write: true,
        };
        let input = IdentityInput { node: ME, allow_root_disk: true, mount, marker, registry };
        outcome(check_identity(&expectation, &input))
    }

    #[test]
    fn a_served_directory_is_what_it_was() {
        let (srv, above) = (mount("/srv/disk", false), mount("/srv", false));
        let (root, other) = (mount("/", true), mount("/mnt", false));
        let same = mounted("7:7", "/srv/disk", false);
        let mine = text(Some((STORE, ME)));
        for (marker, mount, registry, expected) in [
            // The device number differs from the last good one: fine while the marker stays.
            (&mine, &srv, true, Ok(Some(MARKER))),
            (&mine, &other, true, Ok(Some(MARKER))),
            (&mine, &srv, false, Err(Reason::RegistryMissing)),
            (&mine, &root, true, Err(Reason::NotMounted)),
            (&mine, &above, true, Err(Reason::NotMounted)),
            (&MarkerState::Nothing, &root, true, Err(Reason::NotMounted)),
            (&MarkerState::Nothing, &other, true, Err(Reason::NotMounted)),
            (&MarkerState::Nothing, &srv, true, Err(Reason::NotMounted)),
            (&MarkerState::Nothing, &same, true, Err(Reason::MarkerMissing)),
            (&bad(), &srv, true, Err(Reason::MarkerUnreadable)),
            (&text(Some((STORE, OTHER))), &srv, true, Err(Reason::TakenOver)),
            (&text(Some((SERVED, ME))), &srv, true, Err(Reason::WrongStore)),
            (&text(None), &srv, true, Err(Reason::WrongStore)),
        ] {
            assert_eq!(serve(marker, mount, registry), expected, "{marker:?} {mount:?}");
        }
    }

    fn add(marker: &MarkerState, take_over: bool) -> Result<Option<MarkerId>, Reason> {
        let known = KnownStores::new(|store| store == SERVED);
        let expectation = ProbeExpectation::Add { store: STORE, known, take_over };
        let mount = mount("/srv", false);
        let input = IdentityInput {
            node: ME,
            allow_root_disk: false,
            mount: &mount,
            marker,
            registry: false,
        };
        outcome(check_identity(&expectation, &input))
    }

    #[test]
    fn an_add_adopts_a_directory_without_an_active_owner() {
        for (marker, take_over, expected) in [
            (MarkerState::Nothing, false, Ok(None)),
            (text(None), false, Ok(Some(MARKER))),
            (text(Some((REMOVED, ME))), false, Ok(Some(MARKER))),
            (text(Some((STORE, ME))), false, Ok(Some(MARKER))),
            (text(Some((SERVED, ME))), false, Err(Reason::WrongStore)),
            (text(Some((SERVED, ME))), true, Err(Reason::WrongStore)),
            // Another node took a store of this ledger over: not to be added as a second one.
            (text(Some((SERVED, OTHER))), true, Err(Reason::WrongStore)),
            (text(Some((REMOVED, OTHER))), false, Err(Reason::TakenOver)),
            (text(Some((REMOVED, OTHER))), true, Ok(Some(MARKER))),
            (bad(), true, Err(Reason::MarkerUnreadable)),
        ] {
            assert_eq!(add(&marker, take_over), expected, "{marker:?} {take_over}");
        }
    }

    #[test]
    fn the_root_disk_needs_the_option() {
        let mount = mount("/", true);
        for (allow_root_disk, expected) in [(false, Err(Reason::OnRootDisk)), (true, Ok(None))] {
            for expectation in [
                ProbeExpectation::Init,
                ProbeExpectation::Add {
                    store: STORE,
                    known: KnownStores::new(|_| false),
                    take_over: true,
                },
            ] {
                let marker = &MarkerState::Nothing;
                let input = IdentityInput {
                    node: ME,
                    allow_root_disk,
                    mount: &mount,
                    marker,
                    registry: true,
                };
                assert_eq!(outcome(check_identity(&expectation, &input)), expected);
            }
        }
    }
}
