//! Layer 1. The model: the terms of the domain as values.
//!
//! # Guarantees
//! - Every value is valid by construction, and compares and prints as an operator would write it.
//! - `Debug` never shows a secret.
//!
//! # Never
//! - It never does I/O and never reads a clock.
//! - It never depends on JSON, SQL or HTTP.

mod capacity;
mod condition;
mod credentials;
mod failure;
mod fault;
mod fs_place;
mod host_key;
mod id;
mod image_dir;
mod inventory;
mod notice;
mod position;
mod proof;
mod reason;
mod secret;
mod ssh_address;
mod status;
mod store;
mod tags;
mod written;

pub use capacity::{Capacity, ImplausibleCapacity, InodeCounts};
pub use condition::Condition;
pub use credentials::SshCredentials;
pub use failure::AttemptFailure;
pub use fault::{Fact, Facts, Fault};
pub use fs_place::MountLocation;
pub use host_key::HostKey;
pub use id::{AttemptId, InvalidUuid, MarkerId, NodeId, ProcessId, StoreUuid};
pub use image_dir::{ImageDir, InvalidImageDir};
pub use inventory::Inventory;
pub use notice::{Notice, NoticeKind};
pub use position::{Epoch, Position, Seq};
pub use proof::{HostEvidence, HostIdentity, Obstacle, RemoteMarker, UnverifiedHost};
pub use reason::{Check, Reason};
pub use secret::Secret;
pub use ssh_address::{Hostname, InvalidHostname, SshAddress};
pub use status::{State, Status};
pub use store::{AddStore, Store, StoreUpdate};
pub use tags::{InvalidTags, Tags};
pub use written::WriteOutcome;
