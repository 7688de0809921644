//! Temporary users of this machine, which sshd accepts. Needs root.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{Flock, FlockArg};

use super::requirements::run;

/// First letters of the user names of tests. The process id, its start time and a number follow.
const PREFIX: &str = "isat";

/// A user of this machine, with a password. Removed when dropped.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl User {
    pub(crate) fn create() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static CLEANUP: Once = Once::new();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let me = std::process::id();
        let started = started(me).unwrap();
        let name = format!("{PREFIX}{me}x{started}x{number}");
        let password = format!("pw {name} ä");
        let _lock = lock_password_file();
        CLEANUP.call_once(remove_stale_users);
        run("useradd", &["-M", "-d", "/nonexistent", "-s", "/bin/sh", &name]);
        // Made before the password is set, so that a failure there removes the user too.
        let user = Self { name, password };
        user.take_password(&user.password);
        user
    }

    /// Sets another password, as an administrator does.
    pub(crate) fn set_password(&self, password: &str) {
        let _lock = lock_password_file();
        self.take_password(password);
    }

    /// Makes the user a member of a group.
    pub(crate) fn join_group(&self, group: &str) {
        let _lock = lock_password_file();
        run("usermod", &["-aG", group, &self.name]);
    }

    fn take_password(&self, password: &str) {
        run_with_input("chpasswd", &format!("{}:{password}\n", self.name));
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _lock = lock_password_file();
        let _ = Command::new("userdel").args(["-f", &self.name]).stderr(Stdio::null()).status();
    }
}

/// Removes the users of test processes that were killed.
fn remove_stale_users() {
    for line in fs::read_to_string("/etc/passwd").unwrap().lines() {
        let name = line.split(':').next().unwrap_or_default();
        let Some(owner) = name.strip_prefix(PREFIX) else { continue };
        let mut owner = owner.split('x');
        let pid = owner.next().and_then(|pid| pid.parse().ok());
        // Other users have names of another form.
        let (Some(pid), Some(start)) = (pid, owner.next()) else { continue };
        if started(pid).as_deref() != Some(start) || pid == std::process::id() {
            let _ = Command::new("userdel").args(["-f", name]).stderr(Stdio::null()).status();
        }
    }
}

/// Returns the start time of a process in ticks since boot, because the kernel reuses process ids.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may contain any character, field 22 is the 20th.
    Some(stat.rsplit_once(") ")?.1.split(' ').nth(19)?.to_owned())
}

/// Waits for the lock of the tests, because useradd(8) fails while another process holds the
/// password file.
fn lock_password_file() -> Flock<fs::File> {
    let path = std::env::temp_dir().join("imagestore-agent-test-users.lock");
    let file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap()
}

/// Runs a program with its input on stdin, so that no process list shows it.
fn run_with_input(program: &str, input: &str) {
    let mut child = Command::new(program).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} failed");
}
