//! One store: the task that owns it, its commands, what it decides and what it makes durable.

pub(super) mod definition;
pub(super) mod handle;
pub(super) mod host_key_acceptance;
pub(super) mod log_events;
pub(super) mod pending;
pub(super) mod persist;
pub(super) mod snapshot;
pub(super) mod task;
pub(super) mod update;
pub(super) mod waiters;
