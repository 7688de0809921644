//! What is worth a person's attention about a store, and the room of several stores. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StoreView;
use crate::model::{Capacity, Condition, MarkerThere, Proof, StoreUuid, Timestamp};
use crate::probe::marker_path;

/// A condition that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advisory {
    /// Which.
    pub condition: Condition,
    /// What was seen, for a person.
    pub message: String,
    /// Since when; none where that is not known.
    pub since: Option<Timestamp>,
}

/// Which stores lie on which filesystem; made once for all stores that are looked at.
pub struct Sharing<'a>(BTreeMap<&'a str, Vec<StoreUuid>>);

impl<'a> Sharing<'a> {
    /// As the stores were when last good.
    pub fn of(all: &'a [Arc<StoreView>]) -> Self {
        let mut by_device: BTreeMap<&str, Vec<StoreUuid>> = BTreeMap::new();
        for view in all {
            by_device.entry(&view.store.place.device).or_default().push(view.store.uuid);
        }
        Self(by_device)
    }

    /// The other stores on the filesystem of this one.
    fn with(&self, view: &StoreView) -> Vec<StoreUuid> {
        let all = self.0.get(view.store.place.device.as_str()).into_iter().flatten().copied();
        all.filter(|uuid| *uuid != view.store.uuid).collect()
    }
}

/// The conditions of a store that its probes decide, and those that follow from the other stores.
pub fn advisories(view: &StoreView, sharing: &Sharing<'_>) -> Vec<Advisory> {
    let unverified = view.checks.examine.last.is_none().then(|| Advisory {
        condition: Condition::Unverified,
        message: "not probed since the daemon started".to_owned(),
        since: None,
    });
    let decided = view.standing.conditions.iter().map(|(&condition, &since)| Advisory {
        condition,
        message: message(condition, view),
        since: Some(since),
    });
    let others = sharing.with(view);
    let shared = (!others.is_empty()).then(|| Advisory {
        condition: Condition::SharedFilesystem,
        message: format!("on one filesystem with {}", listed(&others)),
        since: None,
    });
    unverified.into_iter().chain(decided).chain(shared).collect()
}

fn listed(stores: &[StoreUuid]) -> String {
    stores.iter().map(StoreUuid::to_string).collect::<Vec<_>>().join(", ")
}

fn message(condition: Condition, view: &StoreView) -> String {
    let capacity = view.standing.capacity.map_or_else(String::new, |capacity| {
        format!("{} of {} bytes available", capacity.available(), capacity.total())
    });
    match condition {
        Condition::NearFull | Condition::Full => capacity,
        Condition::InodesFull => view.standing.inodes.map_or_else(
            || "a write found no inode".to_owned(),
            |inodes| format!("{} of {} inodes available", inodes.available, inodes.total),
        ),
        Condition::QuotaExceeded => "a write met a quota (EDQUOT)".to_owned(),
        Condition::SlowProbe => {
            format!("the last probe took {} ms", view.checks.examine.took.as_millis())
        }
        Condition::ProofUnavailable => match &view.proof {
            Some(Proof::Unavailable(unproven)) => unproven.details.clone(),
            _ => "not asked again since the daemon started".to_owned(),
        },
        Condition::StaleNamespace => outside(view),
        other => other.to_string(),
    }
}

/// What the host shows where this daemon sees the store.
fn outside(view: &StoreView) -> String {
    let Some(Proof::Shown { marker: Some(seen), .. }) = &view.proof else {
        return "the newest login could not tell".to_owned();
    };
    let shows = match seen {
        MarkerThere::Missing => "has nothing any more where this daemon sees the store's marker",
        MarkerThere::Another => "has another store's marker where this daemon sees this one's",
        MarkerThere::Same => "reads the store's marker where this daemon cannot",
        MarkerThere::Hidden | MarkerThere::Silent => "did not show its marker when last asked",
    };
    format!("the host {shows}: {}", marker_path(&view.store.image_dir))
}

/// The room of several stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Filesystems that were counted.
    pub filesystems: usize,
    /// Bytes in all.
    pub total: u64,
    /// Bytes available in all.
    pub available: u64,
}

/// Adds the room up, each filesystem once: of several stores on one, the newest look counts.
pub fn room(all: &[Arc<StoreView>]) -> Room {
    let mut by_device: BTreeMap<&str, (Option<Timestamp>, Capacity)> = BTreeMap::new();
    for view in all {
        let Some(capacity) = view.standing.capacity else { continue };
        let seen = (view.checks.examine.last_good, capacity);
        let newest = by_device.entry(view.store.place.device.as_str()).or_insert(seen);
        if seen.0 > newest.0 {
            *newest = seen;
        }
    }
    by_device.values().fold(Room::default(), |room, (_, capacity)| Room {
        filesystems: room.filesystems + 1,
        total: room.total.saturating_add(capacity.total()),
        available: room.available.saturating_add(capacity.available()),
    })
}
