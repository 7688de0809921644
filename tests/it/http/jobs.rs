//! Jobs: the calls that get one, what their callers read, and what happens to the same call again.

use std::time::Duration;

use imagestore_agent::settings::ReplyMode;
use serde_json::{Value, json};

use crate::support::http_server::{
    ADMIN, BROKEN, GOOD, HELD, HttpRequest, HttpResponse, OPERATOR, PANICKING, READER, STOPPING,
    TestServer, exchange, with_timeout,
};

const RECONNECT: &str = r#"{"reconnectImageStoreBackupStorage":{}}"#;
const JOB: &str = "14c18a1ec8734438869ae841449197d5";
const LOCATION: &str = "http://localhost/zstack/v1/api-jobs/14c18a1ec8734438869ae841449197d5";

fn actions(store: impl std::fmt::Display) -> String {
    format!("PUT /zstack/v1/backup-storage/image-store/{store}/actions")
}

/// Sends a call with `X-Job-UUID: JOB`.
async fn call(server: &TestServer, line: &str, body: &str) -> HttpResponse {
    let headers = format!("X-Job-UUID: {JOB}\r\n");
    server.ask(HttpRequest { headers: &headers, ..HttpRequest::new(line, body) }).await
}

fn poll_line(job: &str) -> String {
    format!("GET /zstack/v1/api-jobs/{job}")
}

/// Reads the result of a job without any credential.
async fn poll(server: &TestServer, job: &str) -> HttpResponse {
    let line = poll_line(job);
    server.ask(HttpRequest { token: None, ..HttpRequest::new(&line, "") }).await
}

/// Reads the result of a job until there is one.
async fn result(server: &TestServer, job: &str) -> HttpResponse {
    with_timeout(async {
        loop {
            let polled = poll(server, job).await;
            if polled.status != 202 {
                return polled;
            }
            assert_eq!(polled.body, json!({}));
        }
    })
    .await
}

fn quick() -> TestServer {
    TestServer::with_api(|_| {}, |api| api.answer_within = Duration::from_secs(1))
}

fn job_of(answer: &HttpResponse) -> String {
    assert_eq!(answer.status, 202, "{answer:?}");
    let location = answer.body["location"].as_str().unwrap();
    location.rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_success_in_time_is_the_answer_and_is_kept_for_whoever_has_the_uuid() {
    let server = TestServer::start();
    let direct = server.ask(HttpRequest::new(&actions(GOOD), RECONNECT)).await;
    let answer = call(&server, &actions(GOOD), RECONNECT).await;
    assert_eq!((answer.status, &answer.body), (200, &direct.body));
    for authorization in [
        "",
        "Authorization: OAuth null\r\n",
        "Authorization: OAuth\r\n",
        "Authorization: OAuth \r\n",
        "Authorization: ZStack a:b\r\n",
        "Authorization: OAuth x\r\nAuthorization: OAuth y\r\n",
    ] {
        // More often than a source may send unknown sessions.
        for _ in 0..5 {
            let line = poll_line(JOB);
            let request =
                HttpRequest { token: None, headers: authorization, ..HttpRequest::new(&line, "") };
            let polled = server.ask(request).await;
            assert_eq!((polled.status, &polled.body), (200, &direct.body), "{authorization:?}");
        }
    }
    let upper = poll(&server, &JOB.to_uppercase()).await;
    assert_eq!(upper.status, 200);
    // The Unix socket serves them as well.
    let line = poll_line(JOB);
    let request = HttpRequest { token: None, ..HttpRequest::new(&line, "") };
    let polled = exchange(server.connect_local().await, &request.bytes()).await;
    assert_eq!(polled.status, 200);
}

#[tokio::test]
async fn a_failure_of_the_action_is_read_from_its_job() {
    let server = TestServer::start();
    for (store, body, code) in [
        (BROKEN.to_string(), RECONNECT, "BS.1500"),
        (BROKEN.to_string(), r#"{"updateImageStoreBackupStorage":{"username":"a"}}"#, "BS.1500"),
        // SYS.1007 of a field, and of the uuid in the path.
        (GOOD.to_string(), r#"{"reconnectImageStoreBackupStorage":{"systemTags":1}}"#, "SYS.1007"),
        ("nonsense".to_owned(), RECONNECT, "SYS.1007"),
        ("f".repeat(32), RECONNECT, "SYS.1003"),
    ] {
        let line = actions(&store);
        let direct = server.ask(HttpRequest::new(&line, body)).await;
        let prefers =
            HttpRequest { headers: "Prefer: respond-async\r\n", ..HttpRequest::new(&line, body) };
        let answer = server.ask(prefers).await;
        let job = job_of(&answer);
        assert_eq!(answer.body["apiTimeout"], 1_800_000, "{body}");
        assert_eq!(job.len(), 32);
        let polled = result(&server, &job).await;
        assert_eq!(polled.status, 503, "{body}");
        assert_eq!(polled.error("/code"), code, "{body}");
        assert_eq!(polled.body, direct.body, "{body}");
    }
    let add = |name: &str| {
        json!({"params": {"hostname": "127.0.0.1", "username": "root", "password": "secret",
            "url": "/srv/images/a", "name": name}})
        .to_string()
    };
    for (name, code) in [("broken", "SYS.1002"), ("taken", "SYS.1007")] {
        let body = add(name);
        let request = HttpRequest::new("POST /zstack/v1/backup-storage/image-store", &body);
        let direct = server.ask(request).await;
        let answer =
            server.ask(HttpRequest { headers: "Prefer: respond-async\r\n", ..request }).await;
        let polled = result(&server, &job_of(&answer)).await;
        assert_eq!((polled.status, polled.error("/code")), (503, &Value::from(code)));
        assert_eq!(polled.body, direct.body);
    }
}

#[tokio::test]
async fn what_is_no_failure_of_the_action_stays_a_direct_answer() {
    let server = TestServer::start();
    let (stores, line) = ("/zstack/v1/backup-storage/image-store", actions(GOOD));
    let accept =
        r#"{"acceptHostKey":{"fingerprint":"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}"#;
    for (token, line, headers, body, status) in [
        (Some(OPERATOR), line.as_str(), "", "{", 400),
        (Some(OPERATOR), &line, "", "{}", 400),
        (
            Some(OPERATOR),
            &line,
            "",
            r#"{"reconnectImageStoreBackupStorage":{},"updateImageStoreBackupStorage":{}}"#,
            400,
        ),
        (None, &line, "", RECONNECT, 401),
        (Some("unknown"), &line, "", RECONNECT, 401),
        (Some(READER), &line, "", RECONNECT, 403),
        (Some(OPERATOR), &line, "", accept, 403),
        (Some(OPERATOR), "PUT /zstack/v1/nothing", "", RECONNECT, 404),
        (Some(OPERATOR), &format!("PATCH {stores}"), "", "", 405),
        (Some(OPERATOR), &line, "Content-Type: text/plain\r\n", RECONNECT, 415),
        (Some(OPERATOR), &actions(STOPPING), "", RECONNECT, 503),
    ] {
        let headers = format!("X-Job-UUID: {JOB}\r\n{headers}");
        let request = HttpRequest { token, headers: &headers, ..HttpRequest::new(line, body) };
        let answer = server.ask(request).await;
        assert_eq!(answer.status, status, "{line} {body}");
        assert!(answer.body.get("location").is_none());
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        // There is no job, so that the same uuid may be used again.
        assert_eq!(poll(&server, JOB).await.status, 404, "{line} {body}");
    }
    assert_eq!(call(&server, &actions(STOPPING), RECONNECT).await.status, 503);
    assert_eq!(server.stores.tags().len(), 2);
}

#[tokio::test]
async fn malformed_headers_are_refused_and_nothing_is_done() {
    let server = TestServer::start();
    let line = actions(GOOD);
    for headers in [
        "X-Job-UUID: abc\r\n".to_owned(),
        "X-Job-UUID: \r\n".to_owned(),
        format!("X-Job-UUID: {JOB}0\r\n"),
        format!("X-Job-UUID: {}\r\n", "g".repeat(32)),
        format!("X-Job-UUID: {JOB}\r\nX-Job-UUID: {JOB}\r\n"),
        format!("X-Job-UUID: {JOB}\r\nX-API-Timeout: 0\r\n"),
        format!("X-Job-UUID: {JOB}\r\nX-API-Timeout: 1s\r\n"),
    ] {
        let request = HttpRequest { headers: &headers, ..HttpRequest::new(&line, RECONNECT) };
        let answer = server.ask(request).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{headers}");
        assert!(answer.error("/details").as_str().unwrap().starts_with("the header X-"));
        assert!(!answer.body.to_string().contains("abc"));
    }
    assert_eq!(server.stores.tags(), []);
}

#[tokio::test]
async fn a_slow_operation_is_answered_in_time_and_its_result_read_later() {
    let server = quick();
    let answer = call(&server, &actions(HELD), RECONNECT).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.body, json!({"location": LOCATION, "apiTimeout": 1_800_000}));
    assert_eq!(poll(&server, JOB).await.status, 202);
    server.stores.release();
    assert_eq!(result(&server, JOB).await.body["inventory"]["uuid"], HELD.to_string());
}

#[tokio::test]
async fn the_time_of_the_client_shortens_the_wait_and_is_answered() {
    let server = TestServer::start();
    let headers = format!("X-Job-UUID: {JOB}\r\nX-API-Timeout: 1\r\n");
    let line = actions(HELD);
    let answer =
        server.ask(HttpRequest { headers: &headers, ..HttpRequest::new(&line, RECONNECT) });
    assert_eq!(answer.await.body, json!({"location": LOCATION, "apiTimeout": 1000}));
}

/// A slow body or the check of the session uses up the time of a call before its job begins.
#[tokio::test]
async fn a_call_whose_time_is_over_before_its_job_begins_gets_the_job_and_its_operation_runs() {
    let server = TestServer::with_api(|_| {}, |api| api.answer_within = Duration::ZERO);
    let line = actions(HELD);
    let (first, second) =
        tokio::join!(call(&server, &line, RECONNECT), call(&server, &line, RECONNECT));
    for answer in [first, second] {
        assert_eq!((answer.status, &answer.body["location"]), (202, &json!(LOCATION)));
    }
    server.stores.release();
    let ended = result(&server, JOB).await;
    assert_eq!((ended.status, &ended.body["inventory"]["uuid"]), (200, &json!(HELD.to_string())));
    assert_eq!(server.stores.tags().len(), 1);
}

#[tokio::test]
async fn the_location_has_the_host_of_the_request_and_is_below_zstack_whatever_the_base_path() {
    let bases = ["/x", ""].map(str::to_owned).to_vec();
    let server = TestServer::with_api(|server| server.base_paths = bases, |_| {});
    let call = |base| format!("PUT {base}/v1/backup-storage/image-store/{BROKEN}/actions");
    let line = call("/x");
    for (host, base) in [("127.0.0.1:7811", "/x"), ("[::1]:7811", ""), ("node-1.example", "/x")] {
        let line = call(base);
        let headers = "Prefer: respond-async\r\n";
        let request = HttpRequest { host, headers, ..HttpRequest::new(&line, RECONNECT) };
        let answer = server.ask(request).await;
        let job = job_of(&answer);
        assert_eq!(answer.body["location"], format!("http://{host}/zstack/v1/api-jobs/{job}"));
        for base in ["/x", "", "/zstack"] {
            let line = format!("GET {base}/v1/api-jobs/{job}");
            let request = HttpRequest { token: None, ..HttpRequest::new(&line, "") };
            assert_eq!(server.ask(request).await.status, 503);
        }
    }
    let headers = "Prefer: respond-async\r\n";
    let foreign =
        HttpRequest { host: "evil.example", headers, ..HttpRequest::new(&line, RECONNECT) };
    assert_eq!(server.ask(foreign).await.status, 421);
}

#[tokio::test]
async fn the_same_call_again_joins_the_job_or_gets_its_result() {
    let server = TestServer::start();
    let line = actions(HELD);
    let both =
        async { tokio::join!(call(&server, &line, RECONNECT), call(&server, &line, RECONNECT)) };
    let release = async {
        server.stores.until_begun().await;
        server.stores.release();
    };
    let ((first, second), ()) = tokio::join!(both, release);
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(first.body, second.body);
    let third = call(&server, &line, RECONNECT).await;
    assert_eq!((third.status, third.body), (200, first.body));
    assert_eq!(server.stores.tags().len(), 1);
}

#[tokio::test]
async fn a_failed_call_again_is_referred_to_the_result_and_runs_no_second_time() {
    let server = TestServer::start();
    for _ in 0..3 {
        let answer = call(&server, &actions(BROKEN), RECONNECT).await;
        assert_eq!((answer.status, &answer.body["location"]), (202, &json!(LOCATION)));
    }
    assert_eq!(server.stores.tags().len(), 1);
}

#[tokio::test]
async fn another_call_under_the_same_uuid_is_refused() {
    let server = TestServer::start();
    assert_eq!(call(&server, &actions(GOOD), RECONNECT).await.status, 200);
    let headers = format!("X-Job-UUID: {JOB}\r\n");
    let delete = format!("DELETE /zstack/v1/backup-storage/{GOOD}");
    let (same, query) = (actions(GOOD), format!("{}?a=1", actions(GOOD)));
    for (token, line, body) in [
        (OPERATOR, actions(BROKEN).as_str(), RECONNECT),
        (OPERATOR, &delete, ""),
        (OPERATOR, &query, RECONNECT),
        (OPERATOR, &same, r#"{"reconnectImageStoreBackupStorage":{} }"#),
        (ADMIN, &same, RECONNECT),
    ] {
        let request =
            HttpRequest { token: Some(token), headers: &headers, ..HttpRequest::new(line, body) };
        let answer = server.ask(request).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{line}");
        assert!(answer.error("/details").as_str().unwrap().contains("X-Job-UUID"));
    }
    assert_eq!(server.stores.tags().len(), 1);
    assert_eq!(server.stores.removed(), []);
}

#[tokio::test]
async fn a_job_whose_operation_panics_ends() {
    let server = quick();
    let line = actions(PANICKING);
    // A caller that waits gets the error itself, and there is no job.
    server.stores.release();
    let answer = call(&server, &line, RECONNECT).await;
    assert_eq!((answer.status, answer.error("/cause/opaque/reason")), (503, &json!("agent_busy")));
    let details = answer.error("/cause/details").as_str().unwrap();
    assert!(details.contains("ended with an internal error"), "{details}");
    assert_eq!(poll(&server, JOB).await.status, 404);
    // A caller that was referred to the job reads it there.
    let answer = call(&server, &line, RECONNECT).await;
    assert_eq!(job_of(&answer), JOB);
    server.stores.release();
    let ended = result(&server, JOB).await;
    assert_eq!((ended.status, ended.error("/cause/opaque/reason")), (503, &json!("agent_busy")));
    assert_eq!(call(&server, &actions(GOOD), RECONNECT).await.status, 400, "the id is in use");
}

/// OkHttp sends a call again after a lost connection.
#[tokio::test]
async fn an_operation_outlives_the_connection_of_its_caller() {
    use tokio::io::AsyncWriteExt as _;
    let server = TestServer::start();
    let headers = format!("X-Job-UUID: {JOB}\r\n");
    let line = actions(HELD);
    let request = HttpRequest { headers: &headers, ..HttpRequest::new(&line, RECONNECT) }.bytes();
    let mut connection = server.connect().await;
    connection.write_all(&request).await.unwrap();
    server.stores.until_begun().await;
    drop(connection);
    server.stores.release();
    let answer = exchange(server.connect().await, &request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(server.stores.tags().len(), 1);
}

#[tokio::test]
async fn all_other_callers_get_the_result_itself() {
    let server = TestServer::start();
    let line = actions(BROKEN);
    for headers in ["", "Prefer: return=minimal\r\n", "X-API-Timeout: 1\r\n"] {
        let answer =
            server.ask(HttpRequest { headers, ..HttpRequest::new(&line, RECONNECT) }).await;
        assert_eq!(answer.status, 503, "{headers}");
    }
    let server = TestServer::with_api(|_| {}, |api| api.reply = ReplyMode::Async);
    let answer = server.ask(HttpRequest::new(&line, RECONNECT)).await;
    assert_eq!(result(&server, &job_of(&answer)).await.status, 503);
    let request = HttpRequest { token: None, ..HttpRequest::new(&line, RECONNECT) };
    let answer = exchange(server.connect_local().await, &request.bytes()).await;
    assert_eq!(answer.status, 202);
    let read = server.ask(HttpRequest::new("GET /zstack/v1/backup-storage/image-store", "")).await;
    assert_eq!(read.status, 200);
}

/// A 202 is an error for the calls of the SDKs that cannot poll.
#[tokio::test]
async fn a_call_that_cannot_poll_gets_its_answer_however_it_asks() {
    let server = TestServer::with_api(|_| {}, |api| api.reply = ReplyMode::Async);
    let headers = format!("X-Job-UUID: {JOB}\r\nPrefer: respond-async\r\n");
    let storage = "/zstack/v1/backup-storage";
    for (line, body, status) in [
        (format!("GET {storage}"), "", 200),
        (format!("GET {storage}?limit=x"), "", 400),
        (format!("GET {storage}/image-store/{GOOD}"), "", 200),
        (format!("GET {storage}/types"), "", 200),
        (format!("GET {storage}/capacities?all=true"), "", 200),
        (format!("GET {storage}/capacities"), "", 400),
        ("GET /zstack/v1/zones".to_owned(), "", 200),
        ("PUT /zstack/v1/management-nodes/actions".to_owned(), r#"{"getVersion":{}}"#, 200),
        ("PUT /zstack/v1/management-nodes/actions".to_owned(), r#"{"other":{}}"#, 400),
        (format!("GET {storage}/trash"), "", 503),
    ] {
        let request = HttpRequest { headers: &headers, ..HttpRequest::new(&line, body) };
        let answer = server.ask(request).await;
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert_eq!(poll(&server, JOB).await.status, 404, "{line}");
    }
}

#[tokio::test]
async fn an_unknown_job_has_expired_and_guesses_are_limited_for_their_source() {
    let server = TestServer::start();
    assert_eq!(call(&server, &actions(GOOD), RECONNECT).await.status, 200);
    for guess in 0..20 {
        let job = match guess {
            0 => "nonsense".to_owned(),
            1 => "%ff".to_owned(),
            guess => format!("{guess:032x}"),
        };
        let polled = poll(&server, &job).await;
        assert_eq!((polled.status, polled.error("/code")), (404, &json!("SYS.1003")), "{job}");
        let details = polled.error("/details").as_str().unwrap();
        assert!(details.starts_with("the job has been expired"), "{details}");
        assert!(!polled.body.to_string().contains(&job), "{job}");
    }
    let limited = poll(&server, &"f".repeat(32)).await;
    assert_eq!(limited.status, 429);
    assert!(limited.header("retry-after").is_some());
    // A known job is still read, and another source still gets 404.
    assert_eq!(poll(&server, JOB).await.status, 200);
    let line = poll_line(&"f".repeat(32));
    let request = HttpRequest { token: None, ..HttpRequest::new(&line, "") }.bytes();
    let other = exchange(server.connect_from("127.0.0.9").await, &request).await;
    assert_eq!(other.status, 404);
}

#[tokio::test]
async fn a_job_is_only_read_and_not_by_a_page_of_another_site() {
    let server = TestServer::start();
    assert_eq!(call(&server, &actions(GOOD), RECONNECT).await.status, 200);
    for method in ["PUT", "POST", "DELETE", "PATCH"] {
        let line = format!("{method} /zstack/v1/api-jobs/{JOB}");
        let answer = server.ask(HttpRequest { token: None, ..HttpRequest::new(&line, "") }).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    }
    let line = poll_line(JOB);
    for (headers, status) in [
        ("Origin: http://evil.example\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Origin: http://localhost\r\n", 200),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
    ] {
        let request = HttpRequest { token: None, headers, ..HttpRequest::new(&line, "") };
        assert_eq!(server.ask(request).await.status, status, "{headers}");
    }
    let foreign = HttpRequest { token: None, host: "evil.example", ..HttpRequest::new(&line, "") };
    assert_eq!(server.ask(foreign).await.status, 421);
}

/// The Java SDK asks for the class of the result with each request.
#[tokio::test]
async fn a_result_names_the_class_that_its_caller_asks_for() {
    let server = quick();
    let (line, schema) = (actions(HELD), "X-JSON-Schema: true\r\n");
    let asking = |headers| HttpRequest { headers, ..HttpRequest::new(&line, RECONNECT) };
    let headers = format!("X-Job-UUID: {JOB}\r\n{schema}");
    let answer = server.ask(asking(&headers)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    server.stores.release();
    let ended = result(&server, JOB).await;
    assert!(ended.body["schema"]["inventory"].is_string(), "{ended:?}");
    let again = server.ask(asking(&headers)).await;
    assert_eq!((again.status, again.body), (200, ended.body));
}
