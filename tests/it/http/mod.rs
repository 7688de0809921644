//! The HTTP server over real sockets.

mod admission;
mod agent;
mod api;
mod health;
mod input;
mod limits;
