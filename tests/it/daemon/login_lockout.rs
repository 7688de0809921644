//! The daemon does not lock out an account whose password has changed.

use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::agent::{Agent, TOKEN, store};
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, exchange};
use crate::support::pam::PamService;
use crate::support::raw_ssh_server::RawSshServer;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};

/// Returns the deepest cause.
fn root(body: &Value) -> &Value {
    let mut error = &body["error"];
    while error["cause"].is_object() {
        error = &error["cause"];
    }
    &error["opaque"]
}

/// A store whose password was changed on its server.
struct Rotated {
    disk: MountedFs,
    agent: Agent,
    uuid: String,
    sshd: Sshd,
    user: User,
}

impl Rotated {
    async fn set_up() -> Self {
        let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
        let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
        agent.start();
        let uuid = agent.add(&disk.path(), &sshd, &user).await;
        user.set_password("another");
        Self { disk, agent, uuid, sshd, user }
    }
}

#[tokio::test]
async fn refused_credentials_are_tried_three_times_and_then_only_by_force() {
    needs_root!();
    let it = Rotated::set_up().await;
    for _ in 0..3 {
        let reply = it.agent.reconnect(&it.uuid).await;
        assert_eq!(root(&reply.body)["reason"], "credentials_refused");
        assert!(root(&reply.body)["remembered"].is_null(), "{}", reply.body);
    }
    for _ in 0..3 {
        let reply = it.agent.reconnect(&it.uuid).await;
        let error = root(&reply.body);
        assert_eq!(
            (&error["reason"], &error["remembered"]),
            (&json!("credentials_refused"), &json!(true))
        );
        let wait = error["retryAfterSeconds"].as_u64().unwrap();
        assert!((1..=900).contains(&wait), "{error}");
    }
    assert_eq!(it.sshd.logged("Failed password"), 3);

    let forced = it.agent.cli(&["reconnect", &it.uuid, "--force"], "");
    assert!(!forced.status.success());
    it.sshd.until_logged("Failed password", 4);

    // A success resets the counts.
    it.user.set_password(&it.user.password);
    let path = format!("/image-store/{}/actions", it.uuid);
    let body = json!({"params": {"force": true}});
    assert_eq!(it.agent.ask(Method::PUT, &path, Some(body)).await.status, 200);
    it.user.set_password("another");
    let reply = it.agent.reconnect(&it.uuid).await;
    assert!(root(&reply.body)["remembered"].is_null(), "{}", reply.body);
    it.sshd.until_logged("Failed password", 5);
}

#[tokio::test]
async fn a_remembered_refusal_says_when_to_come_back() {
    needs_root!();
    let it = Rotated::set_up().await;
    for _ in 0..3 {
        assert_eq!(it.agent.reconnect(&it.uuid).await.status, 503);
    }
    let line = format!("PUT /zstack/v1/backup-storage/image-store/{}/actions", it.uuid);
    let request = HttpRequest { token: Some(TOKEN), ..HttpRequest::new(&line, r#"{"params":{}}"#) };
    let stream = TcpStream::connect(it.agent.address()).await.unwrap();
    let answer = exchange(stream, &request.bytes()).await;
    let wait = answer.header("retry-after").expect("Retry-After");
    let wait: u32 = wait.parse().unwrap();
    assert!((1..=900).contains(&wait), "{wait}");
}

#[tokio::test]
async fn updates_with_the_refused_credentials_count_with_the_logins() {
    needs_root!();
    let it = Rotated::set_up().await;
    let path = format!("/image-store/{}/actions", it.uuid);
    let update = async |fields: Value| {
        let body = json!({"updateImageStoreBackupStorage": fields});
        root(&it.agent.ask(Method::PUT, &path, Some(body)).await.body).clone()
    };
    let same = json!({"sshPort": it.sshd.address.port()});
    for n in 0..4 {
        let error = update(same.clone()).await;
        assert_eq!(error["reason"], "credentials_refused");
        assert_eq!(error["remembered"] == json!(true), n == 3, "{n}: {error}");
    }
    assert!(root(&it.agent.reconnect(&it.uuid).await.body)["remembered"] == json!(true));
    assert_eq!(it.sshd.logged("Failed password"), 3);
    // Other logins have not been refused yet and have counts of their own.
    for n in 0..5 {
        let error = update(json!({"password": "wrong", "force": n == 4})).await;
        assert_eq!(error["remembered"] == json!(true), n == 3, "{n}: {error}");
    }
    it.sshd.until_logged("Failed password", 7);
}

#[tokio::test]
async fn updates_to_a_server_that_refuses_cost_the_store_nothing() {
    needs_root!();
    let it = Rotated::set_up().await;
    it.user.set_password(&it.user.password);
    let elsewhere = Builder::new().line("DenyUsers *").start();
    let path = format!("/image-store/{}/actions", it.uuid);
    let fields = json!({"sshPort": elsewhere.address.port(), "password": it.user.password});
    let body = json!({ "updateImageStoreBackupStorage": fields });
    for n in 0..5 {
        let error = it.agent.ask(Method::PUT, &path, Some(body.clone())).await.body;
        assert_eq!(root(&error)["reason"], "credentials_refused");
        assert_eq!(root(&error)["remembered"] == json!(true), n > 2, "{n}: {error}");
    }
    assert_eq!(it.agent.reconnect(&it.uuid).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_updates_with_the_refused_credentials_are_counted_one_by_one() {
    needs_root!();
    let it = Rotated::set_up().await;
    let path = format!("/zstack/v1/backup-storage/image-store/{}/actions", it.uuid);
    let body = json!({"updateImageStoreBackupStorage": {"sshPort": it.sshd.address.port()}});
    let mut all = JoinSet::new();
    for _ in 0..8 {
        let (daemon, path, body) = (it.agent.http(), path.clone(), body.clone());
        all.spawn(async move {
            daemon.send_request(Method::PUT, &path, Some(&body)).await.unwrap().body
        });
    }
    let error = all.join_all().await;
    assert_eq!(error.iter().filter(|error| root(error)["remembered"].is_null()).count(), 3);
    assert_eq!(it.sshd.logged("Failed password"), 3);
}

#[tokio::test]
async fn an_add_that_was_refused_repeatedly_is_refused_without_a_login() {
    needs_root!();
    let it = Rotated::set_up().await;
    assert_eq!(it.agent.ask(Method::DELETE, &format!("/{}", it.uuid), None).await.status, 200);
    let request = store(&it.disk.path(), &it.sshd, &it.user);
    for n in 0..5 {
        let reply = it.agent.ask(Method::POST, "/image-store", Some(request.clone())).await;
        assert_eq!(reply.status, 503);
        assert_eq!(root(&reply.body)["remembered"] == json!(true), n > 2, "{n}: {}", reply.body);
    }
    it.sshd.until_logged("Failed password", 3);
}

#[tokio::test]
async fn an_account_that_pam_refuses_is_logged_in_to_three_times() {
    needs_root!();
    // No module says why, and sshd closes the connection.
    let pam = PamService::create(&[
        "auth required pam_unix.so nodelay",
        "account required pam_listfile.so onerr=fail item=user sense=deny file={dir}/denied",
        "session required pam_permit.so",
    ]);
    pam.write("denied", "");
    let (disk, user) = (MountedFs::of("ext4"), User::create());
    let sshd = Builder::new().pam(&pam).start();
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    pam.write("denied", &format!("{}\n", user.name));
    for round in 0..7 {
        let reply = agent.reconnect(&uuid).await;
        let error = root(&reply.body);
        assert_eq!(error["reason"], "credentials_refused", "{error}");
        assert_eq!(error["remembered"] == json!(true), round >= 3, "{error}");
    }
    sshd.until_logged("Access denied for user", 3);
    assert_eq!(sshd.logged("Access denied for user"), 3);
}

#[tokio::test]
async fn a_refusal_in_another_language_counts_as_one_and_so_does_an_undecided_password() {
    needs_root!();
    let (disk, user) = (MountedFs::of("ext4"), User::create());
    let settings = "[monitor]\ninterval = \"1h\"\n[ssh]\nauth_timeout = \"4s\"\n";
    let mut agent = Agent::installed(&disk.path(), settings);
    agent.start();
    for (server, reason) in [
        (RawSshServer::disconnecting(14, "Anmeldung verweigert").await, "credentials_refused"),
        (RawSshServer::disconnecting(2, "Zu viele Fehlversuche").await, "connection_lost"),
        (RawSshServer::requesting_new_password("Neues Kennwort").await, "auth_timeout"),
    ] {
        let request = json!({"params": {
            "name": "images", "url": disk.path(), "hostname": "127.0.0.1",
            "sshPort": server.address.port(), "username": user.name, "password": "hunter2",
        }});
        for n in 0..7 {
            let reply = agent.ask(Method::POST, "/image-store", Some(request.clone())).await;
            let error = root(&reply.body);
            assert_eq!(error["reason"], reason, "{error}");
            assert_eq!(error["remembered"] == json!(true), n > 2, "{n}: {error}");
        }
        assert_eq!(server.logins(), 3, "{reason}");
    }
}

impl Rotated {
    /// Kills the daemon and starts it again.
    fn restart(&mut self) {
        self.agent.kill();
        self.agent.start();
    }

    /// Returns the number of rows of the ledger that hold rejected logins.
    fn saved_rejections(&self) -> u32 {
        let ledger = rusqlite::Connection::open(self.agent.path("state/ledger.sqlite")).unwrap();
        ledger.query_row("SELECT count(*) FROM rejections", [], |row| row.get(0)).unwrap()
    }

    async fn is_remembered(&self) -> bool {
        let reply = self.agent.reconnect(&self.uuid).await;
        assert_eq!(root(&reply.body)["reason"], "credentials_refused", "{}", reply.body);
        root(&reply.body)["remembered"] == json!(true)
    }
}

#[tokio::test]
async fn refused_credentials_are_not_tried_again_after_a_kill() {
    needs_root!();
    let mut it = Rotated::set_up().await;
    assert!(!it.is_remembered().await);
    it.restart();
    // The monitor of the new run may log in by itself.
    while it.sshd.logged("Failed password") < 3 {
        it.is_remembered().await;
    }
    for _ in 0..2 {
        it.restart();
        assert!(it.is_remembered().await);
        let wait = root(&it.agent.reconnect(&it.uuid).await.body)["retryAfterSeconds"].clone();
        assert!((1..=900).contains(&wait.as_u64().unwrap()), "{wait}");
    }
    assert!(it.agent.terminate().0.success());
    it.agent.start();
    assert!(it.is_remembered().await);
    assert_eq!(it.sshd.logged("Failed password"), 3);
    let ledger = std::fs::read(it.agent.path("state/ledger.sqlite")).unwrap();
    let password = it.user.password.as_bytes();
    assert!(!ledger.windows(password.len()).any(|part| part == password), "the secret is stored");
}

#[tokio::test]
async fn other_credentials_a_success_and_a_removal_lift_the_saved_restraint() {
    needs_root!();
    let mut it = Rotated::set_up().await;
    for _ in 0..3 {
        assert!(!it.is_remembered().await);
    }
    assert_eq!(it.saved_rejections(), 1);
    let path = format!("/image-store/{}/actions", it.uuid);
    let body = json!({"updateImageStoreBackupStorage": {"password": "another"}});
    assert_eq!(it.agent.ask(Method::PUT, &path, Some(body)).await.status, 200);
    assert_eq!(it.saved_rejections(), 0);
    it.restart();
    assert_eq!(it.agent.reconnect(&it.uuid).await.status, 200);

    it.user.set_password("a third");
    assert!(!it.is_remembered().await);
    assert_eq!(it.saved_rejections(), 1);
    it.user.set_password("another");
    assert_eq!(it.agent.reconnect(&it.uuid).await.status, 200);
    assert_eq!(it.saved_rejections(), 0, "a success");

    it.user.set_password("a third");
    assert!(!it.is_remembered().await);
    assert_eq!(it.saved_rejections(), 1);
    assert_eq!(it.agent.ask(Method::DELETE, &format!("/{}", it.uuid), None).await.status, 200);
    assert_eq!(it.saved_rejections(), 0, "a removal");
    it.restart();
}

#[tokio::test]
async fn an_add_that_was_refused_is_not_tried_again_after_a_kill_or_under_another_name() {
    needs_root!();
    let (disk, sshd, user) = (
        MountedFs::of("ext4"),
        Builder::new().listen(std::net::Ipv4Addr::UNSPECIFIED).start(),
        User::create(),
    );
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
    agent.start();
    let wrong = "not the password of anybody";
    let add = async |agent: &Agent, hostname: &str, password: &str, force: bool| {
        let mut request = store(&disk.path(), &sshd, &user);
        let params = request["params"].as_object_mut().unwrap();
        for (key, value) in [("hostname", hostname), ("password", password)] {
            params.insert(key.to_owned(), json!(value));
        }
        params.insert("force".to_owned(), json!(force));
        agent.ask(Method::POST, "/image-store", Some(request)).await
    };
    let is_remembered = async |agent: &Agent, hostname: &str| {
        let reply = add(agent, hostname, wrong, false).await;
        let error = root(&reply.body);
        assert_eq!(error["reason"], "credentials_refused", "{error}");
        assert_eq!(error["host"], hostname, "{error}");
        error["remembered"] == json!(true)
    };
    // The names and addresses of this host share the three tries.
    assert!(!is_remembered(&agent, "127.0.0.1").await);
    agent.kill();
    agent.start();
    assert!(!is_remembered(&agent, "127.0.0.2").await);
    assert!(!is_remembered(&agent, "localhost").await);
    for _ in 0..2 {
        agent.kill();
        agent.start();
        for hostname in ["127.0.0.1", "127.0.0.3", "localhost"] {
            assert!(is_remembered(&agent, hostname).await, "{hostname}");
        }
    }
    assert_eq!(sshd.logged("Failed password"), 3);

    // The ledger has a digest, and neither the secret nor the user nor the address.
    assert!(agent.terminate().0.success());
    let path = agent.path("state/ledger.sqlite");
    let bytes = std::fs::read(&path).unwrap();
    for plain in [wrong, user.name.as_str(), "127.0.0.2"] {
        let found = bytes.windows(plain.len()).any(|part| part == plain.as_bytes());
        assert!(!found, "{plain} is stored");
    }
    let rows = || {
        let ledger = rusqlite::Connection::open(&path).unwrap();
        let count = "SELECT count(*) FROM trial_rejections";
        ledger.query_row(count, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!(rows(), 1);
    agent.start();

    // The account is repaired: force lifts the restraint, and the success removes the row.
    user.set_password(wrong);
    assert_eq!(add(&agent, "127.0.0.1", wrong, true).await.status, 200);
    assert_eq!(rows(), 0);
}
