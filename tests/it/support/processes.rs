//! What processes do, read from `/proc`.

use std::collections::BTreeSet;
use std::fs;

use super::wait::until;

/// Waits until a child of the process sleeps in the kernel where no signal reaches it (state D of
/// `proc_pid_stat(5)`) twice in a row: a worker on a disk that does not answer.
pub(crate) async fn until_child_in_disk_sleep(parent: u32) {
    let mut before = None;
    let held = async || {
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

/// The processes whose name starts so.
pub(crate) fn named(start: &str) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let fits = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(start))
    };
    pids.filter(fits).collect()
}

/// How many threads a process has.
pub(crate) fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
