//! The exit statuses of the program. Those with an `EX_` name are from `sysexits.h`.

use std::process::ExitCode;

/// The exit status, which a supervisor or a script reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// The command succeeded, or the daemon stopped on request.
    Ok = 0,
    /// A command failed and printed the reason.
    Failed = 1,
    /// The settings are invalid (`EX_USAGE`). No socket was bound.
    Settings = 64,
    /// The ledger is damaged or newer (`EX_DATAERR`). It stays unchanged.
    Ledger = 65,
    /// A socket cannot be bound (`EX_UNAVAILABLE`).
    Bind = 69,
    /// An internal error, or the system denies a basic resource (`EX_SOFTWARE`).
    Internal = 70,
    /// Another agent holds the lock of the state directory (`EX_TEMPFAIL`).
    Locked = 75,
}

impl From<ExitStatus> for ExitCode {
    fn from(exit: ExitStatus) -> Self {
        ExitCode::from(exit as u8)
    }
}
