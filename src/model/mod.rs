//! Layer 1. The model: the terms of the domain as values.
//!
//! # Guarantees
//! - Every value is valid by construction, and compares and prints as an operator would write it.
//! - `Debug` never shows a secret.
//!
//! # Never
//! - It never does I/O and never reads a clock.
//! - It never depends on JSON, SQL or HTTP.

mod condition;
mod events;
mod fault;
mod host_identity;
mod id;
mod image_dir;
mod job;
mod login_rejections;
mod reason;
mod role;
mod space;
mod ssh;
mod store;
mod tags;

pub use condition::Condition;
pub use events::{
    Epoch, EventCursor, EventGap, EventKind, GapCause, InvalidCursor, Notice, NoticeKind, Position,
    Seq,
};
pub use fault::{AttemptFailure, Fact, Facts, Fault, OwnRemedy, Remedy};
pub use host_identity::{HostEvidence, HostIdentity, Obstacle, RemoteMarker, UnverifiedHost};
pub use id::{
    AttemptId, InvalidUuid, LedgerGeneration, MarkerId, NodeId, ProcessId, StoreUuid, ZoneUuid,
};
pub use image_dir::{ImageDir, InvalidImageDir};
pub use job::{
    JOB_DIGEST_BYTES, JobDigest, JobHook, JobId, JobRequest, JobResult, OwedHook, StoredHook,
    StoredJob, StoredJobEnd,
};
pub use login_rejections::{LoginDigest, LoginRejections, MAX_TRIAL_LOGINS, TrialRejections};
pub use reason::{Check, Reason, StoreCheck};
pub use role::Role;
pub use space::{
    Capacity, CapacityDay, DAY_SECONDS, DayFigures, ImplausibleCapacity, ImplausibleUse,
    InodeCounts, LimitOutlook, LimitOutlooks, MountLine, MountLocation, MountedPart, SpaceForecast,
    SpaceId, UseForecast, UseLimit, UsedRange, UtcDay, WriteOutcome, unescape_mount_path,
};
pub use ssh::{HostKey, Hostname, InvalidHostname, Secret, SshAddress, SshCredentials};

pub use store::{AddStore, Inventory, PlacementChange, State, Status, Store, StoreUpdate};
pub use tags::{InvalidTags, Tags};
