//! The table of all jobs: which request is admitted, joined, answered again or refused, and which
//! results are dropped. Pure functions of the table and the time.
//!
//! # Guarantees
//!
//! - A job that runs is never dropped.
//! - One caller holds at most half of the jobs, of the running jobs and of the bytes, so that it
//!   can neither drop the results of all others nor keep their jobs from beginning.
//! - Nothing is dropped for a request that is not admitted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::decision::{JobAdmission, JobEnding, JobLimits, JobPromise};
use crate::model::{JobDigest, JobId, JobRequest};

/// The progress of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobPhase {
    /// The job is not durable yet.
    Beginning,
    /// The job was abandoned while it was not durable.
    Abandoned,
    Running {
        promised: bool,
    },
    Ended(EndOrder),
}

/// The place of an ended job among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EndOrder {
    waits_for_caller: bool,
    /// The number of jobs that had ended before it.
    number: u64,
}

/// The first 64 bits of a keyed digest. Without the key, a second request with the same bits cannot
/// be computed, and 10,000 jobs need less memory.
type ShortDigest = u64;

fn shorten(digest: &JobDigest) -> ShortDigest {
    digest.first_chunk().map_or(0, |bytes| ShortDigest::from_be_bytes(*bytes))
}

#[derive(Debug)]
struct JobEntry {
    caller: ShortDigest,
    request: ShortDigest,
    phase: JobPhase,
    bytes: u32,
    /// The uptime in seconds at which the result expires.
    expires: u32,
    /// True if the ledger may have the row of an earlier job with this id, which the begin removes.
    replaces_row: bool,
}

impl JobEntry {
    fn is_of(&self, request: &JobRequest) -> bool {
        self.caller == shorten(&request.caller) && self.request == shorten(&request.request)
    }
}

/// The jobs of one caller.
#[derive(Debug, Default)]
struct CallerJobs {
    jobs: usize,
    running: usize,
    bytes: u64,
}

/// An ended job and its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EndedJob {
    job: JobId,
    caller: ShortDigest,
}

/// The jobs that have ended, by their numbers.
#[derive(Debug, Default)]
struct EndedJobs {
    given: BTreeMap<u64, EndedJob>,
    waiting: BTreeMap<u64, EndedJob>,
}

impl EndedJobs {
    fn with_state(&mut self, waits_for_caller: bool) -> &mut BTreeMap<u64, EndedJob> {
        if waits_for_caller { &mut self.waiting } else { &mut self.given }
    }

    fn insert(&mut self, order: EndOrder, ended: EndedJob) {
        self.with_state(order.waits_for_caller).insert(order.number, ended);
    }

    fn remove(&mut self, order: EndOrder) {
        self.with_state(order.waits_for_caller).remove(&order.number);
    }

    /// Returns the jobs in the order in which they are dropped: those whose results their callers
    /// have been given first, and then the oldest.
    fn in_drop_order(&self) -> impl Iterator<Item = EndedJob> {
        self.given.values().chain(self.waiting.values()).copied()
    }
}

/// The table of all jobs. It reads no clock: callers pass the uptime of the daemon.
#[derive(Debug)]
pub struct JobTable {
    limits: JobLimits,
    jobs: HashMap<JobId, JobEntry>,
    callers: HashMap<ShortDigest, CallerJobs>,
    ended: EndedJobs,
    running: usize,
    bytes: u64,
    next_number: u64,
    /// Jobs that are no longer in the table and still in the ledger.
    dropped: BTreeSet<JobId>,
}

impl JobTable {
    /// Creates an empty table.
    pub fn new(limits: JobLimits) -> Self {
        Self {
            limits,
            jobs: HashMap::new(),
            callers: HashMap::new(),
            ended: EndedJobs::default(),
            running: 0,
            bytes: 0,
            next_number: 0,
            dropped: BTreeSet::new(),
        }
    }

    /// Decides about a request for a job, and adds the job if it begins.
    pub fn admit(&mut self, request: &JobRequest) -> JobAdmission {
        let (caller, digest) = (shorten(&request.caller), shorten(&request.request));
        if let Some(entry) = self.jobs.get(&request.job) {
            return match entry.phase {
                _ if !entry.is_of(request) => JobAdmission::Taken,
                JobPhase::Ended(_) => JobAdmission::Ended,
                _ => JobAdmission::Joins,
            };
        }
        let own = self.callers.get(&caller).map_or(0, |jobs| jobs.running);
        let is_full = self.running >= self.limits.running || own >= self.limits.running / 2;
        if is_full || !self.make_room(caller) {
            return JobAdmission::Full;
        }
        self.insert_entry(request.job, caller, digest, JobPhase::Beginning);
        JobAdmission::Begins
    }

    /// Adds a job of an earlier run that had not ended. It is running until its end is recorded.
    pub fn restore_interrupted(&mut self, request: &JobRequest) {
        let phase = JobPhase::Running { promised: true };
        self.insert_entry(request.job, shorten(&request.caller), shorten(&request.request), phase);
    }

    /// Adds a job of an earlier run that had ended `age` ago.
    pub fn restore_ended(
        &mut self,
        request: &JobRequest,
        bytes: u64,
        age: Duration,
        now: Duration,
    ) {
        self.restore_interrupted(request);
        let keep = self.limits.keep.saturating_sub(age);
        self.record_end(request.job, bytes, now.saturating_add(keep));
    }

    fn insert_entry(
        &mut self,
        job: JobId,
        caller: ShortDigest,
        request: ShortDigest,
        phase: JobPhase,
    ) {
        let replaces_row = self.dropped.remove(&job);
        let entry = JobEntry { caller, request, phase, bytes: 0, expires: 0, replaces_row };
        self.jobs.insert(job, entry);
        let jobs = self.callers.entry(caller).or_default();
        jobs.jobs += 1;
        jobs.running += 1;
        self.running += 1;
    }

    /// Drops the oldest results until a job of this caller fits. Returns false if it cannot fit,
    /// and then nothing was dropped.
    fn make_room(&mut self, caller: ShortDigest) -> bool {
        let own = self.callers.get(&caller).map_or(0, |jobs| jobs.jobs);
        if own >= self.limits.jobs / 2 {
            let is_own = |ended: &EndedJob| ended.caller == caller;
            let Some(oldest) = self.ended.in_drop_order().find(is_own) else { return false };
            self.drop_job(oldest.job);
        }
        if self.jobs.len() >= self.limits.jobs {
            let Some(oldest) = self.ended.in_drop_order().next() else { return false };
            self.drop_job(oldest.job);
        }
        self.enforce_bytes(caller, |_| true);
        true
    }

    /// Drops the oldest results of those that may go, until neither this caller nor all of them
    /// have too many bytes.
    fn enforce_bytes(&mut self, caller: ShortDigest, may_go: impl Fn(&EndedJob) -> bool) {
        let own = self.callers.get(&caller).map_or(0, |jobs| jobs.bytes);
        let excess = own.saturating_sub(self.limits.bytes / 2);
        self.drop_bytes(excess, |ended| ended.caller == caller && may_go(ended));
        let excess = self.bytes.saturating_sub(self.limits.bytes);
        self.drop_bytes(excess, may_go);
    }

    /// Drops the oldest results of those that may go, until they had this many bytes.
    fn drop_bytes(&mut self, mut excess: u64, may_go: impl Fn(&EndedJob) -> bool) {
        let mut gone = Vec::new();
        let mut oldest = self.ended.in_drop_order().filter(may_go);
        while excess > 0
            && let Some(EndedJob { job, .. }) = oldest.next()
        {
            let bytes = self.jobs.get(&job).map_or(0, |entry| entry.bytes.into());
            excess = excess.saturating_sub(bytes);
            gone.push(job);
        }
        drop(oldest);
        gone.into_iter().for_each(|job| self.drop_job(job));
    }

    /// Records that a job is durable. Returns true if its operation may begin, and false if the job
    /// was abandoned.
    pub fn start(&mut self, job: JobId) -> bool {
        let Some(entry) = self.jobs.get_mut(&job) else { return false };
        let starts = entry.phase == JobPhase::Beginning;
        if starts {
            entry.phase = JobPhase::Running { promised: false };
        }
        starts
    }

    /// Decides whether a caller can be referred to the job. A job that is not durable yet never
    /// begins after that.
    pub fn promise(&mut self, job: JobId) -> JobPromise {
        let Some(entry) = self.jobs.get_mut(&job) else { return JobPromise::Over };
        match entry.phase {
            JobPhase::Beginning | JobPhase::Abandoned => {
                entry.phase = JobPhase::Abandoned;
                JobPromise::Abandoned
            }
            JobPhase::Running { .. } => {
                entry.phase = JobPhase::Running { promised: true };
                JobPromise::Kept
            }
            JobPhase::Ended(_) => JobPromise::Over,
        }
    }

    /// Decides about a job whose operation has ended. A result that the caller may get again by the
    /// same request is kept only if a caller was referred to the job.
    pub fn decide_end(&self, job: JobId, is_repeatable: bool) -> JobEnding {
        let phase = self.jobs.get(&job).map(|entry| entry.phase);
        match phase {
            Some(JobPhase::Running { promised: false }) if is_repeatable => JobEnding::Dropped,
            _ => JobEnding::Kept,
        }
    }

    /// Records the end of a job, whose result is durable and has this length. Drops the oldest
    /// results if there are too many bytes.
    pub fn finish(&mut self, job: JobId, bytes: u64, now: Duration) {
        self.record_end(job, bytes, now.saturating_add(self.limits.keep));
        let Some(caller) = self.jobs.get(&job).map(|entry| entry.caller) else { return };
        self.enforce_bytes(caller, |ended| ended.job != job);
    }

    fn record_end(&mut self, job: JobId, bytes: u64, expires: Duration) {
        let order = EndOrder { waits_for_caller: true, number: self.next_number };
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        if matches!(entry.phase, JobPhase::Ended(_)) {
            return;
        }
        self.next_number += 1;
        entry.phase = JobPhase::Ended(order);
        entry.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        entry.expires = u32::try_from(expires.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        let bytes = u64::from(entry.bytes);
        self.running -= 1;
        self.bytes += bytes;
        self.ended.insert(order, EndedJob { job, caller: entry.caller });
        if let Some(caller) = self.callers.get_mut(&entry.caller) {
            caller.running -= 1;
            caller.bytes += bytes;
        }
    }

    /// Records that a caller has been given the result.
    pub fn mark_given(&mut self, job: JobId) {
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        let JobPhase::Ended(order) = entry.phase else { return };
        let given = EndOrder { waits_for_caller: false, ..order };
        entry.phase = JobPhase::Ended(given);
        self.ended.remove(order);
        self.ended.insert(given, EndedJob { job, caller: entry.caller });
    }

    /// Returns true if the job of this request is in the table.
    pub fn is_known(&self, request: &JobRequest) -> bool {
        self.jobs.get(&request.job).is_some_and(|entry| entry.is_of(request))
    }

    /// Returns true if the job has ended, false if it is running, and `None` if it is unknown.
    pub fn has_ended(&self, job: JobId) -> Option<bool> {
        match self.jobs.get(&job)?.phase {
            JobPhase::Ended(_) => Some(true),
            // Its client has the answer that nothing has begun.
            JobPhase::Abandoned => None,
            _ => Some(false),
        }
    }

    /// Drops a job, in whatever phase it is. Its row is then to be removed from the ledger.
    pub fn drop_job(&mut self, job: JobId) {
        if self.remove_entry(job).is_some() {
            self.dropped.insert(job);
        }
    }

    /// Forgets a job whose begin was not committed, so that the ledger has no row of it.
    pub fn forget_job(&mut self, job: JobId) {
        if self.remove_entry(job).is_some_and(|entry| entry.replaces_row) {
            self.dropped.insert(job);
        }
    }

    fn remove_entry(&mut self, job: JobId) -> Option<JobEntry> {
        let entry = self.jobs.remove(&job)?;
        let JobEntry { caller, phase, bytes, .. } = entry;
        let running = match phase {
            JobPhase::Ended(order) => {
                self.ended.remove(order);
                0
            }
            _ => 1,
        };
        self.running -= running;
        self.bytes -= u64::from(bytes);
        if let Some(jobs) = self.callers.get_mut(&caller) {
            jobs.jobs -= 1;
            jobs.running -= running;
            jobs.bytes -= u64::from(bytes);
            if jobs.jobs == 0 {
                self.callers.remove(&caller);
            }
        }
        Some(entry)
    }

    /// Drops the results that have expired.
    pub fn expire(&mut self, now: Duration) {
        let now = now.as_secs();
        // Within each of both groups, the oldest expires first.
        for waits_for_caller in [false, true] {
            while let Some((_, oldest)) = self.ended.with_state(waits_for_caller).first_key_value()
                && let job = oldest.job
                && self.jobs.get(&job).is_some_and(|entry| u64::from(entry.expires) <= now)
            {
                self.drop_job(job);
            }
        }
    }

    /// Returns true if jobs are to be removed from the ledger.
    pub fn has_dropped(&self) -> bool {
        !self.dropped.is_empty()
    }

    /// Takes the jobs that are to be removed from the ledger.
    pub fn take_dropped(&mut self) -> BTreeSet<JobId> {
        std::mem::take(&mut self.dropped)
    }

    /// Puts back jobs that could not be removed from the ledger. The begin of a new job with the
    /// same id removes the row as well, and only if it fails the row is left.
    pub fn restore_dropped(&mut self, jobs: BTreeSet<JobId>) {
        for job in jobs {
            match self.jobs.get_mut(&job) {
                Some(entry) => entry.replaces_row = true,
                None => {
                    self.dropped.insert(job);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
