//! `doctor --fresh` and `doctor --login` beside a real daemon: the checks that it makes before its
//! findings, and those that it does not make.

use std::fs;

use data_encoding::HEXLOWER;
use nix::sys::signal::Signal;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::sshd::{Builder, Sshd, User};

/// Settings under which the monitor makes no check of its own during a test.
const IDLE: &str = "reserved = \"0B\"\n[monitor]\ninterval = \"1h\"\nssh_interval = \"1h\"\n\
                    auto_reconnect = false\n";

/// The token of a client that may read, and request no check.
const READER: &str = "token-of-the-reader";

struct Scene {
    agent: Agent,
    uuid: String,
    disk: MountedFs,
    sshd: Sshd,
    user: User,
}

impl Scene {
    /// Starts a daemon with a Connected store.
    async fn set(settings: &str) -> Self {
        let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
        let mut agent = Agent::installed(&disk.path(), settings);
        let hash = digest(&SHA256, READER.as_bytes());
        let reader = format!("reader:{}:read\n", HEXLOWER.encode(hash.as_ref()));
        let admin = fs::read_to_string(agent.path("tokens")).unwrap();
        write_secret(agent.path("tokens"), format!("{admin}{reader}"));
        agent.start();
        let uuid = agent.add(&disk.path(), &sshd, &user).await;
        Self { agent, uuid, disk, sshd, user }
    }

    /// Runs `doctor` for the store. Returns its exit status, its output and its errors.
    fn doctor(&self, options: &[&str]) -> (i32, String, String) {
        let output = self.agent.cli(&[&["doctor", &self.uuid], options].concat(), "");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Runs `doctor --json`. Returns its exit status, the document and the errors.
    fn findings(&self, options: &[&str]) -> (i32, Value, String) {
        let (code, text, errors) = self.doctor(&[&["--json"], options].concat());
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text} {errors}"));
        (code, body, errors)
    }
}

fn verdict<'a>(body: &'a Value, id: &str) -> &'a Value {
    let found = body["checks"].as_array().unwrap().iter().find(|check| check["id"] == id);
    &found.unwrap_or_else(|| panic!("no {id} in {body:#}"))["verdict"]
}

#[tokio::test]
async fn a_fresh_diagnosis_sees_the_disk_as_it_is_now_and_says_what_it_could_not_see() {
    needs_root!();
    let scene = Scene::set(IDLE).await;
    let (code, body, errors) = scene.findings(&["--fresh", "--strict"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{body:#}");
    let store = json!({"uuid": scene.uuid, "name": "images"});
    assert_eq!(
        body["requested"],
        json!([{"check": "probe", "store": store, "made": true, "problem": null, "reason": null,
                "retryAfterSeconds": null, "loginsLeft": null}])
    );

    // The store takes one in an hour. That this one is not made is a warning, and said.
    let (code, body, errors) = scene.findings(&["--fresh", "--check", "mount"]);
    assert_eq!((code, &body["worst"]), (0, &json!("warning")), "{body:#}");
    let refused = &body["requested"][0];
    let wait = refused["retryAfterSeconds"].as_u64().unwrap();
    assert!(refused["made"] == false && (3000..=3601).contains(&wait), "{refused}");
    assert!(refused["problem"].as_str().unwrap().contains("429"), "{refused}");
    assert_eq!(verdict(&body, "mount"), "ok");
    assert!(errors.starts_with("not made: probe of images: the daemon answers 429"), "{errors}");
    assert!(errors.contains(&format!("again in {wait} s")), "{errors}");
    let (code, text, _) = scene.doctor(&["--fresh", "--strict", "--brief"]);
    assert_eq!((code, text.as_str()), (1, "1 requested check was not made\n"));
    let (_, text, _) = scene.doctor(&["--fresh", "--lang", "zh"]);
    assert!(text.ends_with("1 项请求的检查未执行\n"), "{text}");
    assert!(scene.findings(&[]).1.get("requested").is_none());
}

#[tokio::test]
async fn a_disk_that_is_gone_is_seen_by_a_fresh_diagnosis_only() {
    needs_root!();
    let scene = Scene::set(IDLE).await;
    assert!(scene.disk.try_unmount());
    assert_eq!(scene.findings(&[]).0, 0, "the monitor looks once in an hour");
    let (code, body, errors) = scene.findings(&["--fresh", "--brief"]);
    assert_eq!((code, verdict(&body, "mount"), errors.as_str()), (1, &json!("error"), ""));
    assert_eq!(body["requested"], json!([]), "what was made is no problem");
}

#[tokio::test]
async fn a_login_says_before_how_many_are_left_and_the_last_one_is_not_made() {
    needs_root!();
    let scene = Scene::set(IDLE).await;
    let (code, body, errors) = scene.findings(&["--login", "--fresh"]);
    assert_eq!(code, 0, "{body:#}");
    let left = "login of images: the server may reject 3 more logins before logins are suspended\n";
    assert_eq!(errors, left);
    scene.sshd.until_logged("Accepted password", 2);
    let made: Vec<&Value> = body["requested"].as_array().unwrap().iter().collect();
    assert_eq!((&made[0]["check"], &made[1]["check"]), (&json!("probe"), &json!("login")));
    assert_eq!((&made[1]["made"], &made[1]["loginsLeft"]), (&json!(true), &json!(3)));

    scene.user.set_password("another");
    for left in [2, 1] {
        let (code, body, _) = scene.findings(&["--login"]);
        assert_eq!((code, verdict(&body, "ssh.login")), (1, &json!("error")), "{body:#}");
        assert_eq!(body["requested"][0]["loginsLeft"], left);
    }
    scene.sshd.until_logged("Failed password", 2);
    let (code, body, errors) = scene.findings(&["--login"]);
    let refused = &body["requested"][0];
    assert_eq!((code, &refused["made"]), (1, &json!(false)), "{refused}");
    assert_eq!(refused["reason"], "credentials_refused");
    assert!((1..=900).contains(&refused["retryAfterSeconds"].as_u64().unwrap()), "{refused}");
    assert!(errors.contains("1 more login before logins are suspended; the daemon"), "{errors}");
    assert!(errors.contains("not made: login of images: the daemon answers 503"), "{errors}");
    assert_eq!(scene.sshd.logged("Failed password"), 2);
}

#[tokio::test]
async fn a_silent_daemon_is_the_finding_and_a_wait_repeats_what_was_not_made() {
    needs_root!();
    let scene = Scene::set(&IDLE.replace("interval = \"1h\"\nssh", "interval = \"5s\"\nssh")).await;
    let until_made = |options: &[&str]| {
        let (code, body, errors) = scene.findings(options);
        assert_eq!((code, &body["worst"]), (0, &json!("ok")), "{body:#} {errors}");
        assert_eq!(body["requested"][0]["made"], true);
        errors
    };
    until_made(&["--fresh", "--strict", "--wait", "60s"]);
    let errors = until_made(&["--fresh", "--strict", "--wait", "60s"]);
    assert!(errors.contains("waiting: the probe of images was not made"), "{errors}");

    scene.agent.signal(Signal::SIGSTOP);
    let output =
        scene.agent.cli(&["doctor", "--json", "--fresh", "--login", "--check", "listen.tls"], "");
    scene.agent.signal(Signal::SIGCONT);
    let body: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &body["worst"]), (Some(1), &json!("error")), "{body:#}");
    assert_eq!(verdict(&body, "service.answers"), "error");
    for (at, check) in ["probe", "login"].into_iter().enumerate() {
        let requested = &body["requested"][at];
        assert_eq!((&requested["check"], &requested["store"]), (&json!(check), &Value::Null));
        assert_eq!(requested["problem"], "needs service.answers");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(&format!("not made: {check}: needs service.answers")), "{errors}");
    }
}

#[tokio::test]
async fn a_refusal_without_a_time_is_said_once_in_a_wait() {
    needs_root!();
    let scene = Scene::set(IDLE).await;
    let url = format!("http://{}", scene.agent.address());
    let token = format!("IMAGESTORE_AGENT_TOKEN={READER}");
    let options = ["doctor", "--url", &url, "--json", "--fresh", "--login", "--wait", "4s"];
    let output = scene.agent.cli_under(&["env", &token], &options);
    let body: Value = serde_json::from_slice(&output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(body["worst"], "warning", "{body:#} {errors}");
    for requested in body["requested"].as_array().unwrap() {
        assert_eq!(requested["retryAfterSeconds"], Value::Null, "{requested}");
        assert!(requested["problem"].as_str().unwrap().contains("403"), "{requested}");
    }
    for said in ["not made: probe of images", "not made: login of images", "\nlogin of images"] {
        assert_eq!(errors.matches(said).count(), 1, "{said}: {errors}");
    }
}
