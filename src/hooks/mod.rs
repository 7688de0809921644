//! Layer 7. Web hooks: it posts the results of jobs to the URLs that their callers have named.
//!
//! # Guarantees
//!
//! - A web hook is durable before its caller is referred to the job, and until its result is
//!   delivered, the receiver does not want it, or the job is dropped.
//! - A result is posted at the earliest `FIRST_POST_DELAY` after the response that refers
//!   the caller to the job, and never if the result was the response.
//! - A receiver that does not answer holds only its share of the places.
//!
//! # Never
//!
//! - It never decides what a reply means; `delivery` does.
//! - It never logs a URL or the id of a job.

mod poster;
mod queue;
mod table;

pub use poster::HookPosterTask;
pub use queue::{HookPromise, HookQueue};
pub use table::HookCounts;
