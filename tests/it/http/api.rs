//! The operations over HTTP: requests, responses and audit lines.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::http_server::*;

const STORES: &str = "/zstack/v1/backup-storage/image-store";

fn actions(store: imagestore_agent::model::StoreUuid) -> String {
    format!("PUT {STORES}/{store}/actions")
}

#[tokio::test]
async fn a_reconnect_answers_with_the_inventory_in_both_documented_forms() {
    let server = TestServer::start();
    for body in [
        json!({"params": {"systemTags": ["a"], "userTags": ["b"]}}),
        json!({"reconnectImageStoreBackupStorage": {}, "systemTags": ["a"], "userTags": ["b"]}),
    ] {
        let answer = server.ask(HttpRequest::new(&actions(GOOD), &body.to_string())).await;
        assert_eq!(answer.status, 200);
        let inventory = answer.body["inventory"].as_object().unwrap();
        assert_eq!(inventory.len(), 15);
        assert_eq!(inventory["uuid"], GOOD.to_string());
        assert_eq!(inventory["status"], "Connected");
        assert_eq!(inventory["totalCapacity"], 1000);
        assert_eq!(inventory["createDate"], "Dec 22, 2016 5:10:06 PM");
    }
    for tags in server.stores.tags() {
        assert_eq!(
            (tags.system_tags(), tags.user_tags()),
            (&["a".to_owned()][..], &["b".to_owned()][..])
        );
    }
    assert_eq!(server.stores.tags().len(), 2);
}

#[tokio::test]
async fn a_failed_reconnect_has_the_root_cause_deepest_and_every_check() {
    let server = TestServer::start();
    let answer = server.ask(HttpRequest::new(&actions(BROKEN), r#"{"params":{}}"#)).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.error("/code"), "BS.1500");
    assert_eq!(answer.error("/cause/opaque/reason"), "read_only");
    assert!(answer.error("/cause/elaboration").is_string());
    assert_eq!(answer.error("/opaque/checks/0/reason"), "read_only");
    assert_eq!(answer.error("/opaque/checks/1/reason"), "credentials_refused");
    // A retry cannot help.
    assert_eq!(answer.header("retry-after"), None);
    let stopping = server.ask(HttpRequest::new(&actions(STOPPING), r#"{"params":{}}"#)).await;
    assert_eq!((stopping.status, stopping.header("retry-after")), (503, Some("5")));
    assert_eq!(stopping.error("/cause/opaque/reason"), "agent_stopping");
}

fn add_body(name: &str) -> String {
    let params = json!({
        "name": name, "url": "/srv/images/a", "hostname": "127.0.0.1", "username": "root",
        "password": "hunter2",
    });
    json!({ "params": params }).to_string()
}

#[tokio::test]
async fn an_add_answers_with_the_inventory_or_with_what_stood_in_its_way() {
    let server = TestServer::start();
    let line = format!("POST {STORES}");
    let added = server.ask(HttpRequest::new(&line, &add_body("images"))).await;
    assert_eq!(added.status, 200);
    assert_eq!(added.body["inventory"]["uuid"], GOOD.to_string());
    let refused = server.ask(HttpRequest::new(&line, &add_body("taken"))).await;
    assert_eq!((refused.status, refused.error("/code")), (400, &json!("SYS.1007")));
    assert_eq!(refused.error("/opaque/reason"), "duplicate_directory");
    let broken = server.ask(HttpRequest::new(&line, &add_body("broken"))).await;
    assert_eq!((broken.status, broken.error("/code")), (503, &json!("SYS.1002")));
    assert_eq!(broken.error("/cause/code"), "BS.1500");
    assert_eq!(broken.error("/cause/cause/opaque/reason"), "read_only");
    let adds = server.stores.added();
    assert_eq!(adds.len(), 3);
    assert_eq!(adds[0].address.to_string(), "127.0.0.1:22");
    assert_eq!(adds[0].credentials.password.as_ref().unwrap().expose_secret(), "hunter2");
}

#[tokio::test]
async fn taking_a_store_over_needs_the_role_admin() {
    let server = TestServer::start();
    let line = format!("POST {STORES}");
    let body = add_body("images").replace("\"name\"", "\"takeOver\":true,\"name\"");
    let refused = server.ask(HttpRequest::new(&line, &body)).await;
    assert_eq!((refused.status, refused.error("/opaque/needs")), (403, &json!("admin")));
    assert!(server.stores.added().is_empty());
    let added =
        server.ask(HttpRequest { token: Some(ADMIN), ..HttpRequest::new(&line, &body) }).await;
    assert_eq!(added.status, 200);
    assert!(server.stores.added()[0].take_over);
}

#[tokio::test]
async fn stores_are_listed_shown_and_removed() {
    let server = TestServer::start();
    let all = server.ask(HttpRequest::new(&format!("GET {STORES}"), "")).await;
    let uuids = |answer: &HttpResponse| -> Vec<Value> {
        let all = answer.body["inventories"].as_array().unwrap();
        all.iter().map(|inventory| inventory["uuid"].clone()).collect()
    };
    assert_eq!(
        (all.status, uuids(&all)),
        (200, vec![json!(GOOD.to_string()), json!(BROKEN.to_string())])
    );
    let one = server.ask(HttpRequest::new(&format!("GET {STORES}/{BROKEN}"), "")).await;
    assert_eq!((one.status, uuids(&one)), (200, vec![json!(BROKEN.to_string())]));
    let none = server.ask(HttpRequest::new(&format!("GET {STORES}/{}", "a".repeat(32)), "")).await;
    assert_eq!((none.status, uuids(&none)), (200, vec![]));

    for uuid in [GOOD.to_string(), "a".repeat(32)] {
        let line = format!("DELETE /zstack/v1/backup-storage/{uuid}");
        let removed = server.ask(HttpRequest::new(&line, "")).await;
        assert_eq!((removed.status, removed.body), (200, json!({})));
    }
    let line = format!("DELETE /zstack/v1/backup-storage/{BROKEN}");
    let response = server.ask(HttpRequest::new(&line, "")).await;
    assert_eq!((response.status, response.header("retry-after")), (503, Some("30")));
    assert_eq!(response.error("/code"), "SYS.1004");
    assert_eq!(response.error("/cause/opaque/reason"), "state_disk_trouble");
    assert_eq!(server.stores.removed().len(), 3);
}

#[tokio::test]
async fn the_unix_socket_needs_neither_session_nor_host() {
    let server = TestServer::start();
    let line = actions(GOOD);
    let request = HttpRequest {
        token: None,
        host: "anything",
        ..HttpRequest::new(&line, r#"{"params":{}}"#)
    };
    let answer = exchange(server.connect_local().await, &request.bytes()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn new_tokens_take_effect_with_the_next_request_on_an_open_connection() {
    let server = TestServer::start();
    let line = format!("GET {STORES}");
    let request = HttpRequest::new(&line, "").bytes();
    let mut stream = server.connect().await;
    assert_eq!(exchange(&mut stream, &request).await.status, 200);
    server.tokens.send_replace(tokens(""));
    assert_eq!(exchange(&mut stream, &request).await.status, 401);
    server.tokens.send_replace(tokens(TOKENS));
    assert_eq!(exchange(&mut stream, &request).await.status, 200);
}

#[tokio::test]
async fn health_is_open_and_ready_names_what_stands_in_the_way() {
    let server = TestServer::start();
    let ask = |line| HttpRequest { token: None, ..HttpRequest::new(line, "") };
    let alive = server.ask(ask("GET /healthz")).await;
    assert_eq!((alive.status, alive.body), (200, json!({"alive": true})));
    let ready = server.ask(ask("GET /readyz")).await;
    assert_eq!((ready.status, ready.body), (200, json!({"ready": true})));
    server.obstacles.lock().unwrap().push("the state directory cannot be written".to_owned());
    let unready = server.ask(ask("GET /readyz")).await;
    let reasons = json!({"ready": false, "reasons": ["the state directory cannot be written"]});
    assert_eq!((unready.status, unready.body), (503, reasons));
    assert_eq!(server.ask(ask("GET /healthz")).await.status, 200);
}

#[tokio::test]
async fn every_answer_is_json_and_has_the_callers_request_id_or_one_of_ours() {
    let server = TestServer::start();
    for (line, status) in [
        ("GET /healthz", 200),
        ("GET /nowhere", 404),
        ("PUT /healthz", 405),
        ("HEAD /healthz", 200),
    ] {
        let generated_id = "07".repeat(16);
        for (headers, id) in [("", generated_id.as_str()), ("X-Request-Id: mine-1\r\n", "mine-1")] {
            let bytes = HttpRequest { headers, ..HttpRequest::new(line, "") }.bytes();
            let mut stream = server.connect().await;
            stream.write_all(&bytes).await.unwrap();
            let answer = match line.starts_with("HEAD") {
                true => read_head(&mut stream).await,
                false => read_answer(&mut stream).await,
            };
            assert_eq!(answer.status, status, "{line}");
            assert_eq!(answer.header("content-type"), Some("application/json;charset=UTF-8"));
            assert_eq!(answer.header("x-request-id"), Some(id));
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogBuffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl LogBuffer {
    /// Captures the log of this thread, up to a level and until the guard is dropped.
    pub(crate) fn install(level: tracing::Level) -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let lines = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(level);
        let guard = tracing::subscriber::set_default(lines.with_writer(log.clone()).finish());
        (log, guard)
    }

    /// Returns the lines so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the audit lines among them.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let audits = |line: &Value| {
            line["target"] == "audit"
                && ["request", "request aborted by client"]
                    .contains(&line["message"].as_str().unwrap())
        };
        self.lines().into_iter().filter(audits).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn each_request_for_a_change_leaves_one_audit_line_and_no_secret() {
    let (log, _guard) = LogBuffer::install(tracing::Level::TRACE);
    let server = TestServer::start();
    let (put, post) = (actions(GOOD), format!("POST {STORES}"));
    let reader = HttpRequest { token: Some(READER), ..HttpRequest::new(&put, r#"{"params":{}}"#) };
    server.ask(HttpRequest::new(&put, r#"{"params":{}}"#)).await;
    server.ask(reader).await;
    server
        .ask(HttpRequest { token: Some(ADMIN), ..HttpRequest::new(&post, &add_body("broken")) })
        .await;
    server.ask(HttpRequest::new(&format!("GET {STORES}"), "")).await;
    server.ask(HttpRequest { token: None, ..HttpRequest::new(&put, r#"{"params":{}}"#) }).await;
    let line = format!("DELETE /zstack/v1/backup-storage/{GOOD}");
    let request = HttpRequest { token: None, ..HttpRequest::new(&line, "") }.bytes();
    exchange(server.connect_local().await, &request).await;

    let audited: Vec<Value> = log
        .audit()
        .iter()
        .map(|l| json!([l["caller"], l["role"], l["action"], l["store"], l["status"], l["level"]]))
        .collect();
    assert_eq!(log.audit()[2]["reason"], "read_only");
    let good = GOOD.to_string();
    let me = format!("uid {}", nix::unistd::getuid());
    assert_eq!(
        audited,
        [
            json!(["mn-1", "operate", "reconnect", good, 200, "INFO"]),
            json!(["looker", "read", "reconnect", good, 403, "INFO"]),
            json!(["boss", "admin", "add", null, 503, "INFO"]),
            json!([me, "admin", "remove", good, 200, "INFO"]),
        ]
    );
    assert_eq!(log.audit()[0]["span"]["name"], "request");
    assert_eq!(log.audit()[0]["span"]["id"], "07".repeat(16));
    for secret in ["hunter2", READER, OPERATOR, ADMIN] {
        assert!(!log.text().contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_host_key_is_accepted_by_an_admin_and_only_the_recorded_one() {
    let (log, _guard) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::start();
    let body = |letter: &str| {
        let fingerprint = format!("SHA256:{}", letter.repeat(43));
        json!({"acceptHostKey": {"fingerprint": fingerprint}}).to_string()
    };
    let missing = "00000000000000000000000000000001".parse().unwrap();
    for (store, token, letter, status, details) in [
        (GOOD, ADMIN, "A", 200, ""),
        (GOOD, OPERATOR, "A", 403, "the request needs the role admin"),
        (GOOD, ADMIN, "E", 400, "recorded a different host key: ssh-ed25519 SHA256:AAA"),
        (HELD, ADMIN, "A", 400, "the store has no host key to accept"),
        (BROKEN, ADMIN, "A", 503, ""),
        (missing, ADMIN, "A", 404, "no store has the uuid"),
    ] {
        let (line, body) = (actions(store), body(letter));
        let request = HttpRequest { token: Some(token), ..HttpRequest::new(&line, &body) };
        let answer = server.ask(request).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        if !details.is_empty() {
            assert!(
                answer.body["error"]["details"].as_str().unwrap().contains(details),
                "{}",
                answer.body
            );
        }
    }
    let audit = log.audit();
    assert_eq!(audit.len(), 6);
    assert!(audit.iter().all(|line| line["action"] == "accept_host_key"), "{audit:?}");
}

#[tokio::test]
async fn an_update_takes_what_is_given_and_refuses_what_is_none() {
    let (log, _guard) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::start();
    let given = json!({"updateImageStoreBackupStorage": {
        "name": "new", "sshPort": 2222, "password": "hunter2", "description": "", "hostname": null,
    }, "userTags": ["u"]});
    for (store, status) in [(GOOD, 200), (BROKEN, 503)] {
        let answer = server.ask(HttpRequest::new(&actions(store), &given.to_string())).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let updated = &server.stores.updated()[0];
    assert_eq!(updated.changed_fields(), ["name", "description", "sshPort", "password"]);
    assert_eq!(updated.name.as_deref(), Some("new"));
    assert_eq!(updated.description.as_deref(), Some(""));
    assert_eq!(updated.port.map(u16::from), Some(2222));
    assert!(updated.hostname.is_none() && updated.username.is_none());
    assert_eq!(updated.tags.user_tags(), ["u"]);
    for (fields, path) in [
        (json!({}), "$.updateImageStoreBackupStorage: expected at least one of the keys name"),
        (json!({"password": ""}), "at least one of the keys name"),
        (json!({"name": ""}), ".name:"),
        (json!({"name": "a\nb"}), ".name:"),
        (json!({"sshPort": 0}), ".sshPort:"),
        (json!({"hostname": "a b"}), ".hostname:"),
        (json!({"hostname": 7}), ".hostname:"),
        (json!({"privateKeyPassphrase": "hunter2"}), ".privateKey:"),
        (json!({"hostKeyFingerprint": "hunter2"}), ".hostKeyFingerprint:"),
    ] {
        let body = json!({"updateImageStoreBackupStorage": fields}).to_string();
        let answer = server.ask(HttpRequest::new(&actions(GOOD), &body)).await;
        assert_eq!(answer.status, 400, "{body}");
        let details = answer.body["error"]["details"].as_str().unwrap();
        assert!(details.contains(path) && !details.contains("hunter2"), "{body}: {details}");
    }
    assert_eq!(server.stores.updated().len(), 2);
    let line = actions(GOOD);
    let reader = HttpRequest { token: Some(READER), ..HttpRequest::new(&line, "{}") };
    assert_eq!(server.ask(reader).await.status, 403);
    assert_eq!(log.audit()[0]["action"], "update");
    assert!(!log.text().contains("hunter2"));
}

#[tokio::test]
async fn a_client_that_guesses_sessions_must_wait_while_a_valid_one_is_served() {
    let (log, _guard) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::start();
    let list = format!("GET {STORES}");
    let mut stati = Vec::new();
    for _ in 0..25 {
        let stranger = HttpRequest { token: Some("a-guess"), ..HttpRequest::new(&list, "") };
        let answer = server.ask(stranger).await;
        if answer.status == 429 {
            let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            assert_eq!(answer.error("/code"), "SYS.1007");
        }
        stati.push(answer.status);
    }
    assert_eq!(stati, [[401; 20].as_slice(), &[429; 5]].concat());
    assert_eq!(server.ask(HttpRequest::new(&list, "")).await.status, 200);
    let nobody = HttpRequest { token: None, ..HttpRequest::new(&list, "") };
    assert_eq!(server.ask(nobody).await.status, 401);
    // One line stands for all that exceed the limit.
    let refused = log.lines().into_iter().filter(|line| line["message"] == "request rejected");
    let why: Vec<_> = refused.map(|line| line["why"].as_str().unwrap().to_owned()).collect();
    assert_eq!(why.len(), 20 + 1);
    assert_eq!(why[20], "too many unknown sessions or wrong signatures");
}

#[tokio::test]
async fn a_refused_session_is_written_down_with_its_request_and_a_read_is_not() {
    let (log, _guard) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::start();
    let (list, put) = (format!("GET {STORES}"), actions(GOOD));
    assert_eq!(server.ask(HttpRequest::new(&list, "")).await.status, 200);
    for line in [&list, &put] {
        let stranger = HttpRequest { token: Some("a-guess"), ..HttpRequest::new(line, "") };
        assert_eq!(server.ask(stranger).await.status, 401);
    }
    let lines = log.lines();
    let of_requests: Vec<_> =
        lines.iter().filter(|line| line["span"]["name"] == "request").collect();
    let methods: Vec<_> = of_requests.iter().map(|line| &line["span"]["method"]).collect();
    assert_eq!(methods, ["GET", "PUT"], "{lines:?}");
    for line in of_requests {
        assert_eq!(
            (&line["message"], &line["target"]),
            (&json!("request rejected"), &json!("audit"))
        );
        assert_eq!((&line["status"], &line["why"]), (&json!(401), &json!("unknown session")));
        assert_eq!(line["span"]["id"], "07".repeat(16));
        assert!(line["span"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert_eq!(line["spans"].as_array().unwrap().len(), 1);
    }
    assert!(!log.text().contains("a-guess"));
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_its_own_waiting_and_is_written_down() {
    let (log, _guard) = LogBuffer::install(tracing::Level::INFO);
    let server = TestServer::start();
    let mut stream = server.connect().await;
    let request = HttpRequest::new(&actions(HELD), r#"{"params":{}}"#).bytes();
    stream.write_all(&request).await.unwrap();
    server.stores.until_begun().await;
    drop(stream);
    server.stores.until_wait_ended().await;
    let audit = log.audit();
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0]["message"], "request aborted by client");
    assert_eq!(
        (&audit[0]["caller"], &audit[0]["store"]),
        (&json!("mn-1"), &json!(HELD.to_string()))
    );
    // The server is unchanged.
    let next = server.ask(HttpRequest::new(&actions(GOOD), r#"{"params":{}}"#)).await;
    assert_eq!(next.status, 200);
}
