//! Waits for conditions without a notification: a service that is up, a health that has changed.

use std::process::Output;
use std::time::{Duration, Instant};

/// Maximum wait. It is longer than any step takes on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Polls until the condition holds. Panics with the last result at the deadline.
pub(crate) fn until(what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while let Err(seen) = look() {
        assert!(Instant::now() < deadline, "timeout: {what}: {seen}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns `Ok` if the output contains the text, as [`until`] expects.
pub(crate) fn holds(text: String, words: &str) -> Result<(), String> {
    if text.contains(words) { Ok(()) } else { Err(text) }
}

/// Returns `Ok` if the command succeeded, as [`until`] expects.
pub(crate) fn succeeds(output: Output) -> Result<(), String> {
    if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
}
