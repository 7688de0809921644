//! A real OpenSSH server with a configuration of its own, and keys. Needs root and
//! Debian's `openssh-server`.

use std::fs;
use std::io::{BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::pam::PamService;
use super::requirements::run;
pub(crate) use super::users::User;

/// Maximum wait for a line in the server's log.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

/// The configuration of a server.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    ip: IpAddr,
    port: u16,
    host_keys: Vec<HostKeyFile>,
    lines: Vec<String>,
    pam: Option<PamService>,
}

/// The private half of a host key, in a file of its own that outlives a server.
#[derive(Clone, Debug)]
pub(crate) struct HostKeyFile {
    path: PathBuf,
    _dir: Arc<TempDir>,
}

impl HostKeyFile {
    /// Generates a key; `kind` is the argument of `ssh-keygen -t`.
    pub(crate) fn generate(kind: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        keygen(&path, kind, "", &[]);
        Self { path, _dir: Arc::new(dir) }
    }

    /// Returns this node's own key, as its sshd has it: `/etc/ssh/ssh_host_ed25519_key`.
    pub(crate) fn of_this_node() -> Self {
        // Generates missing keys, as the package does.
        run("ssh-keygen", &["-A"]);
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self { path: "/etc/ssh/ssh_host_ed25519_key".into(), _dir: dir }
    }

    /// Returns the fingerprint as `ssh-keygen -l` prints it: `SHA256:...`.
    pub(crate) fn fingerprint(&self) -> String {
        let path = self.path.to_str().unwrap();
        run("ssh-keygen", &["-l", "-f", path]).split(' ').nth(1).unwrap().to_owned()
    }
}

impl Builder {
    /// Configures a server on 127.0.0.1 with an ed25519 host key and without PAM that accepts
    /// passwords and keys.
    pub(crate) fn new() -> Self {
        Self {
            ip: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            host_keys: Vec::new(),
            lines: Vec::new(),
            pam: None,
        }
    }

    pub(crate) fn listen(mut self, ip: impl Into<IpAddr>) -> Self {
        self.ip = ip.into();
        self
    }

    /// Adds a host key; the first one replaces the default key.
    pub(crate) fn host_key(mut self, key: &HostKeyFile) -> Self {
        self.host_keys.push(key.clone());
        self
    }

    /// Adds a line of `sshd_config(5)`. It precedes the defaults, and the first line of a keyword
    /// counts.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Uses PAM with these rules.
    pub(crate) fn pam(mut self, service: &PamService) -> Self {
        self.pam = Some(service.clone());
        self.line("UsePAM yes")
    }

    /// Uses the port that another server had.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the server and returns when it listens.
    pub(crate) fn start(self) -> Sshd {
        let dir = tempfile::tempdir().unwrap();
        // A login reads the keys as the user, so each directory above them must be readable.
        open_to_all(dir.path(), 0o755);
        fs::create_dir_all("/run/sshd").unwrap();
        let mut host_keys = self.host_keys.clone();
        if host_keys.is_empty() {
            host_keys.push(HostKeyFile::generate("ed25519"));
        }
        // Another process may take the free port before sshd does.
        let started = (0..5).find_map(|_| self.try_start(dir.path(), &host_keys));
        let (child, log, address) = started.expect("sshd found no free port in five tries");
        Sshd { address, child, log, dir, _host_keys: host_keys, _pam: self.pam }
    }

    fn try_start(
        &self,
        dir: &Path,
        host_keys: &[HostKeyFile],
    ) -> Option<(Child, Arc<Log>, SocketAddr)> {
        let free = TcpListener::bind((self.ip, self.port)).unwrap().local_addr().unwrap();
        let mut config = self.lines.join("\n");
        config += &format!(
            "\nListenAddress {free}\nPidFile none\nStrictModes no\nLogLevel VERBOSE\nUsePAM no\n\
             PasswordAuthentication yes\nKbdInteractiveAuthentication no\nUseDNS no\n\
             AuthorizedKeysFile {}/%u.keys\n",
            dir.display(),
        );
        // sshd refuses the line twice.
        if !self.lines.iter().any(|line| line.starts_with("Subsystem")) {
            config += "Subsystem sftp internal-sftp\n";
        }
        // Of this keyword the last line counts.
        if !self.lines.iter().any(|line| line.starts_with("MaxStartups")) {
            config += "MaxStartups 100\n";
        }
        for key in host_keys {
            config += &format!("HostKey {}\n", key.path.display());
        }
        let file = dir.join("sshd_config");
        fs::write(&file, config).unwrap();
        let program = self.pam.as_ref().map_or("/usr/sbin/sshd".into(), PamService::program);
        let mut child = Command::new(program)
            .args(["-D", "-e", "-f", file.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::of(BufReader::new(child.stderr.take().unwrap()));
        if log.wait("Server listening on ", 1) {
            return Some((child, log, free));
        }
        let _ = child.kill();
        child.wait().unwrap();
        let text = log.text();
        assert!(text.contains("Address already in use"), "sshd did not start: {text}");
        None
    }
}

/// A running server. It stops when dropped; sessions end with their clients.
#[derive(Debug)]
pub(crate) struct Sshd {
    pub(crate) address: SocketAddr,
    child: Child,
    log: Arc<Log>,
    dir: TempDir,
    _host_keys: Vec<HostKeyFile>,
    _pam: Option<PamService>,
}

impl Sshd {
    /// Allows the owner of the key to log in as the user.
    pub(crate) fn authorize(&self, user: &User, key: &KeyPair) {
        let file = self.dir.path().join(format!("{}.keys", user.name));
        let mut keys = fs::OpenOptions::new().create(true).append(true).open(&file).unwrap();
        writeln!(keys, "{}", key.public).unwrap();
        open_to_all(&file, 0o644);
    }

    /// Waits until `count` log lines contain `text`. Panics with the log if they do not.
    pub(crate) fn until_logged(&self, text: &str, count: usize) {
        assert!(self.log.wait(text, count), "no {count} times {text:?} in {}", self.log.text());
    }

    /// Returns the number of authentication attempts in the log, after the connection has ended for
    /// the server too.
    pub(crate) fn auth_attempts(&self) -> usize {
        assert!(
            self.log.wait_for(1, is_session_end),
            "no end of a connection in {}",
            self.log.text()
        );
        self.log.count_of(|line| {
            ["Accepted ", "Failed ", "Partial "].iter().any(|word| line.contains(word))
                && line.contains(" ssh2")
        })
    }

    /// Returns the number of log lines with `text` so far.
    pub(crate) fn logged(&self, text: &str) -> usize {
        self.log.count(text)
    }

    /// Returns the number of accepted logins so far.
    pub(crate) fn accepted_logins(&self) -> usize {
        self.logged("Accepted ")
    }

    /// Stops the listener: the kernel accepts connections and nobody answers on them.
    pub(crate) fn freeze(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
    }

    /// Resumes a frozen listener.
    pub(crate) fn thaw(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The log of the server so far.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Reads in a thread that ends with the server and its last session.
    fn of(from: impl std::io::BufRead + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in from.lines().map_while(Result::ok) {
                writer.state.lock().unwrap().lines.push(line);
                writer.changed.notify_all();
            }
            writer.state.lock().unwrap().ended = true;
            writer.changed.notify_all();
        });
        log
    }

    fn wait(&self, text: &str, count: usize) -> bool {
        self.wait_for(count, |line| line.contains(text))
    }

    fn wait_for(&self, count: usize, matches: impl Fn(&str) -> bool) -> bool {
        let waiting =
            |state: &mut LogState| !state.ended && count_matching(&state.lines, &matches) < count;
        let state = self.state.lock().unwrap();
        let (state, _) = self.changed.wait_timeout_while(state, LOG_TIMEOUT, waiting).unwrap();
        count_matching(&state.lines, &matches) >= count
    }

    fn count(&self, text: &str) -> usize {
        self.count_of(|line| line.contains(text))
    }

    fn count_of(&self, matches: impl Fn(&str) -> bool) -> usize {
        count_matching(&self.state.lock().unwrap().lines, matches)
    }

    fn text(&self) -> String {
        self.state.lock().unwrap().lines.join("\n")
    }
}

fn count_matching(lines: &[String], matches: impl Fn(&str) -> bool) -> usize {
    lines.iter().filter(|line| matches(line)).count()
}

/// Returns true for the last log line of a connection: either side has closed it, or the
/// negotiation has failed.
fn is_session_end(line: &str) -> bool {
    [
        "Disconnected from",
        "Connection closed",
        "Connection reset",
        "Disconnecting",
        "Unable to negotiate",
        "Broken pipe",
    ]
    .iter()
    .any(|words| line.contains(words))
}

/// A user's key pair.
#[derive(Debug)]
pub(crate) struct KeyPair {
    /// The text of the private key.
    pub(crate) private: String,
    /// The line of `authorized_keys`.
    pub(crate) public: String,
}

impl KeyPair {
    /// Generates a key pair; `kind` is the argument of `ssh-keygen -t`, and an empty passphrase
    /// means none.
    pub(crate) fn generate(kind: &str, passphrase: &str) -> Self {
        Self::generate_as(kind, passphrase, &[])
    }

    /// Generates a key pair with further options of `ssh-keygen`, such as the format of the file.
    pub(crate) fn generate_as(kind: &str, passphrase: &str, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        keygen(&path, kind, passphrase, options);
        let private = fs::read_to_string(&path).unwrap();
        let public = fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned();
        Self { private, public }
    }
}

fn keygen(path: &Path, kind: &str, passphrase: &str, options: &[&str]) {
    let path = path.to_str().unwrap();
    let args = ["-q", "-t", kind, "-N", passphrase, "-f", path, "-C", "a test's key"];
    run("ssh-keygen", &[&args, options].concat());
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
