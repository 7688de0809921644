//! A booted Debian system for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::requirements::run;
use crate::wait::until;

/// The daemon that was built for these tests.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_imagestore-agent");

pub(crate) fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the uuid in the output of `add --json`.
pub(crate) fn uuid_in(added: &str) -> String {
    let added: serde_json::Value = serde_json::from_str(added).unwrap();
    added["inventory"]["uuid"].as_str().unwrap().to_owned()
}

/// The base system of this name, which `make test-deploy` makes once and keeps.
fn base(name: &str) -> PathBuf {
    let base = tree().join("target/deploy").join(name);
    assert!(base.join("usr").exists(), "there is no base system: `make test-deploy`");
    base
}

/// A running machine. It and its files are removed when dropped.
pub(crate) struct Machine {
    root: tempfile::TempDir,
    nspawn: Child,
    leader: i32,
}

impl Machine {
    /// Boots a fresh system with the daemon installed and waits until systemd is up. The system
    /// sees the `shared` directories of this machine at the same paths.
    pub(crate) fn boot(shared: &[&Path]) -> Self {
        let machine = Self::boot_with(shared, |dir| {
            let staged = format!("DESTDIR={}", dir.display());
            run("make", &["-s", "-C", tree().to_str().unwrap(), "install-files", &staged]);
            run("install", &["-m", "755", PROGRAM, dir.join("usr/bin").to_str().unwrap()]);
        });
        machine.sh("systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload");
        machine
    }

    /// Boots a fresh system after `prepare` has changed its root directory.
    pub(crate) fn boot_with(shared: &[&Path], prepare: impl FnOnce(&Path)) -> Self {
        Self::boot_from("base", shared, prepare)
    }

    /// Boots a fresh system of this base after `prepare` has changed its root directory.
    pub(crate) fn boot_from(
        base_name: &str,
        shared: &[&Path],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let base = base(base_name);
        let root = tempfile::tempdir_in(base.parent().unwrap()).unwrap();
        let dir = root.path().join("root");
        // Only files of the base: a mount in it, such as /proc, would fill the disk.
        run("cp", &["-ax", base.to_str().unwrap(), dir.to_str().unwrap()]);
        prepare(&dir);
        let mut words = vec!["-D".to_owned(), dir.display().to_string()];
        let fixed =
            ["--boot", "--register=no", "--keep-unit", "--private-network", "--console=pipe"];
        words.extend(fixed.map(str::to_owned));
        words.extend(shared.iter().map(|path| format!("--bind={}", path.display())));
        let log = fs::File::create(root.path().join("console")).unwrap();
        let nspawn = Command::new("systemd-nspawn")
            .args(&words)
            // An old systemd does not know the unified hierarchy of control groups.
            .envs((base_name == "old-base").then_some(("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "0")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("systemd-nspawn; see `make test-deploy`");
        let mut machine = Self { root, nspawn, leader: 0 };
        machine.until("the system runs", |machine| {
            // The first child may be a process that only sets up the machine.
            let children = format!("/proc/{0}/task/{0}/children", machine.nspawn.id());
            let children = fs::read_to_string(children).unwrap_or_default();
            machine.leader = children.split(' ').next().unwrap().parse().unwrap_or(0);
            machine.leader != 0
                && machine.try_sh("systemctl is-system-running").stdout == b"running\n"
        });
        machine
    }

    /// Returns the root directory of the machine, as this machine sees it.
    pub(crate) fn root(&self) -> PathBuf {
        self.root.path().join("root")
    }

    /// Returns the id of the first process of the machine, as this machine sees it.
    pub(crate) fn leader(&self) -> i32 {
        self.leader
    }

    /// Polls until the condition holds.
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        until(what, || {
            assert!(self.nspawn.try_wait().unwrap().is_none(), "it ended: {}", self.console());
            if is_so(self) { Ok(()) } else { Err(self.console()) }
        });
    }

    fn console(&self) -> String {
        fs::read_to_string(self.root.path().join("console")).unwrap()
    }

    /// Runs a shell command in the machine.
    pub(crate) fn try_sh(&self, script: &str) -> Output {
        let leader = self.leader.to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &leader, "-a", "sh", "-c", script]).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.output().unwrap()
    }

    /// Runs a shell command that must succeed and returns its output.
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{script}: {stdout}{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.journal()
        );
        stdout.trim_end().to_owned()
    }

    /// Returns a property of the daemon's unit.
    pub(crate) fn shows(&self, property: &str) -> String {
        // Before systemd 230, systemctl has no option for the value alone.
        let shown = self.sh(&format!("systemctl show -p {property} imagestore-agent"));
        shown.trim_start_matches(property).trim_start_matches('=').to_owned()
    }

    /// Returns the daemon's log.
    pub(crate) fn journal(&self) -> String {
        let read = self.try_sh("journalctl --no-pager -u imagestore-agent -n 100");
        String::from_utf8_lossy(&read.stdout).into_owned()
    }

    /// Writes a file of the machine.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SIGRTMIN+3 powers the machine off. A process that ignores it is killed with the first
        // process.
        let _ = kill(Pid::from_raw(self.leader), Signal::SIGKILL);
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}
