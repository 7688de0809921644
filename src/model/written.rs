//! Outcome of a write probe.

use std::time::Duration;

/// A write probe that found the disk writable, or without space for the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The time of creating a file, writing 4 KiB, fdatasync and unlink.
    Done(Duration),
    /// `ENOSPC` with inodes left: no space.
    Full,
    /// `ENOSPC` without an inode left.
    InodesFull,
    /// `EDQUOT`.
    QuotaExceeded,
}

impl WriteOutcome {
    /// Returns the duration, or zero if there was no space to write.
    pub fn duration(self) -> Duration {
        match self {
            Self::Done(took) => took,
            Self::Full | Self::InodesFull | Self::QuotaExceeded => Duration::ZERO,
        }
    }
}
