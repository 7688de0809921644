//! A booted Debian of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::requirements::run;
use crate::wait::until;

/// The daemon as it was built for these tests.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_imagestore-agent");

pub(crate) fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The store that an `add --json` has told of.
pub(crate) fn uuid_in(added: &str) -> String {
    let added: serde_json::Value = serde_json::from_str(added).unwrap();
    added["inventory"]["uuid"].as_str().unwrap().to_owned()
}

/// The base system, which `make test-deploy` makes once and keeps.
fn base() -> PathBuf {
    let base = tree().join("target/deploy/base");
    assert!(base.join("usr").exists(), "there is no base system: `make test-deploy`");
    base
}

/// A running machine. Dropped, it is gone, and so are its files.
pub(crate) struct Machine {
    root: tempfile::TempDir,
    nspawn: Child,
    leader: i32,
}

impl Machine {
    /// A fresh system with the daemon installed, booted until systemd is content. `shared` directories of
    /// this machine are seen there in the same place.
    pub(crate) fn boot(shared: &[&Path]) -> Self {
        let machine = Self::boot_with(shared, |dir| {
            let staged = format!("DESTDIR={}", dir.display());
            run("make", &["-s", "-C", tree().to_str().unwrap(), "install-files", &staged]);
            run("install", &["-m", "755", PROGRAM, dir.join("usr/bin").to_str().unwrap()]);
        });
        machine.sh("systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload");
        machine
    }

    /// A fresh system, booted, after `prepare` was done to its root directory.
    pub(crate) fn boot_with(shared: &[&Path], prepare: impl FnOnce(&Path)) -> Self {
        let base = base();
        let root = tempfile::tempdir_in(base.parent().unwrap()).unwrap();
        let dir = root.path().join("root");
        run("cp", &["-a", base.to_str().unwrap(), dir.to_str().unwrap()]);
        prepare(&dir);
        let mut words = vec!["-D".to_owned(), dir.display().to_string()];
        let fixed =
            ["--boot", "--register=no", "--keep-unit", "--private-network", "--console=pipe"];
        words.extend(fixed.map(str::to_owned));
        words.extend(shared.iter().map(|path| format!("--bind={}", path.display())));
        let log = fs::File::create(root.path().join("console")).unwrap();
        let nspawn = Command::new("systemd-nspawn")
            .args(&words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("systemd-nspawn; see `make test-deploy`");
        let mut machine = Self { root, nspawn, leader: 0 };
        machine.until("a system that runs", |machine| {
            // The first child may be one that only sets it up.
            let children = format!("/proc/{0}/task/{0}/children", machine.nspawn.id());
            let children = fs::read_to_string(children).unwrap_or_default();
            machine.leader = children.split(' ').next().unwrap().parse().unwrap_or(0);
            machine.leader != 0
                && machine.try_sh("systemctl is-system-running").stdout == b"running\n"
        });
        machine
    }

    /// Looks again and again until it is so.
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        until(what, || {
            assert!(self.nspawn.try_wait().unwrap().is_none(), "it ended: {}", self.console());
            if is_so(self) { Ok(()) } else { Err(self.console()) }
        });
    }

    fn console(&self) -> String {
        fs::read_to_string(self.root.path().join("console")).unwrap()
    }

    /// Runs a shell's line in the machine.
    pub(crate) fn try_sh(&self, script: &str) -> Output {
        let leader = self.leader.to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &leader, "-a", "sh", "-c", script]).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.output().unwrap()
    }

    /// Runs a shell's line that must succeed; what it printed.
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

    /// A property of the daemon's unit.
    pub(crate) fn shows(&self, property: &str) -> String {
        self.sh(&format!("systemctl show --value -p {property} imagestore-agent"))
    }

    /// What the daemon has logged.
    pub(crate) fn journal(&self) -> String {
        let read = self.try_sh("journalctl --no-pager -u imagestore-agent -n 100");
        String::from_utf8_lossy(&read.stdout).into_owned()
    }

    /// A file of the machine.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join("root").join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SIGRTMIN+3 powers it off; what does not heed that is killed with its first process.
        let _ = kill(Pid::from_raw(self.leader), Signal::SIGKILL);
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}
