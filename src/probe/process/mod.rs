//! Daemon side of a probe: the worker process, its requests and its end.

pub(super) mod client;
pub(super) mod orphans;
pub(super) mod slot;
