//! Calls that are answered through a job: which calls, their execution, and their results.

pub(in crate::http) mod call;
mod promised_body;
pub(in crate::http) mod recorder;
pub(super) mod result;
pub(in crate::http) mod runner;
