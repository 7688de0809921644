//! The settings and files that the program refuses, and the texts that it prints.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use imagestore_agent::http::AccessKeyTable;
use tempfile::TempDir;

use crate::support::agent::PROGRAM;
use crate::support::http_server::{GOOD, READER, TestServer};
use crate::support::secret_files::write_secret;

/// A settings file and the files that it names, in a temporary directory.
struct Place(TempDir);

impl Place {
    fn new(settings: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let head = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {:?}\n",
            place.path("state")
        );
        let settings = settings.replace("DIR", place.0.path().to_str().unwrap());
        fs::write(place.path("agent.toml"), head + &settings).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        write_secret(self.path(name), text);
    }

    fn run(&self, args: &[&str]) -> Output {
        run(&self.path("agent.toml"), args)
    }
}

fn run(config: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).env("IMAGESTORE_AGENT_CONFIG", config).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_config_and_serve_refuse_the_same_files_and_list_every_fault() {
    let place = Place::new(
        "[auth]\ntokens_file = \"DIR/tokens\"\n[callback]\nurl = \"https://mn.example/events\"\n\
         signing_secret_file = \"DIR/secrets\"\nca_file = \"DIR/ca\"\n\
         client_cert = \"DIR/cert\"\nclient_key = \"DIR/absent\"\n",
    );
    place.file("tokens", "good-name:hunter2\n# a remark\nhunter2\n");
    place.file("secrets", "hunter2\n");
    place.file("ca", "hunter2\n");
    place.file("cert", "hunter2\n");
    let checked = place.run(&["check-config"]);
    let output = stderr(&checked);
    assert_eq!(checked.status.code(), Some(64), "{output}");
    for (key, what) in [
        ("auth.tokens_file", "line 1: "),
        ("auth.tokens_file", "line 3: "),
        ("callback.signing_secret_file", "line 1: "),
        ("callback.ca_file", "it contains no certificate"),
        ("callback.client_cert", "it contains no certificate"),
        ("callback.client_key", "cannot be read: "),
    ] {
        let block = output.split_inclusive("\n").collect::<Vec<_>>();
        let found = block.windows(2).filter(|lines| lines[0].starts_with(key));
        assert_eq!(found.filter(|lines| lines[1].trim().starts_with(what)).count(), 1, "{output}");
    }
    assert!(!output.contains("hunter2"), "{output}");
    let served = place.run(&["serve"]);
    assert_eq!((served.status.code(), stderr(&served)), (Some(64), output));
    assert!(!place.path("state").exists());
}

#[test]
fn a_start_does_without_the_master_key_and_without_no_other_file() {
    for (setting, key, code) in [
        ("master_key_file = \"DIR/gone\"\n", "state.master_key_file", 70),
        ("[server.tls]\ncert = \"DIR/gone\"\nkey = \"DIR/key\"\n", "server.tls.key", 64),
    ] {
        let place = Place::new(setting);
        let checked = place.run(&["check-config"]);
        assert_eq!(checked.status.code(), Some(64));
        assert!(stderr(&checked).contains(key), "{}", stderr(&checked));
        // A start that accepts the settings fails at the next fault: a file in the place of the
        // state directory.
        place.file("state", "");
        let served = place.run(&["serve"]);
        assert_eq!(served.status.code(), Some(code), "{}", stderr(&served));
        assert!(stderr(&served).contains(key), "{}", stderr(&served));
    }
}

#[test]
fn a_command_with_a_url_does_without_a_settings_file_that_it_may_not_read() {
    let closed = tempfile::tempdir().unwrap();
    let listed = run(closed.path(), &["list", "--url", "http://127.0.0.1:1"]);
    let output = stderr(&listed);
    assert_eq!(listed.status.code(), Some(1));
    assert!(
        output.contains("ignores the settings file and uses the base path \"/zstack\""),
        "{output}"
    );
    assert!(output.contains("cannot reach the daemon at 127.0.0.1:1"), "{output}");
    let listed = run(closed.path(), &["list"]);
    assert!(!stderr(&listed).contains("cannot reach"), "{}", stderr(&listed));
}

#[test]
fn a_variable_names_the_settings_file_and_an_empty_one_none() {
    let place = Place::new("");
    assert_eq!(place.run(&["check-config"]).status.code(), Some(0));
    place.file("agent.toml", "surprise = 1");
    assert_eq!(place.run(&["check-config"]).status.code(), Some(64));
    let checked = run(Path::new(""), &["check-config"]);
    assert!(!stderr(&checked).contains("Usage"), "{}", stderr(&checked));
    assert_ne!(checked.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_store_is_an_error_in_json_and_a_failure() {
    let server = TestServer::start();
    let url = format!("http://{}", server.connect().await.peer_addr().unwrap());
    let show = |uuid: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["show", uuid, "--json", "--url", &url]).env("IMAGESTORE_AGENT_TOKEN", READER);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), body)
    };
    let (code, body) = show(&GOOD.to_string());
    assert_eq!((code, &body["inventory"]["uuid"]), (Some(0), &GOOD.to_string().into()));
    let (code, body) = show("4cd9fb914f5f4a1d8d2f000000000009");
    assert_eq!((code, &body["error"]["code"]), (Some(1), &"SYS.1003".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_named_by_its_name_or_the_beginning_of_its_uuid() {
    let server = TestServer::start();
    let url = format!("http://{}", server.connect().await.peer_addr().unwrap());
    let run = |args: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(args).args(["--url", &url]).env("IMAGESTORE_AGENT_TOKEN", READER);
        command.stdin(Stdio::null()).output().unwrap()
    };
    let list: serde_json::Value = serde_json::from_slice(&run(&["list", "--json"]).stdout).unwrap();
    let stores = list["inventories"].as_array().unwrap();
    let text = |store: &serde_json::Value, key: &str| store[key].as_str().unwrap().to_owned();
    for store in stores {
        let (uuid, name) = (text(store, "uuid"), text(store, "name"));
        let namesakes = stores.iter().filter(|other| text(other, "name") == name).count();
        let short = uuid[..31].to_uppercase();
        let is_short_unique =
            stores.iter().filter(|other| text(other, "uuid").starts_with(&uuid[..31])).count() == 1;
        for (reference, is_unique) in [(&name, namesakes == 1), (&short, is_short_unique)] {
            let shown = run(&["show", reference]);
            assert_eq!(shown.status.success(), is_unique, "{reference}: {}", stderr(&shown));
            let texts = if is_unique { shown.stdout } else { shown.stderr };
            assert!(String::from_utf8(texts).unwrap().contains(&uuid), "{reference}");
        }
    }
    let brief = run(&["list", "--brief"]);
    let lines = String::from_utf8(brief.stdout).unwrap();
    assert!(brief.status.success() && lines.lines().count() == stores.len(), "{lines}");
    assert!(lines.contains(&text(&stores[0], "uuid")[..8]), "{lines}");
    let capacity = run(&["capacity", &text(&stores[0], "uuid")]);
    assert!(capacity.status.success(), "{}", stderr(&capacity));
    let shown = String::from_utf8(capacity.stdout).unwrap();
    assert!(shown.contains(&text(&stores[0], "uuid")) && shown.contains("forecast"), "{shown}");
    assert_eq!(run(&["capacity", "images", "--since", "2y"]).status.code(), Some(2));
    let unknown = run(&["show", "no such store"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("imagestore-agent list"), "{}", stderr(&unknown));
}

#[test]
fn an_access_key_is_printed_for_its_file_without_a_daemon_or_settings() {
    let config = Path::new("/nonexistent/agent.toml");
    let output = run(config, &["access-key", "add", "terraform", "--role", "read"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1);
    AccessKeyTable::read_file(&line).unwrap();
    let parts: Vec<&str> = line.trim_end().split(':').collect();
    let [name, id, secret, role] = parts[..] else { panic!("{} parts", parts.len()) };
    assert_eq!((name, id.len(), secret.len(), role), ("terraform", 20, 40, "read"));
    assert!(output.stderr.is_empty());

    let mut command = Command::new(PROGRAM);
    command.args(["access-key", "add", "mn", "--id", "AKID", "--secret-stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hunter2hunter2hunter2\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "mn:AKID:hunter2hunter2hunter2\n");

    for (args, code, problem) in [
        (&["access-key", "add", "a b"][..], 1, "the name does not consist"),
        (&["access-key", "add", "mn", "--role", "root"], 2, "invalid value"),
        (&["access-key", "add", "mn", "--secret-stdin"], 2, "--id"),
        (&["access-key", "add", "mn", "--id", "a", "--secret-stdin"], 1, "is empty"),
        (&["access-key", "add"], 2, "NAME"),
    ] {
        let output = run(config, args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(stderr(&output).contains(problem), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}
