//! The container image, built from this tree and run with nothing but its store.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::docker::Docker;
use crate::machine::{tree, uuid_in};
use crate::support::filesystems::MountedFs;
use crate::support::requirements::run;
use crate::wait::{holds, succeeds, until};

/// Name of the image, of the container, and of the program in it.
const AGENT: &str = "imagestore-agent";
/// User id and group id of the daemon in the image.
const UID: u32 = 64_064;
const PORT: &str = "2222";
/// Line of the command `show` for a Connected store.
const CONNECTED: &str = "status       Connected";

/// This machine as a storage node with Docker: an sshd of its own that accepts root by key, and the
/// files that a container gets.
struct Node {
    docker: Docker,
    dir: TempDir,
    sshd: Child,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let docker = Docker::with_images();
        let at = |name: &str| dir.path().join(name);
        for name in ["etc", "host"] {
            fs::create_dir(at(name)).unwrap();
        }
        for key in ["etc/login", "host/key"] {
            let path = at(key).display().to_string();
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path]);
        }
        chown(at("etc/login"), Some(UID), Some(UID)).unwrap();
        let config = format!(
            "ListenAddress 127.0.0.1:{PORT}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nAuthorizedKeysFile {}\nHostKey {}\n\
             Subsystem sftp internal-sftp\n",
            at("etc/login.pub").display(),
            at("host/key").display()
        );
        fs::write(at("sshd_config"), config).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let sshd = docker
            .command("/usr/sbin/sshd", &["-D", "-e", "-f", at("sshd_config").to_str().unwrap()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let node = Self { docker, dir, sshd };
        until("sshd listens", || {
            let ask = ["-T", "5", "-p", PORT, "127.0.0.1"];
            succeeds(node.docker.try_run("ssh-keyscan", &ask))
        });
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the image as documented, with this state directory and with `images` as the value of
    /// `-v`.
    fn starts(&self, state: &Path, images: &str) {
        let root = images.split(':').next().unwrap();
        fs::write(
            self.path("etc/agent.toml"),
            format!("[storage]\nallowed_roots = [{root:?}]\n[monitor]\ninterval = \"1s\"\n"),
        )
        .unwrap();
        let state = format!("{}:/var/lib/imagestore-agent", state.display());
        let etc = format!("{}:/etc/imagestore-agent:ro", self.path("etc").display());
        let words = "run -d --network host --read-only --cap-drop ALL \
                     --security-opt no-new-privileges --health-interval 1s --health-retries 1";
        let mut words: Vec<&str> = words.split_whitespace().collect();
        words.extend(["--name", AGENT, "-v", &state, "-v", &etc, "-v", images, AGENT]);
        self.docker.run("docker", &words);
        self.is("healthy");
    }

    /// Runs a command of the program in its container and returns its output.
    fn agent(&self, args: &[&str]) -> String {
        self.docker.run("docker", &[&["exec", AGENT, AGENT], args].concat())
    }

    fn add(&self, dir: &Path) -> String {
        let added = self.agent(&[
            "add",
            "--name",
            "images",
            "--path",
            dir.to_str().unwrap(),
            "--hostname",
            "127.0.0.1",
            "--port",
            PORT,
            "--username",
            "root",
            "--private-key-file",
            "/etc/imagestore-agent/login",
            "--json",
        ]);
        uuid_in(&added)
    }

    fn inspect(&self, what: &str) -> String {
        self.docker.run("docker", &["inspect", "-f", what, AGENT])
    }

    /// Waits until Docker reports this health.
    fn is(&self, health: &str) {
        until(health, || match self.inspect("{{.State.Health.Status}}") {
            seen if seen == health => Ok(()),
            _ => Err(self.inspect("{{json .State}}")),
        });
    }

    /// Waits until a store is Connected; only the current status counts, not the history.
    fn is_connected(&self, uuid: &str) -> String {
        self.shows(uuid, CONNECTED)
    }

    /// Waits until the output of `show` for a store contains these words.
    fn shows(&self, uuid: &str, words: &str) -> String {
        let mut output = String::new();
        until(words, || {
            output = self.agent(&["show", uuid]);
            holds(output.clone(), words)
        });
        output
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.sshd.id().try_into().unwrap()), Signal::SIGKILL);
        let _ = self.sshd.wait();
    }
}

/// Makes later mounts below a directory visible to a container that has the directory as `rslave`.
struct Shared(PathBuf);

impl Shared {
    fn made(dir: &Path) -> Self {
        let path = dir.to_str().unwrap();
        run("mount", &["--bind", path, path]);
        let shared = Self(dir.to_owned());
        run("mount", &["--make-rshared", path]);
        shared
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A disk that is not mounted yet, and the directory above its mount point, whose mounts propagate.
fn disk_to_come() -> (MountedFs, Shared) {
    let disk = MountedFs::of("ext4");
    assert!(disk.try_unmount());
    let above = Shared::made(disk.path().parent().unwrap());
    (disk, above)
}

/// Returns the value of `-v` for the directory above the mount point.
fn as_rslave(disk: &MountedFs) -> String {
    format!("{0}:{0}:rw,rslave", disk.path().parent().unwrap().display())
}

/// Makes a disk for the daemon's state.
fn state_disk() -> MountedFs {
    let disk = MountedFs::of("ext4");
    chown(disk.path(), Some(UID), Some(UID)).unwrap();
    disk
}

/// Makes a directory on a disk that the daemon's user owns.
fn images_on(disk: &MountedFs) -> PathBuf {
    let dir = disk.path().join("images");
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(UID), Some(UID)).unwrap();
    dir
}

#[test]
fn a_container_needs_nothing_but_its_store() {
    let node = Node::new();
    let (state, (disk, _above)) = (state_disk(), disk_to_come());
    node.starts(&state.path(), &as_rslave(&disk));
    disk.mount();
    let images = images_on(&disk);

    // The image is as small and as unprivileged as documented.
    let image = |what: &str| node.docker.run("docker", &["image", "inspect", "-f", what, AGENT]);
    let size: u64 = image("{{.Size}}").parse().unwrap();
    assert!(size < 25_000_000, "{size} bytes");
    assert_eq!(image("{{.Config.User}}"), format!("{UID}:{UID}"));
    assert!(image("{{json .Config.Labels}}").contains("org.opencontainers.image.title"));
    let pid = node.inspect("{{.State.Pid}}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in [&format!("Uid:\t{UID}\t{UID}"), "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }

    let uuid = node.add(&images);
    let answer = node.agent(&["reconnect", &uuid, "--json"]);
    assert!(answer.contains("Connected"), "{answer}");

    // The health is that of the daemon, so a state disk that hangs makes it unhealthy.
    let frozen = state.frozen();
    node.is("unhealthy");
    drop(frozen);
    node.is("healthy");

    node.docker.run("docker", &["restart", AGENT]);
    node.is_connected(&uuid);
    node.docker.run("docker", &["stop", AGENT]);
    assert_eq!(node.inspect("{{.State.ExitCode}}"), "0");
    println!("an image of {size} bytes");
}

#[test]
fn mounts_of_the_host_reach_a_container_that_is_given_them_as_rslave() {
    let node = Node::new();
    let (state, (disk, _above)) = (state_disk(), disk_to_come());
    node.starts(&state.path(), &as_rslave(&disk));
    disk.mount();
    let uuid = node.add(&images_on(&disk));
    assert!(disk.try_unmount());
    node.shows(&uuid, "not_mounted");
    disk.mount();
    let output = node.is_connected(&uuid);
    assert!(!is_stale(&output), "{output}");
}

#[test]
fn a_container_whose_mounts_are_its_own_says_that_the_host_has_let_its_disk_go() {
    let node = Node::new();
    let (disk, state) = (MountedFs::of("ext4"), state_disk());
    // This is Docker's default without a propagation option.
    node.starts(&state.path(), &format!("{0}:{0}", disk.path().display()));
    let uuid = node.add(&images_on(&disk));
    node.agent(&["reconnect", &uuid]);
    assert!(disk.try_unmount());
    node.agent(&["reconnect", &uuid]);
    let output = node.agent(&["show", &uuid]);
    assert!(is_stale(&output) && output.contains("rslave"), "{output}");
    assert!(output.contains(CONNECTED), "{output}");

    // A restarted container sees the mounts of the host.
    node.docker.run("docker", &["restart", AGENT]);
    let output = node.shows(&uuid, "not_mounted");
    assert!(!is_stale(&output), "{output}");
    disk.mount();
    node.docker.run("docker", &["restart", AGENT]);
    node.is_connected(&uuid);
}

/// Returns true if the condition holds now; the history may contain it too.
fn is_stale(output: &str) -> bool {
    output.lines().any(|line| line.starts_with("stale_namespace"))
}

#[test]
fn compose_brings_up_a_daemon_a_node_and_a_receiver() {
    let docker = Docker::with_images();
    docker.compose(&["up", "-d", "--no-build"]);
    let script = fs::read_to_string(tree().join("compose.yaml")).unwrap();
    // The test runs the first lines of the file as they are.
    let add = script.lines().skip_while(|line| !line.starts_with("#   echo")).take(2);
    let add: Vec<&str> =
        add.map(|line| line.trim_start_matches("#   ").trim_end_matches('\\')).collect();
    let add = add.concat();
    let add = match docker.has_compose() {
        true => add,
        false => add.replace("docker compose", "docker-compose"),
    };
    until("the daemon accepts a store", || succeeds(docker.try_run("sh", &["-c", &add])));
    until("an event at the receiver", || {
        let logs = docker.compose(&["logs", "--no-color", "receiver"]);
        holds(logs, "\"status\":\"Connected\"")
    });
    docker.compose(&["down", "-v"]);
}
