//! No secret is in a log, a response, an event, the output of a command or, unencrypted, in the
//! state directory, in whichever form the client sends it.

use std::fs;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::agent::{Agent, TOKEN, callback, store};
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, HttpResponse, exchange};
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::secret_scan::SecretScan;
use crate::support::sshd::{Builder, KeyPair, Sshd, User};

const WRONG_PASSWORD: &str = "wr\"ong \\ päss%word +&=";
const PASSPHRASE: &str = "a pass \"phrase\" of <some> length/ü";
const WRONG_PASSPHRASE: &str = "another pass phrase, not it";
const WRONG_TOKEN: &str = "not-a-session-of-this-daemon";
/// Secret that signs the events, in base64 as in its file.
const SIGNING: &str = "c2lnbmluZy1zZWNyZXQtb2YtdGhpcy10ZXN0LW9ubHk=";
/// A name, which is no secret: the scan must find it in every place that it searches.
const CANARY: &str = "canary-of-the-search";
const STORES: &str = "/zstack/v1/backup-storage/image-store";

struct Scene {
    agent: Agent,
    scan: SecretScan,
    disk: MountedFs,
    sshd: Sshd,
    user: User,
    key: KeyPair,
}

impl Scene {
    /// Returns the body of an add for the directory of this name.
    fn body(&self, dir: &str) -> Value {
        let dir = self.disk.path().join(dir);
        fs::create_dir_all(&dir).unwrap();
        let mut body = store(&dir, &self.sshd, &self.user);
        body["params"]["name"] = json!(CANARY);
        body
    }

    /// Returns the body of such an add with the key instead of the password.
    fn key_body(&self, dir: &str, passphrase: &str) -> Value {
        let mut body = self.body(dir);
        let params = body["params"].as_object_mut().unwrap();
        params.remove("password");
        params.insert("privateKey".to_owned(), json!(self.key.private));
        params.insert("privateKeyPassphrase".to_owned(), json!(passphrase));
        body
    }

    /// Sends one request over TCP and adds head and body of the response to the scan.
    async fn ask(&mut self, line: &str, token: &str, body: &str) -> HttpResponse {
        let stream = TcpStream::connect(self.agent.address()).await.unwrap();
        let request = HttpRequest { token: Some(token), ..HttpRequest::new(line, body) };
        let answer = exchange(stream, &request.bytes()).await;
        self.scan.add(format!("answer to {line}"), format!("{answer:?}\n{}", answer.body));
        answer
    }

    async fn add(&mut self, body: &Value) -> HttpResponse {
        self.ask(&format!("POST {STORES}"), TOKEN, &body.to_string()).await
    }

    fn cli(&mut self, args: &[&str], stdin: &str) -> bool {
        let output = self.agent.cli(args, stdin);
        self.scan.add(format!("output of {}", args[0]), [output.stdout, output.stderr].concat());
        output.status.success()
    }

    /// Sends logins that succeed, by password and by key, and reconnects.
    async fn good_requests(&mut self) {
        for body in [self.body("password"), self.key_body("key", PASSPHRASE)] {
            let added = self.add(&body).await;
            assert_eq!(added.status, 200, "{}", added.body);
            let uuid = added.body["inventory"]["uuid"].as_str().unwrap();
            let line = format!("PUT {STORES}/{uuid}/actions");
            assert_eq!(self.ask(&line, TOKEN, "{\"params\":{}}").await.status, 200);
            for (password, status) in [(WRONG_PASSWORD, 503), (&self.user.password.clone(), 200)] {
                let update = json!({"updateImageStoreBackupStorage": {"password": password}});
                let updated = self.ask(&line, TOKEN, &update.to_string()).await;
                assert_eq!(updated.status, status, "{}", updated.body);
            }
            // Secrets in fields for plain texts.
            for field in ["name", "sshPort", "hostKeyFingerprint"] {
                let odd = json!([self.user.password]);
                let update = json!({"updateImageStoreBackupStorage": {field: odd}});
                assert_eq!(self.ask(&line, TOKEN, &update.to_string()).await.status, 400);
            }
        }
        assert_eq!(self.ask(&format!("GET {STORES}"), TOKEN, "").await.status, 200);
    }

    /// Sends logins that are refused.
    async fn bad_logins(&mut self) {
        let mut wrong = self.body("none");
        wrong["params"]["password"] = json!(WRONG_PASSWORD);
        let wrong_passphrase = self.key_body("none", WRONG_PASSPHRASE);
        let mut no_key = self.key_body("none", PASSPHRASE);
        no_key["params"]["privateKey"] = json!(self.user.password);
        let mut other_user = self.key_body("none", PASSPHRASE);
        other_user["params"]["username"] = json!("nobody");
        let mut dead = self.body("none");
        dead["params"]["sshPort"] = json!(1);
        for body in [wrong, wrong_passphrase, no_key, other_user, dead] {
            let refused = self.add(&body).await;
            assert!(matches!(refused.status, 400 | 503), "{}", refused.body);
        }
        let uuid = "4cd9fb914f5f4a1d8d2f000000000001";
        let line = format!("PUT {STORES}/{uuid}/actions");
        assert_eq!(self.ask(&line, WRONG_TOKEN, "{\"params\":{}}").await.status, 401);
    }

    /// Sends secrets in wrong places, of the wrong JSON type, and in invalid JSON.
    async fn bad_requests(&mut self) {
        let secrets = [self.user.password.clone(), self.key.private.clone(), PASSPHRASE.to_owned()];
        for secret in secrets {
            for field in ["password", "privateKey", "privateKeyPassphrase"] {
                for odd in [json!([secret]), json!({ "value": secret }), json!({ &secret: 1 })] {
                    self.refused(field, odd).await;
                }
            }
            let odd = [
                "url",
                "hostname",
                "resourceUuid",
                "sshPort",
                "takeOver",
                "systemTags",
                "userTags",
            ];
            for field in odd.into_iter().chain(["hostKeyFingerprint"]) {
                self.refused(field, json!(secret)).await;
            }
            self.refused("password", json!(secret.repeat(40_000 / secret.len()))).await;
            self.refused("name", json!(format!("{secret}\0"))).await;
            self.refused("username", json!(format!("{secret}\0"))).await;
            let escaped = serde_json::to_string(&secret).unwrap();
            for body in [
                secret.clone(),
                escaped.clone(),
                format!("{{\"params\":{{\"password\":{escaped}"),
                format!("{{\"params\":{{\"password\":{escaped} {escaped}}}}}"),
                format!("{{\"params\":{{{escaped}:{escaped},{escaped}:1}}}}"),
                format!("{{\"params\":{escaped}}}"),
            ] {
                let answer = self.ask(&format!("POST {STORES}"), TOKEN, &body).await;
                assert_eq!(answer.status, 400, "{}", answer.body);
            }
        }
    }

    async fn refused(&mut self, field: &str, value: Value) {
        let mut body = self.body("none");
        body["params"][field] = value;
        let answer = self.add(&body).await;
        assert_eq!(answer.status, 400, "{field}: {}", answer.body);
    }

    fn commands(&mut self) {
        let dir = self.disk.path().join("command");
        fs::create_dir(&dir).unwrap();
        let (port, user) = (self.sshd.address.port().to_string(), self.user.name.clone());
        let url = format!("http://{}", self.agent.address());
        let files = [("key", &self.key.private[..]), ("passphrase", PASSPHRASE), ("token", TOKEN)];
        let [key, passphrase, token] = files.map(|(name, text)| {
            let path = self.agent.path(&format!("{name}.txt"));
            write_secret(&path, text);
            path.to_str().unwrap().to_owned()
        });
        let login = ["--hostname", "127.0.0.1", "--port", &port, "--username", &user];
        let add = ["add", "--name", CANARY, "--path", dir.to_str().unwrap()];
        let add = [&add[..], &login[..]].concat();
        let by_password = [&add[..], &["--password-stdin"]].concat();
        let by_key = ["--private-key-file", &key, "--passphrase-file", &passphrase];
        let by_key = [&add[..], &by_key, &["--json"]].concat();
        // A text that is no key, in the place of one.
        let no_key = [&add[..], &["--private-key-file", &passphrase]].concat();
        assert!(!self.cli(&by_password, &format!("{WRONG_PASSWORD}\n")));
        assert!(!self.cli(&no_key, ""));
        assert!(self.cli(&by_key, ""));
        assert!(!self.cli(&by_password, &format!("{}\n", self.user.password)), "it is there");
        assert!(self.cli(&["list", "--json", "--url", &url, "--token-file", &token], ""));
        assert!(!self.cli(&["list", "--url", &url, "--token-file", &passphrase], ""));
        for command in [&["list"][..], &["reconnect", "--all"], &["healthcheck"], &["check-config"]]
        {
            assert!(self.cli(command, ""), "{command:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_any_log_response_event_output_or_file() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=8m"), Builder::new().start(), User::create());
    let key = KeyPair::generate("ed25519", PASSPHRASE);
    sshd.authorize(&user, &key);
    let mut node = ManagementNode::answering([]).await;
    let more = format!("[monitor]\ninterval = \"1h\"\n{}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    let signing = agent.path("signing");
    write_secret(&signing, format!("whsec_{SIGNING}\n"));
    agent.configure(&format!("{}signing_secret_file = {signing:?}\n", agent.settings()));
    assert!(agent.start_under(&["env", "RUST_LOG=trace"]));
    let mut scene = Scene { agent, scan: SecretScan::default(), disk, sshd, user, key };

    scene.good_requests().await;
    scene.bad_logins().await;
    scene.bad_requests().await;
    scene.commands();
    let state = scene.agent.path("state");
    let master_key = fs::read(state.join("master-key")).unwrap();
    scene.scan.add_files("while it runs", &state, &["master-key"]);
    assert!(scene.agent.terminate().0.success());
    scene.scan.add_files("after the stop", &state, &["master-key"]);
    while let Some(event) = node.try_next() {
        scene
            .scan
            .add("callback", [format!("{:?}\n", event.headers).as_bytes(), &event.body].concat());
    }
    let log = scene.agent.log();
    assert!(log.contains("\"TRACE\""), "it was to log everything");
    scene.scan.add("log", log);

    let state = format!("{state:?}");
    for place in ["log", "answer", "callback", "output", state.trim_end_matches('"')] {
        assert!(scene.scan.contains(place, CANARY), "the scan does not cover {place}");
    }
    let scan = &scene.scan;
    scan.assert_absent("the password", &scene.user.password);
    scan.assert_absent("a wrong password", WRONG_PASSWORD);
    scan.assert_absent("the passphrase", PASSPHRASE);
    scan.assert_absent("a wrong passphrase", WRONG_PASSPHRASE);
    scan.assert_absent("the session", TOKEN);
    scan.assert_absent("a wrong session", WRONG_TOKEN);
    scan.assert_absent("the signing secret in base64", SIGNING);
    let signing = data_encoding::BASE64.decode(SIGNING.as_bytes()).unwrap();
    scan.assert_absent("the signing secret", &String::from_utf8(signing).unwrap());
    scan.assert_absent("the master key", &data_encoding::HEXLOWER.encode(&master_key));
    scan.assert_absent("the master key", &data_encoding::BASE64.encode(&master_key));
    for line in scene.key.private.lines().filter(|line| !line.starts_with("-----")) {
        scan.assert_absent("a line of the private key", line);
    }
}
