//! A control group that limits the number of processes and threads.

use std::fs;
use std::path::PathBuf;

use crate::support::wait::until;

/// The places of the controller: version 1, and version 2 if the root delegates it.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];

/// A control group of this test. Its processes must have ended before it is removed.
pub(crate) struct PidsGroup(PathBuf);

impl PidsGroup {
    /// Creates a group with this process, or returns `None` on a machine without the controller.
    pub(crate) fn with_process(pid: u32) -> Option<Self> {
        ROOTS.iter().find_map(|root| {
            let group = Self(PathBuf::from(root).join(format!("imagestore-agent-test-{pid}")));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join("cgroup.procs"), pid.to_string()).ok()?;
            fs::read_to_string(group.0.join("pids.max")).ok()?;
            Some(group)
        })
    }

    /// Lets the group have this number of processes and threads beside its present ones.
    pub(crate) fn limit_to_present_and(&self, more: usize) {
        let present = fs::read_to_string(self.0.join("pids.current")).unwrap();
        let present: usize = present.trim().parse().unwrap();
        fs::write(self.0.join("pids.max"), (present + more).to_string()).unwrap();
    }

    /// Removes the group once its processes have ended.
    pub(crate) async fn remove(self) {
        until("the control group is empty", async || fs::remove_dir(&self.0).is_ok()).await;
    }
}
