//! Tools for code that shares threads and values with other code: work that blocks its thread, and
//! locks.

mod blocking;
mod lock;

pub use blocking::{BlockingError, THREAD_KEEP_ALIVE, keep_thread_alive, run_blocking};
pub use lock::{ignore_poison, lock_unpoisoned};
