//! Files that another user has planted in the state directory, or can replace there.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::agent::{Agent, NOBODY};
use crate::support::requirements::needs_root;
use crate::support::secret_files::{set_mode, write_secret};

/// Exit code for settings and files that cannot be used.
const SETTINGS: i32 = 64;

fn installed() -> Agent {
    Agent::installed(Path::new("/var/lib/imagestore"), "")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Returns the log of a start that is refused because of a file.
fn refused(agent: &Agent) -> String {
    let output = agent.run_serve_to_end();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(SETTINGS), "{log}");
    log
}

#[test]
fn a_planted_file_is_refused_and_left_untouched_also_if_all_modes_are_permitted() {
    needs_root!();
    for permitted in ["", "trust_file_modes = true\n"] {
        for name in ["lock", "node-id", "master-key", "ledger.sqlite", "ledger.sqlite-wal"] {
            for (risk, plant) in [
                (
                    "is a symbolic link",
                    &(|victim: &Path, at: &Path| symlink(victim, at).unwrap())
                        as &dyn Fn(&Path, &Path),
                ),
                ("has 2 hard links", &|victim, at| fs::hard_link(victim, at).unwrap()),
                ("is not a regular file", &|_, at| mkfifo(at, Mode::S_IRWXU).unwrap()),
            ] {
                // The daemon starts without a usable master key, and does not replace it.
                if (name, risk) == ("master-key", "is not a regular file") {
                    continue;
                }
                let agent = installed();
                let state = format!("[state]\n{permitted}");
                agent.configure(&agent.settings().replacen("[state]\n", &state, 1));
                let victim = agent.path("victim");
                write_secret(&victim, "precious");
                fs::create_dir(agent.path("state")).unwrap();
                let planted = agent.path("state").join(name);
                plant(&victim, &planted);
                let log = refused(&agent);
                assert!(log.contains(risk) && log.contains(name), "{name}: {log}");
                assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
                assert_eq!(mode(&victim), 0o600, "{name}");
                fs::symlink_metadata(&planted).expect("the planted file was removed");
            }
        }
    }
}

#[test]
fn a_state_directory_that_another_user_can_write_to_is_refused() {
    needs_root!();
    for (risk, damage) in [
        ("is writable by every user", &(|dir: &Path| set_mode(dir, 0o777)) as &dyn Fn(&Path)),
        ("which is writable by every user", &|dir| set_mode(dir.parent().unwrap(), 0o777)),
        ("is readable by every user (mode 0644)", &|dir| {
            write_secret(dir.join("master-key"), [7; 32]);
            set_mode(dir.join("master-key"), 0o644);
        }),
        ("belongs to the user 65534", &|dir| {
            write_secret(dir.join("node-id"), "0".repeat(32));
            chown(dir.join("node-id"), Some(NOBODY), None).unwrap();
        }),
    ] {
        let mut agent = installed();
        let dir = agent.path("parent/state");
        fs::create_dir_all(&dir).unwrap();
        let old = format!("dir = {:?}", agent.path("state"));
        agent.configure(&agent.settings().replacen(&old, &format!("dir = {dir:?}"), 1));
        damage(&dir);
        let log = refused(&agent);
        assert!(log.contains(risk), "{log}");
        assert!(!dir.join("ledger.sqlite").exists());

        let permitted = "[state]\ntrust_file_modes = true\n";
        agent.configure(&agent.settings().replacen("[state]\n", permitted, 1));
        agent.start();
        assert!(agent.log().contains("not safe from other users"), "{}", agent.log());
    }
}

#[test]
fn a_start_warns_once_of_each_path_of_the_state_directory() {
    needs_root!();
    let mut agent = installed();
    let permitted = "[state]\ntrust_file_modes = true\n";
    agent.configure(&agent.settings().replacen("[state]\n", permitted, 1));
    agent.start();
    assert!(agent.terminate().0.success());
    let before = agent.log().lines().count();
    for name in ["master-key", "node-id", "ledger.sqlite"] {
        set_mode(agent.path("state").join(name), 0o666);
    }
    agent.start();
    let log: Vec<String> = agent.log().lines().skip(before).map(str::to_owned).collect();
    for name in ["master-key", "node-id", "ledger.sqlite"] {
        let path = agent.path("state").join(name).display().to_string();
        let warnings = log.iter().filter(|line| {
            // The text of a path in JSON ends with its quote or with a space.
            let names_it =
                line.contains(&format!("{path}\"")) || line.contains(&format!("{path} "));
            names_it && line.contains("not safe from other users")
        });
        assert_eq!(warnings.count(), 1, "{name}: {log:#?}");
    }
}

#[test]
fn a_check_lists_every_path_of_the_state_directory_that_is_not_safe() {
    needs_root!();
    let agent = installed();
    let dir = agent.path("state");
    fs::create_dir(&dir).unwrap();
    for name in ["node-id", "ledger.sqlite", "master-key"] {
        write_secret(dir.join(name), "0".repeat(32));
        set_mode(dir.join(name), 0o666);
    }
    set_mode(&dir, 0o777);
    let unsafe_paths = [
        "state is writable by every user (mode 0777); the state directory",
        "node-id is writable",
        "ledger.sqlite is writable",
        "master-key is writable",
    ];
    let checked = agent.cli(&["check-config"], "");
    let report = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(SETTINGS), "{report}");
    for part in unsafe_paths {
        assert_eq!(report.matches(part).count(), 1, "{part}: {report}");
    }
    assert_eq!(report.matches("state.dir = ").count(), unsafe_paths.len(), "{report}");

    let permitted = "[state]\ntrust_file_modes = true\n";
    agent.configure(&agent.settings().replacen("[state]\n", permitted, 1));
    let checked = agent.cli(&["check-config"], "");
    let output = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    for part in unsafe_paths {
        assert_eq!(output.matches(part).count(), 1, "{part}: {output}");
    }
    assert_eq!(output.matches("warning: state.dir = ").count(), unsafe_paths.len(), "{output}");
    // No setting permits a link.
    fs::remove_file(dir.join("node-id")).unwrap();
    symlink("absent", dir.join("node-id")).unwrap();
    let checked = agent.cli(&["check-config"], "");
    let report = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(report.contains("node-id is a symbolic link"), "{report}");
    assert_eq!(report.matches("state.dir = ").count(), 1, "{report}");
}

#[test]
fn the_files_of_the_state_directory_are_private_whatever_the_umask_is() {
    needs_root!();
    let mut agent = installed();
    assert!(agent.start_under(&["sh", "-c", "umask 0; exec \"$0\" \"$@\""]));
    assert_eq!(mode(&agent.path("state")), 0o750);
    assert_eq!(mode(&agent.path("state/agent.sock")), 0o660);
    let files = ["lock", "node-id", "master-key", "ledger.sqlite", "ledger.sqlite-wal"];
    for name in files {
        assert_eq!(mode(&agent.path("state").join(name)), 0o600, "{name}");
    }
    assert!(agent.terminate().0.success());
    // As an earlier version left them.
    for name in ["lock", "node-id", "ledger.sqlite"] {
        set_mode(agent.path("state").join(name), 0o644);
    }
    agent.start();
    for name in files {
        assert_eq!(mode(&agent.path("state").join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_second_name_that_an_interrupted_start_left_is_removed() {
    let mut agent = installed();
    agent.start();
    assert!(agent.terminate().0.success());
    let dir = agent.path("state");
    fs::hard_link(dir.join("node-id"), dir.join(".node-id.new")).unwrap();
    fs::hard_link(dir.join("master-key"), dir.join(".master-key.new")).unwrap();
    agent.start();
    assert!(!dir.join(".node-id.new").exists() && !dir.join(".master-key.new").exists());
}

#[test]
fn the_state_directory_may_be_reached_over_a_safe_link() {
    let mut agent = installed();
    fs::create_dir(agent.path("disk")).unwrap();
    symlink("disk", agent.path("state")).unwrap();
    agent.start();
    assert!(agent.path("disk/ledger.sqlite").exists());
}

#[test]
fn a_folder_of_the_socket_that_another_user_can_write_to_is_refused() {
    needs_root!();
    let mut agent = installed();
    let folder = agent.path("run");
    fs::create_dir(&folder).unwrap();
    set_mode(&folder, 0o777);
    let socket = format!("[server]\nsocket = {:?}\n", folder.join("agent.sock"));
    agent.configure(&agent.settings().replacen("[server]\n", &socket, 1));
    let log = refused(&agent);
    assert!(log.contains("server.socket") && log.contains("is writable by every user"), "{log}");
    set_mode(&folder, 0o755);
    agent.start();
}

#[test]
fn a_credential_of_systemd_is_the_master_key_if_it_is_private() {
    needs_root!();
    let mut agent = installed();
    let credentials = agent.path("credentials");
    fs::create_dir(&credentials).unwrap();
    let key = credentials.join("master-key");
    write_secret(&key, [7; 32]);
    let variable = format!("CREDENTIALS_DIRECTORY={}", credentials.display());
    // With an access list, systemd grants the daemon's user access beyond the mode (systemd 252).
    set_mode(&key, 0o440);
    set_mode(&credentials, 0o550);
    assert!(agent.start_under(&["env", &variable]));
    assert!(!agent.path("state/master-key").exists());
    assert!(agent.terminate().0.success());
    set_mode(&key, 0o444);
    assert!(!agent.start_under(&["env", &variable]));
    let log = agent.log();
    assert!(log.contains("the master key") && log.contains("is readable by every user"), "{log}");
}

#[test]
fn a_damaged_node_id_is_found_by_a_check_and_ends_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let long = "0".repeat(300);
    for content in ["", "zz\n", "0123456789abcdef0123456789abcde", &long] {
        let agent = Agent::installed(folder.path(), "");
        let node_id = agent.path("state/node-id");
        fs::create_dir(agent.path("state")).unwrap();
        write_secret(&node_id, content);
        for (words, code) in [("check-config", 64), ("serve", 65)] {
            let output = agent.cli(&[words], "");
            let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stdout));
            assert_eq!(output.status.code(), Some(code), "{words} {content:?}: {text}");
            assert!(text.contains("node-id does not contain"), "{words}: {text}");
        }
        assert_eq!(fs::read_to_string(&node_id).unwrap(), content);
    }
}
