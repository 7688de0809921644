//! The state of processes, read from `/proc`.

use std::collections::BTreeSet;
use std::fs;

use super::wait::until;

/// Waits until a child of the process is in uninterruptible sleep (state D of `proc_pid_stat(5)`)
/// twice in a row: a worker on a disk that does not answer.
pub(crate) async fn until_child_in_disk_sleep(parent: u32) {
    let mut before = None;
    let held = async || {
        let now = children(parent).into_iter().find(|child| state(*child) == Some('D'));
        // A process waits for a healthy disk in that state too, for a moment.
        let same = now.is_some() && now == before;
        before = now;
        same
    };
    until("a child sleeps in the kernel", held).await;
}

/// Returns the children of all threads of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| {
        // A thread may end between the two reads.
        fs::read_to_string(thread.path().join("children")).ok()
    });
    lists
        .flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the state may contain any character.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Returns the processes whose name begins with `start`.
pub(crate) fn named(start: &str) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let fits = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(start))
    };
    pids.filter(fits).collect()
}

/// Returns the number of threads of a process.
pub(crate) fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// Returns the number of open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
