//! Floor 4. Client of the management node: posts events to its callback, and answers to calls that it
//! waits for.
//!
//! Promises: every request ends within its deadline; the reply is read no further than its evidence
//! needs; what is sent is signed with each current secret (Standard Webhooks 1.0).
//! Never: follows a redirect, calls a URL that is neither configured nor in `server.agent_allow`, shows a
//! secret.

mod callback;
mod exchange;
mod networks;
mod signature;
mod task_replies;

pub use callback::{CallbackClient, signer};
pub use exchange::Limits;
pub use networks::{BadUrl, Networks};
pub use signature::{BadSecrets, Signer};
pub use task_replies::{TaskReplies, TaskRepliesTask, TaskReply, TooMany};
