//! The HTTP server over real sockets.

mod agent;
mod api;
mod health;
mod input;
mod limits;
