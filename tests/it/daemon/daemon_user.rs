//! `check-config` as root: it finds the files that the daemon's user cannot reach or read, and the
//! command that it shows corrects them.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::agent::Agent;
use crate::support::requirements::{needs_root, run};
use crate::support::secret_files::{let_group_read, set_mode, write_secret};
use crate::support::users::User;

/// Exit code for settings and files that cannot be used.
const SETTINGS: i32 = 64;

fn ids(user: &User) -> (u32, u32) {
    let found = nix::unistd::User::from_name(&user.name).unwrap().unwrap();
    (found.uid.as_raw(), found.gid.as_raw())
}

/// Makes an installation whose daemon runs as this user.
fn installed_for(user: &User) -> Agent {
    let (user, group) = ids(user);
    Agent::installed(Path::new("/var/lib/imagestore"), "").running_as(user, group)
}

fn text_of(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn check(agent: &Agent) -> Output {
    agent.cli(&["check-config"], "")
}

/// Returns true if the kernel lets the user read the file.
fn can_read(user: &User, path: &Path) -> bool {
    let (user, group) = ids(user);
    let command = format!("--reuid={user} --regid={group} --init-groups cat");
    let found = Command::new("setpriv").args(command.split(' ')).arg(path).output().unwrap();
    found.status.success()
}

#[test]
fn a_file_that_the_user_of_the_daemon_cannot_read_is_a_fault_with_the_command_that_corrects_it() {
    needs_root!();
    let user = User::create();
    type Damage = fn(&Agent, &Path) -> PathBuf;
    let damages: [(&str, &str, Damage); 5] = [
        ("cannot read", "(owner root, group root, mode 0600)", |_, tokens| {
            chown(tokens, Some(0), Some(0)).unwrap();
            set_mode(tokens, 0o600);
            tokens.to_owned()
        }),
        ("cannot read", "(owner root, group root, mode 0640)", |_, tokens| {
            chown(tokens, Some(0), Some(0)).unwrap();
            tokens.to_owned()
        }),
        ("cannot read", "mode 0600)", |_, tokens| {
            set_mode(tokens, 0o600);
            tokens.to_owned()
        }),
        ("cannot search the folder", "(owner root, group root, mode 0700)", |agent, tokens| {
            let folder = agent.path("private dir");
            fs::create_dir(&folder).unwrap();
            set_mode(&folder, 0o700);
            fs::rename(tokens, folder.join("tokens")).unwrap();
            symlink("private dir/tokens", tokens).unwrap();
            folder
        }),
        ("cannot read", "mode 0000)", |agent, tokens| {
            let owner = fs::metadata(agent.path("state")).unwrap();
            use std::os::unix::fs::MetadataExt as _;
            chown(tokens, Some(owner.uid()), Some(0)).unwrap();
            set_mode(tokens, 0);
            tokens.to_owned()
        }),
    ];
    for (verb, status, damage) in damages {
        let mut agent = installed_for(&user);
        let tokens = agent.path("tokens");
        assert!(check(&agent).status.success(), "{}", text_of(&check(&agent)));
        let damaged = damage(&agent, &tokens);
        assert!(!can_read(&user, &tokens), "{status}");
        let checked = check(&agent);
        let text = text_of(&checked);
        assert_eq!(checked.status.code(), Some(SETTINGS), "{status}: {text}");
        let subject = format!("the daemon's user {} {verb} {}", user.name, damaged.display());
        for part in ["auth.tokens_file = ", &subject, status, "found in: line "] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        assert!(!agent.run_serve_to_end().status.success(), "{status}");

        let (_, command) = text.split_once("; to correct it: ").unwrap();
        run("sh", &["-ec", command.lines().next().unwrap()]);
        assert!(can_read(&user, &tokens), "{command}");
        let checked = check(&agent);
        assert!(checked.status.success(), "{command}: {}", text_of(&checked));
        agent.start();
    }
}

#[test]
fn every_file_that_the_daemon_reads_is_checked_for_its_user() {
    needs_root!();
    let user = User::create();
    let (_, group) = ids(&user);
    let callback = "[callback]\nurl = \"https://mn.example/events\"\n";
    let tls = "[server.tls]\ncert = \"DIR/cert\"\nkey = \"DIR/key\"\n";
    for (key, section) in [
        ("auth.access_keys_file", String::new()),
        ("auth.accounts_file", String::new()),
        ("state.master_key_file", String::new()),
        ("callback.signing_secret_file", callback.to_owned()),
        ("callback.ca_file", callback.to_owned()),
        ("callback.client_cert", format!("{callback}client_key = \"DIR/key\"\n")),
        ("callback.client_key", format!("{callback}client_cert = \"DIR/cert\"\n")),
        ("server.tls.cert", "[server.tls]\nkey = \"DIR/key\"\n".to_owned()),
        ("server.tls.key", "[server.tls]\ncert = \"DIR/cert\"\n".to_owned()),
        ("server.tls.client_ca", format!("{tls}clients_file = \"DIR/clients\"\n")),
        ("server.tls.clients_file", format!("{tls}client_ca = \"DIR/cert\"\n")),
    ] {
        let agent = installed_for(&user);
        let section =
            section.replace("DIR", agent.path("").to_str().unwrap().trim_end_matches('/'));
        for name in ["cert", "key", "clients", "file"] {
            write_secret(agent.path(name), "");
            let_group_read(&agent.path(name), group);
        }
        let path = agent.path("file");
        let (head, name) = key.rsplit_once('.').unwrap();
        let line = format!("{name} = {path:?}\n");
        let settings = agent.settings();
        let settings = match section.as_str() {
            "" => settings.replacen(&format!("[{head}]\n"), &format!("[{head}]\n{line}"), 1),
            section => format!("{settings}{section}{line}"),
        };
        agent.configure(&settings);
        let fault = format!("the daemon's user {} cannot read {}", user.name, path.display());
        let is_reported = |text: &str| {
            let head = format!("{key} = ");
            let blocks = text.match_indices(&head);
            let mut blocks = blocks.map(|(at, _)| text[at..].lines().nth(1).unwrap());
            blocks.any(|problem| problem.contains(&fault))
        };
        let text = text_of(&check(&agent));
        assert!(!text.contains("the daemon's user"), "{key}: {text}");
        chown(&path, Some(0), Some(0)).unwrap();
        let text = text_of(&check(&agent));
        assert!(is_reported(&text), "{key}: {text}");
    }
}

#[test]
fn the_files_of_the_state_directory_are_checked_for_the_user_of_the_daemon() {
    needs_root!();
    let user = User::create();
    let mut agent = installed_for(&user);
    agent.start();
    assert!(agent.terminate().0.success());
    assert!(check(&agent).status.success(), "{}", text_of(&check(&agent)));
    for (name, verb) in [("master-key", "read"), ("ledger.sqlite", "read and write")] {
        let path = agent.path("state").join(name);
        // As a copy of root leaves it.
        chown(&path, Some(0), Some(0)).unwrap();
        let checked = check(&agent);
        let text = text_of(&checked);
        assert_eq!(checked.status.code(), Some(SETTINGS), "{text}");
        let fault = format!("user {} cannot {verb} {}", user.name, path.display());
        assert_eq!(text.matches(&fault).count(), 1, "{text}");
        let (_, command) = text.split_once("; to correct it: ").unwrap();
        run("sh", &["-ec", command.lines().next().unwrap()]);
        assert!(check(&agent).status.success(), "{}", text_of(&check(&agent)));
    }
    // A folder above it hides all of its files, and is named once.
    set_mode(agent.path(""), 0o700);
    let text = text_of(&check(&agent));
    assert_eq!(text.matches("state.dir = ").count(), 1, "{text}");
    assert!(text.contains("cannot search the folder"), "{text}");
}

#[test]
fn a_supplementary_group_an_access_list_and_the_user_itself_are_no_fault() {
    needs_root!();
    let (user, other) = (User::create(), User::create());
    let (_, group) = ids(&other);
    let agent = installed_for(&user);
    let tokens = agent.path("tokens");
    let folder = agent.path("shared");
    fs::create_dir(&folder).unwrap();
    fs::rename(&tokens, folder.join("tokens")).unwrap();
    symlink("shared/tokens", &tokens).unwrap();
    chown(&folder, Some(0), Some(group)).unwrap();
    set_mode(&folder, 0o710);
    // A service may have groups that the user database does not have.
    let checked = check(&agent);
    let text = text_of(&checked);
    assert!(checked.status.success(), "{text}");
    let command = format!("usermod -aG {} {}", other.name, user.name);
    assert!(text.contains("warning: auth.tokens_file") && text.contains(&command), "{text}");
    user.join_group(&other.name);
    let text = text_of(&check(&agent));
    assert!(can_read(&user, &tokens) && !text.contains("the daemon's user"), "{text}");

    // A list that grants the access, in the form of the attribute (linux/posix_acl_xattr.h).
    let file = folder.join("tokens");
    chown(&file, Some(0), Some(0)).unwrap();
    set_mode(&file, 0o600);
    assert_eq!(check(&agent).status.code(), Some(SETTINGS));
    let (uid, _) = ids(&user);
    let undefined = u32::MAX;
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1_u16, 6_u16, undefined),
        (2, 4, uid),
        (4, 0, undefined),
        (16, 4, undefined),
        (32, 0, undefined),
    ] {
        list.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&file, "system.posix_acl_access", &list, flags).unwrap();
    assert!(can_read(&user, &tokens));
    let checked = check(&agent);
    assert!(checked.status.success(), "{}", text_of(&checked));

    // The daemon's own user is not judged by this rule: it tries.
    rustix::fs::removexattr(&file, "system.posix_acl_access").unwrap();
    set_mode(&file, 0o600);
    let checked = agent.run_as_daemon(&["check-config"]);
    let text = text_of(&checked);
    assert_eq!(checked.status.code(), Some(SETTINGS), "{text}");
    assert!(text.contains("cannot be read") && !text.contains("the daemon's user"), "{text}");
}
