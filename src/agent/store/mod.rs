//! One store: the task that owns it, its handle and commands, its decisions and its durable state.

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
