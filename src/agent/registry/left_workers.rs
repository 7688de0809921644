//! The workers that adds and removed stores left in directories that hang.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::common::lock_unpoisoned;
use crate::model::{ImageDir, ProcessId};
use crate::probe::is_running;

/// Workers that could not be killed, by their directories, which no store serves. The next add of
/// such a directory starts no second worker. Cheap to clone.
///
/// There are at most as many entries as processes that hung, because a directory has one worker.
#[derive(Clone, Debug, Default)]
pub(super) struct LeftWorkers(Arc<Mutex<BTreeMap<ImageDir, ProcessId>>>);

impl LeftWorkers {
    /// Records the worker that occupies a directory, or that none does.
    pub(super) fn record(&self, dir: ImageDir, stuck: Option<ProcessId>) {
        let mut workers = lock_unpoisoned(&self.0);
        match stuck {
            Some(worker) => workers.insert(dir, worker),
            None => workers.remove(&dir),
        };
    }

    /// Returns the worker that was left in a directory.
    pub(super) fn in_directory(&self, dir: &ImageDir) -> Option<ProcessId> {
        lock_unpoisoned(&self.0).get(dir).copied()
    }

    /// Returns the number of workers that still run. The call reads a file of `/proc` for each
    /// worker that was left.
    pub(super) fn count_running(&self) -> usize {
        let workers: Vec<ProcessId> = lock_unpoisoned(&self.0).values().copied().collect();
        workers.into_iter().filter(|worker| is_running(*worker)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_workers_that_still_run_count() {
        let left = LeftWorkers::default();
        let dir = |name: &str| ImageDir::parse(&format!("/images/{name}")).unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let worker = crate::probe::running_process(pid).unwrap();
        left.record(dir("a"), Some(worker));
        // The same pid with another start time is another process.
        left.record(dir("b"), Some(ProcessId { start_time: worker.start_time + 1, ..worker }));
        assert_eq!((left.count_running(), left.in_directory(&dir("a"))), (1, Some(worker)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((left.count_running(), left.in_directory(&dir("a"))), (0, Some(worker)));
        left.record(dir("a"), None);
        assert_eq!(left.in_directory(&dir("a")), None);
    }
}
