//! A store whose login is changed while it is served.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::non_ssh_peers::{NonSshPeer, Script};
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::sshd::{Builder, HostKeyFile, KeyPair, Sshd, User};

struct Served {
    _disk: MountedFs,
    agent: Agent,
    uuid: String,
    user: User,
    sshd: Sshd,
}

impl Served {
    async fn set_up() -> Self {
        let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
        let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
        agent.start();
        let uuid = agent.add(&disk.path(), &sshd, &user).await;
        Self { _disk: disk, agent, uuid, user, sshd }
    }

    async fn update(&self, fields: Value) -> (u16, Value) {
        let path = format!("/image-store/{}/actions", self.uuid);
        let body = json!({"updateImageStoreBackupStorage": fields});
        let reply = self.agent.ask(Method::PUT, &path, Some(body)).await;
        (reply.status.as_u16(), reply.body)
    }

    async fn reconnects(&self) -> bool {
        self.agent.reconnect(&self.uuid).await.status == 200
    }

    fn history(&self) -> Vec<Value> {
        let output = self.agent.cli(&["show", &self.uuid, "--json"], "");
        let output: Value = serde_json::from_slice(&output.stdout).unwrap();
        output["history"].as_array().unwrap().clone()
    }
}

fn reason(body: &Value) -> &Value {
    let mut error = &body["error"];
    while error["cause"].is_object() {
        error = &error["cause"];
    }
    &error["opaque"]["reason"]
}

#[tokio::test]
async fn a_new_password_replaces_the_old_one_once_it_is_verified() {
    needs_root!();
    let mut it = Served::set_up().await;
    let (status, body) = it.update(json!({"password": "wrong"})).await;
    assert_eq!((status, reason(&body)), (503, &json!("credentials_refused")), "{body}");
    assert_eq!(it.agent.inventory(&it.uuid).await["status"], "Connected");
    assert!(it.reconnects().await, "the old one is not in force");

    it.user.set_password("the new one");
    let (status, body) = it.update(json!({"password": "the new one"})).await;
    assert_eq!((status, &body["inventory"]["status"]), (200, &json!("Connected")), "{body}");
    it.agent.kill();
    it.agent.start();
    assert!(it.reconnects().await, "the new one is on the disk");
    let history = it.history();
    let updated: Vec<_> = history.iter().filter(|line| line["event"] == "updated").collect();
    assert_eq!(updated.len(), 1, "{history:?}");
    assert_eq!(updated[0]["fields"], json!(["password"]));
    assert!(!it.agent.log().contains("the new one"));
}

#[tokio::test]
async fn a_store_down_for_its_password_is_up_again_after_the_update_however_often_it_was_refused() {
    needs_root!();
    let it = Served::set_up().await;
    it.user.set_password("the new one");
    for _ in 0..4 {
        assert!(!it.reconnects().await);
    }
    let (status, body) = it.update(json!({"password": "the new one"})).await;
    assert_eq!((status, &body["inventory"]["status"]), (200, &json!("Connected")), "{body}");
}

#[tokio::test]
async fn a_server_at_another_port_has_a_key_of_its_own_and_only_the_given_one_when_one_is_given() {
    needs_root!();
    let it = Served::set_up().await;
    let (key, stranger) = (HostKeyFile::generate("ed25519"), HostKeyFile::generate("ed25519"));
    let other = Builder::new().host_key(&key).start();
    let port = other.address.port();
    let at_port = |fingerprint: String| {
        let password = it.user.password.as_str();
        json!({"sshPort": port, "hostKeyFingerprint": fingerprint, "password": password})
    };
    let given = at_port(stranger.fingerprint());
    let (status, body) = it.update(given).await;
    assert_eq!((status, reason(&body)), (503, &json!("host_key_unknown")), "{body}");
    assert_eq!(it.agent.inventory(&it.uuid).await["sshPort"], it.sshd.address.port());

    let given = at_port(key.fingerprint());
    let (status, body) = it.update(given).await;
    assert_eq!((status, &body["inventory"]["sshPort"]), (200, &json!(port)), "{body}");
    drop(it.sshd);
    let reply = it.agent.reconnect(&it.uuid).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    drop(other);
    let restarted = Builder::new().port(port).host_key(&stranger).start();
    let reply = it.agent.reconnect(&it.uuid).await;
    assert_eq!(reason(&reply.body), "host_key_changed", "the new server's key is pinned");
    drop(restarted);
}

#[tokio::test]
async fn texts_change_without_a_login() {
    needs_root!();
    let it = Served::set_up().await;
    let logins = it.sshd.logged("Accepted ");
    let (status, body) = it.update(json!({"name": "renamed", "description": "of rack 7"})).await;
    assert_eq!(status, 200);
    let inventory = &body["inventory"];
    assert_eq!(
        (&inventory["name"], &inventory["description"]),
        (&json!("renamed"), &json!("of rack 7"))
    );
    assert_eq!(it.agent.inventory(&it.uuid).await["name"], "renamed");
    assert_eq!(it.sshd.logged("Accepted "), logins);
}

#[tokio::test]
async fn the_command_goes_from_a_password_to_a_key() {
    needs_root!();
    let it = Served::set_up().await;
    let key = KeyPair::generate("ed25519", "");
    it.sshd.authorize(&it.user, &key);
    let file = it.agent.path("login.key");
    write_secret(&file, &key.private);
    let args =
        ["update", &it.uuid, "--name", "by key", "--private-key-file", file.to_str().unwrap()];
    let updated = it.agent.cli(&args, "");
    assert!(updated.status.success(), "{}", String::from_utf8_lossy(&updated.stderr));
    it.user.set_password("nobody knows");
    assert!(it.reconnects().await);
    assert_eq!(it.agent.inventory(&it.uuid).await["name"], "by key");
    let nothing = it.agent.cli(&["update", &it.uuid], "");
    assert!(!nothing.status.success());
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("at least one of the keys name"));
}

#[tokio::test]
async fn two_updates_at_once_leave_a_login_that_was_proven() {
    needs_root!();
    let it = Served::set_up().await;
    let other = User::create();
    for _ in 0..5 {
        let (one_update, other_update) = (
            json!({"username": it.user.name, "password": it.user.password}),
            json!({"username": other.name, "password": other.password}),
        );
        let (one, two) = tokio::join!(it.update(one_update), it.update(other_update));
        let all = [one.0, two.0];
        assert!(
            all.contains(&200) && all.iter().all(|status| [200, 503].contains(status)),
            "{one:?} {two:?}"
        );
        assert!(it.reconnects().await);
    }
}

#[tokio::test]
async fn an_update_that_waits_for_a_silent_server_gives_way_to_a_reconnect() {
    needs_root!();
    let it = Served::set_up().await;
    let mut silent = NonSshPeer::start(Script::Silent).await;
    let port = silent.address.port();
    let updating = it.update(json!({"sshPort": port}));
    let reconnecting = async {
        silent.until_opened(1).await;
        it.reconnects().await
    };
    let ((status, body), reconnected) = tokio::join!(updating, reconnecting);
    assert!(reconnected);
    assert_eq!((status, reason(&body)), (503, &json!("agent_busy")), "{body}");
    let output = it.agent.inventory(&it.uuid).await;
    assert_eq!(
        (&output["status"], &output["sshPort"]),
        (&json!("Connected"), &json!(it.sshd.address.port()))
    );
}
