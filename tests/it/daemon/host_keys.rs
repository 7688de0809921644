//! A server whose host key has changed, and an operator who accepts the new one.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, HostKeyFile, Sshd, User};

/// A store whose server has another key than at the add.
struct Changed {
    disk: MountedFs,
    agent: Agent,
    uuid: String,
    user: User,
    sshd: Sshd,
    old: HostKeyFile,
    new: HostKeyFile,
}

/// Restarts the same server with other host keys.
fn restarted(sshd: Sshd, keys: &[&HostKeyFile]) -> Sshd {
    let port = sshd.address.port();
    drop(sshd);
    keys.iter().fold(Builder::new().port(port), |server, key| server.host_key(key)).start()
}

impl Changed {
    async fn set_up() -> Self {
        let (old, new) = (HostKeyFile::generate("ed25519"), HostKeyFile::generate("ed25519"));
        let (disk, user) = (MountedFs::of("ext4"), User::create());
        let sshd = Builder::new().host_key(&old).start();
        let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
        agent.start();
        let uuid = agent.add(&disk.path(), &sshd, &user).await;
        let sshd = restarted(sshd, &[&new]);
        let reply = agent.reconnect(&uuid).await;
        assert_eq!(reply.status, 503);
        assert_eq!(root(&reply.body)["opaque"]["reason"], "host_key_changed");
        Self { disk, agent, uuid, user, sshd, old, new }
    }

    async fn accept(&self, fingerprint: &str) -> (u16, Value) {
        let path = format!("/image-store/{}/actions", self.uuid);
        let body = json!({"acceptHostKey": {"fingerprint": fingerprint}});
        let reply = self.agent.ask(Method::PUT, &path, Some(body)).await;
        (reply.status.as_u16(), reply.body)
    }

    fn show(&self) -> Value {
        let output = self.agent.cli(&["show", &self.uuid, "--json"], "");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn root(body: &Value) -> &Value {
    let mut error = &body["error"];
    while error["cause"].is_object() {
        error = &error["cause"];
    }
    error
}

#[tokio::test]
async fn a_changed_key_is_pinned_when_a_person_accepts_it_and_the_old_one_is_refused_then() {
    needs_root!();
    let mut it = Changed::set_up().await;
    let (old, new) = (it.old.fingerprint(), it.new.fingerprint());
    let (status, body) = it.accept(&old).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(body["error"]["opaque"]["offeredFingerprint"], new.as_str());
    let output = it.show();
    assert_eq!(output["hostKey"]["fingerprint"], old.as_str(), "a refusal changes nothing");
    assert_eq!(output["offeredHostKey"]["fingerprint"], new.as_str());

    // The offered key that an attempt recorded survives a restart.
    it.agent.kill();
    it.agent.start();
    let (status, body) = it.accept(&new).await;
    assert_eq!((status, &body["inventory"]["status"]), (200, &json!("Connected")), "{body}");
    let output = it.show();
    assert_eq!(output["hostKey"]["fingerprint"], new.as_str());
    assert!(output["offeredHostKey"].is_null());
    let accepted = output["history"].as_array().unwrap();
    let accepted = accepted.iter().find(|line| line["event"] == "host_key_accepted").unwrap();
    assert_eq!(accepted["fingerprint"], new.as_str());
    let (status, body) = it.accept(&new).await;
    assert_eq!(status, 400, "there is nothing to accept any more: {body}");

    // The pin is on the disk, and the old key is now refused.
    it.agent.kill();
    it.agent.start();
    assert_eq!(it.agent.reconnect(&it.uuid).await.status, 200);
    it.sshd = restarted(it.sshd, &[&it.old]);
    let reply = it.agent.reconnect(&it.uuid).await;
    assert_eq!(root(&reply.body)["opaque"]["offeredFingerprint"], old.as_str());
}

#[tokio::test]
async fn a_key_stays_accepted_when_the_attempt_that_follows_fails_for_something_else() {
    needs_root!();
    let it = Changed::set_up().await;
    let new = it.new.fingerprint();
    it.user.set_password("another");
    let (status, body) = it.accept(&new).await;
    assert_eq!(status, 503);
    assert_eq!(root(&body)["opaque"]["reason"], "credentials_refused", "{body}");
    let output = it.show();
    assert_eq!(output["hostKey"]["fingerprint"], new.as_str());
    assert!(it.disk.path().exists());
}

#[tokio::test]
async fn the_command_shows_both_keys_and_pins_after_a_yes() {
    needs_root!();
    let it = Changed::set_up().await;
    let (old, new) = (it.old.fingerprint(), it.new.fingerprint());
    let refused = it.agent.cli(&["accept-host-key", &it.uuid], "n\n");
    assert!(!refused.status.success());
    let output = String::from_utf8(refused.stderr).unwrap();
    let lines = format!("pinned   ssh-ed25519 {old}\noffered  ssh-ed25519 {new}\n");
    assert!(output.starts_with(&lines) && output.contains("nothing was changed"), "{output}");
    assert_eq!(it.show()["hostKey"]["fingerprint"], old.as_str());

    let accepted = it.agent.cli(&["accept-host-key", &it.uuid], "y\n");
    assert!(accepted.status.success());
    assert!(String::from_utf8(accepted.stdout).unwrap().contains("Connected"));
    assert_eq!(it.show()["hostKey"]["fingerprint"], new.as_str());

    let again = it.agent.cli(&["accept-host-key", &it.uuid, "--yes"], "");
    assert!(!again.status.success());
    assert!(
        String::from_utf8(again.stderr).unwrap().contains("has no rejected host key to accept")
    );
}
