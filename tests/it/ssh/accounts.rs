//! The rows of `docs/ssh-verification.md` about the permissions of an account and about the
//! identity of the host.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use imagestore_agent::model::MarkerId;
use imagestore_agent::settings::SshSettings;
use imagestore_agent::ssh::{EvidenceScope, LoginRequest, MarkerLocation};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::ssh::table::RowSetup;
use crate::ssh::{by_key, by_password, ssh_settings, verify, verify_by};
use crate::support::requirements::run;
use crate::support::sshd::{Builder, HostKeyFile, KeyPair, User};

const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";
const MARKER: &str = "srv/images/.imagestore-agent/identity.json";

/// A separate program for SFTP, so that the user's shell starts it.
const BY_THE_SHELL: &str = "Subsystem sftp /usr/lib/openssh/sftp-server";

pub(crate) async fn accounts(situation: &str) -> RowSetup {
    let user = User::create();
    let lines: &[&str] = match situation {
        "account: expired" => {
            run("chage", &["-E", "0", &user.name]);
            &[]
        }
        "account: locked" => {
            run("usermod", &["-L", &user.name]);
            &[]
        }
        "account: expired, under PAM" => {
            run("chage", &["-E", "0", &user.name]);
            let sshd = Builder::new().line("UsePAM yes").start();
            // sshd logs no line for the end of this connection.
            return verify(&by_password(&sshd, &user)).await.into();
        }
        "account: not in `AllowUsers`" => &["AllowUsers nobody-else"],
        "account: a shell that permits no login (nologin)" => {
            run("usermod", &["-s", "/usr/sbin/nologin", &user.name]);
            &[BY_THE_SHELL]
        }
        "account: the password has expired" => {
            run("chage", &["-d", "0", &user.name]);
            &[]
        }
        "account: the password has expired, under PAM" => {
            run("chage", &["-d", "0", &user.name]);
            &["UsePAM yes"]
        }
        "account: the password has expired, over keyboard-interactive" => {
            run("chage", &["-d", "0", &user.name]);
            &["UsePAM yes", "KbdInteractiveAuthentication yes", "PasswordAuthentication no"]
        }
        "account: a forced command that fails" => &["ForceCommand /bin/false"],
        "account: a forced command that echoes its input (cat)" => &["ForceCommand /bin/cat"],
        "account: a forced command with endless output" => &["ForceCommand yes"],
        "account: a forced command without output" => &["ForceCommand exec sleep 60"],
        "account: only SFTP, in a chroot that is `/`" => {
            &["ForceCommand internal-sftp", "ChrootDirectory /"]
        }
        "account: no session (`MaxSessions 0`)" => &["MaxSessions 0"],
        "account: only SFTP, in a chroot that sshd refuses" => {
            let sshd = Builder::new()
                .line("ForceCommand internal-sftp")
                .line("ChrootDirectory /etc/passwd")
                .start();
            // sshd logs no line for the end of this connection.
            return verify(&by_password(&sshd, &user)).await.into();
        }
        "account: the shell is `/bin/false`" => {
            run("usermod", &["-s", "/bin/false", &user.name]);
            &[BY_THE_SHELL]
        }
        "account: the shell is `/bin/false`, and sshd itself serves SFTP" => {
            run("usermod", &["-s", "/bin/false", &user.name]);
            &[]
        }
        "account: no SFTP" => &["Subsystem other /bin/false"],
        _ => panic!("unknown situation {situation:?}"),
    };
    let sshd = lines.iter().fold(Builder::new(), |server, line| server.line(line)).start();
    (verify(&by_password(&sshd, &user)).await, sshd).into()
}

/// Makes a root directory for sshd's `ChrootDirectory` with these files. Every directory above it
/// must belong to root.
pub(crate) fn chroot(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir_in("/run").unwrap();
    fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

pub(crate) async fn hosts(situation: &str) -> RowSetup {
    let (own_marker, other_marker) = (MarkerId::from_u128(1), MarkerId::from_u128(2));
    let identity = |id: MarkerId| format!("{{\"version\":1,\"id\":\"{id}\"}}");
    let (own_text, other_text) = (identity(own_marker), identity(other_marker));
    let files: &[(&str, &str)] = match situation {
        "host: another boot id" => {
            &[(BOOT_ID, "00000000-0000-4000-8000-000000000000\n"), (MARKER, &own_text)]
        }
        "host: a chroot with the store's marker" => &[(MARKER, &own_text)],
        "host: a chroot with another store's marker" => &[(MARKER, &other_text)],
        "host: a chroot with an invalid marker" => &[(BOOT_ID, "none"), (MARKER, "{}")],
        _ => &[],
    };
    let (user, root) = (User::create(), chroot(files));
    let chroot = format!("ChrootDirectory {}", root.path().display());
    let server = Builder::new();
    let server = match situation {
        "host: its key is a host key of this node" => server.host_key(&HostKeyFile::of_this_node()),
        "host: the same boot id" => server,
        _ => server.line("ForceCommand internal-sftp").line(&chroot),
    };
    let sshd = server.start();
    let marker = MarkerLocation { path: format!("/{MARKER}"), id: own_marker };
    let evidence = EvidenceScope::Full(Some(marker));
    (verify(&LoginRequest { evidence, ..by_password(&sshd, &user) }).await, sshd).into()
}

/// Sets up an sshd whose process stops in the middle of the login: a command that it runs for the
/// user's keys sends SIGSTOP to its parent.
pub(crate) async fn frozen(user: &User) -> RowSetup {
    // sshd runs no command below a directory that others may write to.
    let dir = tempfile::tempdir_in("/run").unwrap();
    let (command, stopped) = (dir.path().join("keys"), dir.path().join("stopped"));
    let script = format!("#!/bin/sh\necho $PPID > {}\nkill -STOP $PPID\n", stopped.display());
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::write(&command, script).unwrap();
    fs::set_permissions(&command, Permissions::from_mode(0o755)).unwrap();
    let sshd = Builder::new()
        .line(&format!("AuthorizedKeysCommand {}", command.display()))
        .line("AuthorizedKeysCommandUser root")
        .start();
    let key = KeyPair::generate("ed25519", "");
    let settings = SshSettings { auth_timeout: Duration::from_secs(2), ..ssh_settings() };
    let outcome = verify_by(&settings, &by_key(&sshd, user, &key, None)).await;
    let pid = pid_in(&stopped);
    kill(pid, Signal::SIGKILL).unwrap();
    outcome.into()
}

fn pid_in(file: &Path) -> Pid {
    Pid::from_raw(fs::read_to_string(file).unwrap().trim().parse().unwrap())
}
