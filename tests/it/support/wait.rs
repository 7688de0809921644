//! Waits for conditions that can only be polled.

use std::time::Duration;

use tokio::time::{Instant, interval};

use super::agent::TEST_TIMEOUT;

/// Polls until the condition holds; panics with `what` at the deadline.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    let mut ticks = interval(Duration::from_millis(5));
    while !is_so().await {
        assert!(Instant::now() < deadline, "timeout: {what}");
        ticks.tick().await;
    }
}
