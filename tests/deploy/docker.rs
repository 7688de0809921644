//! A Docker engine for the tests, and the images that are built with it. Its cache is in
//! `target/deploy/docker`, so that the next run builds only what has changed.
//!
//! Nothing is pulled: the images under the tested ones are made of the base system of these tests
//! and of the compiler that runs them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::tree;
use crate::support::requirements::run;
use crate::wait::{succeeds, until};

/// The network of an engine.
#[derive(Clone, Copy)]
enum Network {
    /// The network of this machine, which the engine uses for builds only.
    Machine,
    /// A network of the engine's own, so that nothing of it stays in that of the machine.
    Own,
}

/// A running engine. There is one at a time, because all engines share the cache. Stopped when
/// dropped, with its containers.
pub(crate) struct Docker {
    dir: tempfile::TempDir,
    daemon: Child,
    _alone: File,
}

impl Docker {
    /// Starts an engine that has all images of this tree.
    pub(crate) fn with_images() -> Self {
        fs::create_dir_all(cache_dir()).unwrap();
        let alone = File::create(cache_dir().join("lock")).unwrap();
        alone.lock().unwrap();
        let builder = Self::start(Network::Machine, alone);
        builder.make_bases();
        let build = cache_dir().join("build.yaml");
        // Builds use the network of the engine.
        let services = ["node", "agent", "receiver"]
            .map(|name| format!("  {name}:\n    build:\n      network: host\n"));
        fs::write(&build, format!("services:\n{}", services.concat())).unwrap();
        let files = ["-f", "compose.yaml", "-f", build.to_str().unwrap()];
        builder.compose(&[files.as_slice(), &["build"]].concat());
        builder.clear();
        Self::start(Network::Own, builder.stop())
    }

    /// Removes the containers, volumes and networks of this test, or of a killed one, and layers
    /// without an image that are a week old.
    fn clear(&self) {
        let script = "docker ps -aq | xargs -r docker rm -f; \
                      docker volume ls -q | xargs -r docker volume rm; docker network prune -f; \
                      docker image prune -f --filter until=168h";
        let _ = self.try_run("sh", &["-c", script]);
    }

    fn start(network: Network, alone: File) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let flags = match network {
            Network::Machine => "--bridge=none --iptables=false --ip-forward=false",
            Network::Own => "",
        };
        let script = format!(
            "exec dockerd --config-file {} --data-root {} --exec-root {} -p {} -H unix://{} {flags}",
            at("settings"),
            cache_dir().join("data").display(),
            at("exec"),
            at("pid"),
            at("socket")
        );
        let mut command = match network {
            Network::Machine => Command::new("sh"),
            Network::Own => {
                let mut command = Command::new("unshare");
                command.args(["-n", "sh"]);
                command
            }
        };
        // The engine must not read the settings of the machine.
        fs::write(dir.path().join("settings"), "{}").unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let daemon = command
            .args(["-c", &format!("ip link set lo up && {script}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut docker = Self { dir, daemon, _alone: alone };
        until("the engine answers", || {
            let ended = docker.daemon.try_wait().unwrap();
            assert!(ended.is_none(), "dockerd ended; see `make test-deploy`: {}", docker.log());
            succeeds(docker.try_run("docker", &["version"]))
        });
        docker
    }

    /// Stops the engine in order and releases the lock.
    fn stop(mut self) -> File {
        self.end();
        self._alone.try_clone().unwrap()
    }

    fn end(&mut self) {
        let pid = Pid::from_raw(self.daemon.id().try_into().unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.daemon.wait();
        // An engine leaves the network of `--network host` mounted.
        let left = self.dir.path().join("exec/netns/default");
        let _ = Command::new("umount").arg("-l").arg(left).output();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Makes the images of Debian and of Rust under their public names.
    fn make_bases(&self) {
        let version = env!("CARGO_PKG_RUST_VERSION");
        let rust = format!("rust:{version}-slim-bookworm");
        // The label names the contents: the crates, the compiler and the base system.
        let made_of = "{ cat Cargo.lock; rustc -vV; ls target/deploy/base.of.*; } | sha256sum | cut -d' ' -f1";
        let made_of = self.run("sh", &["-c", made_of]);
        let label = "{{index .Config.Labels \"made.of\"}}";
        let label = self.try_run("docker", &["image", "inspect", "-f", label, &rust]).stdout;
        if label.trim_ascii() == made_of.as_bytes() {
            return;
        }
        let base = tree().join("target/deploy/base");
        let import =
            format!("tar -C {} -c . | docker import - debian:bookworm-slim", base.display());
        self.run("sh", &["-c", &import]);
        let context = tempfile::tempdir_in(cache_dir()).unwrap();
        let registry = PathBuf::from(std::env::var_os("CARGO_HOME").unwrap_or_else(|| {
            let home = std::env::var("HOME").unwrap();
            format!("{home}/.cargo").into()
        }));
        let toolchain = run("rustc", &["--print", "sysroot"]);
        let pack = format!(
            "tar -C {} --exclude=./share -cf {at}/rust.tar . && \
             tar -C {} -cf {at}/registry.tar registry/index registry/cache",
            toolchain.trim(),
            registry.display(),
            at = context.path().display()
        );
        run("sh", &["-c", &pack]);
        let dockerfile = "FROM debian:bookworm-slim\nADD rust.tar /usr/local/\n\
             ENV CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true\n\
             ADD registry.tar /usr/local/cargo/\n";
        fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
        let label = format!("made.of={made_of}");
        let context = context.path().to_str().unwrap();
        self.run("docker", &["build", "-q", "-t", &rust, "--label", &label, context]);
    }

    /// Runs a command of this machine in the engine's network, with the engine as its Docker host.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.daemon.id().to_string(), "-n", program]).args(args);
        command.env("DOCKER_HOST", format!("unix://{}/socket", self.dir.path().display()));
        // The engine of Debian 12 has no other builder.
        command.env("DOCKER_BUILDKIT", "0");
        command.current_dir(tree()).stdin(Stdio::null());
        command
    }

    pub(crate) fn try_run(&self, program: &str, args: &[&str]) -> Output {
        self.command(program, args).output().unwrap()
    }

    /// Runs a command that must succeed and returns its output.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.try_run(program, args);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {stdout}{why}");
        stdout.trim_end().to_owned()
    }

    /// Runs Docker's command, or that of Compose, which is a separate program on Debian 12.
    pub(crate) fn compose(&self, args: &[&str]) -> String {
        match self.has_compose() {
            true => self.run("docker", &[&["compose"], args].concat()),
            false => self.run("docker-compose", args),
        }
    }

    pub(crate) fn has_compose(&self) -> bool {
        self.try_run("docker", &["compose", "version"]).status.success()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // After `stop` the engine cannot answer.
        if self.daemon.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.clear();
            self.end();
        }
    }
}

fn cache_dir() -> PathBuf {
    tree().join("target/deploy/docker")
}
