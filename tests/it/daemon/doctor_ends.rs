//! The command `doctor` beside files of its options and of `TMPDIR` that do not respond, and beside
//! a daemon of another PID namespace: it ends, and says nothing about a stranger.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::Value;

use crate::support::agent::{Agent, PROGRAM};
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::requirements::needs_root;

/// The address of a daemon that does not run.
const NO_DAEMON: &str = "http://127.0.0.1:1";

/// Starts `doctor` with these options.
fn start(agent: &Agent, options: &[&str], temporary: &Path) -> Child {
    let config = agent.path("agent.toml");
    Command::new(PROGRAM)
        .args(["doctor", "--config", config.to_str().unwrap()])
        .args(options)
        .env("TMPDIR", temporary)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Returns the exit status, the output and the errors.
fn ended(doctor: Child) -> (i32, String, String) {
    let output = doctor.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Creates a pipe in a folder.
fn pipe_in(dir: &Path) -> PathBuf {
    let pipe = dir.join("token");
    mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    pipe
}

/// Returns the other end of a pipe as soon as a process has opened it to read.
fn until_read(pipe: &Path) -> fs::File {
    let started = Instant::now();
    loop {
        // Without a reader, this is ENXIO.
        let flags = OFlag::O_NONBLOCK.bits();
        match fs::OpenOptions::new().write(true).custom_flags(flags).open(pipe) {
            Ok(writer) => return writer,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(60), "{error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_signal_ends_doctor_while_a_token_does_not_come() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, pipe) = (Agent::installed(dir.path(), ""), pipe_in(dir.path()));
    let options = ["--url", NO_DAEMON, "--token-file", pipe.to_str().unwrap()];
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let doctor = start(&agent, &options, dir.path());
        let _writer = until_read(&pipe);
        kill(Pid::from_raw(doctor.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(ended(doctor).0, status, "{signal}");
    }
    // Without a signal, it ends at its deadline.
    let (code, _, errors) = ended(start(&agent, &options, dir.path()));
    assert!(code == 1 && errors.contains("--token-file"), "{code} {errors}");
}

#[test]
fn a_token_that_can_be_read_once_lasts_for_all_rounds_of_a_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, pipe) = (Agent::installed(dir.path(), ""), pipe_in(dir.path()));
    let token_file = pipe.to_str().unwrap();
    let options = ["--url", NO_DAEMON, "--token-file", token_file, "--wait", "4s", "--json"];
    let doctor = start(&agent, &options, dir.path());
    until_read(&pipe).write_all(b"a-token\n").unwrap();
    let (code, text, errors) = ended(doctor);
    assert!(code == 1 && errors.starts_with("waiting: "), "{code} {errors}");
    assert!(!errors.contains("cannot read"), "{errors}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["worst"], "error", "{body:#}");
}

#[test]
fn a_disk_that_hangs_holds_neither_doctor_nor_its_end() {
    needs_root!();
    let (fuse, dir) = (Fuse::mounted(), tempfile::tempdir().unwrap());
    let mut agent = Agent::installed(dir.path(), "");
    agent.start();
    agent.terminate();
    let token = fuse.path().join("token");
    fs::write(&token, "a-token\n").unwrap();
    let remote = ["--url", NO_DAEMON, "--token-file", token.to_str().unwrap()];
    let local = ["--check", "state.ledger", "--json"];
    for (op, options) in [(Op::Create, &local[..]), (Op::Open, &remote[..])] {
        fuse.set(op, Behaviour::Hang);
        let (code, text, errors) = ended(start(&agent, options, &fuse.path()));
        match op {
            Op::Create => {
                let needs = "needs a folder for temporary files";
                assert!(text.contains(needs), "{code} {text} {errors}");
            }
            _ => assert!(errors.contains("its disk does not respond"), "{code} {errors}"),
        }
        assert_eq!(code, 1, "{text} {errors}");
        fuse.release();
        fuse.set(op, Behaviour::Hang);
        let doctor = start(&agent, options, &fuse.path());
        fuse.until_hanging(1);
        kill(Pid::from_raw(doctor.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        assert_eq!(ended(doctor).0, 130);
        fuse.release();
    }
}

#[test]
fn the_process_of_a_lock_is_named_only_if_it_holds_the_lock() {
    needs_root!();
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::installed(dir.path(), "");
    agent.start();
    let pid = agent.pid();
    agent.signal(Signal::SIGSTOP);
    let answers = || {
        let (_, text, _) = ended(start(&agent, &["--check", "service.answers"], dir.path()));
        text
    };
    let named = answers();
    // The id that a daemon in a container writes.
    fs::write(agent.path("state").join("lock"), "1\n").unwrap();
    let unnamed = answers();
    agent.signal(Signal::SIGCONT);
    assert!(named.contains(&format!("does not answer (process {pid})")), "{named}");
    assert!(unnamed.contains("the daemon runs, and does not answer"), "{unnamed}");
    assert!(!unnamed.contains("process 1"), "{unnamed}");
}
