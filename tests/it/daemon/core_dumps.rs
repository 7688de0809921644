//! Core dumps of the daemon, which would contain keys and passwords.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::agent::{Agent, NOBODY};
use crate::support::requirements::needs_root;

fn installed(more: &str) -> Agent {
    let agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    let state = format!("[state]\n{more}");
    agent.configure(&agent.settings().replacen("[state]\n", &state, 1));
    agent
}

/// Returns true if another process of the daemon's user can read the memory of the daemon.
fn is_readable_by_its_user(agent: &Agent) -> bool {
    let read = format!("head -c 0 /proc/{0}/environ && cat /proc/{0}/maps", agent.pid());
    Command::new("setpriv")
        .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"])
        .args(["sh", "-c", &read])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn a_daemon_that_dies_leaves_no_core_dump_and_hides_its_memory_from_its_user() {
    needs_root!();
    for (setting, dumps) in [("", false), ("core_dumps = true\n", true)] {
        let mut agent = installed(setting).running_as_nobody();
        agent.start();
        assert_eq!(is_readable_by_its_user(&agent), dumps, "{setting:?}");
        let warned = agent.log().contains("state.core_dumps is set");
        assert_eq!(warned, dumps);
        // The workers of the daemon and its own figures still work.
        assert!(agent.cli(&["healthcheck"], "").status.success());
        assert!(agent.terminate().0.success());
    }
    // The kernel reports a dump in the exit status (`wait(2)`).
    for (setting, dumps) in [("", false), ("core_dumps = true\n", true)] {
        let mut agent = installed(setting);
        let limit = "ulimit -c unlimited; cd \"$1\"; shift; exec \"$@\"";
        let folder = agent.path("");
        assert!(agent.start_under(&["sh", "-c", limit, "sh", folder.to_str().unwrap()]));
        agent.signal(Signal::SIGABRT);
        let status = agent.ended();
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(status.signal(), Some(Signal::SIGABRT as i32));
        // The pattern of this machine may discard the dump, but it never makes one of a process
        // that is not dumpable.
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        if !dumps {
            assert!(!status.core_dumped(), "a core dump by {pattern}");
        }
    }
}
