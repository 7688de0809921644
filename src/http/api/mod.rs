//! The routes, their handlers, and the responses that they give.

pub(super) mod agent_protocol;
pub(super) mod daemon_info;
pub(super) mod health;
pub(super) mod readiness;
pub(super) mod response;
pub(super) mod state;
pub(super) mod store_health;
pub(super) mod stores;
