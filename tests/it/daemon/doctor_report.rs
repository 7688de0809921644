//! `doctor --report` beside a real daemon: the report has what helps, and no secret in any form.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::agent::{Agent, TOKEN, callback, store};
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, HttpResponse, exchange};
use crate::support::management_node::{Answer, ManagementNode};
use crate::support::requirements::{needs_root, run};
use crate::support::secret_files::write_secret;
use crate::support::secret_scan::SecretScan;
use crate::support::sshd::{Builder, KeyPair, Sshd, User};
use crate::support::test_ca::TestCa;

const STORES: &str = "/zstack/v1/backup-storage/image-store";
/// The name of a store, which a report shows: the search must find it.
const KNOWN: &str = "known-name-of-the-search";

const PASSWORD: &str = "zqPassword7\"x \\ ü%+&=";
const PASSPHRASE: &str = "zqPassphrase7 of <some> length/ü";
const OTHER_TOKEN: &str = "zqToken7kvvhxq";
const CALLER: &str = "zqCaller7vkk";
const ACCOUNT: &str = "zqAccount7vkk";
const KEY_SECRET: &str = "zqAccessKeySecret7vkkvvhhxxqqwwzzkkvvhhx";
/// A signing secret, in base64 as in its file.
const SIGNING: &str = "enFTaWduaW5nU2VjcmV0N29mVGhpc1JlcG9ydE9ubHk=";
const CALLBACK_KEY: &str = "zqCallbackKey7vkk";
const SESSION_KEY: &str = "zqSessionKey7vkk";
const HOOK_KEY: &str = "zqHookKey7vkk";
const USER_INFO: &str = "zqUserInfo7vkk";
const REPLY: &str =
    "code 8365501947: {\"zq\":\"zqReply7vkk zqReply7vkk\",\"pin\":2947718306}, \"denied\"";
const SYSTEM_TAG: &str = "zqSystemTag7vkk::zq";
const USER_TAG: &str = "zqUserTag7vkk";
const DESCRIPTION: &str = "zqDescription7vkk";
const BANNER: &str = "zqBanner7vkk PIN 7461190238";
const HEADER: &str = "zqHeader7vkk";
const VARIABLE: &str = "zqVariable7vkk";
const CLIENT_TOKEN: &str = "zqClientToken7vkk";
const MOUNT_SOURCE: &str = "zqSource7vkk";
const MOUNT_FOLDER: &str = "zqLower7vkk";

/// The texts that no report contains.
const CANARIES: [&str; 24] = [
    PASSWORD,
    PASSPHRASE,
    OTHER_TOKEN,
    CALLER,
    ACCOUNT,
    KEY_SECRET,
    SIGNING,
    CALLBACK_KEY,
    SESSION_KEY,
    HOOK_KEY,
    USER_INFO,
    "zqReply7vkk",
    "8365501947",
    "2947718306",
    SYSTEM_TAG,
    USER_TAG,
    DESCRIPTION,
    "zqBanner7vkk",
    "7461190238",
    HEADER,
    VARIABLE,
    CLIENT_TOKEN,
    MOUNT_SOURCE,
    MOUNT_FOLDER,
];

struct Scene {
    agent: Agent,
    disk: MountedFs,
    uuid: String,
    key: KeyPair,
    tls_key: String,
    _folders: tempfile::TempDir,
    _node: ManagementNode,
    _ca: TestCa,
    _sshd: Sshd,
    _user: User,
}

fn hash(algorithm: &'static ring::digest::Algorithm, text: &str) -> String {
    data_encoding::HEXLOWER.encode(ring::digest::digest(algorithm, text.as_bytes()).as_ref())
}

async fn ask(agent: &Agent, line: &str, headers: &str, body: &Value) -> HttpResponse {
    let stream = TcpStream::connect(agent.address()).await.unwrap();
    let body = body.to_string();
    let request = HttpRequest { token: Some(TOKEN), headers, ..HttpRequest::new(line, &body) };
    exchange(stream, &request.bytes()).await
}

impl Scene {
    /// Starts a daemon with a secret in each place that can hold one, and lets it use them.
    async fn set() -> Self {
        let (disk, user) = (MountedFs::tmpfs("size=16m"), User::create());
        let folders = tempfile::tempdir().unwrap();
        let banner = folders.path().join("banner");
        fs::write(&banner, format!("{BANNER}\n")).unwrap();
        let sshd = Builder::new().line(&format!("Banner {}", banner.display())).start();
        let key = KeyPair::generate("ed25519", PASSPHRASE);
        sshd.authorize(&user, &key);
        user.set_password(PASSWORD);
        // Mounts with free texts, below the folder of the stores.
        let (source, overlay) = (disk.path().join("source"), disk.path().join("overlay"));
        let lower = folders.path().join(MOUNT_FOLDER);
        let lowest = folders.path().join("lowest");
        for folder in [&source, &overlay, &lower, &lowest] {
            fs::create_dir(folder).unwrap();
        }
        run("mount", &["-t", "tmpfs", "-o", "size=1m", MOUNT_SOURCE, source.to_str().unwrap()]);
        let layers = format!("ro,lowerdir={}:{}", lower.display(), lowest.display());
        run("mount", &["-t", "overlay", "-o", &layers, MOUNT_SOURCE, overlay.to_str().unwrap()]);

        let ca = TestCa::new();
        let (cert, client_key) = ca.issue("agent.example");
        let reply = || Answer::Full(503, ("x-zq", "zq".to_owned()), REPLY);
        let node = ManagementNode::scripted(move |_| reply()).await;
        node.set_heartbeat_script(move |_| reply());
        let more = format!(
            "reserved = \"0B\"\n[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n{}",
            callback(&format!("{}?key={CALLBACK_KEY}", node.url()))
        );
        let mut agent = Agent::installed(&disk.path(), &more);
        let [tokens, keys, accounts, signing] =
            ["tokens", "keys", "accounts", "signing"].map(|name| agent.path(name));
        let old = fs::read_to_string(&tokens).unwrap();
        let other = hash(&ring::digest::SHA256, OTHER_TOKEN);
        write_secret(&tokens, format!("{old}{CALLER}:{other}:admin\n"));
        write_secret(&keys, format!("{CALLER}:{}:{KEY_SECRET}:read\n", "k".repeat(20)));
        let account = agent.cli(&["account", "add", ACCOUNT], "password\n");
        write_secret(&accounts, account.stdout);
        write_secret(&signing, format!("whsec_{SIGNING}\n"));
        let auth = format!(
            "[auth]\naccess_keys_file = {keys:?}\naccounts_file = {accounts:?}\n\
             session_check_url = \"http://127.0.0.1:1/x?uuid={{uuid}}&key={SESSION_KEY}\"\n"
        );
        let settings = agent.settings().replace("[auth]\n", &auth);
        let settings =
            settings.replace("[server]\n", "[server]\nagent_allow = [\"127.0.0.0/8\"]\n");
        agent.configure(&format!(
            "{settings}signing_secret_file = {signing:?}\nclient_cert = {cert:?}\n\
             client_key = {client_key:?}\n"
        ));
        let variable = format!("ZQ_SECRET={VARIABLE}");
        assert!(agent.start_under(&["env", &variable, "RUST_LOG=debug"]));

        let mut scene = Self {
            agent,
            disk,
            uuid: String::new(),
            key,
            tls_key: fs::read_to_string(client_key).unwrap(),
            _folders: folders,
            _node: node,
            _ca: ca,
            _sshd: sshd,
            _user: user,
        };
        scene.use_secrets().await;
        scene
    }

    async fn use_secrets(&mut self) {
        let body = |name: &str| {
            let dir = self.disk.path().join(name);
            fs::create_dir(&dir).unwrap();
            let mut body = store(&dir, &self._sshd, &self._user);
            body["params"]["name"] = json!(name);
            body["params"]["description"] = json!(DESCRIPTION);
            body["params"]["password"] = json!(PASSWORD);
            body
        };
        let headers = format!("X-Request-Id: {HEADER}\r\nX-Forwarded-For: {HEADER}\r\n");
        let added = ask(&self.agent, &format!("POST {STORES}"), &headers, &body(KNOWN)).await;
        assert_eq!(added.status, 200, "{}", added.body);
        self.uuid = added.body["inventory"]["uuid"].as_str().unwrap().to_owned();
        let mut by_key = body("by-key");
        let params = by_key["params"].as_object_mut().unwrap();
        params.remove("password");
        params.insert("privateKey".to_owned(), json!(self.key.private));
        params.insert("privateKeyPassphrase".to_owned(), json!(PASSPHRASE));
        let added = ask(&self.agent, &format!("POST {STORES}"), "", &by_key).await;
        assert_eq!(added.status, 200, "{}", added.body);

        let line = format!("PUT {STORES}/{}/actions", self.uuid);
        let tags = json!({"params": {}, "systemTags": [SYSTEM_TAG], "userTags": [USER_TAG]});
        for _ in 0..2 {
            assert_eq!(ask(&self.agent, &line, "", &tags).await.status, 200);
        }
        // The account has another password now, and the server shows its banner.
        self._user.set_password("zqAnother7vkk");
        assert_eq!(ask(&self.agent, &line, "", &tags).await.status, 503);
        for (hook, status) in [
            (format!("http://127.0.0.1:1/hook?key={HOOK_KEY}"), 202),
            (format!("http://zq:{USER_INFO}@127.0.0.1:1/hook"), 400),
        ] {
            let headers = format!("X-Job-UUID: {}\r\nX-Web-Hook: {hook}\r\n", "a".repeat(32));
            let line = format!("PUT {STORES}/{}/actions", "f".repeat(32));
            let body = json!({"reconnectImageStoreBackupStorage": {}});
            assert_eq!(ask(&self.agent, &line, &headers, &body).await.status, status);
        }
    }

    /// Writes a report, with `doctor` in this language. Returns its text and the exit status.
    fn report(&self, language: &str) -> (String, i32) {
        let file = self.agent.path("report.json");
        let variables = [
            "env".to_owned(),
            format!("LANG={language}"),
            format!("IMAGESTORE_AGENT_TOKEN={CLIENT_TOKEN}"),
        ];
        let wrapper: Vec<&str> = variables.iter().map(String::as_str).collect();
        let output =
            self.agent.cli_under(&wrapper, &["doctor", "--report", file.to_str().unwrap()]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("read it before you send it"), "{errors}");
        assert!(!output.stdout.is_empty());
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        (text, output.status.code().unwrap())
    }
}

/// Returns the finding of a check of a store, or of the daemon.
fn finding<'a>(report: &'a Value, id: &str, store: Option<&str>) -> &'a Value {
    let checks = report["doctor"]["checks"].as_array().unwrap();
    let is_wanted = |check: &&Value| {
        check["id"] == id && check.pointer("/store/uuid").and_then(Value::as_str) == store
    };
    checks.iter().find(is_wanted).unwrap_or_else(|| panic!("no {id} in {report:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_has_no_secret_online_frozen_or_killed_in_either_language() {
    needs_root!();
    let mut scene = Scene::set().await;
    let master_key = fs::read(scene.agent.path("state/master-key")).unwrap();
    let mut scan = SecretScan::default();
    let mut reports = Vec::new();
    for language in ["C", "zh_CN.UTF-8"] {
        for state in ["online", "frozen"] {
            if state == "frozen" {
                scene.agent.signal(Signal::SIGSTOP);
            }
            let (text, code) = scene.report(language);
            scene.agent.signal(Signal::SIGCONT);
            assert_eq!(code, 1, "{text}");
            scan.add(format!("{state} in {language}"), &text);
            reports.push((state, serde_json::from_str::<Value>(&text).unwrap()));
        }
    }
    scene.agent.kill();
    for language in ["C", "zh_CN.UTF-8"] {
        let (text, code) = scene.report(language);
        assert_eq!(code, 1, "{text}");
        scan.add(format!("killed in {language}"), &text);
        reports.push(("killed", serde_json::from_str::<Value>(&text).unwrap()));
    }

    for canary in CANARIES {
        scan.assert_absent(canary, canary);
    }
    scan.assert_absent("the private key", &scene.key.private);
    for line in scene.key.private.lines().chain(scene.tls_key.lines()) {
        if line.len() > 8 && !line.starts_with("-----") {
            scan.assert_absent("a line of a private key", line);
        }
    }
    scan.assert_absent("the master key", &String::from_utf8_lossy(&master_key));
    // The search finds what a report shows, in each report.
    for place in ["online in C", "online in zh", "killed in C", "killed in zh"] {
        assert!(scan.contains(place, KNOWN) && scan.contains(place, &scene.uuid), "{place}");
    }
    for place in ["frozen in C", "frozen in zh"] {
        assert!(scan.contains(place, "service.answers"), "{place}");
    }
    for (state, report) in &reports {
        check_contents(&scene, state, report);
    }
}

/// Checks that the report has what helps.
fn check_contents(scene: &Scene, state: &str, report: &Value) {
    assert_eq!(report["reportVersion"], 1);
    let versions = &report["versions"];
    for name in ["program", "ledgerFormat", "ssh", "kernel", "machine", "libc", "os"] {
        assert!(!versions[name].is_null(), "{name}: {versions}");
    }
    assert_eq!(versions["daemon"].is_string(), state == "online", "{versions}");
    let settings = &report["settings"];
    assert_eq!(settings["monitor"]["interval"], "3600s");
    let url = settings["callback"]["urls"][0].as_str().unwrap();
    assert!(url.starts_with("http://localhost:") && url.ends_with("?..."), "{url}");
    assert!(settings["auth"]["access_keys_file"].is_string(), "{settings}");

    let lines = report["mounts"]["lines"].as_array().unwrap();
    let below = |name: &str| {
        let point = scene.disk.path().join(name).display().to_string();
        let found = lines.iter().find(|line| line["mountPoint"].as_str() == Some(&point));
        found.unwrap_or_else(|| panic!("no {point} in {lines:#?}"))
    };
    assert!(below("source")["superOptions"].as_array().unwrap().contains(&json!("size=1024k")));
    assert!(below("source")["source"].as_str().unwrap().starts_with("<12:"), "{lines:#?}");
    assert!(below("overlay")["optionsLeftOut"].as_u64().unwrap() >= 1);
    let namespace = if state == "killed" { "doctor" } else { "daemon" };
    assert_eq!(report["mounts"]["namespace"], namespace);

    let answers = finding(report, "service.answers", None);
    assert_eq!(answers["verdict"] == "ok", state == "online", "{answers}");
    assert_eq!(report["process"].is_null(), state == "killed", "{report:#}");
    if state != "killed" {
        let process = &report["process"];
        assert!(process["residentKb"].as_u64().unwrap() > 0 && process["pid"].is_u64());
        let stopped = process["state"] == "T";
        assert_eq!(stopped, state == "frozen", "{process}");
    }
    if state == "frozen" {
        // The daemon holds the ledger, and does not answer.
        let need = report["missing"]["history"].as_str().unwrap();
        assert!(need.starts_with("needs the daemon"), "{need}");
        return;
    }
    assert_eq!(report["stores"].as_array().unwrap().len(), 2);
    let login = finding(report, "ssh.login", Some(&scene.uuid));
    if state == "online" {
        assert_eq!(login["reason"], "credentials_refused");
        assert!(login["summary"].as_str().unwrap().contains('<'), "{login}");
        assert!(login["reported"]["lastReply"].as_str().unwrap().starts_with("status 503: <"));
    }
    let history = report["history"].as_array().unwrap();
    let tagged: Vec<&Value> = history
        .iter()
        .filter(|line| line["event"] == "attempt_began" && line["userTags"][0].is_string())
        .collect();
    assert_eq!(tagged.len(), 3, "{history:#?}");
    // Equal ones can be told from others.
    let length = format!("<{}:", USER_TAG.len());
    assert!(tagged[0]["userTags"][0].as_str().unwrap().starts_with(&length));
    assert_eq!(tagged[0]["userTags"], tagged[1]["userTags"]);
    assert_ne!(tagged[0]["userTags"], tagged[0]["systemTags"]);
    let changed = history.iter().rev().find(|line| line["reason"] == "credentials_refused");
    let message = changed.unwrap()["message"].as_str().unwrap();
    assert!(message.starts_with("credentials_refused: "), "{message}");
}

#[tokio::test]
async fn a_report_of_invalid_settings_or_to_a_bad_place_shows_the_findings_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::installed(dir.path(), "");
    let valid = agent.settings();
    agent.configure(&format!(
        "{valid}[callback]\nurl = \"https://zq:{USER_INFO}@node.example/x?key={CALLBACK_KEY}\"\n"
    ));
    let output = agent.cli(&["doctor", "--report", "-"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(finding(&report, "settings.valid", None)["verdict"], "error");
    assert_eq!(report["missing"]["settings"], "needs settings.valid");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("settings.valid") && errors.contains('×'), "{errors}");
    let mut scan = SecretScan::default();
    scan.add("report", &text);
    for (name, secret) in [("user information", USER_INFO), ("a query", CALLBACK_KEY)] {
        scan.assert_absent(name, secret);
    }
    assert_eq!(agent.cli(&["doctor", "--json", "--report", "-"], "").status.code(), Some(2));

    // A file that exists, a link, and a place that cannot be written.
    agent.configure(&valid);
    let (file, link) = (agent.path("taken"), agent.path("link"));
    fs::write(&file, "taken").unwrap();
    symlink(agent.path("nothing"), &link).unwrap();
    for target in [file.clone(), link, agent.path("no folder/report")] {
        let target = target.to_str().unwrap();
        let options = ["doctor", "--json", "--check", "listen.tls", "--report", target];
        let output = agent.cli(&options, "");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("report: ") && errors.contains(target), "{errors}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["checks"][0]["verdict"], "ok", "{document}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "taken");
    assert!(!agent.path("nothing").exists());
}

#[tokio::test]
async fn a_report_that_does_not_fit_on_its_disk_leaves_nothing() {
    needs_root!();
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::installed(dir.path(), "");
    let disk = MountedFs::tmpfs("size=4k");
    let target = disk.path().join("report");
    let output = agent.cli(&["doctor", "--report", target.to_str().unwrap()], "");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("report: cannot write") && errors.contains("No space"), "{errors}");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_history_of_a_chosen_store_is_its_newest_beside_a_busy_one() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let idle = "reserved = \"0B\"\n[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n";
    let mut agent = Agent::installed(&disk.path(), idle);
    agent.start();
    let add = async |name: &str| {
        let dir = disk.path().join(name);
        fs::create_dir(&dir).unwrap();
        let mut body = store(&dir, &sshd, &user);
        body["params"]["name"] = json!(name);
        let added = ask(&agent, &format!("POST {STORES}"), "", &body).await;
        assert_eq!(added.status, 200, "{}", added.body);
        added.body["inventory"]["uuid"].as_str().unwrap().to_owned()
    };
    let (quiet, busy) = (add("quiet").await, add("busy").await);
    let lines = async || {
        let path = format!("GET /imagestore/events?store={busy}&limit=1000");
        let page = ask(&agent, &path, "Accept: application/json\r\n", &Value::Null).await;
        page.body["events"].as_array().unwrap().len()
    };
    while lines().await < 250 {
        let reconnect = format!("PUT {STORES}/{busy}/actions");
        assert_eq!(ask(&agent, &reconnect, "", &json!({"params": {}})).await.status, 200);
    }
    let history = |agent: &Agent, chosen: &[&str]| {
        let output = agent.cli(&[&["doctor", "--report", "-"], chosen].concat(), "");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["history"].as_array().unwrap_or_else(|| panic!("{report:#}")).clone()
    };
    let of = |lines: &[Value], uuid: &str| lines.iter().filter(|it| it["store"] == uuid).count();
    let check = |agent: &Agent| {
        let lines = history(agent, &[&quiet]);
        assert!(lines[0]["event"] == "added" && of(&lines, &quiet) == lines.len(), "{lines:?}");
        let lines = history(agent, &[&quiet, &busy]);
        assert_eq!((lines.len(), of(&lines, &busy)), (200, 200));
        assert_eq!(lines, history(agent, &[]));
    };
    check(&agent);
    let (ended, _) = agent.terminate();
    assert!(ended.success());
    check(&agent);
}
