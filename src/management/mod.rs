//! Layer 6. The client of the management node: it posts events to the callback, replies to calls of
//! the agent protocol and results to web hooks, and asks whether a session is valid.
//!
//! # Guarantees
//!
//! - Every request ends within its deadline.
//! - A reply is read only up to a fixed limit.
//! - A destination that does not answer, or its caller, holds only its share of the places.
//! - Events are signed with each current secret (Standard Webhooks 1.0).
//!
//! # Never
//!
//! - Follows a redirect.
//! - Calls a URL that is neither configured nor in `server.agent_allow`.
//! - Reveals a secret.

mod callback;
mod caller_share;
mod endpoint;
mod hook_client;
mod http_client;
mod lookup_limiter;
mod loss_log;
mod reply_poster;
mod reply_queue;
mod reply_table;
mod session_check;
mod shares;
mod signature;
mod url_guard;

pub use callback::{CallbackClient, load_signer};
pub use endpoint::{endpoint_tls, host_and_port, is_https, parse_url};
pub use hook_client::{HookClient, HookMessage};
pub use http_client::RequestTimeouts;
pub use loss_log::LossLog;
pub use reply_poster::ReplyPosterTask;
pub use reply_queue::{ReplyQueue, ReplyRefusal, TaskReply};
pub use session_check::{
    CandidateSession, SessionAnswer, SessionCheckClient, SessionCheckTimes, SessionChecker,
    SessionKnowledge,
};
pub use shares::{PostRoute, PostShare, ShareCounts, ShareLimits};
pub use signature::{EventSigner, SecretsError, SharedSigner};
pub use url_guard::{MAX_HOOK_URL_BYTES, ReplyUrl, UrlError, UrlGuard, check_hook_form};
