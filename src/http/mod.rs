//! Floor 6. The HTTP server: the documented operation and what stands beside it, over TCP and over the
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

mod agent_calls;
mod agent_door;
mod answer;
mod arrival;
mod audit;
mod bind_error;
mod body;
mod caller;
mod connection;
mod daemon_info;
mod desk;
mod front;
mod health;
mod health_view;
mod host;
mod limits;
mod listeners;
mod peer;
mod readiness;
mod refusal;
mod repeats;
mod request_id;
mod role;
mod routes;
mod seats;
mod server;
mod timely;
mod tls;
mod tokens;
mod unix_socket;

pub use audit::AUDIT;
pub use bind_error::BindError;
pub use daemon_info::{DaemonInfo, ProcessFigures, ReadFigures};
pub use limits::Limits;
pub use listeners::Inherited;
pub use readiness::Readiness;
pub use server::{Context, Server};
pub use tls::Tls;
pub use tokens::Tokens;
