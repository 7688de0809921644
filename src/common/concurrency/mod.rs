//! Tools for code that shares threads and values with other code: work that blocks its thread, long
//! loops, locks, and the phases of a piece of work.

mod blocking;
mod fair_loop;
mod lock;
mod phases;

pub use blocking::{BlockingError, THREAD_KEEP_ALIVE, keep_thread_alive, run_blocking};
pub use fair_loop::for_each_fairly;
pub use lock::{ignore_poison, lock_unpoisoned};
pub use phases::{PhaseEnd, PhaseObserver, observe_phases, report_phase, run_phase};
