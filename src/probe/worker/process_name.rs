//! Process name of a worker, by which the daemon finds workers of an earlier daemon.

/// Prefix of the process names of workers. No other program's name begins with it.
pub(crate) const PROCESS_NAME_PREFIX: &str = "isw-";

/// Returns the process name of the worker for this directory: the prefix and eleven hexadecimal
/// digits. That is the longest name that the kernel accepts (15 bytes, `TASK_COMM_LEN`,
/// `prctl(2)`).
pub(crate) fn name_of(dir: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, dir.as_bytes());
    let digits = data_encoding::HEXLOWER.encode(digest.as_ref());
    format!("{PROCESS_NAME_PREFIX}{}", digits.get(..11).unwrap_or_default())
}
