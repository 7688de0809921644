//! The packaged systemd files, verified by systemd itself.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::requirements::needs_root;

const UNIT: &str = "systemd/imagestore-agent.service";
const SOCKET: &str = "systemd/imagestore-agent.socket";
const PROGRAM: &str = "/usr/bin/imagestore-agent";

/// Maximum exposure in tenths; packaged daemons of this kind score 90, journald 43.
const MOST_EXPOSURE: u32 = 15;

fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn unit() -> String {
    fs::read_to_string(in_tree(UNIT)).unwrap()
}

fn socket_unit() -> String {
    fs::read_to_string(in_tree(SOCKET)).unwrap()
}

/// Returns the settings of the unit, one key and value a line, without comments and sections.
fn directives(unit: &str) -> Vec<(&str, &str)> {
    unit.lines()
        .filter(|line| !line.starts_with(['#', ';', '[']))
        .filter_map(|line| line.split_once('='))
        .collect()
}

/// Runs a tool of the Debian package `systemd`.
fn systemd(tool: &str, args: &[&str]) -> Output {
    let output = Command::new(tool).args(args).env("SYSTEMD_COLORS", "0").output();
    output.unwrap_or_else(|error| {
        panic!(
            "{tool}: {error}; it comes with the Debian package systemd (apt-get install systemd)"
        )
    })
}

/// Returns the complaints of `systemd-analyze verify`, which exits with 0 on unknown keys.
fn complaints(unit: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("imagestore-agent.service");
    // It also looks for the program, which is not installed on a test machine.
    fs::write(&file, unit.replace(PROGRAM, env!("CARGO_BIN_EXE_imagestore-agent"))).unwrap();
    let socket = dir.path().join("imagestore-agent.socket");
    fs::write(&socket, socket_unit()).unwrap();
    let both = [file.to_str().unwrap(), socket.to_str().unwrap()];
    let output = systemd("systemd-analyze", &["verify", both[0], both[1]]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { stderr } else { format!("{}: {stderr}", output.status) }
}

fn is_within_exposure(tenths: u32) -> bool {
    let threshold = format!("--threshold={tenths}");
    let unit = in_tree(UNIT);
    let args = ["security", "--offline=true", "--no-pager", &threshold, unit.to_str().unwrap()];
    systemd("systemd-analyze", &args).status.success()
}

#[test]
fn systemd_has_no_complaint_about_the_unit() {
    assert_eq!(complaints(&unit()), "");
    let misspelt = unit().replace("KillMode=", "KilMode=");
    assert!(complaints(&misspelt).contains("KilMode"), "a misspelt key goes unnoticed");
}

#[test]
fn the_unit_exposes_little() {
    assert!(
        is_within_exposure(MOST_EXPOSURE),
        "see systemd-analyze security --offline=true {UNIT}"
    );
    assert!(!is_within_exposure(5), "the threshold is not checked");
}

#[test]
fn the_unit_keeps_what_the_daemon_counts_on() {
    let unit = unit();
    let directives = directives(&unit);
    for expected in [
        ("Type", "notify"),
        ("User", "imagestore-agent"),
        ("KillMode", "process"),
        // A migration of the ledger may take any time.
        ("TimeoutStartSec", "0"),
        ("TimeoutStopSec", "15s"),
        ("Restart", "on-failure"),
        ("RestartSec", "5s"),
        ("RestartPreventExitStatus", "64 65"),
        ("StartLimitIntervalSec", "0"),
        ("WatchdogSec", "30s"),
        ("StateDirectory", "imagestore-agent"),
        ("StateDirectoryMode", "0750"),
        ("LoadCredential", "master-key"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
    ] {
        assert!(directives.contains(&expected), "{expected:?}");
    }
    // These would hide what the daemon reads: host figures, its workers, the peers of its socket.
    for (key, value) in
        [("ProcSubset", "pid"), ("ProtectProc", "ptraceable"), ("PrivateUsers", "yes")]
    {
        assert!(!directives.contains(&(key, value)), "{key}={value}");
    }
}

#[test]
fn the_socket_unit_opens_what_the_daemon_would() {
    let unit = socket_unit();
    let directives = directives(&unit);
    let defaults = imagestore_agent::settings::Settings::built_in().server;
    let expected = [
        ("ListenStream", defaults.listen[0].to_string()),
        ("ListenStream", defaults.socket.display().to_string()),
        ("SocketMode", "0660".to_owned()),
        ("SocketUser", "imagestore-agent".to_owned()),
        ("SocketGroup", "imagestore-agent".to_owned()),
    ];
    for (key, value) in expected {
        assert!(directives.contains(&(key, value.as_str())), "{key}={value}");
    }
}

#[test]
fn nothing_makes_systemd_look_at_an_image_directory() {
    let roots = ["/var/lib/imagestore/", "/var/lib/imagestore"];
    let names_root = |value: &str| {
        value.split([' ', ':']).any(|word| {
            let path = word.trim_start_matches(['-', '+', '!', '@']);
            roots.contains(&path) || path.starts_with(roots[0])
        })
    };
    let unit = unit();
    for (key, value) in directives(&unit) {
        let forbidden = key.starts_with("Requires") && key.contains("Mounts")
            || key.starts_with("Wants") && key.contains("Mounts")
            || key.starts_with("ExecStartPre")
            || key.starts_with("ExecCondition")
            || key.starts_with("ConditionPath")
            || key.starts_with("AssertPath")
            || key.starts_with("Bind")
            || matches!(key, "WorkingDirectory" | "RootDirectory" | "TemporaryFileSystem");
        assert!(!forbidden, "{key}={value}");
        if key == "ReadWritePaths" {
            assert!(
                value.split(' ').all(|path| path.starts_with('-')),
                "{key}={value}: a missing path would stop the start"
            );
        } else {
            assert!(!names_root(value), "{key}={value}");
        }
    }
    let tmpfiles = fs::read_to_string(in_tree("systemd/tmpfiles.d/imagestore-agent.conf")).unwrap();
    for line in tmpfiles.lines().filter(|line| !line.starts_with('#')) {
        assert!(!names_root(line), "{line}");
    }
}

#[test]
fn the_user_and_the_settings_directory_are_made() {
    needs_root!();
    let root = tempfile::tempdir().unwrap();
    for kind in ["sysusers", "tmpfiles"] {
        let dir = root.path().join(format!("usr/lib/{kind}.d"));
        fs::create_dir_all(&dir).unwrap();
        let source = in_tree(&format!("systemd/{kind}.d/imagestore-agent.conf"));
        fs::copy(source, dir.join("imagestore-agent.conf")).unwrap();
    }
    fs::create_dir(root.path().join("etc")).unwrap();
    let at = format!("--root={}", root.path().display());
    for (tool, args) in [
        ("systemd-sysusers", vec![at.as_str(), "imagestore-agent.conf"]),
        ("systemd-tmpfiles", vec![at.as_str(), "--create", "imagestore-agent.conf"]),
    ] {
        let output = systemd(tool, &args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool}: {stderr}");
    }
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let fields: Vec<&str> = passwd.trim_end().split(':').collect();
    assert_eq!((fields[0], fields[6]), ("imagestore-agent", "/usr/sbin/nologin"));
    let made = fs::metadata(root.path().join("etc/imagestore-agent")).unwrap();
    assert_eq!(made.permissions().mode() & 0o7777, 0o750);
    assert_eq!(made.uid(), 0);
    assert_eq!(made.gid().to_string(), fields[3]);
}

/// Checks the cause of an earlier failure, because a build of the image takes minutes and a
/// registry.
#[test]
fn the_image_is_built_from_what_the_build_is_given() {
    let text = |path: &str| fs::read_to_string(in_tree(path)).unwrap();
    let (dockerfile, ignored, manifest) =
        (text("Dockerfile"), text(".dockerignore"), text("Cargo.toml"));
    let let_through: Vec<&str> =
        ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let copied = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    for line in copied.filter(|line| !line.starts_with("--from")) {
        let words: Vec<&str> = line.split(' ').collect();
        for source in &words[..words.len() - 1] {
            assert!(let_through.contains(source), "{source} is excluded from the build");
            assert!(in_tree(source).exists(), "{source}");
        }
    }
    // The program contains this file.
    let description = "docs/openapi.json";
    assert!(dockerfile.contains(&format!("\nCOPY {description} {description}\n")));
    assert_eq!(text(description), imagestore_agent::wire::API_DESCRIPTION);
    // Cargo requires the file of each target.
    let stand_ins = dockerfile.split("for file in ").nth(1).unwrap().split(';').next().unwrap();
    let stand_ins: Vec<&str> = stand_ins.split(' ').collect();
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \""));
    for path in paths.map(|path| path.trim_end_matches('"')) {
        assert!(stand_ins.contains(&path) || path.starts_with("src/"), "{path} is missing");
    }
    assert!(stand_ins.contains(&"examples/receiver.rs"));
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap();
    let toolchain = format!("FROM rust:{}-slim-bookworm AS build", version.trim_end_matches('"'));
    assert!(dockerfile.contains(&toolchain), "{toolchain}");
}
