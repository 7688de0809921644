//! The callback client against a real receiver over TCP and TLS.

use std::path::Path;
use std::time::Duration;

use imagestore_agent::catalog::Language;
use imagestore_agent::delivery::ReceiverReply;
use imagestore_agent::management::{CallbackClient, EventSigner, RequestTimeouts};
use imagestore_agent::model::NodeId;
use imagestore_agent::settings::{CallbackSettings, FilePolicy, Settings};
use imagestore_agent::wire::{EventFormat, WebhookEvent};

use crate::support::fixtures::{NOW, notice};
use crate::support::management_node::{Answer, ManagementNode};
use crate::support::requirements::run;
use crate::support::secret_files::write_secret;
use crate::support::test_ca::TestCa;

const SECRETS: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\
                       whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";

fn callback(url: String) -> CallbackSettings {
    CallbackSettings { urls: vec![url], ..Settings::built_in().callback }
}

fn client(settings: &CallbackSettings) -> CallbackClient {
    CallbackClient::new(settings, &FilePolicy::of_process(), RequestTimeouts::default())
        .unwrap()
        .unwrap()
}

fn event() -> WebhookEvent {
    WebhookEvent::from_notice(
        &notice(1, 1),
        NodeId::from_u128(7),
        EventFormat::CloudEvents,
        Language::English,
    )
    .remove(0)
}

fn answered(status: u16) -> ReceiverReply {
    ReceiverReply::Response { status, retry_after: None, excerpt: String::new() }
}

fn unreached(reply: ReceiverReply) -> String {
    match reply {
        ReceiverReply::NoResponse(why) => why,
        ReceiverReply::Response { .. } => panic!("answered: {reply}"),
    }
}

#[tokio::test]
async fn an_event_arrives_whole_and_signed_with_each_secret() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = dir.path().join("secrets");
    write_secret(&secrets, SECRETS);
    let mut node = ManagementNode::answering([]).await;
    let settings = CallbackSettings { signing_secret_file: Some(secrets), ..callback(node.url()) };
    assert_eq!(client(&settings).post_event(0, &event(), NOW).await.0, answered(200));

    let received = node.next().await;
    assert_eq!(received.body, event().body);
    assert_eq!(received.id(), event().id);
    assert_eq!(received.header("content-type"), "application/cloudevents+json");
    assert_eq!(received.header("webhook-timestamp"), "1700000000");
    let header = received.header("webhook-signature");
    assert_eq!(header.split(' ').count(), 2);
    for secret in SECRETS.lines() {
        let signer = EventSigner::parse_secrets(secret).unwrap();
        assert!(
            signer.verify_signature(received.id(), 1_700_000_000, &received.body, header),
            "{secret}"
        );
    }
    assert!(!format!("{:?}", client(&settings)).contains("MfKQ9r8GKYqr"));
}

#[tokio::test]
async fn without_secrets_nothing_is_signed() {
    let mut node = ManagementNode::answering([]).await;
    client(&callback(node.url())).post_event(0, &event(), NOW).await;
    assert_eq!(node.next().await.header("webhook-signature"), "");
}

#[tokio::test]
async fn the_body_of_a_response_is_read_up_to_the_bound_of_the_event() {
    let body = "x".repeat(200 * 1024);
    let answers = [0, 0, 0].map(|_: i32| Answer::Body(body.clone()));
    let node = ManagementNode::answering(answers).await;
    let client = client(&callback(node.url()));
    for (max_reply_bytes, expected) in [(body.len(), body.len()), (100 * 1024, 100 * 1024), (0, 0)]
    {
        let event = WebhookEvent { max_reply_bytes, ..event() };
        let (reply, read) = client.post_event(0, &event, NOW).await;
        assert_eq!((reply, read.len()), (answered(200), expected), "{max_reply_bytes}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let mut other = ManagementNode::answering([]).await;
    let redirect = Answer::Full(307, ("location", other.url()), "");
    let node = ManagementNode::answering([redirect]).await;
    assert_eq!(client(&callback(node.url())).post_event(0, &event(), NOW).await.0, answered(307));
    assert!(other.try_next().is_none());
}

#[tokio::test]
async fn a_silent_receiver_is_given_up_at_the_deadline() {
    let node = ManagementNode::answering([Answer::Never]).await;
    let limits =
        RequestTimeouts { total: Duration::from_millis(100), ..RequestTimeouts::default() };
    let client = CallbackClient::new(&callback(node.url()), &FilePolicy::of_process(), limits)
        .unwrap()
        .unwrap();
    let why = unreached(client.post_event(0, &event(), NOW).await.0);
    assert_eq!(why, "no response within 100 ms");
    // The client does not use the connection that hung again.
    assert_eq!(client.post_event(0, &event(), NOW).await.0, answered(200));
}

#[tokio::test]
async fn the_status_counts_even_when_the_body_stalls() {
    let answers = [Answer::Stalled(200), Answer::Stalled(422)];
    let node = ManagementNode::answering(answers).await;
    let limits =
        RequestTimeouts { total: Duration::from_millis(200), ..RequestTimeouts::default() };
    let client = CallbackClient::new(&callback(node.url()), &FilePolicy::of_process(), limits)
        .unwrap()
        .unwrap();
    assert_eq!(client.post_event(0, &event(), NOW).await.0, answered(200));
    let excerpt = "no more follows".to_owned();
    let refused = ReceiverReply::Response { status: 422, retry_after: None, excerpt };
    assert_eq!(client.post_event(0, &event(), NOW).await.0, refused);
}

#[tokio::test]
async fn a_refusal_is_evidence_of_at_most_512_printable_bytes() {
    let body: &'static str = "no\nway ".repeat(1000).leak();
    let answer = Answer::Full(422, ("retry-after", "7".to_owned()), body);
    let node = ManagementNode::answering([answer]).await;
    let reply = client(&callback(node.url())).post_event(0, &event(), NOW).await.0;
    let ReceiverReply::Response { status: 422, retry_after, excerpt } = reply else {
        panic!("{reply}")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
    assert!(excerpt.starts_with("no way no way"));
    assert!((500..=512).contains(&excerpt.len()), "{}", excerpt.len());
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named_as_such() {
    let mut node = ManagementNode::answering([]).await;
    node.stop().await;
    let why = unreached(client(&callback(node.url())).post_event(0, &event(), NOW).await.0);
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn https_believes_the_given_authority_and_no_other() {
    let (trusted_ca, other_ca) = (TestCa::new(), TestCa::new());
    let node = ManagementNode::over_tls(trusted_ca.server(None)).await;
    let settings = |ca_file| CallbackSettings { ca_file: Some(ca_file), ..callback(node.url()) };
    assert_eq!(
        client(&settings(trusted_ca.certificate())).post_event(0, &event(), NOW).await.0,
        answered(200)
    );
    let why =
        unreached(client(&settings(other_ca.certificate())).post_event(0, &event(), NOW).await.0);
    assert!(why.contains("certificate"), "{why}");
}

#[tokio::test]
async fn an_expired_certificate_or_one_for_another_name_is_reported_as_such() {
    for (name, year, expected) in
        [("localhost", 2002, "certificate expired"), ("another", 2099, "not valid for name")]
    {
        let trusted_ca = TestCa::new();
        let server = trusted_ca.server_with(trusted_ca.issue_until(name, year), None);
        let node = ManagementNode::over_tls(server).await;
        let settings =
            CallbackSettings { ca_file: Some(trusted_ca.certificate()), ..callback(node.url()) };
        let why = unreached(client(&settings).post_event(0, &event(), NOW).await.0);
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test]
async fn a_receiver_that_asks_for_it_is_shown_the_client_certificate() {
    let (servers, clients) = (TestCa::new(), TestCa::new());
    let node = ManagementNode::over_tls(servers.server(Some(&clients))).await;
    let nameless =
        CallbackSettings { ca_file: Some(servers.certificate()), ..callback(node.url()) };
    unreached(client(&nameless).post_event(0, &event(), NOW).await.0);
    let (cert, key) = clients.issue("node-1");
    let named = CallbackSettings { client_cert: Some(cert), client_key: Some(key), ..nameless };
    assert_eq!(client(&named).post_event(0, &event(), NOW).await.0, answered(200));
}

#[test]
fn a_certificate_and_a_key_that_do_not_belong_together_are_reported() {
    let (one, other) = (TestCa::new(), TestCa::new());
    let settings = CallbackSettings {
        ca_file: Some(one.certificate()),
        client_cert: Some(one.issue("agent").0),
        client_key: Some(other.issue("agent").1),
        ..callback("https://mn.example/events".to_owned())
    };
    let bad = CallbackClient::new(&settings, &FilePolicy::of_process(), RequestTimeouts::default())
        .unwrap_err();
    assert_eq!(bad.setting_faults().len(), 1, "{bad:?}");
    assert!(bad.to_string().contains("callback.client_cert"), "{bad}");
}

#[test]
fn settings_that_cannot_be_used_are_named_and_nothing_secret_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        write_secret(dir.path().join(name), text);
        dir.path().join(name)
    };
    let https = || callback("https://mn.example/events".to_owned());
    let error = |settings: &CallbackSettings| {
        CallbackClient::new(settings, &FilePolicy::of_process(), RequestTimeouts::default())
            .unwrap_err()
    };
    let absent = || Some(Path::new("/nonexistent/file").to_owned());
    let secret = file("secret", "whsec_hunter2");
    for (settings, key) in [
        (
            CallbackSettings { signing_secret_file: absent(), ..https() },
            "callback.signing_secret_file",
        ),
        (
            CallbackSettings { signing_secret_file: Some(secret), ..https() },
            "callback.signing_secret_file",
        ),
        (CallbackSettings { ca_file: absent(), ..https() }, "callback.ca_file"),
        (CallbackSettings { ca_file: Some(file("empty", "")), ..https() }, "callback.ca_file"),
        (callback("http://mn example/".to_owned()), "callback.urls"),
    ] {
        let message = error(&settings).to_string();
        assert!(message.contains(key), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    // All of them at once.
    let settings = CallbackSettings {
        signing_secret_file: Some(file("two", "whsec_hunter2\n\nwhsec_hunter3\n")),
        ca_file: Some(file("text", "no certificate")),
        client_cert: absent(),
        client_key: absent(),
        ..https()
    };
    let faults: Vec<(String, String)> = error(&settings)
        .setting_faults()
        .iter()
        .map(|f| (f.key.clone(), f.problem.clone()))
        .collect();
    let expected = [
        ("callback.ca_file", "it contains no certificate"),
        ("callback.client_cert", "cannot be read: No such file or directory (os error 2)"),
        ("callback.client_key", "cannot be read: No such file or directory (os error 2)"),
        (
            "callback.signing_secret_file",
            "line 1: not \"whsec_\" followed by the base64 of 24 to 64 bytes",
        ),
        (
            "callback.signing_secret_file",
            "line 3: not \"whsec_\" followed by the base64 of 24 to 64 bytes",
        ),
    ];
    assert_eq!(faults, expected.map(|(key, what)| (key.to_owned(), what.to_owned())));
    let none = CallbackSettings { urls: Vec::new(), ..https() };
    assert!(
        CallbackClient::new(&none, &FilePolicy::of_process(), RequestTimeouts::default())
            .unwrap()
            .is_none()
    );
}

/// Returns the problem of the only fault of these settings.
fn only_problem(settings: &CallbackSettings) -> String {
    let error =
        CallbackClient::new(settings, &FilePolicy::of_process(), RequestTimeouts::default())
            .unwrap_err();
    let [fault] = error.setting_faults() else { panic!("{error:?}") };
    fault.problem.clone()
}

#[test]
fn files_that_openssl_writes_in_other_formats_are_named_with_their_conversion() {
    let ca = TestCa::new();
    let (cert, key) = ca.issue("agent");
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let openssl = |args: &str, output: &str| {
        let (cert, key, output) = (text(&cert), text(&key), text(&path(output)));
        let args = args.replace("CERT", &cert).replace("KEY", &key).replace("OUT", &output);
        run("openssl", &args.split(' ').collect::<Vec<_>>());
    };
    openssl("x509 -in CERT -trustout -out OUT", "trusted");
    openssl("x509 -in CERT -outform DER -out OUT", "der");
    openssl("crl2pkcs7 -nocrl -certfile CERT -out OUT", "pkcs7");
    openssl("pkcs12 -export -in CERT -inkey KEY -passout pass:x -out OUT", "pkcs12");
    let https = || CallbackSettings {
        ca_file: Some(ca.certificate()),
        ..callback("https://mn.example/events".to_owned())
    };
    for (name, command) in [
        ("trusted", "openssl x509 -in"),
        ("der", "openssl x509 -inform DER"),
        ("pkcs7", "openssl pkcs7 -in"),
        ("pkcs12", "openssl pkcs12 -in FILE -nokeys"),
    ] {
        let problem = only_problem(&CallbackSettings { ca_file: Some(path(name)), ..https() });
        assert!(problem.contains(command), "{name}: {problem}");
    }
    openssl("pkcs8 -topk8 -in KEY -passout pass:x -out OUT", "encrypted");
    openssl("pkcs8 -topk8 -nocrypt -in KEY -outform DER -out OUT", "der-key");
    for (name, command) in [
        ("encrypted", "openssl pkey -in"),
        ("der-key", "openssl pkey -inform DER"),
        ("pkcs12", "openssl pkcs12 -in FILE -nocerts"),
    ] {
        let bytes = std::fs::read(path(name)).unwrap();
        let secret = path(&format!("{name}-secret"));
        write_secret(&secret, bytes);
        let problem = only_problem(&CallbackSettings {
            client_cert: Some(cert.clone()),
            client_key: Some(secret),
            ..https()
        });
        assert!(problem.contains(command), "{name}: {problem}");
    }
    // What the command for the first one writes is read.
    let convert = ["x509", "-in", &text(&path("trusted")), "-out", &text(&path("plain"))];
    run("openssl", &convert);
    let _ = client(&CallbackSettings { ca_file: Some(path("plain")), ..https() });
}

#[test]
fn a_host_with_an_underscore_is_a_receiver_and_one_that_tls_cannot_verify_is_named() {
    let ca = TestCa::new();
    let to = |url: &str| CallbackSettings {
        ca_file: Some(ca.certificate()),
        ..callback(url.to_owned())
    };
    for url in ["http://mn_1:8080/x", "http://-a-/", "https://mn_1.example/x", "https://_a/x"] {
        let _ = client(&to(url));
    }
    let problem = only_problem(&to("https://mn-/x"));
    assert!(problem.contains("no name that TLS can verify"), "{problem}");
}
