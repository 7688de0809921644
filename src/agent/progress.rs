//! The phases of the running attempt of a store, for those who watch it. They are kept in memory,
//! and only as long as the attempt.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::StoreSnapshot;
use crate::common::{PhaseEnd, PhaseObserver};

/// Maximum number of phases of an attempt. It has nine, and a commit that fails is repeated.
const MAX_PHASES: usize = 32;

/// The phases of an attempt that have ended, in the order of their ends.
pub type EndedPhases = watch::Receiver<Vec<PhaseEnd>>;

/// The record of the phases of one attempt. The attempt is over when all copies are dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct AttemptProgress(Arc<watch::Sender<Vec<PhaseEnd>>>);

impl AttemptProgress {
    /// Returns the observer that adds the phases of the attempt, and passes them on.
    pub(crate) fn observer(&self, next: PhaseObserver) -> PhaseObserver {
        let record = self.clone();
        Arc::new(move |end| {
            record.add(end);
            next(end);
        })
    }

    fn add(&self, end: PhaseEnd) {
        self.0.send_if_modified(|ended| {
            let has_room = ended.len() < MAX_PHASES;
            if has_room {
                ended.push(end);
            }
            has_room
        });
    }

    /// Adds the commit of the result.
    pub(crate) fn add_commit<T, E>(&self, took: Duration, committed: &Result<T, E>) {
        self.add(PhaseEnd { phase: "commit", took, failed: committed.is_err() });
    }

    pub(crate) fn ended_phases(&self) -> EndedPhases {
        self.0.subscribe()
    }
}

/// News of the attempts of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptNews {
    /// A phase has ended.
    Phase(PhaseEnd),
    /// The attempt is over.
    Over,
}

/// Watches the attempts of one store, beginning with the running one and its phases so far.
#[derive(Debug)]
pub struct AttemptWatch {
    snapshots: watch::Receiver<Arc<StoreSnapshot>>,
    /// The attempt that is watched, or the last one.
    attempt: Option<EndedPhases>,
    /// The number of its phases that were returned.
    returned: usize,
    is_over: bool,
}

impl AttemptWatch {
    /// Creates the watch of the store with these snapshots.
    pub fn new(mut snapshots: watch::Receiver<Arc<StoreSnapshot>>) -> Self {
        let attempt = snapshots.borrow_and_update().phases.clone();
        let is_over = attempt.is_none();
        Self { snapshots, attempt, returned: 0, is_over }
    }

    /// Returns the phases so far of the running attempt, or `None` if none runs.
    pub fn running_phases(&self) -> Option<Vec<PhaseEnd>> {
        self.attempt.as_ref().filter(|_| !self.is_over).map(|phases| phases.borrow().clone())
    }

    /// Waits for the next news. Returns `None` once the store is removed, or the daemon stops.
    ///
    /// # Cancel safety
    /// No news is lost.
    pub async fn next_news(&mut self) -> Option<AttemptNews> {
        loop {
            match &mut self.attempt {
                Some(phases) if !self.is_over => {
                    let next = phases.borrow_and_update().get(self.returned).copied();
                    if let Some(end) = next {
                        self.returned = self.returned.saturating_add(1);
                        return Some(AttemptNews::Phase(end));
                    }
                    // Phases that were added before the end are seen before it.
                    if phases.changed().await.is_err() {
                        self.is_over = true;
                        return Some(AttemptNews::Over);
                    }
                }
                last => {
                    let running = self.snapshots.borrow_and_update().phases.clone();
                    let is_last = |running: &EndedPhases| {
                        last.as_ref().is_some_and(|last| last.same_channel(running))
                    };
                    match running.filter(|running| !is_last(running)) {
                        Some(running) => {
                            (self.attempt, self.returned, self.is_over) = (Some(running), 0, false);
                        }
                        None => self.snapshots.changed().await.ok()?,
                    }
                }
            }
        }
    }
}
