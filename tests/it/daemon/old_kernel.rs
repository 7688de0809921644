//! The kernel of CentOS 7: the daemon works without each system call that is newer than Linux 3.10.

use std::fs;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

/// System calls that are newer than Linux 3.10. The tool skips those that it does not know.
const NEWER: [&str; 44] = [
    "bpf",
    "cachestat",
    "clone3",
    "close_range",
    "copy_file_range",
    "epoll_pwait2",
    "execveat",
    "faccessat2",
    "fchmodat2",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "futex_waitv",
    "getrandom",
    "io_pgetevents",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "membarrier",
    "memfd_create",
    "memfd_secret",
    "mlock2",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "pkey_alloc",
    "pkey_mprotect",
    "preadv2",
    "pwritev2",
    "renameat2",
    "rseq",
    "sched_getattr",
    "sched_setattr",
    "seccomp",
    "statx",
    "userfaultfd",
    "process_madvise",
];

#[tokio::test]
async fn no_system_call_of_a_newer_kernel_is_needed() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=8m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1s\"\n");
    let calls = NEWER.map(|call| format!("?{call}")).join(",");
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error=ENOSYS"));
    let calls_made = agent.path("calls");
    let output = calls_made.display().to_string();
    let wrapper = ["strace", "-qq", "-f", "-D", "-o", &output, "-e", &trace, "-e", &inject];
    assert!(agent.start_under(&wrapper), "{}", agent.log());
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    let list = agent.cli(&["list"], "");
    assert!(String::from_utf8_lossy(&list.stdout).contains("Connected"), "{list:?}");
    assert!(agent.terminate().0.success());
    // The kernel of this machine has them, and the daemon prefers some of them.
    let calls_made = fs::read_to_string(calls_made).unwrap();
    for call in ["statx(", "getrandom("] {
        let refused = |line: &str| line.contains(call) && line.contains("ENOSYS");
        assert!(calls_made.lines().any(refused), "{call}: {calls_made}");
    }
    assert!(!calls_made.lines().any(|line| line.contains(") = 0")), "{calls_made}");
}
