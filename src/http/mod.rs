//! Layer 9. The HTTP server: the documented API and the agent protocol, over TCP and over the Unix
//! socket.
//!
//! # Guarantees
//!
//! - Every wait for a client has a deadline, and every queue and body has a limit.
//! - Every error is mapped to a status in one place (`error`), with its text (`error_text`).
//! - A request in flight is completed before the server ends, within the drain time.
//!
//! # Never
//!
//! - It never performs an effect of its own: a handler calls the agent and waits.
//! - A client that disconnects ends only the wait, and nothing else.
//!
//! ```text
//! listeners ─► server ─► admission ─► connection ─► middleware ─► api ─► agent::StoreService
//!                        permits      deadlines     host, auth,   role, parse,
//!                                                   body          audit
//! ```

mod admission;
mod api;
pub(super) mod audit;
mod auth;
pub(super) mod body;
pub(super) mod error;
mod error_text;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub(super) mod limits;
mod middleware;
mod request_start;
mod server;
pub(super) mod tls;

pub use api::health::{ClockWatch, DaemonInfo, ReadinessCheck};
pub use api::job::recorder::interrupted_job_body;
pub use api::routes::{RouteMethod, served_paths};
pub use audit::{AUDIT_CHANGE_EVENT, AUDIT_TARGET, AuditAction};
pub use auth::access_key::{AccessKeyTable, new_access_key_line};
pub use auth::accounts::table::AccountTable;
pub use auth::accounts::{Accounts, new_account_line};
pub use auth::management_session::SessionCheck;
pub use auth::tokens::TokenTable;
pub use limits::ServerLimits;
pub use server::listeners::{BindError, InheritedSockets};
pub use server::{HttpServer, ServerContext};
pub use tls::TlsListenerConfig;
