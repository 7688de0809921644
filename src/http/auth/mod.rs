//! Authentication and authorization: who calls, by which evidence, and what that caller may do.

pub(super) mod agent_allowlist;
pub(super) mod host_allowlist;
pub(super) mod peer;
pub(super) mod principal;
pub(super) mod rate_limit;
pub(super) mod role;
pub(super) mod tokens;
