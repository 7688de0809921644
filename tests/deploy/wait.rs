//! Waiting for what nobody announces: a service that is up, a health that has turned.

use std::process::Output;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a machine that is busy.
const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Looks again and again until it is so; what was seen instead is told of the last look.
pub(crate) fn until(what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while let Err(seen) = look() {
        assert!(Instant::now() < deadline, "it never was: {what}: {seen}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// As [`until`] wants it.
pub(crate) fn holds(text: String, words: &str) -> Result<(), String> {
    if text.contains(words) { Ok(()) } else { Err(text) }
}

/// As [`until`] wants it.
pub(crate) fn succeeds(output: Output) -> Result<(), String> {
    if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
}
