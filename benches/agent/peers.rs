//! Compares the login check with other SSH clients, one after the other, against one sshd and by
//! one key.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use imagestore_agent::model::{Secret, SshCredentials};
use imagestore_agent::settings::Settings;
use imagestore_agent::ssh::Verifier;

use crate::figures::spread;
use crate::login::{bare_login_by_key, checked_login};
use crate::support::sshd::{Builder, HostKeyFile, KeyPair, Sshd, User};

const ROUNDS: usize = 31;
/// The interpreter with the peers' libraries; `make bench` creates its environment.
const PYTHON: &str = "BENCH_PYTHON";

/// A Python process with an SSH library; it logs in once for each line on its input.
struct Library {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Library {
    /// Starts the process. Returns `None` and prints a message if Python or the library is missing.
    fn start(name: &str, sshd: &Sshd, user: &User, key: &Path) -> Option<Self> {
        let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/agent/peers.py");
        let (ip, port) = (sshd.address.ip().to_string(), sshd.address.port().to_string());
        let started = Command::new(python)
            .args([script, name, &ip, &port, &user.name, key.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            println!("    {name}: skipped, no {PYTHON}");
            return None;
        };
        let asks = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        answers.read_line(&mut first).unwrap();
        if first.trim() != "ready" {
            println!("    {name}: skipped, {}", first.trim());
            child.wait().unwrap();
            return None;
        }
        Some(Self { child, asks, answers })
    }

    fn login(&mut self) -> Duration {
        writeln!(self.asks).unwrap();
        let mut took = String::new();
        self.answers.read_line(&mut took).unwrap();
        Duration::from_nanos(took.trim().parse().unwrap())
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `ssh host true`, as a shell script would check a login.
fn ssh_true(sshd: &Sshd, user: &User, key: &Path) -> Duration {
    let begun = Instant::now();
    let output = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
        .args(["-i", key.to_str().unwrap(), "-p", &sshd.address.port().to_string()])
        .args([&format!("{}@{}", user.name, sshd.address.ip()), "true"])
        .stdin(Stdio::null())
        // ssh warns about a missing home directory.
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(output.success());
    begun.elapsed()
}

pub(crate) async fn login_beside_others() {
    let user = User::create();
    let pair = KeyPair::generate("ed25519", "");
    let own =
        Builder::new().host_key(&HostKeyFile::of_this_node()).line("MaxStartups 1000").start();
    let foreign = Builder::new().line("MaxStartups 1000").start();
    own.authorize(&user, &pair);
    foreign.authorize(&user, &pair);
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, &pair.private).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let credentials = SshCredentials {
        password: None,
        private_key: Some(Secret::new(pair.private.clone())),
        passphrase: None,
    };

    let mut settings = Settings::built_in().ssh;
    let proving = Verifier::new(&settings);
    settings.prove_host = false;
    let plain = Verifier::new(&settings);

    println!("a login by key, {ROUNDS} rounds, one after the other against one sshd");
    let names = ["paramiko", "asyncssh", "libssh2"];
    let mut libraries: Vec<(&str, Library, Vec<Duration>)> = names
        .into_iter()
        .filter_map(|name| Some((name, Library::start(name, &own, &user, &key)?, Vec::new())))
        .collect();
    let (mut check, mut by_own_key, mut by_boot_id) = (Vec::new(), Vec::new(), Vec::new());
    let (mut russh, mut ssh) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        russh.push(bare_login_by_key(&own, &user, &pair).await);
        check.push(checked_login(&plain, &own, &user, &credentials).await);
        by_own_key.push(checked_login(&proving, &own, &user, &credentials).await);
        by_boot_id.push(checked_login(&proving, &foreign, &user, &credentials).await);
        for (_, library, times) in &mut libraries {
            times.push(library.login());
        }
        ssh.push(ssh_true(&own, &user, &key));
    }
    let agent_times = spread(check.clone()).1;
    let row = |name: &str, times: Vec<Duration>, goal: &str| {
        let (low, median, high) = spread(times);
        let ratio = agent_times.as_secs_f64() / median.as_secs_f64();
        println!(
            "    {name:<28} {median:>11.3?} ({low:.1?} to {high:.1?}), the check takes {ratio:.3} of it{goal}"
        );
    };
    row("the check, no proof", check, "");
    row("russh", russh, "; goal 1.10");
    for (name, _, times) in libraries {
        row(name, times, "; goal below 1");
    }
    row("ssh host true", ssh, "; goal below 1");
    row("the check, by its host key", by_own_key, "");
    row("the check, boot id by SFTP", by_boot_id, "");
}
