//! Stored secrets are sent only to the server that they were given for: the one with the pinned
//! key, or without a pin the one at the same hostname and port.

use hyper::Method;
use imagestore_agent::cli::{DaemonAddress, DaemonResponse};
use imagestore_agent::model::Secret;
use serde_json::{Value, json};

use crate::support::agent::{Agent, TOKEN};
use crate::support::filesystems::MountedFs;
use crate::support::recording_ssh_server::RecordingSshServer;
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::sshd::{Builder, Sshd, User};

/// The token of a caller with the role operate.
const OPERATOR: &str = "an-operator";
const POLICY_KEY: &str = "host_key_policy = ";

/// A served store with a stored password, and a rogue server that records passwords.
struct Served {
    disk: MountedFs,
    agent: Agent,
    uuid: String,
    user: User,
    sshd: Sshd,
    rogue: RecordingSshServer,
}

impl Served {
    async fn under(policy: &str) -> Self {
        let (disk, user, sshd) = (MountedFs::of("ext4"), User::create(), Builder::new().start());
        let more = format!(
            "[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n[ssh]\n{POLICY_KEY}\"{policy}\"\n"
        );
        let mut agent = Agent::installed(&disk.path(), &more);
        let line = |name: &str, token: &str, role: &str| {
            let hash = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
            format!("{name}:{}:{role}\n", data_encoding::HEXLOWER.encode(hash.as_ref()))
        };
        let tokens = line("test", TOKEN, "admin") + &line("op", OPERATOR, "operate");
        write_secret(agent.path("tokens"), tokens);
        agent.start();
        let mut store = crate::support::agent::store(&disk.path(), &sshd, &user);
        if policy == "strict" {
            store["params"]["hostKeyFingerprint"] = json!(sshd_fingerprints(&sshd));
        }
        let reply = agent.ask(Method::POST, "/image-store", Some(store)).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        let uuid = reply.body["inventory"]["uuid"].as_str().unwrap().to_owned();
        let rogue = RecordingSshServer::start().await;
        Self { disk, agent, uuid, user, sshd, rogue }
    }

    /// Restarts the daemon under another policy.
    fn restart_under(&mut self, policy: &str) {
        self.agent.kill();
        let settings = self.agent.settings();
        let begin = settings.find(POLICY_KEY).unwrap() + POLICY_KEY.len();
        let end = begin + settings[begin..].find('\n').unwrap();
        self.agent.configure(&format!("{}\"{policy}\"{}", &settings[..begin], &settings[end..]));
        self.agent.start();
    }

    async fn update_as(&self, token: &str, fields: Value) -> DaemonResponse {
        let url = format!("http://{}", self.agent.address());
        let daemon = DaemonAddress::at_url(&url, Some(Secret::new(token.to_owned()))).unwrap();
        let path = format!("/zstack/v1/backup-storage/image-store/{}/actions", self.uuid);
        let body = json!({ "updateImageStoreBackupStorage": fields });
        daemon.send_request(Method::PUT, &path, Some(&body)).await.unwrap()
    }

    async fn update(&self, fields: Value) -> DaemonResponse {
        self.update_as(OPERATOR, fields).await
    }

    /// Checks that the rogue has seen no password, and the definition is the one of the add.
    async fn assert_untouched(&self) {
        assert_eq!(self.rogue.passwords(), [""; 0]);
        let inventory = self.agent.inventory(&self.uuid).await;
        assert_eq!(inventory["hostname"], self.sshd.address.ip().to_string().as_str());
        assert_eq!(inventory["sshPort"], self.sshd.address.port());
    }
}

fn sshd_fingerprints(sshd: &Sshd) -> Vec<String> {
    let scan = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!(
            "ssh-keyscan -p {} {} 2>/dev/null | ssh-keygen -lf -",
            sshd.address.port(),
            sshd.address.ip()
        ))
        .output()
        .unwrap();
    let lines = String::from_utf8(scan.stdout).unwrap();
    lines.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

fn root(body: &Value) -> &Value {
    let mut error = &body["error"];
    while error["cause"].is_object() {
        error = &error["cause"];
    }
    error
}

fn reason(reply: &DaemonResponse) -> (u16, &str) {
    (reply.status.as_u16(), root(&reply.body)["opaque"]["reason"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_move_to_a_server_with_another_key_sends_it_nothing() {
    needs_root!();
    let served = Served::under("pin-on-first-use").await;
    let port = served.rogue.address.port();
    for fields in [
        json!({ "sshPort": port }),
        json!({ "sshPort": port, "hostname": "localhost" }),
        json!({ "sshPort": port, "username": served.user.name }),
    ] {
        let reply = served.update(fields).await;
        assert_eq!(reason(&reply), (503, "host_key_changed"), "{}", reply.body);
        let remedy = root(&reply.body)["elaboration"].as_str().unwrap();
        assert!(remedy.contains("send the password or the private key"), "{remedy}");
        served.assert_untouched().await;
    }
    // The rejected key was not recorded, so that nobody can accept it.
    let path = format!("/image-store/{}/actions", served.uuid);
    let body = json!({"acceptHostKey": {"fingerprint": served.rogue.fingerprint}});
    assert_eq!(served.agent.ask(Method::PUT, &path, Some(body)).await.status, 400);
    assert_eq!(served.agent.reconnect(&served.uuid).await.status, 200);
}

#[tokio::test]
async fn a_fingerprint_redirects_no_stored_secret() {
    needs_root!();
    let served = Served::under("strict").await;
    let rogue = json!({
        "sshPort": served.rogue.address.port(),
        "hostKeyFingerprint": served.rogue.fingerprint,
    });
    let reply = served.update(rogue.clone()).await;
    assert_eq!(reply.status, 403, "{}", reply.body);
    assert_eq!(reply.body["error"]["code"], "ID.1002");
    assert_eq!(reply.body["error"]["opaque"]["needs"], "admin");
    let reply = served.update_as(TOKEN, rogue.clone()).await;
    assert_eq!(reason(&reply), (503, "host_key_changed"), "{}", reply.body);
    let mut with_secret = rogue;
    with_secret["password"] = json!("given for the rogue");
    let reply = served.update(with_secret.clone()).await;
    assert_eq!(reply.status, 403, "{}", reply.body);
    served.assert_untouched().await;
    // An admin that gives a password for it may name its key.
    let reply = served.update_as(TOKEN, with_secret).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(served.rogue.passwords().iter().all(|sent| sent == "given for the rogue"));
}

#[tokio::test]
async fn accept_any_sends_a_secret_only_where_it_was_given_for() {
    needs_root!();
    let served = Served::under("accept-any").await;
    let port = served.rogue.address.port();
    for fields in [
        json!({ "sshPort": port }),
        json!({ "hostname": "localhost" }),
        json!({ "hostname": "localhost", "sshPort": port, "username": "other" }),
    ] {
        let reply = served.update(fields).await;
        assert_eq!(reply.status, 400, "{}", reply.body);
        assert_eq!(reply.body["error"]["code"], "SYS.1007");
        let expected = "the key password, privateKey or both";
        assert_eq!(reply.body["error"]["opaque"]["expected"], expected);
        served.assert_untouched().await;
    }
    let fingerprint = json!({ "hostKeyFingerprint": served.rogue.fingerprint });
    assert_eq!(served.update(fingerprint).await.status, 403);
    // The same address may be given again, and the rest of the login may change there.
    let ip = served.sshd.address.ip().to_string();
    let same = json!({ "hostname": ip, "username": served.user.name });
    assert_eq!(served.update(same).await.status, 200);
    let given = json!({ "sshPort": port, "password": "given for the rogue" });
    let reply = served.update(given).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(served.rogue.passwords().iter().all(|sent| sent == "given for the rogue"));
}

#[tokio::test]
async fn the_scope_of_a_secret_outlives_restarts_and_policies() {
    needs_root!();
    let mut served = Served::under("pin-on-first-use").await;
    // Another name of the server with the pinned key.
    let reply = served.update(json!({ "hostname": "localhost" })).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    served.restart_under("pin-on-first-use");
    assert_eq!(served.agent.reconnect(&served.uuid).await.status, 200);

    let accepted = served.sshd.accepted_logins();
    served.restart_under("accept-any");
    let reply = served.agent.reconnect(&served.uuid).await;
    assert_eq!(reason(&reply), (503, "credentials_out_of_scope"), "{}", reply.body);
    assert!(root(&reply.body)["elaboration"].as_str().unwrap().contains("imagestore-agent update"));
    assert_eq!(served.update(json!({ "username": served.user.name })).await.status, 400);
    assert_eq!(served.sshd.accepted_logins(), accepted);
    assert_eq!(served.update(json!({ "name": "renamed" })).await.status, 200);
    let reply = served.update(json!({ "password": served.user.password })).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    served.restart_under("accept-any");
    assert_eq!(served.agent.reconnect(&served.uuid).await.status, 200);
}

#[tokio::test]
async fn a_store_without_a_pin_does_not_move_its_secrets() {
    needs_root!();
    let mut served = Served::under("accept-any").await;
    for policy in ["strict", "pin-on-first-use"] {
        served.restart_under(policy);
        let mut rogue = json!({ "sshPort": served.rogue.address.port() });
        let reply = served.update(rogue.clone()).await;
        assert_eq!(reply.status, 400, "{}", reply.body);
        rogue["hostKeyFingerprint"] = json!(served.rogue.fingerprint);
        assert_eq!(served.update(rogue.clone()).await.status, 403);
        assert_eq!(served.update_as(TOKEN, rogue).await.status, 400);
        served.assert_untouched().await;
    }
    // The first login at the address of the secrets pins the key.
    assert_eq!(served.agent.reconnect(&served.uuid).await.status, 200);
    let reply = served.update(json!({ "sshPort": served.rogue.address.port() })).await;
    assert_eq!(reason(&reply), (503, "host_key_changed"), "{}", reply.body);
    served.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_follows_the_same_rule() {
    needs_root!();
    let mut served = Served::under("pin-on-first-use").await;
    let port = served.rogue.address.port().to_string();
    for (policy, text) in
        [("pin-on-first-use", "host_key_changed"), ("accept-any", "password, privateKey or both")]
    {
        served.restart_under(policy);
        let output = served.agent.cli(&["update", &served.uuid, "--port", &port], "");
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(text), "{told}");
        served.assert_untouched().await;
    }
    let args = ["update", &served.uuid, "--port", &port, "--password-stdin"];
    let output = served.agent.cli(&args, "given for the rogue");
    assert!(output.status.success(), "{output:?}");
    assert!(served.rogue.passwords().iter().all(|sent| sent == "given for the rogue"));
    assert!(served.disk.path().exists());
}
