//! What a write probe has shown.

use std::time::Duration;

/// A write probe that found the disk able to write, or out of room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Create, 4 KiB, fdatasync and unlink took this long.
    Done(Duration),
    /// `ENOSPC` with inodes left: no room.
    Full,
    /// `ENOSPC` without an inode left.
    InodesFull,
    /// `EDQUOT`.
    QuotaExceeded,
}

impl WriteOutcome {
    /// How long it took; nothing where there was no room to try.
    pub fn duration(self) -> Duration {
        match self {
            Self::Done(took) => took,
            Self::Full | Self::InodesFull | Self::QuotaExceeded => Duration::ZERO,
        }
    }
}
