//! The command `init`, run as root: the files that it makes belong to the owner of the state
//! directory.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;

use crate::support::agent::{Agent, NOBODY};
use crate::support::requirements::needs_root;
use crate::support::secret_files::{set_mode, write_secret};

#[test]
fn an_init_clears_away_what_a_killed_one_has_left() {
    let root = tempfile::tempdir().unwrap();
    let agent = Agent::installed(root.path(), "allow_root_disk = true\n");
    fs::create_dir(agent.path("state")).unwrap();
    let init = || {
        let output = agent.cli(&["init", root.path().to_str().unwrap()], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    init();
    let folder = root.path().join(".imagestore-agent");
    let left = folder.join(format!("probe.{}", "0".repeat(32)));
    fs::write(&left, b"killed in the middle").unwrap();
    init();
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["identity.json"]);
}

/// A directory to mark, and an installation whose daemon runs as nobody.
struct Scene {
    root: tempfile::TempDir,
    agent: Agent,
}

/// Text of a marker without a store.
const MARKER: &str = "{\"version\":1,\"id\":\"00000000000000000000000000000001\",\
                      \"created\":\"2026-01-01T00:00:00Z\"}";
/// A user that is neither root nor the daemon.
const OTHER: u32 = 54_321;

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let agent = Agent::installed(root.path(), "allow_root_disk = true\n").running_as_nobody();
        Self { root, agent }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn folder(&self) -> PathBuf {
        self.path(".imagestore-agent")
    }

    fn init(&self) -> Output {
        self.agent.cli(&["init", self.root.path().to_str().unwrap()], "")
    }

    /// Makes the folder of the marker, with an owner.
    fn make_folder(&self, owner: u32) {
        fs::create_dir(self.folder()).unwrap();
        chown(self.folder(), Some(owner), Some(owner)).unwrap();
    }
}

/// Owner, group and permission bits.
fn status(path: &Path) -> (u32, u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid(), found.mode() & 0o7777)
}

#[test]
fn an_init_as_root_gives_what_it_makes_to_the_daemon() {
    needs_root!();
    let scene = Scene::new();
    for _ in 0..2 {
        let output = scene.init();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for name in [".imagestore-agent", "registry", "export"] {
            assert_eq!(status(&scene.path(name)), (NOBODY, NOBODY, 0o750), "{name}");
        }
        let marker = scene.folder().join("identity.json");
        assert_eq!(status(&marker), (NOBODY, NOBODY, 0o640));
        // The second run restores the modes.
        set_mode(&marker, 0o666);
        set_mode(scene.folder(), 0o777);
    }
    for (of_folder, of_marker) in
        [(0o777, 0o666), (0o500, 0o400), (0o550, 0o440), (0o050, 0o000), (0o000, 0o200)]
    {
        let marker = scene.folder().join("identity.json");
        set_mode(&marker, of_marker);
        set_mode(scene.folder(), of_folder);
        let output = scene.init();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(status(&scene.folder()), (NOBODY, NOBODY, 0o750), "{of_folder:o}");
        assert_eq!(status(&marker), (NOBODY, NOBODY, 0o640), "{of_marker:o}");
    }
    // Folders of the operator stay as they are.
    let scene = Scene::new();
    fs::create_dir(scene.path("registry")).unwrap();
    set_mode(scene.path("registry"), 0o700);
    assert!(scene.init().status.success());
    assert_eq!(status(&scene.path("registry")), (0, 0, 0o700));
    assert_eq!(status(&scene.path("export")), (NOBODY, NOBODY, 0o750));
}

#[test]
fn a_mount_that_covers_the_root_hides_no_root_disk() {
    needs_root!();
    let root = tempfile::tempdir().unwrap();
    let agent = Agent::installed(root.path(), "");
    fs::create_dir(agent.path("state")).unwrap();
    let init = |script: &str| {
        let script = format!("{script}; exec \"$@\"");
        let path = root.path().to_str().unwrap();
        agent.cli_under(&["unshare", "-m", "sh", "-c", &script, "sh"], &["init", path])
    };
    for script in ["true", "mount -t tmpfs none /", "mount -t tmpfs none / && mount --bind / /"] {
        let output = init(script);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains("on_root_disk"), "{script}: {stderr}");
        assert!(!root.path().join(".imagestore-agent").exists(), "{script}");
    }
}

#[test]
fn an_init_as_root_gives_away_nothing_that_another_user_has_put_there() {
    needs_root!();
    type Plant = fn(&Scene) -> PathBuf;
    let plants: [(&str, Plant); 8] = [
        ("has several hard links", |scene| {
            scene.make_folder(NOBODY);
            write_secret(scene.path("victim"), MARKER);
            fs::hard_link(scene.path("victim"), scene.folder().join("identity.json")).unwrap();
            scene.path("victim")
        }),
        ("belongs to root", |scene| {
            scene.make_folder(NOBODY);
            write_secret(scene.path("victim"), MARKER);
            fs::rename(scene.path("victim"), scene.folder().join("identity.json")).unwrap();
            scene.folder().join("identity.json")
        }),
        ("belongs to another user", |scene| {
            scene.make_folder(NOBODY);
            let marker = scene.folder().join("identity.json");
            write_secret(&marker, MARKER);
            chown(&marker, Some(OTHER), Some(OTHER)).unwrap();
            marker
        }),
        ("symbolic link", |scene| {
            scene.make_folder(NOBODY);
            write_secret(scene.path("victim"), MARKER);
            symlink(scene.path("victim"), scene.folder().join("identity.json")).unwrap();
            scene.path("victim")
        }),
        ("not a regular file", |scene| {
            scene.make_folder(NOBODY);
            let pipe = scene.folder().join("identity.json");
            mkfifo(&pipe, Mode::S_IRUSR).unwrap();
            pipe
        }),
        ("not a regular file", |scene| {
            // A tape drive, whose opening would wait for it or fail.
            scene.make_folder(NOBODY);
            let device = scene.folder().join("identity.json");
            mknod(&device, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(9, 0)).unwrap();
            device
        }),
        ("belongs to root", |scene| {
            fs::create_dir(scene.path("treasure")).unwrap();
            set_mode(scene.path("treasure"), 0o700);
            write_secret(scene.path("treasure/secret"), "precious");
            fs::rename(scene.path("treasure"), scene.folder()).unwrap();
            scene.folder()
        }),
        ("belongs to another user", |scene| {
            scene.make_folder(OTHER);
            scene.folder()
        }),
    ];
    for (why, plant) in plants {
        let scene = Scene::new();
        chown(scene.root.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let victim = plant(&scene);
        let before = status(&victim);
        let output = scene.init();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{why}: {text}");
        assert!(text.contains(why), "{why}: {text}");
        assert!(text.contains("remedy: "), "{text}");
        assert_eq!(status(&victim), before, "{why}");
        assert!(!scene.path("registry").exists(), "{why}");
        if why.starts_with("belongs") {
            let command = format!("run chown {NOBODY}:{NOBODY} {}, else", victim.display());
            assert!(text.contains(&command), "{text}");
        }
    }
}

#[test]
fn a_user_who_exchanges_folders_during_an_init_gets_no_folder_of_root() {
    needs_root!();
    let scene = Scene::new();
    let (treasure, aside) = (scene.path("treasure"), scene.path("aside"));
    fs::create_dir(&treasure).unwrap();
    set_mode(&treasure, 0o700);
    write_secret(treasure.join("secret"), MARKER);
    write_secret(treasure.join("identity.json"), MARKER);
    let folder = scene.folder();
    let stop = AtomicBool::new(false);
    let exchanged = AtomicU32::new(0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if fs::rename(&folder, &aside).is_ok() {
                    fs::rename(&treasure, &folder).unwrap();
                    fs::rename(&folder, &treasure).unwrap();
                    let _ = fs::remove_file(aside.join("identity.json"));
                    let _ = fs::remove_dir_all(&aside);
                    exchanged.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        for _ in 0..40 {
            scene.init();
            for path in [treasure.clone(), treasure.join("identity.json")] {
                // The folder may have its other name at this moment.
                if let Ok(found) = fs::symlink_metadata(&path) {
                    assert_eq!(found.uid(), 0, "{path:?}");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(exchanged.into_inner() > 0, "no folder was exchanged");
    assert_eq!(status(&treasure), (0, 0, 0o700));
    assert_eq!(status(&treasure.join("identity.json")), (0, 0, 0o600));
    assert_eq!(status(&treasure.join("secret")), (0, 0, 0o600));
}
