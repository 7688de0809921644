//! Layer 10. The composition root: builds everything from the settings, wires it, starts it and stops it
//! in order.
//!
//! Promises: what must hold before the first request is made sure of before a socket answers; a stop
//! takes less than 10 s whatever hangs.
//! Never: decides anything about a store.

mod cert_reload;
mod check_config;
mod daemon;
mod exit;
mod init;
mod prepare;
mod process;
mod reload;
mod secret_files;
mod serve;
mod signals;
mod state_disk;
mod tasks;

pub use check_config::check_config;
pub use exit::ExitStatus;
pub use init::init_directory;
pub use prepare::{PreparedDaemon, StartError};
pub use secret_files::SecretFiles;
pub use serve::serve;
pub use signals::stop_at_signals;
