//! The HTTP server over real sockets.

pub(crate) mod access_keys;
mod admission;
mod agent;
mod api;
mod attempt;
mod capacity;
mod cross_site;
mod denials;
mod description;
mod events;
mod golden;
mod health;
mod hooks;
mod input;
mod jobs;
mod languages;
mod liberal;
mod limits;
mod metrics;
mod queries;
mod refusals;
mod session_check;
mod session_floods;
