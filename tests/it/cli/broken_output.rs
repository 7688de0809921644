//! Commands whose stdout or stderr is closed, full or gone.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::support::agent::{Agent, PROGRAM};
use crate::support::scripted_daemon::ScriptedDaemon;
use crate::support::secret_files::write_secret;
use crate::support::wait::until;

const UUID: &str = "4cd9fb914f5f4a1d8d2f000000000001";

/// The destination of an output.
#[derive(Clone, Copy, Debug)]
enum Sink {
    /// A pipe whose reader is gone, as after `| head -c0`.
    GonePipe,
    /// `/dev/full`: no space is left.
    Full,
    /// Closed before the start (`>&-`).
    Closed,
    /// A descriptor that can only be read.
    ReadOnly,
}

impl Sink {
    fn stdio(self) -> Stdio {
        match self {
            Self::GonePipe => {
                let (_reader, writer) = io::pipe().unwrap();
                writer.into()
            }
            Self::Full => File::options().write(true).open("/dev/full").unwrap().into(),
            Self::Closed => Stdio::null(),
            Self::ReadOnly => File::open("/dev/null").unwrap().into(),
        }
    }
}

fn command(args: &[String], closed: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("exec \"$0\" \"$@\" {closed}")).arg(PROGRAM).args(args);
    command.env("IMAGESTORE_AGENT_CONFIG", "").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn with_stdout(args: &[String], sink: Sink) -> Output {
    let closed = if matches!(sink, Sink::Closed) { ">&-" } else { "" };
    command(args, closed).stdout(sink.stdio()).stderr(Stdio::piped()).output().unwrap()
}

fn with_stderr(args: &[String], sink: Sink) -> Output {
    let closed = if matches!(sink, Sink::Closed) { "2>&-" } else { "" };
    command(args, closed).stderr(sink.stdio()).stdout(Stdio::piped()).output().unwrap()
}

/// A directory that `init` has marked, and a daemon for the client commands.
struct Place {
    dir: TempDir,
    daemon: ScriptedDaemon,
    /// The daemon for a removal, whose response has no fields.
    removing_daemon: ScriptedDaemon,
}

impl Place {
    fn new(status: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        write_secret(dir.path().join("password"), "x\n");
        let settings =
            format!("[storage]\nallow_root_disk = true\nallowed_roots = [{:?}]\n", dir.path());
        fs::write(dir.path().join("agent.toml"), settings).unwrap();
        let key = |fingerprint: &str| json!({"type": "k", "fingerprint": fingerprint});
        let body = json!({
            "inventory": {"uuid": UUID, "name": "n"}, "inventories": [{"uuid": UUID, "name": "n"}],
            "ready": true, "hostKey": key("SHA256:f"), "offeredHostKey": key("SHA256:g"),
            "error": {"code": "BS.1500", "details": "d"}, "events": [{"event": "added"}],
            "uuid": UUID, "points": [], "forecast": null, "stores": [{"uuid": UUID, "name": "n"}],
            "more": false, "next": "00000000000000000000000000000001-7",
        });
        let removed = if status == 200 { json!({}) } else { body.clone() };
        let removing_daemon = ScriptedDaemon::answering(status, &removed);
        Self { dir, daemon: ScriptedDaemon::answering(status, &body), removing_daemon }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Returns every command that writes its result to stdout.
    fn commands(&self) -> Vec<Vec<String>> {
        let client = [
            "list".to_owned(),
            "events".to_owned(),
            format!("show {UUID}"),
            format!("capacity {UUID}"),
            "list --brief".to_owned(),
            format!("update {UUID} --name x"),
            format!("reconnect {UUID}"),
            "reconnect --all".to_owned(),
            format!("remove {UUID} --yes"),
            format!("accept-host-key {UUID} --yes"),
            format!(
                "add --name n --path /srv --hostname h --username u --password-file {}",
                self.path("password")
            ),
        ];
        let client = client.iter().flat_map(|line| {
            let is_removal = line.starts_with("remove");
            let daemon = if is_removal { &self.removing_daemon } else { &self.daemon };
            let line = format!("{line} --url {}", daemon.url);
            [format!("{line} --json"), line]
        });
        let (config, images) = (self.path("agent.toml"), self.path("images"));
        let others = [
            "--help".to_owned(),
            "--version".to_owned(),
            "help add".to_owned(),
            "man".to_owned(),
            "man serve".to_owned(),
            "completions bash".to_owned(),
            "openapi".to_owned(),
            format!("check-config --config {config}"),
            format!("init {images} --user root --config {config}"),
            format!("init {images} --user root --config {config} --json"),
            format!("healthcheck --url {}", self.daemon.url),
        ];
        let lines = client.chain(others);
        lines.map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    }
}

#[test]
fn a_reader_of_stdout_that_is_gone_changes_no_exit_status() {
    for (status, code) in [(200, 0), (503, 1)] {
        let place = Place::new(status);
        for args in place.commands() {
            let is_client = args.iter().any(|word| word == "--url");
            let expected = if is_client { code } else { 0 };
            for sink in [Sink::GonePipe, Sink::Closed] {
                let output = with_stdout(&args, sink);
                let stderr = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(expected), "{args:?} {sink:?}: {stderr}");
                assert!(
                    !stderr.contains("panicked") && !stderr.contains("cannot write"),
                    "{stderr}"
                );
            }
        }
    }
}

#[test]
fn a_full_disk_behind_stdout_is_an_error_of_every_command() {
    let place = Place::new(200);
    for args in place.commands() {
        for (sink, cause) in
            [(Sink::Full, "No space left on device"), (Sink::ReadOnly, "Bad file descriptor")]
        {
            let output = with_stdout(&args, sink);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{args:?} {sink:?}: {stderr}");
            let last = stderr.lines().last().unwrap_or_default();
            assert!(
                last.contains("cannot write the output") && last.contains(cause),
                "{args:?}: {stderr}"
            );
        }
    }
}

#[test]
fn no_command_needs_a_stderr() {
    for (status, code) in [(200, 0), (503, 1)] {
        let place = Place::new(status);
        for args in place.commands() {
            // The keys to compare are on stderr, so without a reader nothing is pinned.
            let needs_stderr = args[0] == "accept-host-key" && status == 200;
            let is_client = args.iter().any(|word| word == "--url");
            let expected = if is_client { code } else { 0 };
            for sink in [Sink::GonePipe, Sink::Full, Sink::Closed] {
                let output = with_stderr(&args, sink);
                let expected =
                    if needs_stderr && !matches!(sink, Sink::Closed) { 1 } else { expected };
                assert_eq!(output.status.code(), Some(expected), "{args:?} {sink:?}");
            }
        }
    }
    for (line, code) in [
        ("", 2),
        ("show", 2),
        ("show nothing --url http://127.0.0.1:1", 1),
        ("man nothing", 1),
        ("list --config /nowhere", 1),
        ("check-config --config /nowhere", 64),
        ("serve --config /nowhere", 64),
        ("list --url http://127.0.0.1:1", 1),
    ] {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        for sink in [Sink::GonePipe, Sink::Full, Sink::Closed] {
            let output = with_stderr(&args, sink);
            assert_eq!(output.status.code(), Some(code), "{args:?} {sink:?}");
        }
    }
}

#[test]
fn a_demo_ends_quietly_without_a_reader_and_fails_on_a_full_disk() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (line, sink, code) in [
        ("demo --once", Sink::GonePipe, 0),
        ("demo --once", Sink::Closed, 0),
        ("demo", Sink::GonePipe, 0),
        ("demo --once", Sink::Full, 1),
    ] {
        let output = with_stdout(&words(line), sink);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line} {sink:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[tokio::test]
async fn a_daemon_serves_and_stops_without_a_reader_of_its_log() {
    for redirect in ["2>&-", "2>/dev/full", "2>&- >&- <&-", "2>&1 | true"] {
        let roots = tempfile::tempdir().unwrap();
        let agent = Agent::installed(roots.path(), "");
        // The shell prints the process id of the daemon before it becomes the daemon.
        let script = format!("(echo $$ >\"$1\"; exec \"$0\" serve --config \"$2\") {redirect}")
            .replace("echo $$", "sh -c 'echo $PPID'");
        let pid_file = agent.path("pid");
        let mut shell = Command::new("/bin/sh")
            .args(["-c", &script, PROGRAM])
            .args([pid_file.as_path(), &agent.path("agent.toml")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        until("the daemon is ready", async || is_ready(&agent)).await;
        let pid: i32 = read(&pid_file).trim().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        let status = shell.wait().unwrap();
        assert!(status.success(), "{redirect}: {status:?}");
        until("the daemon has ended", async || !is_ready(&agent)).await;
    }
}

fn is_ready(agent: &Agent) -> bool {
    agent.cli(&["healthcheck"], "").status.success()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_limit_of_the_file_size_ends_a_command_with_a_message() {
    let script = "ulimit -f 0; exec \"$0\" openapi";
    let output = Command::new("/bin/sh")
        .args(["-c", script, PROGRAM])
        .env("IMAGESTORE_AGENT_CONFIG", "")
        .stdout(tempfile::tempfile().unwrap())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("File too large"), "{stderr}");
}
