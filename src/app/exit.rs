//! How the program ends, after `sysexits.h` where a number is taken from there.

use std::process::ExitCode;

/// What a supervisor or a script reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Done, or stopped as asked.
    Ok = 0,
    /// A command failed; it said why.
    Failed = 1,
    /// Bad settings (`EX_USAGE`); nothing was bound.
    Settings = 64,
    /// The ledger is unreadable or newer (`EX_DATAERR`); it was left as it was.
    Ledger = 65,
    /// A socket cannot be bound (`EX_UNAVAILABLE`).
    Bind = 69,
    /// A fault of ours, or a system that refuses the basics (`EX_SOFTWARE`).
    Internal = 70,
    /// Another agent has the state directory (`EX_TEMPFAIL`).
    Locked = 75,
}

impl From<ExitStatus> for ExitCode {
    fn from(exit: ExitStatus) -> Self {
        ExitCode::from(exit as u8)
    }
}
