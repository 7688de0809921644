//! The HTTP server over real sockets.

mod admission;
mod agent;
mod api;
mod cross_site;
mod health;
mod input;
mod limits;
