//! Layer 6. Jobs: operations whose callers fetch the result later, by the id of the job.
//!
//! # Guarantees
//!
//! - A job is durable before its operation begins, and its result before a caller can read it.
//! - One id stands for one request of one caller. The same request again joins the job or gets its
//!   result.
//! - The jobs have a bound, of which one caller has at most half. No running job is dropped for a
//!   new one.
//!
//! # Never
//!
//! - Runs an operation; its owner does.
//! - Logs the id of a job.

mod decision;
mod digest;
mod registry;
mod table;

pub use decision::{JobAdmission, JobEnding, JobLimits, JobPromise};
pub use digest::JobDigests;
pub use registry::{InterruptedJob, JobAccess, JobRegistry};
pub use table::JobTable;
