//! Workers that a killed daemon left behind. They are found by their process name.
//!
//! The ledger records a worker that hangs once its deadline has passed. A daemon that is killed
//! before that leaves no record, only the process. The next daemon must not start a second worker
//! for the same directory.
#![expect(clippy::disallowed_methods, reason = "reads /proc, which never hangs on a mount")]

use std::collections::BTreeMap;
use std::fs;

use super::slot;
use crate::model::{ImageDir, ProcessId};
use crate::probe::worker::{PROCESS_NAME_PREFIX, process_name};

/// Workers that are running now, by process name, whichever process started them. The daemon looks
/// for them once, before it starts its own workers.
///
/// The search reads only `/proc/PID/stat`, which, unlike `cmdline`, never waits for the process.
#[derive(Debug, Default)]
pub struct OrphanedWorkers(BTreeMap<String, ProcessId>);

impl OrphanedWorkers {
    /// Finds all running workers. Returns an empty set if `/proc` is not available.
    pub fn find_all() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let workers = pids.filter_map(|pid| {
            let (name, process) = slot::named_process(pid)?;
            name.starts_with(PROCESS_NAME_PREFIX).then_some((name, process))
        });
        Self(workers.collect())
    }

    /// Returns the worker of this directory, or `None` if there is none.
    pub fn for_directory(&self, dir: &ImageDir) -> Option<ProcessId> {
        self.0.get(&process_name(dir.as_str())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_known_by_the_name_of_its_directory() {
        let dir = ImageDir::parse("/srv/images").unwrap();
        let name = process_name(dir.as_str());
        assert_eq!(name.len(), 15);
        assert_ne!(name, process_name("/srv/image"));
        assert_eq!(OrphanedWorkers::find_all().for_directory(&dir), None);
        // A thread's name is not its process's: only the first thread of a worker has it.
        let waits = std::process::Command::new("/bin/sh")
            .args(["-c", &format!("printf %s {name} >/proc/self/comm; echo; read line")])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let mut waits = waits.unwrap();
        let mut line = [0];
        std::io::Read::read_exact(waits.stdout.as_mut().unwrap(), &mut line).unwrap();
        let found = OrphanedWorkers::find_all().for_directory(&dir);
        drop(waits.stdin.take());
        let pid = i32::try_from(waits.id()).unwrap();
        waits.wait().unwrap();
        assert_eq!(found.map(|process| process.pid), Some(pid));
    }
}
