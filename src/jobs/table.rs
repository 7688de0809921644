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
    Ended(DropKey),
}

/// The order in which results are dropped: those that their callers have been given first, and then
/// the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DropKey {
    waits_for_caller: bool,
    number: u64,
}

/// The first half of a digest. 128 bits identify a request as well, and 10,000 jobs need less
/// memory.
type ShortDigest = [u8; 16];

fn shorten(digest: &JobDigest) -> ShortDigest {
    let mut short = ShortDigest::default();
    for (to, from) in short.iter_mut().zip(digest) {
        *to = *from;
    }
    short
}

#[derive(Debug)]
struct JobEntry {
    caller: ShortDigest,
    request: ShortDigest,
    phase: JobPhase,
    bytes: u64,
    /// The uptime in milliseconds at which the result expires.
    expires: u64,
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
    bytes: u64,
    ended: BTreeMap<DropKey, JobId>,
}

impl CallerJobs {
    fn running(&self) -> usize {
        self.jobs - self.ended.len()
    }
}

/// The table of all jobs. It reads no clock: callers pass the uptime of the daemon.
#[derive(Debug)]
pub struct JobTable {
    limits: JobLimits,
    jobs: HashMap<JobId, JobEntry>,
    callers: HashMap<ShortDigest, CallerJobs>,
    ended: BTreeMap<DropKey, JobId>,
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
            ended: BTreeMap::new(),
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
        let own = self.callers.get(&caller).map_or(0, CallerJobs::running);
        let is_full = self.running >= self.limits.running || own >= self.limits.running / 2;
        if is_full || !self.make_room(&caller) {
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
        self.callers.entry(caller).or_default().jobs += 1;
        self.running += 1;
    }

    /// Drops the oldest results until a job of this caller fits. Returns false if it cannot fit,
    /// and then nothing was dropped.
    fn make_room(&mut self, caller: &ShortDigest) -> bool {
        let (max_jobs, max_bytes) = (self.limits.jobs, self.limits.bytes);
        let own = |table: &Self, is_over: fn(&CallerJobs, &JobLimits) -> bool| {
            let jobs = table.callers.get(caller).filter(|jobs| is_over(jobs, &table.limits))?;
            Some(jobs.ended.values().next().copied())
        };
        match own(self, |jobs, limits| jobs.jobs >= limits.jobs / 2) {
            Some(None) => return false,
            Some(Some(oldest)) => self.drop_job(oldest),
            None => {}
        }
        if self.jobs.len() >= max_jobs {
            let Some(oldest) = self.ended.values().next().copied() else { return false };
            self.drop_job(oldest);
        }
        // A job that runs has no bytes, so that these loops end.
        while let Some(Some(oldest)) = own(self, |jobs, limits| jobs.bytes > limits.bytes / 2) {
            self.drop_job(oldest);
        }
        while self.bytes > max_bytes
            && let Some(oldest) = self.ended.values().next().copied()
        {
            self.drop_job(oldest);
        }
        true
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
        let is_other = |oldest: &JobId| *oldest != job;
        while let Some(jobs) = self.callers.get(&caller)
            && jobs.bytes > self.limits.bytes / 2
            && let Some(oldest) = jobs.ended.values().next().copied().filter(is_other)
        {
            self.drop_job(oldest);
        }
        while self.bytes > self.limits.bytes
            && let Some(oldest) = self.ended.values().next().copied().filter(is_other)
        {
            self.drop_job(oldest);
        }
    }

    fn record_end(&mut self, job: JobId, bytes: u64, expires: Duration) {
        let key = DropKey { waits_for_caller: true, number: self.next_number };
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        if matches!(entry.phase, JobPhase::Ended(_)) {
            return;
        }
        self.next_number += 1;
        entry.phase = JobPhase::Ended(key);
        entry.bytes = bytes;
        entry.expires = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX);
        self.running -= 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.ended.insert(key, job);
        if let Some(caller) = self.callers.get_mut(&entry.caller) {
            caller.bytes = caller.bytes.saturating_add(bytes);
            caller.ended.insert(key, job);
        }
    }

    /// Records that a caller has been given the result.
    pub fn mark_given(&mut self, job: JobId) {
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        let JobPhase::Ended(key @ DropKey { waits_for_caller: true, .. }) = entry.phase else {
            return;
        };
        let given = DropKey { waits_for_caller: false, ..key };
        entry.phase = JobPhase::Ended(given);
        let move_key = |ended: &mut BTreeMap<DropKey, JobId>| {
            ended.remove(&key);
            ended.insert(given, job);
        };
        move_key(&mut self.ended);
        if let Some(caller) = self.callers.get_mut(&entry.caller) {
            move_key(&mut caller.ended);
        }
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
        let key = match phase {
            JobPhase::Ended(key) => Some(key),
            _ => {
                self.running -= 1;
                None
            }
        };
        self.bytes -= bytes;
        key.map(|key| self.ended.remove(&key));
        if let Some(jobs) = self.callers.get_mut(&caller) {
            jobs.jobs -= 1;
            jobs.bytes -= bytes;
            key.map(|key| jobs.ended.remove(&key));
            if jobs.jobs == 0 {
                self.callers.remove(&caller);
            }
        }
        Some(entry)
    }

    /// Drops the results that have expired.
    pub fn expire(&mut self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        // Within each of both groups, the oldest expires first.
        for waits_for_caller in [false, true] {
            let first = DropKey { waits_for_caller, number: 0 };
            let last = DropKey { waits_for_caller, number: u64::MAX };
            while let Some(oldest) = self.ended.range(first..=last).next().map(|(_, job)| *job)
                && self.jobs.get(&oldest).is_some_and(|entry| entry.expires <= now)
            {
                self.drop_job(oldest);
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
