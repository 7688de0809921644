//! Floor 0. Small general tools without any knowledge of stores: time and randomness, backoff, text that
//! is safe to display, error chains, address lists, files of one entry a line, locks.
//!
//! Promises: every module above uses the same tool for the same job.
//! Never: knows a word of the domain, does network I/O, waits for anything.

mod backoff;
mod crash_points;
mod time;

pub use backoff::Backoff;
pub use crash_points::crash_point;
pub use time::{Clock, Random, SystemClock, SystemRandom, Timestamp};
