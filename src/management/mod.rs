//! Layer 6. Client of the management node: posts events to its callback, and answers to calls that it
//! waits for.
//!
//! Promises: every request ends within its deadline; the reply is read no further than its evidence
//! needs; what is sent is signed with each current secret (Standard Webhooks 1.0).
//! Never: follows a redirect, calls a URL that is neither configured nor in `server.agent_allow`, shows a
//! secret.

mod callback;
mod http_client;
mod reply_poster;
mod signature;
mod url_guard;

pub use callback::{CallbackClient, load_signer};
pub use http_client::RequestTimeouts;
pub use reply_poster::{QueueFull, ReplyPosterTask, ReplyQueue, TaskReply};
pub use signature::{BadSecrets, EventSigner};
pub use url_guard::{BadUrl, UrlGuard};
