//! `strace -e inject`: the daemon is killed in the middle of a system call that the test chooses,
//! or gets an error of its disk.

use std::fs;
use std::path::{Path, PathBuf};
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

/// Returns the command line of `strace` that runs a daemon and kills it at the `nth` of `calls`.
/// `strace` runs outside, so that the daemon is the child that the test waits for.
pub(crate) fn killing_from_the_start(calls: &str, nth: u32) -> Vec<String> {
    let mut words = killing(calls, nth, &[]);
    words.extend(["-f", "-D"].map(str::to_owned));
    words
}

/// Returns the command line of `strace` that makes each `nth` of `calls` on one of these files fail
/// with this error.
pub(crate) fn failing(calls: &str, error: &str, nth: u32, files: &[&Path]) -> Vec<String> {
    injecting(calls, &format!("error={error}:when={nth}+{nth}"), files)
}

fn injecting(calls: &str, what: &str, files: &[&Path]) -> Vec<String> {
    let mut words = ["strace", "-qq", "-o", "/dev/null"].map(str::to_owned).to_vec();
    words.extend(["-e".to_owned(), format!("trace={calls}")]);
    words.extend(["-e".to_owned(), format!("inject={calls}:{what}")]);
    for file in files {
        words.extend(["-P".to_owned(), file.to_str().unwrap().to_owned()]);
    }
    words
}

/// A tracer of a running daemon; it detaches when dropped.
pub(crate) struct Tracer(Child);

impl Tracer {
    /// Traces the thread of the ledger from now on. It makes every access to the ledger. `strace`
    /// follows no other thread and no probe worker, because it waits for ever if it detaches from a
    /// process while that process ends.
    pub(crate) fn of_ledger(pid: u32, words: &[String]) -> Self {
        let thread = ledger_thread(pid);
        let mut command = Command::new(&words[0]);
        let id = thread.file_name().unwrap();
        command.args(&words[1..]).arg("-p").arg(id).stderr(Stdio::null());
        let mut tracer = Self(command.spawn().expect("strace; `make packages`"));
        let deadline = Instant::now() + TEST_TIMEOUT;
        while !is_traced(&thread) {
            assert!(tracer.0.try_wait().unwrap().is_none(), "strace may not trace");
            assert!(Instant::now() < deadline, "strace does not attach");
            std::thread::yield_now();
        }
        tracer
    }
}

/// Returns the folder in `/proc` of the thread that owns the ledger.
fn ledger_thread(pid: u32) -> PathBuf {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut threads = threads.map(|thread| thread.unwrap().path());
    let is_ledger = |thread: &PathBuf| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|name| name == "ledger\n")
    };
    threads.find(is_ledger).expect("a thread of the ledger")
}

fn is_traced(thread: &Path) -> bool {
    let status = fs::read_to_string(thread.join("status")).unwrap();
    !status.contains("\nTracerPid:\t0\n")
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // SIGKILL would leave the traced process stopped.
        let _ = kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
