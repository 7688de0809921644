//! Memory and processor time of the daemon's process, for the health view.

use std::sync::{Arc, Mutex};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::common::lock_unpoisoned;
use crate::http::{ProcessStats, ProcessStatsFn};

/// Returns a function that reads memory and processor time of this process from `/proc` at each
/// call.
pub(super) fn process_stats() -> ProcessStatsFn {
    // `None` if `/proc` is hidden from the daemon. The figures are 0 then.
    let system = Mutex::new(System::new().ok());
    let pid = Pid::from_u32(std::process::id());
    Arc::new(move || {
        let mut system = lock_unpoisoned(&system);
        let Some(system) = system.as_mut() else { return ProcessStats::default() };
        let kinds = ProcessRefreshKind::nothing().with_memory().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kinds);
        system.process(pid).map_or_else(ProcessStats::default, |process| ProcessStats {
            resident_bytes: process.memory(),
            cpu_milliseconds: process.accumulated_cpu_time(),
        })
    })
}
