//! Errors of requests in Chinese: the meaning of the code, then the English sentence.

use imagestore_agent::catalog::{Language, ZstackCode, reason_guidance};
use imagestore_agent::model::Reason;

use crate::support::http_server::*;

const STORES: &str = "/zstack/v1/backup-storage/image-store";
const PARAMS: &str = r#"{"params":{}}"#;

fn chinese_server() -> TestServer {
    TestServer::with_api(|_| {}, |api| api.language = Language::Chinese)
}

#[tokio::test]
async fn an_error_of_a_request_has_the_meaning_of_its_code_before_the_english_sentence() {
    let (chinese, english) = (chinese_server(), TestServer::start());
    let put = format!("PUT {STORES}/{GOOD}/actions");
    let unknown = format!("PUT {STORES}/{}/actions", "a".repeat(32));
    for (line, body, code) in [
        (put.as_str(), "{", ZstackCode::InvalidArgument),
        (
            put.as_str(),
            r#"{"reconnectImageStoreBackupStorage":{"force":7}}"#,
            ZstackCode::InvalidArgument,
        ),
        (unknown.as_str(), PARAMS, ZstackCode::NotFound),
        ("GET /zstack/v1/nothing", "", ZstackCode::NotFound),
        ("PATCH /zstack/v1/backup-storage/image-store", PARAMS, ZstackCode::InvalidArgument),
    ] {
        let answer = chinese.ask(HttpRequest::new(line, body)).await;
        let plain = english.ask(HttpRequest::new(line, body)).await;
        assert_eq!(answer.status, plain.status, "{line}");
        let (error, plain) = (&answer.body["error"], &plain.body["error"]);
        for field in ["code", "description", "opaque"] {
            assert_eq!(error[field], plain[field], "{line}");
        }
        let plain_remedy = plain["elaboration"].as_str().unwrap();
        let (sentence, _) = plain["details"].as_str().unwrap().split_once("; remedy: ").unwrap();
        let advice = code.advice();
        let meaning = advice.meaning.plain(Language::Chinese);
        let action = advice.action.plain(Language::Chinese);
        let remedy = format!("{action}（{plain_remedy}）");
        let details = format!("{}（{sentence}）；处理：{remedy}", meaning.trim_end_matches('。'));
        assert_eq!(error["details"], details, "{line}");
        assert_eq!(error["elaboration"], remedy, "{line}");
    }
}

#[tokio::test]
async fn a_text_that_clients_compare_stays_english() {
    let (chinese, english) = (chinese_server(), TestServer::start());
    let job = format!("GET /zstack/v1/api-jobs/{}", "a".repeat(32));
    let (answer, plain) = (
        chinese.ask(HttpRequest::new(&job, "")).await,
        english.ask(HttpRequest::new(&job, "")).await,
    );
    assert_eq!((answer.status, &answer.body), (404, &plain.body));
    let headers = "Authorization: ZStack AKID:c2lnbmF0dXJl\r\n\
                   Date: Fri, 27 Nov 2026 06:35:42 UTC\r\n";
    let line = format!("GET {STORES}");
    let request = || HttpRequest { headers, token: None, ..HttpRequest::new(&line, "") };
    let (answer, plain) = (chinese.ask(request()).await, english.ask(request()).await);
    assert_eq!((answer.status, &answer.body), (401, &plain.body));
    let details = plain.body["error"]["details"].as_str().unwrap();
    assert!(details.contains("access key id"), "{details}");
}

#[tokio::test]
async fn the_result_of_a_job_is_in_the_language_too() {
    let server = chinese_server();
    let headers = format!("X-Job-UUID: {}\r\n", "b".repeat(32));
    let line = format!("PUT {STORES}/{BROKEN}/actions");
    let request = HttpRequest { headers: &headers, ..HttpRequest::new(&line, PARAMS) };
    let answer = server.ask(request).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let poll = format!("GET /zstack/v1/api-jobs/{}", "b".repeat(32));
    let result = server.ask(HttpRequest::new(&poll, "")).await;
    assert_eq!(result.status, 503, "{}", result.body);
    let error = &result.body["error"];
    let reason: Reason = error["opaque"]["reason"].as_str().unwrap().parse().unwrap();
    let meaning = reason_guidance(reason).meaning.plain(Language::Chinese);
    let details = error["details"].as_str().unwrap();
    let begin = format!("{reason}：{}（", meaning.trim_end_matches('。'));
    assert!(details.starts_with(&begin) && details.contains("；处理："), "{details}");
}
