//! `strace -e inject`: the daemon is killed in the middle of a system call that the test chooses,
//! or gets an error of its disk.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::agent::TEST_TIMEOUT;

/// Returns the command line of `strace` that kills at the `nth` of `calls` on one of these files,
/// counted for each thread.
pub(crate) fn killing(calls: &str, nth: u32, files: &[&Path]) -> Vec<String> {
    injecting(calls, &format!("signal=KILL:when={nth}"), files)
}

/// Returns the command line of `strace` that makes each `nth` of `calls` on one of these files fail
/// with this error.
pub(crate) fn failing(calls: &str, error: &str, nth: u32, files: &[&Path]) -> Vec<String> {
    injecting(calls, &format!("error={error}:when={nth}+{nth}"), files)
}

fn injecting(calls: &str, what: &str, files: &[&Path]) -> Vec<String> {
    let mut words = ["strace", "-f", "-qq", "-o", "/dev/null"].map(str::to_owned).to_vec();
    words.extend(["-e".to_owned(), format!("trace={calls}")]);
    words.extend(["-e".to_owned(), format!("inject={calls}:{what}")]);
    for file in files {
        words.extend(["-P".to_owned(), file.to_str().unwrap().to_owned()]);
    }
    words
}

/// A tracer of a running process; it detaches when dropped.
pub(crate) struct Tracer(Child);

impl Tracer {
    /// Traces every thread of the process from now on.
    pub(crate) fn of(pid: u32, words: &[String]) -> Self {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["-p", &pid.to_string()]).stderr(Stdio::null());
        let mut tracer = Self(command.spawn().expect("strace; `make packages`"));
        let deadline = Instant::now() + TEST_TIMEOUT;
        while !is_traced(pid) {
            assert!(tracer.0.try_wait().unwrap().is_none(), "strace may not trace");
            assert!(Instant::now() < deadline, "strace does not attach");
            std::thread::yield_now();
        }
        tracer
    }
}

fn is_traced(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.map(|thread| thread.unwrap().path()).all(|thread| {
        // A thread that has ended meanwhile needs no tracer.
        let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
        !status.contains("\nTracerPid:\t0\n")
    })
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // SIGKILL would leave the traced process stopped.
        let _ = kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
