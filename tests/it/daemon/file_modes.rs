//! Files with secrets that another user can read or replace: the daemon, `check-config` and the
//! client commands refuse them.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use hyper::Method;
use nix::sys::signal::Signal;

use crate::support::agent::{Agent, NOBODY, TOKEN};
use crate::support::requirements::needs_root;
use crate::support::secret_files::{let_group_read, set_mode, write_secret};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
/// Exit code for settings and files that cannot be used.
const SETTINGS: i32 = 64;

fn installed(more: &str) -> Agent {
    Agent::installed(Path::new("/var/lib/imagestore"), more)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Names another file as the tokens file.
fn use_tokens(agent: &Agent, file: &Path) {
    let old = format!("tokens_file = {:?}", agent.path("tokens"));
    let settings = agent.settings();
    assert!(settings.contains(&old));
    agent.configure(&settings.replace(&old, &format!("tokens_file = {file:?}")));
}

fn permit_all(agent: &Agent) {
    let permitted = "[state]\ntrust_file_modes = true\n";
    agent.configure(&agent.settings().replacen("[state]\n", permitted, 1));
}

#[test]
fn a_secret_that_another_user_can_read_or_replace_is_a_fault_unless_it_is_permitted() {
    needs_root!();
    type Damage = fn(&Agent) -> PathBuf;
    let damages: [(&str, Damage); 7] = [
        ("is readable by every user (mode 0644)", |agent| {
            set_mode(agent.path("tokens"), 0o644);
            agent.path("tokens")
        }),
        ("is writable by every user (mode 0602)", |agent| {
            set_mode(agent.path("tokens"), 0o602);
            agent.path("tokens")
        }),
        ("is readable by the group 65534 (mode 0640)", |agent| {
            let_group_read(&agent.path("tokens"), NOBODY);
            agent.path("tokens")
        }),
        ("belongs to the user 65534, not to root", |agent| {
            chown(agent.path("tokens"), Some(NOBODY), None).unwrap();
            agent.path("tokens")
        }),
        ("which is writable by every user (mode 0777)", |agent| {
            let folder = agent.path("open");
            fs::create_dir(&folder).unwrap();
            fs::copy(agent.path("tokens"), folder.join("tokens")).unwrap();
            set_mode(&folder, 0o777);
            folder.join("tokens")
        }),
        ("which belongs to the user 65534, not to root", |agent| {
            // A safe link through the folder of another user.
            let folder = agent.path("foreign");
            fs::create_dir(&folder).unwrap();
            symlink(agent.path("tokens"), folder.join("link")).unwrap();
            chown(&folder, Some(NOBODY), None).unwrap();
            symlink(folder.join("link"), agent.path("outer")).unwrap();
            agent.path("outer")
        }),
        ("which is writable by every user (mode 1777)", |agent| {
            let folder = agent.path("shared");
            fs::create_dir(&folder).unwrap();
            set_mode(&folder, 0o1777);
            symlink(agent.path("tokens"), folder.join("link")).unwrap();
            std::os::unix::fs::lchown(folder.join("link"), Some(NOBODY), None).unwrap();
            folder.join("link")
        }),
    ];
    for (risk, damage) in damages {
        let mut agent = installed("");
        use_tokens(&agent, &damage(&agent));
        for refused in [agent.run_serve_to_end(), agent.cli(&["check-config"], "")] {
            let text = stderr(&refused);
            assert_eq!(refused.status.code(), Some(SETTINGS), "{risk}: {text}");
            for part in ["auth.tokens_file", risk, "state.trust_file_modes = true"] {
                assert!(text.contains(part), "{part} is missing: {text}");
            }
        }
        assert!(!agent.path("state").exists(), "a start that is refused creates nothing");

        permit_all(&agent);
        let checked = agent.cli(&["check-config"], "");
        let output = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
        assert!(output.contains("warning: auth.tokens_file") && output.contains(risk), "{output}");
        agent.start();
        assert!(agent.log().contains("file not safe from other users"), "{}", agent.log());
        assert!(agent.log().contains("state.trust_file_modes is set"));
    }
}

#[test]
fn every_setting_that_names_a_secret_is_checked() {
    needs_root!();
    let callback = "[callback]\nurl = \"https://mn.example/events\"\n";
    for (key, section, file) in [
        ("callback.signing_secret_file", callback.to_owned(), "signing_secret_file"),
        ("callback.client_key", format!("{callback}client_cert = \"DIR/cert\"\n"), "client_key"),
        ("server.tls.key", "[server.tls]\ncert = \"DIR/cert\"\n".to_owned(), "key"),
        (
            "server.tls.clients_file",
            "[server.tls]\ncert = \"DIR/cert\"\nkey = \"DIR/key\"\nclient_ca = \"DIR/cert\"\n"
                .to_owned(),
            "clients_file",
        ),
    ] {
        let agent = installed("");
        let section =
            section.replace("DIR", agent.path("").to_str().unwrap().trim_end_matches('/'));
        let path = agent.path("file");
        write_secret(agent.path("cert"), "no certificate");
        write_secret(agent.path("key"), "no key");
        write_secret(&path, SECRET);
        let settings = agent.settings();
        agent.configure(&format!("{settings}{section}{file} = {path:?}\n"));
        let unsafe_file = || {
            let text = stderr(&agent.cli(&["check-config"], ""));
            let block = text.split_once(&format!("{key} = ")).map(|(_, block)| block.to_owned());
            block.is_some_and(|block| block.lines().nth(1).unwrap().contains("the file is "))
        };
        assert!(!unsafe_file(), "{key} is safe");
        set_mode(&path, 0o666);
        assert!(unsafe_file(), "{key} can be written by every user");
    }
}

#[test]
fn the_settings_of_compose_take_the_secret_that_it_mounts() {
    needs_root!();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose");
    let agent = installed("");
    let secret = agent.path("signing-secret");
    fs::copy(tree.join("signing-secret"), &secret).unwrap();
    // The file belongs to the user who has cloned the repository.
    set_mode(&secret, 0o644);
    chown(&secret, Some(NOBODY), Some(NOBODY)).unwrap();
    let settings = fs::read_to_string(tree.join("agent.toml")).unwrap();
    let settings =
        settings.replace("/etc/imagestore-agent/signing-secret", secret.to_str().unwrap());
    agent.configure(&settings);
    let checked = agent.cli(&["check-config"], "");
    assert!(checked.status.success(), "{}", stderr(&checked));
    agent.configure(&settings.replace("trust_file_modes = true", ""));
    assert_eq!(agent.cli(&["check-config"], "").status.code(), Some(SETTINGS));
}

#[test]
fn a_file_without_a_secret_is_only_warned_of() {
    needs_root!();
    let mut agent = installed("");
    set_mode(agent.path("agent.toml"), 0o666);
    let checked = agent.cli(&["check-config"], "");
    let output = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && output.contains("warning: --config"), "{output}");
    agent.start();
    assert!(agent.log().contains("file not safe from other users"));
}

#[test]
fn the_layouts_of_certbot_and_kubernetes_and_the_documented_mode_are_accepted() {
    needs_root!();
    let certbot: fn(&Agent) -> PathBuf = |agent| {
        let (live, archive) = (agent.path("live/node"), agent.path("archive/node"));
        fs::create_dir_all(&live).unwrap();
        fs::create_dir_all(&archive).unwrap();
        fs::rename(agent.path("tokens"), archive.join("tokens1")).unwrap();
        symlink("../../archive/node/tokens1", live.join("tokens")).unwrap();
        live.join("tokens")
    };
    let kubernetes: fn(&Agent) -> PathBuf = |agent| {
        let volume = agent.path("volume");
        fs::create_dir_all(volume.join("..2026_11_27")).unwrap();
        set_mode(&volume, 0o1777);
        fs::rename(agent.path("tokens"), volume.join("..2026_11_27/tokens")).unwrap();
        set_mode(volume.join("..2026_11_27/tokens"), 0o440);
        symlink("..2026_11_27", volume.join("..data")).unwrap();
        symlink("..data/tokens", volume.join("tokens")).unwrap();
        volume.join("tokens")
    };
    for layout in [certbot, kubernetes] {
        let mut agent = installed("");
        use_tokens(&agent, &layout(&agent));
        let checked = agent.cli(&["check-config"], "");
        assert!(checked.status.success(), "{}", stderr(&checked));
        agent.start();
        assert!(!agent.log().contains("file not safe"), "{}", agent.log());
    }
    // Root checks the files by the rule of the daemon's user, who owns the state directory.
    let mut agent = installed("").running_as_nobody();
    let checked = agent.cli(&["check-config"], "");
    assert!(checked.status.success(), "{}", stderr(&checked));
    agent.start();
    set_mode(agent.path("tokens"), 0o644);
    assert_eq!(agent.cli(&["check-config"], "").status.code(), Some(SETTINGS));
}

#[tokio::test]
async fn a_reload_keeps_the_tokens_if_the_new_file_is_not_safe() {
    needs_root!();
    let mut agent = installed("");
    agent.start();
    write_secret(agent.path("tokens"), format!("other:{}\n", "0".repeat(64)));
    set_mode(agent.path("tokens"), 0o666);
    agent.signal(Signal::SIGHUP);
    let line = agent.until_logged("reload failed; nothing changed");
    assert!(line.contains("is writable by every user"), "{line}");
    assert_eq!(agent.ask(Method::GET, "/image-store", None).await.status, 200);
}

#[tokio::test]
async fn a_reload_judges_the_files_by_the_policy_of_the_start() {
    needs_root!();
    let mut agent = installed("");
    agent.start();
    permit_all(&agent);
    write_secret(agent.path("tokens"), format!("other:{}\n", "0".repeat(64)));
    set_mode(agent.path("tokens"), 0o666);
    agent.signal(Signal::SIGHUP);
    let line = agent.until_logged("reload failed; nothing changed");
    for part in ["is writable by every user", "trust_file_modes takes effect after a restart"] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(agent.ask(Method::GET, "/image-store", None).await.status, 200);
}

#[test]
fn a_reload_warns_of_unsafe_files_that_are_permitted_as_a_start_does() {
    needs_root!();
    let mut agent = installed("");
    permit_all(&agent);
    let (keys, secret) = (agent.path("access-keys"), agent.path("secret"));
    let named = format!("[auth]\naccess_keys_file = {keys:?}\n");
    let settings = agent.settings().replacen("[auth]\n", &named, 1);
    let callback = format!("[callback]\nsigning_secret_file = {secret:?}\n");
    agent.configure(&format!("{settings}{callback}"));
    write_secret(&keys, "");
    write_secret(&secret, SECRET);
    agent.start();
    let warning = "file not safe from other users";
    assert!(!agent.log().contains(warning), "{}", agent.log());
    for file in [&keys, &secret, &agent.path("tokens"), &agent.path("agent.toml")] {
        set_mode(file, 0o666);
    }
    agent.signal(Signal::SIGHUP);
    agent.until_logged("callers and signing secrets reloaded");
    let log = agent.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains(warning)).collect();
    for key in
        ["auth.tokens_file", "auth.access_keys_file", "callback.signing_secret_file", "--config"]
    {
        let count = warnings.iter().filter(|line| line.contains(key)).count();
        assert_eq!(count, 1, "{key}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 4, "{warnings:?}");
}

#[test]
fn a_reload_warns_of_weak_secrets_as_a_start_does() {
    let mut agent = installed("");
    agent.start();
    assert!(!agent.log().contains("secret can be guessed"), "{}", agent.log());
    let file = agent.path("access-keys");
    write_secret(&file, "mn:AKID:hunter2\n");
    let keys = format!("[auth]\naccess_keys_file = {file:?}\nsession_check_role = \"operate\"");
    let settings = agent.settings().replacen("[auth]", &keys, 1);
    assert!(settings.contains(&keys), "{settings}");
    agent.configure(&settings);
    agent.signal(Signal::SIGHUP);
    let line = agent.until_logged("secret can be guessed");
    assert!(line.contains("AKID") && !line.contains("hunter2"), "{line}");
    // A change that needs a restart is no doubt about the settings in force.
    agent.until_logged("callers and signing secrets reloaded");
    assert!(!agent.log().contains("session_check_role"), "{}", agent.log());
}

#[test]
fn a_client_command_sends_no_secret_from_a_file_that_others_can_read_or_replace() {
    needs_root!();
    let mut agent = installed("");
    agent.start();
    let url = format!("http://{}", agent.address());
    let file = agent.path("token.txt");
    write_secret(&file, TOKEN);
    let list = |path: &str| agent.cli(&["list", "--url", &url, "--token-file", path], "");
    let path = file.to_str().unwrap();
    assert!(list(path).status.success());
    for (risk, damage) in [
        ("is readable by every user", &(|| set_mode(&file, 0o604)) as &dyn Fn()),
        ("belongs to the user 65534", &|| {
            set_mode(&file, 0o600);
            chown(&file, Some(NOBODY), None).unwrap();
        }),
    ] {
        damage();
        let refused = list(path);
        assert_eq!(refused.status.code(), Some(1));
        let text = stderr(&refused);
        assert!(text.contains(risk) && text.contains(path) && !text.contains(TOKEN), "{text}");
    }
    let key = ["add", "--name", "x", "--path", "/x", "--hostname", "::1", "--username", "u"];
    set_mode(&file, 0o644);
    chown(&file, Some(0), None).unwrap();
    for option in ["--password-file", "--private-key-file"] {
        let refused = agent.cli(&[&key[..], &[option, path]].concat(), "");
        assert!(stderr(&refused).contains("is readable by every user"), "{}", stderr(&refused));
    }
    // A pipe of the shell has no path that another user could open.
    let script =
        format!("\"$0\" --config \"$1\" list --url {url} --token-file <(printf %s {TOKEN})");
    let config = agent.path("agent.toml");
    let piped = std::process::Command::new("bash")
        .args(["-c", &script, crate::support::agent::PROGRAM, config.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(piped.status.success(), "{}", stderr(&piped));
}

#[test]
fn a_token_goes_over_plain_http_to_another_host_only_on_request() {
    let agent = installed("");
    let file = agent.path("token.txt");
    write_secret(&file, TOKEN);
    // A host that is another one by its name, and refuses the connection.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://0.0.0.0:{}", port.local_addr().unwrap().port());
    port.set_nonblocking(true).unwrap();
    let list = ["list", "--url", &url, "--token-file", file.to_str().unwrap()];
    let refused = agent.cli(&list, "");
    assert_eq!(refused.status.code(), Some(1));
    let text = stderr(&refused);
    assert!(text.contains("--insecure-http") && !text.contains(TOKEN), "{text}");
    assert!(port.accept().is_err(), "a connection was made");
    let help = agent.cli(&["list", "--help"], "");
    assert!(String::from_utf8_lossy(&help.stdout).contains("--insecure-http"));
    drop(port);
    let sent = agent.cli(&[&list[..], &["--insecure-http"]].concat(), "");
    assert!(stderr(&sent).contains("cannot reach the daemon"), "{}", stderr(&sent));
    // Without a token there is nothing to protect.
    let bare = agent.cli(&["list", "--url", &url], "");
    assert!(stderr(&bare).contains("cannot reach the daemon"), "{}", stderr(&bare));
}
