//! The account of the owed web hooks: which one is posted next, and when. It is pure: it knows
//! neither sockets nor a clock.
//!
//! A web hook is held while its job runs, and while a response that refers a caller to the job is
//! on its way. A response that follows a post makes the web hook owed again, because the client
//! drops a result that precedes the response.
//!
//! # Guarantees
//!
//! - No web hook is posted while a response is on its way, or before the time after it.
//! - A web hook is posted by one task at a time.
//! - The web hook of an earlier job with the same id ends when a job begins.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use crate::common::Timestamp;
use crate::management::{PostRoute, ShareCounts, ShareLimits};
use crate::model::{JobDigest, JobId};

/// Maximum numbers of results that are being posted. A receiver that answers takes some
/// milliseconds for each, and one that is silent takes the whole timeout of a request. The numbers
/// bound the sockets.
const POSTING_LIMITS: ShareLimits = ShareLimits { all: 64, per_caller: 32, per_destination: 8 };

/// The caller of a job, and the address and port of its web hook.
pub(super) type HookRoute = PostRoute<JobDigest, Arc<str>>;

/// The web hook of one job. A later job with the same id has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HookId {
    pub(super) job: JobId,
    number: u64,
}

/// A web hook that is to be posted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartedHook {
    pub(super) id: HookId,
    /// Number of its posts in a row that failed.
    pub(super) failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HookPhase {
    /// A response is on its way, or the job runs.
    Held,
    /// It is due at this time.
    Waiting(Instant),
    /// It is due, and waits for a place.
    Ready,
    /// It is being posted. True if a response was created since then.
    Posting { again: bool },
}

/// The web hooks in the health view of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookCounts {
    /// Number of web hooks whose results are not delivered yet.
    pub pending: usize,
    /// Number of web hooks since the start that were given up, or dropped with their results.
    pub given_up: u64,
    /// The time at which the job of the oldest pending web hook began.
    pub oldest: Option<Timestamp>,
}

#[derive(Debug)]
struct HookEntry {
    number: u64,
    route: HookRoute,
    /// The time at which its job began.
    began: Timestamp,
    /// Number of responses that are on their way.
    answering: u32,
    /// True if a response has been sent.
    is_owed: bool,
    /// The earliest time of the next post.
    not_before: Instant,
    failures: u32,
    phase: HookPhase,
}

/// All owed web hooks.
#[derive(Debug)]
pub(super) struct HookTable {
    entries: HashMap<JobId, HookEntry>,
    held: BTreeSet<JobId>,
    waiting: BTreeSet<(Instant, JobId)>,
    /// The due web hooks of each route, and when they were the first of all to be due.
    ready: HashMap<HookRoute, VecDeque<(u64, JobId)>>,
    next_number: u64,
    posting: ShareCounts<JobDigest, Arc<str>>,
    given_up: u64,
    /// Number of web hooks that were dropped with their results since the last summary.
    dropped: u64,
}

impl HookTable {
    /// Creates an empty table.
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            held: BTreeSet::new(),
            waiting: BTreeSet::new(),
            ready: HashMap::new(),
            next_number: 0,
            posting: ShareCounts::new(POSTING_LIMITS),
            given_up: 0,
            dropped: 0,
        }
    }

    /// Adds a web hook of an earlier run.
    pub(super) fn restore(&mut self, job: JobId, route: HookRoute, began: Timestamp, now: Instant) {
        let id = self.promise(job, route, began, now);
        self.answer(id, now);
    }

    /// Removes what an earlier job with the id of a job that begins left behind. Returns true if it
    /// is being posted: that post must end, because its receiver would take the result for that of
    /// the new job.
    pub(super) fn forget_earlier(&mut self, job: JobId) -> bool {
        let Some(entry) = self.entries.get(&job) else { return false };
        let is_posting = matches!(entry.phase, HookPhase::Posting { .. });
        self.drop_hook(job);
        is_posting
    }

    /// Returns true if the web hook is owed, and false if it has ended.
    pub(super) fn is_owed(&self, id: HookId) -> bool {
        self.entries.get(&id.job).is_some_and(|entry| entry.number == id.number)
    }

    /// Records that a response that refers a caller to the job is on its way. It ends with
    /// [`HookTable::answer`] or [`HookTable::withdraw`].
    pub(super) fn promise(
        &mut self,
        job: JobId,
        route: HookRoute,
        began: Timestamp,
        now: Instant,
    ) -> HookId {
        let new_number = self.take_number();
        let entry = self.entries.entry(job).or_insert_with(|| HookEntry {
            number: new_number,
            route,
            began,
            answering: 0,
            is_owed: false,
            not_before: now,
            failures: 0,
            phase: HookPhase::Held,
        });
        entry.answering = entry.answering.saturating_add(1);
        let id = HookId { job, number: entry.number };
        if let HookPhase::Posting { again } = &mut entry.phase {
            *again = true;
        } else {
            self.hold(job);
        }
        id
    }

    /// Records that a response was sent. The next post is not before this time.
    pub(super) fn answer(&mut self, id: HookId, not_before: Instant) {
        let Some(entry) = self.entry_mut(id) else { return };
        entry.answering = entry.answering.saturating_sub(1);
        entry.is_owed = true;
        entry.not_before = entry.not_before.max(not_before);
    }

    /// Records that a response was not created.
    pub(super) fn withdraw(&mut self, id: HookId) {
        let Some(entry) = self.entry_mut(id) else { return };
        entry.answering = entry.answering.saturating_sub(1);
        if entry.answering == 0 && !entry.is_owed {
            self.remove(id.job);
        }
    }

    /// Releases the web hooks whose responses are sent and whose jobs have ended, and removes those
    /// whose jobs are gone. `has_ended` returns `None` for a job that is gone.
    pub(super) fn release(&mut self, has_ended: impl Fn(JobId) -> Option<bool>) {
        let held: Vec<JobId> = self.held.iter().copied().collect();
        for job in held {
            let Some(entry) = self.entries.get_mut(&job).filter(|entry| entry.answering == 0)
            else {
                continue;
            };
            match has_ended(job) {
                Some(true) => {
                    entry.phase = HookPhase::Waiting(entry.not_before);
                    self.waiting.insert((entry.not_before, job));
                    self.held.remove(&job);
                }
                Some(false) => {}
                None => self.drop_hook(job),
            }
        }
    }

    /// Removes the web hooks of jobs that are gone, unless they are being posted.
    pub(super) fn remove_gone(&mut self, is_known: impl Fn(JobId) -> bool) {
        let is_gone = |(job, entry): &(&JobId, &HookEntry)| {
            entry.answering == 0
                && !matches!(entry.phase, HookPhase::Posting { .. })
                && !is_known(**job)
        };
        let gone: Vec<JobId> = self.entries.iter().filter(is_gone).map(|(job, _)| *job).collect();
        gone.into_iter().for_each(|job| self.drop_hook(job));
    }

    /// Returns the web hook to post next, and counts it as being posted. Returns `None` if none is
    /// due, or none that is due has a place.
    pub(super) fn start_next(&mut self, now: Instant) -> Option<StartedHook> {
        while let Some(&(due, job)) = self.waiting.first().filter(|(due, _)| *due <= now) {
            self.waiting.remove(&(due, job));
            let number = self.take_number();
            if let Some(entry) = self.entries.get_mut(&job) {
                entry.phase = HookPhase::Ready;
                let queue = self.ready.entry(entry.route.clone()).or_default();
                queue.push_back((number, job));
            }
        }
        let first = self.ready.iter().filter_map(|(route, queue)| Some((route, *queue.front()?)));
        let (_, job) = self.posting.choose_next(first)?;
        self.leave_phase(job);
        let entry = self.entries.get_mut(&job)?;
        entry.phase = HookPhase::Posting { again: false };
        self.posting.take(&entry.route);
        let id = HookId { job, number: entry.number };
        Some(StartedHook { id, failures: entry.failures })
    }

    /// Records that a post failed, and that the next one is due at `due`.
    pub(super) fn retry_at(&mut self, id: HookId, due: Instant) {
        let Some(again) = self.end_post(id) else { return };
        if again {
            self.hold(id.job);
        } else if let Some(entry) = self.entry_mut(id) {
            entry.failures = entry.failures.saturating_add(1);
            entry.phase = HookPhase::Waiting(due);
            self.waiting.insert((due, id.job));
        }
    }

    /// Records that the result was delivered, or is not posted again. Returns true if it is no
    /// longer owed. Returns false if a response that was created since then made it owed again, or
    /// if its job is gone.
    pub(super) fn finish(&mut self, id: HookId) -> bool {
        let Some(again) = self.end_post(id) else { return false };
        self.hold(id.job);
        if !again {
            self.remove(id.job);
        }
        !again
    }

    /// Records that the result is not posted again, as [`HookTable::finish`] does. Returns the
    /// number of web hooks since the start that were given up, or `None` if this one is owed again.
    pub(super) fn give_up(&mut self, id: HookId) -> Option<u64> {
        self.finish(id).then(|| {
            self.given_up = self.given_up.saturating_add(1);
            self.given_up
        })
    }

    /// Records that the result is no longer kept, so that there is nothing to post.
    pub(super) fn lose_result(&mut self, id: HookId) {
        if self.finish(id) {
            self.count_dropped();
        }
    }

    /// Removes a web hook whose job is gone.
    fn drop_hook(&mut self, job: JobId) {
        if self.entries.get(&job).is_some_and(|entry| entry.is_owed) {
            self.count_dropped();
        }
        self.remove(job);
    }

    fn count_dropped(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
        self.given_up = self.given_up.saturating_add(1);
    }

    /// Takes the number of web hooks that were dropped with their results since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Returns true if a web hook is owed, or if the number of the dropped ones is not taken yet.
    pub(super) fn needs_sweep(&self) -> bool {
        !self.entries.is_empty() || self.dropped > 0
    }

    /// Returns the counts for the health view.
    pub(super) fn counts(&self) -> HookCounts {
        let owed = self.entries.values().filter(|entry| entry.is_owed);
        HookCounts {
            pending: owed.clone().count(),
            given_up: self.given_up,
            oldest: owed.map(|entry| entry.began).min(),
        }
    }

    /// Gives the place of a post back. Returns true if a response was created since it began, and
    /// `None` if the web hook is not being posted.
    fn end_post(&mut self, id: HookId) -> Option<bool> {
        let entry = self.entries.get_mut(&id.job).filter(|entry| entry.number == id.number)?;
        let HookPhase::Posting { again } = entry.phase else { return None };
        self.posting.give_back(&entry.route);
        if again {
            entry.failures = 0;
        }
        Some(again)
    }

    /// Returns the time at which the next web hook becomes due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// Returns the number of owed web hooks.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn entry_mut(&mut self, id: HookId) -> Option<&mut HookEntry> {
        self.entries.get_mut(&id.job).filter(|entry| entry.number == id.number)
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        number
    }

    fn hold(&mut self, job: JobId) {
        self.leave_phase(job);
        if let Some(entry) = self.entries.get_mut(&job) {
            entry.phase = HookPhase::Held;
            self.held.insert(job);
        }
    }

    fn remove(&mut self, job: JobId) {
        self.leave_phase(job);
        if let Some(entry) = self.entries.remove(&job)
            && matches!(entry.phase, HookPhase::Posting { .. })
        {
            self.posting.give_back(&entry.route);
        }
    }

    /// Removes a web hook from the index of its phase.
    fn leave_phase(&mut self, job: JobId) {
        let Some(entry) = self.entries.get(&job) else { return };
        match entry.phase {
            HookPhase::Held => {
                self.held.remove(&job);
            }
            HookPhase::Waiting(due) => {
                self.waiting.remove(&(due, job));
            }
            HookPhase::Ready => {
                if let Some(queue) = self.ready.get_mut(&entry.route) {
                    queue.retain(|(_, queued)| *queued != job);
                    if queue.is_empty() {
                        self.ready.remove(&entry.route);
                    }
                }
            }
            HookPhase::Posting { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
