//! Layer 5. Capacity and health of an image directory, through a worker process.
//!
//! The worker carries out requests (`worker/protocol.rs`) on one handle and decides nothing. The
//! daemon evaluates each response (`identity`, `errno`). It then sends the next request, or it
//! closes the worker's stdin, which ends the worker.
//!
//! # Guarantees
//!
//! - The worker opens the directory once, and reads and writes everything through that handle. Only
//!   the modes that explain a denied access, and the figures of the mount point, are looked up by
//!   path.
//! - A probe writes nothing before the identity of the directory has been verified.
//! - A disk that hangs blocks only a worker process, and at most one for each store.
//!
//! # Never
//!
//! - A probe never blocks the daemon.
//! - The daemon itself never opens a path under an image directory.
//! - A probe never follows a symbolic link and never waits for a FIFO below the directory.
//! - A probe never creates anything except its own marker folder and the files in it. Only `init`
//!   also creates `registry` and `export`.

mod capacity;
mod claim;
mod errno;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod identity;
mod marker;
mod mount_check;
mod mountinfo;
mod prober;
mod process;
mod root_disk;
mod space;
mod types;
mod worker;

pub use marker::marker_path;
pub use prober::{EXAMINE_PHASE, Prober, WRITE_PHASE};
pub use process::limit::{MAX_WORKERS, WorkerLimiter, WorkerPermit};
pub use process::orphans::OrphanedWorkers;
#[cfg(test)]
pub(crate) use process::slot::running_process;
pub use process::slot::{WorkerSlot, is_running};
pub use types::{
    AddLeftovers, DirectoryInspection, DirectoryOwner, KnownStores, MarkerClaim, PreviousMarker,
    ProbeExpectation, ProbeOptions, ProbeResult,
};
pub use worker::worker_main;
