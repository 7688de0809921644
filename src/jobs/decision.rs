//! The bounds of the jobs, and the decisions about a job.

use std::time::Duration;

/// The bounds of the table of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobLimits {
    /// Maximum number of jobs.
    pub jobs: usize,
    /// Maximum number of jobs that run. Each of them keeps a task and its request in memory.
    pub running: usize,
    /// Maximum size of all results, in bytes.
    pub bytes: u64,
    /// Time for which a result is kept.
    pub keep: Duration,
}

impl Default for JobLimits {
    /// The bounds of the daemon. ZStack's clients poll for at most 3 h.
    fn default() -> Self {
        let keep = Duration::from_secs(3 * 60 * 60);
        Self { jobs: 10_000, running: 1024, bytes: 64 << 20, keep }
    }
}

/// The decision about a request for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobAdmission {
    /// The job is new, and begins.
    Begins,
    /// The same request is running.
    Joins,
    /// The same request has ended.
    Ended,
    /// The id belongs to another request or another caller.
    Taken,
    /// Too many jobs run, or nothing can be dropped for this caller.
    Full,
}

/// The state of a job at the time at which its caller would be referred to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobPromise {
    /// The job is durable, and its result is kept.
    Kept,
    /// The job is not durable yet, and now never begins.
    Abandoned,
    /// The job has ended or is gone.
    Over,
}

/// The decision about a job whose operation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnding {
    /// The result is kept.
    Kept,
    /// The job is dropped, because its caller gets the answer and may send the request again.
    Dropped,
}
