//! Layer 5. Capacity and health of an image directory, through a worker process.
//!
//! Promises: the directory is opened once a probe, and everything is read and written through that
//! handle; nothing is written before its identity is known to be right; a disk that hangs holds a
//! worker process and nothing else, and at most one for each store.
//! Never: blocks the daemon, opens a path under an image directory in the daemon itself, follows a
//! symbolic link or opens a FIFO below it, creates anything that is not its own marker folder.
//!
//! The worker carries out orders (`order.rs`) on one handle and decides nothing; the daemon judges what
//! it reports (`identity`, `trouble`) and gives the next order, or closes its stdin, which ends it.

mod capacity;
mod claim;
mod errno;
mod identity;
mod marker;
mod mount_check;
mod mountinfo;
mod prober;
mod process;
mod purpose;
mod types;
mod worker;

pub use marker::marker_path;
pub use prober::Prober;
pub use process::orphans::OrphanedWorkers;
pub use process::slot::WorkerSlot;
pub use purpose::ProbeExpectation;
pub use types::{
    AddLeftovers, DirectoryInspection, DirectoryOwner, MarkerClaim, PreviousMarker, ProbeOptions,
    ProbeResult,
};
pub use worker::worker_main;
