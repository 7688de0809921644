//! Layer 9. The HTTP server: the documented operation and what stands beside it, over TCP and over the
//! Unix socket.
//!
//! Promises: every wait for a client has a deadline, every queue and body a bound; what went wrong
//! becomes a status in one place (`refusal`); a request in flight is answered before the server ends,
//! within the time it is given.
//! Never: owns an effect. A handler asks the agent and waits; a client that hangs up ends the waiting
//! and nothing else.
//!
//! ```text
//! listeners ─► server ─► connection ─► front ─────────────► routes, agent_calls ─► agent::StoreService
//!              caps      deadlines     host, token or       role, parse, audit
//!                                      network, body
//! ```

mod api;
pub(super) mod audit;
mod auth;
pub(super) mod body;
pub(super) mod error;
pub(super) mod limits;
mod middleware;
mod server;
pub(super) mod tls;

pub use api::daemon_info::{DaemonInfo, ProcessStats, ProcessStatsFn};
pub use api::readiness::ReadinessCheck;
pub use audit::AUDIT_TARGET;
pub use auth::tokens::TokenTable;
pub use limits::ServerLimits;
pub use server::bind_error::BindError;
pub use server::listeners::InheritedSockets;
pub use server::{HttpServer, ServerContext};
pub use tls::TlsAcceptance;
