//! What processes do, read from `/proc`, and waiting for what has no event of its own.

use std::fs;
use std::time::Duration;

use tokio::time::{Instant, interval};

use super::agent::PATIENCE;

/// Waits until it is so, looking again and again; fails with `what` at the deadline.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = interval(Duration::from_millis(5));
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        looks.tick().await;
    }
}

/// Waits until a child of the process sleeps in the kernel where no signal reaches it (state D of
/// `proc_pid_stat(5)`) twice in a row: a worker on a disk that does not answer.
pub(crate) async fn until_a_child_is_held(parent: u32) {
    let mut before = None;
    let held = || {
        let now = children(parent).into_iter().find(|child| state(*child) == Some('D'));
        // A healthy disk is waited for in that state too, for a moment.
        let same = now.is_some() && now == before;
        before = now;
        same
    };
    until("no child sleeps in the kernel", held).await;
}

/// The children of all threads of a process.
fn children(parent: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| {
        // A thread may end between the two looks.
        fs::read_to_string(thread.path().join("children")).ok()
    });
    lists
        .flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    stat.rsplit_once(") ")?.1.chars().next()
}
