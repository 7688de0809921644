//! Layer 10. The composition root: builds the parts of the daemon from the settings, connects them,
//! and starts and stops them in order.
//!
//! # Guarantees
//! - The files, the state directory, the ledger and the sockets are usable before a socket answers.
//! - A stop takes less than 10 s, even if a disk or a peer hangs.
//!
//! # Never
//! - It never decides anything about a store.

mod access_key;
mod account;
mod cert_reload;
mod daemon;
mod daemon_access;
mod doctor;
mod init;
mod location_check;
mod process;
mod reload;
mod serve;
mod startup;
mod state_disk;
mod tasks;

pub use access_key::add_access_key;
pub use account::add_account;
pub use doctor::{
    PATH_WORKER, SETTINGS_WORKER, STATE_WORKER, path_worker_main, run_doctor, settings_worker_main,
    state_worker_main,
};
pub use init::init_directory;
pub use process::{ExitStatus, block_file_size_signal, stop_at_signals, unblock_signals};
pub use serve::serve;
pub use startup::{PreparedDaemon, StartError, StartupFiles, check_config};
