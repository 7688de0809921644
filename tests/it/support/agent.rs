//! The real program as a process, with a state directory and settings of the test's own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use hyper::Method;
use imagestore_agent::cli::{DaemonAddress, DaemonResponse};
use imagestore_agent::model::Secret;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::api_description::CheckedClient;
use super::secret_files::{let_group_read, set_mode, write_secret};
use super::sshd::{Sshd, User};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_imagestore-agent");
/// Maximum wait of a test. It is far longer than any step takes, so reaching it is a failure.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Token of the tests; its SHA-256 is in the tokens file.
pub(crate) const TOKEN: &str = "a-session";

/// A shell that passes its stdin and stdout as sockets, as systemd does (`sd_listen_fds(3)`).
const HANDING_OVER: [&str; 3] = [
    "sh",
    "-c",
    "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" \"$@\"",
];

/// User id and group id of nobody, who owns nothing.
pub(crate) const NOBODY: u32 = 65_534;

/// An installation of the program, and the daemon if it runs.
pub(crate) struct Agent {
    dir: tempfile::TempDir,
    /// Command line of the daemon: the program, or `setpriv` and the program.
    serve: Vec<String>,
    /// Flags of the next start.
    flags: Vec<String>,
    running: Option<DaemonProcess>,
    log: Vec<String>,
    /// Listeners that the daemon inherits at each start.
    pub(crate) inherited: Option<(TcpListener, UnixListener)>,
}

struct DaemonProcess {
    child: Child,
    /// Lines of the log; the channel closes when the process ends.
    lines: Receiver<String>,
    reader: LogReader,
    /// Address of the listener, once the daemon serves.
    address: Option<SocketAddr>,
}

/// The reader of a daemon's log.
#[derive(Clone, Default)]
pub(crate) struct LogReader(Arc<Mutex<()>>);

impl LogReader {
    /// Stops the reader until the result is dropped.
    pub(crate) async fn hold(&self) -> MutexGuard<'_, ()> {
        self.0.lock().await
    }
}

impl Agent {
    /// Makes an installation that serves image directories at or below `roots`, with more settings.
    pub(crate) fn installed(roots: &Path, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let serve = vec![PROGRAM.to_owned()];
        let agent =
            Self { dir, serve, flags: Vec::new(), running: None, log: Vec::new(), inherited: None };
        let hash = ring::digest::digest(&ring::digest::SHA256, TOKEN.as_bytes());
        let hash = data_encoding::HEXLOWER.encode(hash.as_ref());
        write_secret(agent.path("tokens"), format!("test:{hash}:admin\n"));
        let listen = "listen = [\"127.0.0.1:0\"]";
        agent.configure(&format!(
            "[server]\n{listen}\n[state]\ndir = {:?}\n[auth]\ntokens_file = {:?}\n\
             [storage]\nallowed_roots = [{roots:?}]\n{more}",
            agent.path("state"),
            agent.path("tokens"),
        ));
        agent
    }

    /// Runs the daemon as nobody from now on, with a copy of the program that nobody can reach and
    /// a state directory that nobody owns. Commands still run as root.
    pub(crate) fn running_as_nobody(self) -> Self {
        self.running_as(NOBODY, NOBODY)
    }

    /// Runs the daemon as another user from now on, as [`Agent::running_as_nobody`] does.
    pub(crate) fn running_as(mut self, user: u32, group: u32) -> Self {
        let program = self.path("agent");
        fs::copy(PROGRAM, &program).unwrap();
        fs::create_dir(self.path("state")).unwrap();
        chown(self.path("state"), Some(user), Some(group)).unwrap();
        set_mode(self.dir.path(), 0o755);
        let_group_read(&self.path("tokens"), group);
        let who = [format!("--reuid={user}"), format!("--regid={group}")];
        self.serve = vec!["/usr/bin/setpriv".to_owned()];
        self.serve.extend(who);
        self.serve.extend(["--clear-groups".to_owned(), program.display().to_string()]);
        self
    }

    /// Overwrites the settings file.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.path("agent.toml"), text).unwrap();
    }

    pub(crate) fn settings(&self) -> String {
        fs::read_to_string(self.path("agent.toml")).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: &[String]) -> Command {
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]);
        command.arg("--config").arg(self.path("agent.toml")).env_remove("RUST_LOG");
        command.env("IMAGESTORE_AGENT_CRASH_POINTS", self.path("crash-points"));
        command
    }

    /// Lets the daemon die when it passes this point for the `nth` time from its next start or from
    /// now on.
    #[cfg(feature = "crash-points")]
    pub(crate) fn arm_crash_point(&self, label: &str, nth: u32) {
        fs::write(self.path("crash-points"), format!("{label} {nth}")).unwrap();
    }

    /// Disarms what [`Agent::arm_crash_point`] has armed.
    #[cfg(feature = "crash-points")]
    pub(crate) fn disarm_crash_point(&self) {
        fs::remove_file(self.path("crash-points")).unwrap();
    }

    /// Starts the daemon and waits until it serves.
    pub(crate) fn start(&mut self) {
        assert!(self.start_under(&[]), "the daemon ended without serving");
    }

    /// Starts the daemon behind a program that execs it, such as `env NAME=VALUE`. Returns true if
    /// the daemon serves and false if it has ended.
    pub(crate) fn start_under(&mut self, wrapper: &[&str]) -> bool {
        self.launch(wrapper);
        let Some(serving) = self.until_logged_or_ended("\"serving\"") else {
            self.ended();
            return false;
        };
        let begin = serving.find("127.0.0.1:").unwrap();
        let digits = &serving[begin..];
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap();
        self.running.as_mut().unwrap().address = Some(digits[..end].parse().unwrap());
        true
    }

    /// Starts the daemon behind such a program and does not wait.
    pub(crate) fn launch(&mut self, wrapper: &[&str]) {
        let (stdin, stdout) = match &self.inherited {
            None => (Stdio::null(), Stdio::inherit()),
            Some((tcp, unix)) => {
                let tcp = OwnedFd::from(tcp.try_clone().unwrap());
                (Stdio::from(tcp), Stdio::from(OwnedFd::from(unix.try_clone().unwrap())))
            }
        };
        let wrapper = if self.inherited.is_some() { &HANDING_OVER } else { wrapper };
        let wrapper = wrapper.iter().map(|&word| word.to_owned());
        let words: Vec<String> = wrapper.chain(self.serve.iter().cloned()).collect();
        let mut child = self
            .command(&words)
            .arg("serve")
            .args(&self.flags)
            .stderr(Stdio::piped())
            .stdin(stdin)
            .stdout(stdout)
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        let reader = LogReader::default();
        let reading = reader.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                drop(reading.0.blocking_lock());
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        // Owned from here on, so that a failed start also ends the process.
        self.running = Some(DaemonProcess { child, lines, reader, address: None });
    }

    /// Starts the daemon with flags of `serve` and waits until it serves.
    pub(crate) fn start_with(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        self.start();
        self.flags.clear();
    }

    /// Runs `serve` to its end, for starts that fail.
    pub(crate) fn run_serve_to_end(&self) -> Output {
        self.run_to_end(&self.serve, &["serve"], "")
    }

    /// Runs a command as the user of the daemon.
    pub(crate) fn run_as_daemon(&self, args: &[&str]) -> Output {
        self.run_to_end(&self.serve, args, "")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().unwrap().child.id()
    }

    /// Returns true if the daemon has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.running.as_mut().unwrap().child.try_wait().unwrap().is_some()
    }

    /// Sends a signal to the daemon.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for the end of the daemon, which is the end of its log.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while let Some(line) = self.next_line(deadline, "it does not end") {
            self.log.push(line);
        }
        self.running.take().unwrap().child.wait().unwrap()
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended();
    }

    /// Sends SIGTERM. Returns the exit status and the time until the end.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal(Signal::SIGTERM);
        (self.ended(), begun.elapsed())
    }

    /// Returns the reader of the log.
    pub(crate) fn log_reader(&self) -> LogReader {
        self.running.as_ref().unwrap().reader.clone()
    }

    /// Returns the log so far.
    pub(crate) fn log(&mut self) -> String {
        if let Some(running) = &self.running {
            self.log.extend(running.lines.try_iter());
        }
        self.log.join("\n")
    }

    /// Waits for a log line with this text and returns it.
    pub(crate) fn until_logged(&mut self, text: &str) -> String {
        let line = self.until_logged_or_ended(text);
        line.unwrap_or_else(|| panic!("the daemon ended and never logged {text:?}"))
    }

    /// Waits as [`Agent::until_logged`] does; returns `None` if the daemon ends without such a
    /// line.
    fn until_logged_or_ended(&mut self, text: &str) -> Option<String> {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while let Some(line) = self.next_line(deadline, text) {
            self.log.push(line.clone());
            if line.contains(text) {
                return Some(line);
            }
        }
        None
    }

    /// Returns the next line of the log, or `None` after the end. Panics at the deadline.
    fn next_line(&self, deadline: Instant, awaited: &str) -> Option<String> {
        let lines = &self.running.as_ref().unwrap().lines;
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("timeout: {awaited}"),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().address.unwrap()
    }

    /// Returns the address for a client with the token.
    pub(crate) fn http(&self) -> CheckedClient {
        let url = format!("http://{}", self.address());
        let token = Some(Secret::new(TOKEN.to_owned()));
        CheckedClient(DaemonAddress::at_url(&url, token).unwrap())
    }

    /// Sends one request with the token.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> DaemonResponse {
        let path = format!("/zstack/v1/backup-storage{path}");
        self.http().send_request(method, &path, body.as_ref()).await.unwrap()
    }

    /// Sends the documented reconnect. If the attempt fails, the problems of the store must be in
    /// its diagnosis and its events too.
    pub(crate) async fn reconnect(&self, uuid: &str) -> DaemonResponse {
        let path = format!("/image-store/{uuid}/actions");
        let reply = self.ask(Method::PUT, &path, Some(json!({"params": {}}))).await;
        if reply.status == 503 {
            self.check_problems_of_failure(uuid).await;
        }
        reply
    }

    /// Adds a store and returns its uuid.
    pub(crate) async fn add(&self, dir: &Path, sshd: &Sshd, user: &User) -> String {
        let reply = self.ask(Method::POST, "/image-store", Some(store(dir, sshd, user))).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body["inventory"]["uuid"].as_str().unwrap().to_owned()
    }

    /// Returns the inventory of a store from the API.
    pub(crate) async fn inventory(&self, uuid: &str) -> Value {
        let reply = self.ask(Method::GET, &format!("/image-store/{uuid}"), None).await;
        reply.body["inventories"][0].clone()
    }

    /// Runs a client command over the socket with this text on its stdin.
    pub(crate) fn cli(&self, args: &[&str], stdin: &str) -> Output {
        self.run_to_end(&[PROGRAM.to_owned()], args, stdin)
    }

    /// Runs a command behind a program that execs it.
    pub(crate) fn cli_under(&self, wrapper: &[&str], args: &[&str]) -> Output {
        let mut program: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        program.push(PROGRAM.to_owned());
        self.run_to_end(&program, args, "")
    }

    /// Runs `check-config` with the listeners that the daemon inherits.
    pub(crate) fn check_inheriting(&self) -> Output {
        let (tcp, unix) = self.inherited.as_ref().unwrap();
        let words = HANDING_OVER.iter().map(|&word| word.to_owned());
        let words: Vec<String> = words.chain([PROGRAM.to_owned()]).collect();
        let mut command = self.command(&words);
        command.arg("check-config").stderr(Stdio::piped());
        command.stdin(OwnedFd::from(tcp.try_clone().unwrap()));
        command.stdout(OwnedFd::from(unix.try_clone().unwrap()));
        command.spawn().unwrap().wait_with_output().unwrap()
    }

    fn run_to_end(&self, program: &[String], args: &[&str], stdin: &str) -> Output {
        let mut child = self
            .command(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The write fails for a command that does not read its stdin.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        let (sender, ended) = channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        ended.recv_timeout(TEST_TIMEOUT).map_or_else(
            |_| {
                let _ = kill(pid, Signal::SIGKILL);
                panic!("{args:?} does not end");
            },
            Result::unwrap,
        )
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
            self.log.extend(running.lines.iter());
        }
        if std::thread::panicking() && !self.log.is_empty() {
            eprintln!("the daemon's log:\n{}", self.log.join("\n"));
        }
    }
}

/// Returns the body of an add.
pub(crate) fn store(dir: &Path, sshd: &Sshd, user: &User) -> Value {
    json!({"params": {
        "name": "images", "url": dir, "hostname": "127.0.0.1", "sshPort": sshd.address.port(),
        "username": user.name, "password": user.password,
    }})
}

/// Returns the settings of the callback.
pub(crate) fn callback(url: &str) -> String {
    format!("[callback]\nurls = [{url:?}]\nstart_spread = \"0s\"\n")
}
