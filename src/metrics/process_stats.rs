//! The resources that the process of the daemon uses.

use std::sync::Arc;

/// The resources that the process of the daemon uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessStats {
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Virtual memory, in bytes.
    pub virtual_bytes: u64,
    /// Processor time since the start, in milliseconds.
    pub cpu_milliseconds: u64,
    /// The time of the start, in seconds since 1970.
    pub start_seconds: u64,
    /// Number of open file descriptors.
    pub open_files: u64,
    /// Maximum number of open file descriptors.
    pub max_open_files: u64,
    /// Number of threads.
    pub threads: u64,
}

/// Reads the figures, or returns `None` if the system hides them. Called for each request that
/// shows them.
pub type ProcessStatsFn = Arc<dyn Fn() -> Option<ProcessStats> + Send + Sync>;
