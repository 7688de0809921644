//! Limits of logins, so that the daemon does not lock accounts out and does not load the server.

pub(super) mod limiter;
pub(super) mod lockout;
pub(super) mod trial;
