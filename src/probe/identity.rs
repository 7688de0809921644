//! Whose directory this is: judged before anything is written.

use std::collections::BTreeSet;

use super::marker::Marker;
use super::mount_check::{is_another_disk, not_mounted, placed, shows_through};
use super::purpose::Purpose;
use super::types::Claim;
use super::worker::protocol::{MarkerSeen, MountSeen};
use crate::model::{Fault, MarkerId, MountLocation, NodeId, Reason, StoreUuid};

/// Most characters that a fault quotes of what is wrong with a marker: one may be 4 KiB of anything.
const MOST_QUOTED: usize = 200;

/// What is judged.
pub(super) struct Seen<'a> {
    pub(super) node: NodeId,
    pub(super) allow_root_disk: bool,
    pub(crate) mount: &'a MountSeen,
    pub(crate) marker: &'a MarkerSeen,
    pub(crate) registry: bool,
}

/// The marker that is there, if the directory is what it should be.
///
/// # Errors
/// The fault with the most telling reason: a wrong disk before a missing marker, a marker before what
/// lies around it.
pub(super) fn judge(purpose: &Purpose, seen: &Seen<'_>) -> Result<Option<MarkerId>, Fault> {
    match purpose {
        Purpose::Serve { store, marker, place, had_registry, .. } => {
            serve(*store, *marker, place, *had_registry, seen).map(Some)
        }
        Purpose::Add { store, known, take_over } => {
            let marker = free_to_mark(seen)?;
            adopt(*store, known, *take_over, marker.as_ref(), seen)?;
            Ok(marker.map(|marker| marker.id))
        }
        Purpose::Init => Ok(free_to_mark(seen)?.map(|marker| marker.id)),
    }
}

/// Whether the directory is still the one that was examined, before it gets its marker.
///
/// # Errors
/// `not_mounted` when it lies elsewhere, `wrong_store` or `taken_over` when somebody has marked it since.
pub(super) fn unchanged(claim: &Claim, seen: &Seen<'_>) -> Result<(), Fault> {
    if seen.mount.place() != claim.place {
        return Err(not_mounted(&claim.place, seen.mount));
    }
    match seen.marker.is(claim.before.0.as_deref()) {
        true => Ok(()),
        false => Err(marked_meanwhile(seen.node, seen.marker, seen.mount)),
    }
}

/// The marker that is there is neither ours nor the one that was there before: whose it is.
pub(super) fn marked_meanwhile(node: NodeId, marker: &MarkerSeen, mount: &MountSeen) -> Fault {
    let told = "the directory was marked by somebody else while it was being added";
    let fault = match read(marker) {
        Err(fault) => fault,
        Ok(None) => Fault::new(Reason::WrongStore, told),
        Ok(Some(marker)) => {
            let others = marker.owner.is_some_and(|(_, owner)| owner != node);
            let reason = if others { Reason::TakenOver } else { Reason::WrongStore };
            named(Fault::new(reason, told), &marker)
        }
    };
    placed(fault, mount).with_remedy("find out who else adds this directory, then add it again")
}

/// A fault with what the marker says.
fn named(fault: Fault, marker: &Marker) -> Fault {
    let fault = fault.with_detail("marker", marker.id.to_string());
    match marker.owner {
        Some((store, node)) => fault
            .with_detail("storeUuid", store.to_string())
            .with_detail("nodeId", node.to_string()),
        None => fault,
    }
}

fn serve(
    store: StoreUuid,
    expected: MarkerId,
    place: &MountLocation,
    had_registry: bool,
    seen: &Seen<'_>,
) -> Result<MarkerId, Fault> {
    let uncovered = shows_through(place, seen.mount);
    let marker = match read(seen.marker) {
        Ok(Some(marker)) => marker,
        Ok(None)
            if uncovered
                || seen.mount.mount_point != place.mount_point
                || is_another_disk(place, seen.mount) =>
        {
            return Err(not_mounted(place, seen.mount));
        }
        Ok(None) => {
            let told = "the directory has no .imagestore-agent/identity.json";
            return Err(placed(Fault::new(Reason::MarkerMissing, told), seen.mount));
        }
        Err(fault) => return Err(placed(fault, seen.mount)),
    };
    // A copy of a store below the mount point is not the store: its disk has gone missing.
    if uncovered {
        return Err(not_mounted(place, seen.mount));
    }
    let found = |reason, told: String| {
        placed(named(Fault::new(reason, told), &marker), seen.mount)
            .with_detail("expectedMarker", expected.to_string())
    };
    match marker.owner {
        Some((_, node)) if node != seen.node => {
            let told = format!("the marker names node {node}, this is node {}", seen.node);
            Err(found(Reason::TakenOver, told))
        }
        Some((other, _)) if other != store => {
            Err(found(Reason::WrongStore, format!("the marker names store {other}")))
        }
        None => Err(found(Reason::WrongStore, "the marker names no store".to_owned())),
        Some(_) if marker.id != expected => {
            Err(found(Reason::WrongStore, "the marker is another one of this store".to_owned()))
        }
        Some(_) if had_registry && !seen.registry => {
            let told = "the directory had registry/ or export/ and has neither now";
            Err(placed(Fault::new(Reason::RegistryMissing, told), seen.mount))
        }
        Some(_) => Ok(marker.id),
    }
}

/// What holds for a directory that gets a marker, whoever writes it.
fn free_to_mark(seen: &Seen<'_>) -> Result<Option<Marker>, Fault> {
    if seen.mount.on_root_disk && !seen.allow_root_disk {
        let told = "the directory lies on the root filesystem";
        return Err(placed(Fault::new(Reason::OnRootDisk, told), seen.mount));
    }
    read(seen.marker).map_err(|fault| placed(fault, seen.mount))
}

fn adopt(
    store: StoreUuid,
    known: &BTreeSet<StoreUuid>,
    take_over: bool,
    marker: Option<&Marker>,
    seen: &Seen<'_>,
) -> Result<(), Fault> {
    match marker.and_then(|marker| marker.owner) {
        Some((other, _)) if other != store && known.contains(&other) => {
            let told = format!("the directory belongs to store {other} of this daemon");
            let fault =
                Fault::new(Reason::WrongStore, told).with_detail("storeUuid", other.to_string());
            Err(placed(fault, seen.mount))
        }
        Some((other, node)) if node != seen.node && !take_over => {
            let told = format!("the directory belongs to store {other} of node {node}");
            let fault = Fault::new(Reason::TakenOver, told)
                .with_detail("storeUuid", other.to_string())
                .with_detail("nodeId", node.to_string());
            Err(placed(fault, seen.mount))
        }
        // None after `init`; otherwise a store that was removed, or whose ledger was lost.
        _ => Ok(()),
    }
}

fn read(seen: &MarkerSeen) -> Result<Option<Marker>, Fault> {
    let unreadable = |why: &str| {
        let why: String = why.chars().take(MOST_QUOTED).collect();
        let told = format!(".imagestore-agent/identity.json cannot be read: {why}");
        Fault::new(Reason::MarkerUnreadable, told)
    };
    match seen {
        MarkerSeen::Nothing => Ok(None),
        MarkerSeen::Text(text) => Marker::parse(text).map(Some).map_err(|why| unreadable(&why)),
        MarkerSeen::Unreadable(why) => Err(unreadable(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::Timestamp;

    const ME: NodeId = NodeId::from_u128(1);
    const OTHER: NodeId = NodeId::from_u128(2);
    const STORE: StoreUuid = StoreUuid::from_u128(10);
    const REMOVED: StoreUuid = StoreUuid::from_u128(11);
    const SERVED: StoreUuid = StoreUuid::from_u128(12);
    const MARKER: MarkerId = MarkerId::from_u128(20);

    fn mount(mount_point: &str, on_root_disk: bool) -> MountSeen {
        mounted("8:1", mount_point, on_root_disk)
    }

    fn mounted(device: &str, mount_point: &str, on_root_disk: bool) -> MountSeen {
        MountSeen {
            mount_point: mount_point.to_owned(),
            fs_type: "xfs".to_owned(),
            device: device.to_owned(),
            on_root_disk,
            mount_read_only: false,
            superblock_read_only: false,
        }
    }

    fn text(owner: Option<(StoreUuid, NodeId)>) -> MarkerSeen {
        MarkerSeen::Text(Marker { id: MARKER, owner }.text(Timestamp(0)))
    }

    fn bad() -> MarkerSeen {
        MarkerSeen::Unreadable("it is a symbolic link".to_owned())
    }

    fn outcome(result: Result<Option<MarkerId>, Fault>) -> Result<Option<MarkerId>, Reason> {
        result.map_err(|fault| fault.reason())
    }

    fn serve(
        marker: &MarkerSeen,
        mount: &MountSeen,
        registry: bool,
    ) -> Result<Option<MarkerId>, Reason> {
        let place = MountLocation {
            mount_point: "/srv/disk".to_owned(),
            fs_type: "xfs".to_owned(),
            device: "7:7".to_owned(),
            on_root_disk: false,
        };
        let purpose =
            Purpose::Serve { store: STORE, marker: MARKER, place, had_registry: true, write: true };
        let seen = Seen { node: ME, allow_root_disk: true, mount, marker, registry };
        outcome(judge(&purpose, &seen))
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
            (&MarkerSeen::Nothing, &root, true, Err(Reason::NotMounted)),
            (&MarkerSeen::Nothing, &other, true, Err(Reason::NotMounted)),
            (&MarkerSeen::Nothing, &srv, true, Err(Reason::NotMounted)),
            (&MarkerSeen::Nothing, &same, true, Err(Reason::MarkerMissing)),
            (&bad(), &srv, true, Err(Reason::MarkerUnreadable)),
            (&text(Some((STORE, OTHER))), &srv, true, Err(Reason::TakenOver)),
            (&text(Some((SERVED, ME))), &srv, true, Err(Reason::WrongStore)),
            (&text(None), &srv, true, Err(Reason::WrongStore)),
        ] {
            assert_eq!(serve(marker, mount, registry), expected, "{marker:?} {mount:?}");
        }
    }

    fn add(marker: &MarkerSeen, take_over: bool) -> Result<Option<MarkerId>, Reason> {
        let purpose = Purpose::Add { store: STORE, known: [SERVED].into(), take_over };
        let mount = mount("/srv", false);
        let seen =
            Seen { node: ME, allow_root_disk: false, mount: &mount, marker, registry: false };
        outcome(judge(&purpose, &seen))
    }

    #[test]
    fn an_add_adopts_what_nobody_serves() {
        for (marker, take_over, expected) in [
            (MarkerSeen::Nothing, false, Ok(None)),
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
    fn the_root_disk_must_be_meant() {
        let mount = mount("/", true);
        for (allow_root_disk, expected) in [(false, Err(Reason::OnRootDisk)), (true, Ok(None))] {
            for purpose in [
                Purpose::Init,
                Purpose::Add { store: STORE, known: BTreeSet::new(), take_over: true },
            ] {
                let marker = &MarkerSeen::Nothing;
                let seen =
                    Seen { node: ME, allow_root_disk, mount: &mount, marker, registry: true };
                assert_eq!(outcome(judge(&purpose, &seen)), expected);
            }
        }
    }
}
