//! The events of all stores over HTTP: pages, and streams that are resumed, limited and ended.

use std::collections::BTreeSet;
use std::time::Duration;

use imagestore_agent::common::Timestamp;
use imagestore_agent::ledger::{Ledger, LedgerChange};
use imagestore_agent::lifecycle::{HistoryEntry, HistoryEvent};
use imagestore_agent::model::{AttemptId, Secret, SshCredentials, StoreUuid};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::api_description::check_value;
use crate::support::http_server::{
    BROKEN, GOOD, HttpRequest, HttpResponse, READER, TestServer, closed, read_answer, read_head,
    snapshot, with_timeout,
};

const PATH: &str = "/imagestore/events";
const JSON: &str = "Accept: application/json\r\n";
/// As long as any event of a test takes on a machine with much to do.
const TEST_DEADLINE: Duration = Duration::from_secs(20);

fn entry(at: i64, event: HistoryEvent) -> HistoryEntry {
    HistoryEntry { at: Timestamp(at), attempt: AttemptId(1), event }
}

/// A change with a line for each time, of one store.
fn lines(store: StoreUuid, times: std::ops::Range<i64>) -> LedgerChange {
    times.fold(LedgerChange::new(), |change, at| {
        let fields = vec![format!("field {at}")];
        change.add_history(store, entry(at, HistoryEvent::DefinitionUpdated { fields }))
    })
}

async fn add_store(ledger: &Ledger, uuid: StoreUuid) {
    let of = snapshot(uuid);
    let mut store = of.store.as_ref().clone();
    store.image_dir =
        imagestore_agent::model::ImageDir::parse(&format!("/srv/images/{uuid}")).unwrap();
    let added = entry(0, HistoryEvent::StoreAdded { name: store.name.clone() });
    let secrets = SshCredentials::password(Secret::new("secret".to_owned()));
    let change = LedgerChange::new().add_store(store, secrets, of.durable.clone());
    ledger.commit(change.add_history(uuid, added)).await.unwrap();
}

async fn server_with_store(limits: imagestore_agent::http::ServerLimits) -> TestServer {
    let server = TestServer::with(limits, TEST_DEADLINE);
    add_store(server.ledger(), GOOD).await;
    server
}

async fn page(server: &TestServer, query: &str) -> HttpResponse {
    let line = format!("GET {PATH}{query}");
    let request = HttpRequest { headers: JSON, token: Some(READER), ..HttpRequest::new(&line, "") };
    let answer = server.ask(request).await;
    for event in answer.body["events"].as_array().into_iter().flatten() {
        let mut line = event.clone();
        let fields = line.as_object_mut().unwrap();
        if fields["event"] == "gap" {
            continue;
        }
        let (cursor, store) = (fields.remove("cursor"), fields.remove("store"));
        assert!(cursor.is_some() && store.is_some(), "{event}");
        if !["added", "removed"].contains(&event["event"].as_str().unwrap()) {
            fields.remove("name");
        }
        check_value(&json!({"$ref": "#/components/schemas/HistoryLine"}), &line, "an event");
    }
    answer
}

fn times(events: &Value) -> Vec<i64> {
    let fields = events.as_array().unwrap().iter().map(|event| &event["fields"][0]);
    let texts = fields.filter_map(Value::as_str);
    texts.map(|text| text.strip_prefix("field ").unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn pages_have_every_event_once_in_order_and_selected() {
    let server = server_with_store(Default::default()).await;
    let ledger = server.ledger();
    add_store(ledger, BROKEN).await;
    ledger.commit(lines(GOOD, 1..701)).await.unwrap();
    ledger.commit(lines(BROKEN, 701..801)).await.unwrap();
    let (mut seen, mut query) = (Vec::new(), "?limit=333".to_owned());
    loop {
        let page = page(&server, &query).await;
        assert_eq!((page.status, &page.body["gap"]), (200, &Value::Null));
        let events = page.body["events"].as_array().unwrap();
        assert!(events.len() <= 333);
        assert!(events.iter().all(|event| event["name"] == "images"), "{events:?}");
        let last = events.last().map(|event| &event["cursor"]);
        assert!(last.is_none_or(|last| page.body["more"] == false || *last == page.body["next"]));
        seen.extend(times(&page.body["events"]));
        query = format!("?limit=333&after={}", page.body["next"].as_str().unwrap());
        if page.body["more"] == false {
            break;
        }
    }
    assert_eq!(seen, (1..801).collect::<Vec<_>>());
    assert_eq!(page(&server, &query).await.body["events"], json!([]), "nothing is repeated");
    assert_eq!(page(&server, "").await.body["events"].as_array().unwrap().len(), 100);
    assert_eq!(page(&server, "?limit=1000").await.body["events"].as_array().unwrap().len(), 802);
    let of_store = page(&server, &format!("?limit=1000&store={BROKEN}")).await;
    assert_eq!(times(&of_store.body["events"]), (701..801).collect::<Vec<_>>());
    let kinds = page(&server, "?kind=added,removed").await;
    assert_eq!(
        (kinds.body["events"].as_array().unwrap().len(), &kinds.body["more"]),
        (2, &json!(false))
    );
    // A page searches many events for a few of a kind.
    let removed = entry(801, HistoryEvent::StoreRemoved { name: "images".to_owned() });
    ledger.commit(LedgerChange::new().remove_store(BROKEN, removed)).await.unwrap();
    let rare = page(&server, "?kind=removed&limit=1").await;
    assert_eq!(rare.body["events"][1]["event"], "removed", "{}", rare.body);
    // The clock of the server is fixed at a later time.
    assert_eq!(page(&server, "?since=0s").await.body["events"], json!([]));
    assert_eq!(page(&server, "?since=90000d").await.body["events"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn what_a_removed_store_takes_with_it_is_a_gap_and_its_removal_stays() {
    let server = server_with_store(Default::default()).await;
    let ledger = server.ledger();
    ledger.commit(lines(GOOD, 1..4)).await.unwrap();
    let before = page(&server, "?limit=2").await.body["next"].clone();
    let removed = entry(9, HistoryEvent::StoreRemoved { name: "the last name".to_owned() });
    ledger.commit(LedgerChange::new().remove_store(GOOD, removed)).await.unwrap();
    for query in [
        format!("?after={}", before.as_str().unwrap()),
        format!("?store={GOOD}&kind=removed&after={}", before.as_str().unwrap()),
    ] {
        let page = page(&server, &query).await;
        let events = page.body["events"].as_array().unwrap();
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!((&events[0]["event"], &events[0]["cause"]), (&json!("gap"), &json!("pruned")));
        assert_eq!((&events[0], &page.body["gap"]), (&page.body["gap"], &events[0]));
        assert!(events[0]["until"].is_string());
        assert_eq!(
            (&events[1]["event"], &events[1]["name"]),
            (&json!("removed"), &json!("the last name"))
        );
        assert_eq!(events[1]["store"], GOOD.to_string());
        // A client that goes on does not get the gap again.
        for cursor in [&events[0]["cursor"], &events[1]["cursor"], &page.body["next"]] {
            let rest = self::page(&server, &format!("?after={}", cursor.as_str().unwrap())).await;
            assert_eq!(rest.body["gap"], Value::Null, "{cursor}");
        }
    }
    for (cursor, cause) in
        [("00000000000000000000000000000001-1", "restored"), ("future", "unknown")]
    {
        let next = before.as_str().unwrap().replace("-2", "-99999");
        let cursor = if cursor == "future" { &next } else { cursor };
        let page = page(&server, &format!("?after={cursor}")).await;
        assert_eq!(page.body["gap"]["cause"], cause, "{}", page.body);
    }
}

#[tokio::test]
async fn a_wrong_parameter_or_caller_is_refused() {
    let server = server_with_store(Default::default()).await;
    for (query, parameter) in [
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?after=x", "after"),
        ("?since=2", "since"),
        ("?kind=nothing", "kind"),
        ("?store=images", "store"),
        ("?page=2", "page"),
        ("?limit=1&limit=2", "limit"),
    ] {
        let answer = page(&server, query).await;
        assert_eq!((answer.status, answer.error("/code")), (400, &json!("SYS.1007")), "{query}");
        assert_eq!(answer.error("/opaque/parameter"), parameter);
    }
    let line = format!("GET {PATH}");
    let anonymous = HttpRequest { token: None, ..HttpRequest::new(&line, "") };
    assert_eq!(server.ask(anonymous).await.status, 401);
    let stream = HttpRequest { headers: "Accept: text/event-stream\r\n", ..anonymous };
    assert_eq!(server.ask(stream).await.status, 401);
    let resumed = HttpRequest { headers: "Last-Event-ID: x\r\n", ..HttpRequest::new(&line, "") };
    let answer = server.ask(resumed).await;
    assert_eq!((answer.status, answer.error("/opaque/header")), (400, &json!("Last-Event-ID")));
}

/// One block of a stream.
#[derive(Debug, Default, PartialEq)]
struct Block {
    id: String,
    event: String,
    data: Value,
    is_comment: bool,
}

/// A client of a stream.
struct StreamClient<S> {
    reader: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> StreamClient<S> {
    /// Begins a stream, or returns the response if there is none.
    async fn open(mut stream: S, query: &str, headers: &str) -> Result<Self, HttpResponse> {
        let line = format!("GET {PATH}{query}");
        let headers = format!("Accept: text/event-stream\r\n{headers}");
        let request =
            HttpRequest { headers: &headers, token: Some(READER), ..HttpRequest::new(&line, "") };
        stream.write_all(&request.bytes()).await.unwrap();
        let mut reader = BufReader::new(stream);
        // The body of an error has a length.
        let head = read_head(&mut reader).await;
        if head.status != 200 {
            let length = head.header("content-length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            with_timeout(tokio::io::AsyncReadExt::read_exact(&mut reader, &mut body))
                .await
                .unwrap();
            let mut refused = head;
            refused.body = serde_json::from_slice(&body).unwrap();
            return Err(refused);
        }
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("connection"), Some("close"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        assert!(head.header("x-request-id").is_some());
        let mut client = Self { reader };
        assert_eq!(client.line().await.as_deref(), Some("retry: 2000"));
        assert_eq!(client.line().await.as_deref(), Some(""));
        Ok(client)
    }

    /// Returns the next line of the content, or `None` at the end.
    async fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            let read = with_timeout(self.reader.read_line(&mut line)).await.unwrap_or(0);
            if read == 0 {
                return None;
            }
            let text = line.strip_suffix('\n')?;
            // The lines of the chunks end with CR and LF, those of the stream do not.
            match text.strip_suffix('\r') {
                Some("0") => return None,
                Some(_) => {}
                None => return Some(text.to_owned()),
            }
        }
    }

    async fn block(&mut self) -> Option<Block> {
        let mut block = Block::default();
        loop {
            let line = self.line().await?;
            match line.split_once(": ") {
                Some(("id", id)) => block.id = id.to_owned(),
                Some(("event", event)) => block.event = event.to_owned(),
                Some(("data", data)) => block.data = serde_json::from_str(data).unwrap(),
                _ if line == ":" => block.is_comment = true,
                _ if line.is_empty() => return Some(block),
                _ => panic!("{line:?} is no line of a stream"),
            }
        }
    }

    /// Returns the next event. Blocks without one are passed over.
    async fn event(&mut self) -> Option<Block> {
        loop {
            let block = self.block().await?;
            if !block.data.is_null() {
                assert_eq!(block.data["event"], block.event);
                assert_eq!(block.data["cursor"], block.id);
                return Some(block);
            }
        }
    }
}

async fn open_stream(server: &TestServer, query: &str, headers: &str) -> StreamClient<TcpStream> {
    StreamClient::open(server.connect().await, query, headers).await.unwrap()
}

#[tokio::test]
async fn a_stream_has_what_happens_and_is_resumed_without_a_loss() {
    let server = server_with_store(Default::default()).await;
    let mut stream = open_stream(&server, "?kind=updated", "").await;
    let position = stream.block().await.unwrap();
    assert!(position.data.is_null() && !position.id.is_empty(), "{position:?}");
    server.ledger().commit(lines(GOOD, 1..3)).await.unwrap();
    let one = stream.event().await.unwrap();
    assert_eq!((one.event.as_str(), times(&json!([one.data]))), ("updated", vec![1]));
    let two = stream.event().await.unwrap();
    drop(stream);
    server.ledger().commit(lines(GOOD, 3..5)).await.unwrap();
    // The header takes precedence over the parameter with which the client began.
    let query = format!("?after={}", position.id);
    let mut resumed = open_stream(&server, &query, &format!("Last-Event-ID: {}\r\n", two.id)).await;
    for at in [3, 4] {
        assert_eq!(times(&json!([resumed.event().await.unwrap().data])), [at]);
    }
    let mut local = StreamClient::open(server.connect_local().await, &query, "").await.unwrap();
    for at in 1..5 {
        assert_eq!(times(&json!([local.event().await.unwrap().data])), [at]);
    }
    let unknown = "Last-Event-ID: 00000000000000000000000000000001-7\r\n";
    let mut gap = open_stream(&server, "?kind=removed", unknown).await;
    let gap = gap.event().await.unwrap();
    assert_eq!(gap.event, "gap");
    check_value(&json!({"$ref": "#/components/schemas/EventGap"}), &gap.data, "a gap");
}

#[tokio::test]
async fn the_response_is_a_stream_by_default_and_a_page_where_json_is_preferred() {
    let server = server_with_store(Default::default()).await;
    let line = format!("GET {PATH}");
    for (accept, kind) in [
        ("", "text/event-stream"),
        ("Accept: */*\r\n", "text/event-stream"),
        ("Accept: application/json, text/event-stream\r\n", "text/event-stream"),
        ("Accept: application/json\r\n", "application/json;charset=UTF-8"),
        ("Accept: text/*;q=0.5\r\nAccept: */*\r\n", "application/json;charset=UTF-8"),
    ] {
        let request = HttpRequest { headers: accept, ..HttpRequest::new(&line, "") };
        let mut connection = server.connect().await;
        connection.write_all(&request.bytes()).await.unwrap();
        let head = read_head(&mut BufReader::new(connection)).await;
        assert_eq!((head.status, head.header("content-type")), (200, Some(kind)), "{accept:?}");
    }
}

#[tokio::test]
async fn ten_thousand_events_pass_a_stream_while_they_are_added() {
    let server = server_with_store(Default::default()).await;
    let ledger = server.ledger().clone();
    let adding = async {
        for n in 0..100 {
            ledger.commit(lines(GOOD, n * 100..(n + 1) * 100)).await.unwrap();
        }
    };
    let reading = async {
        let (mut seen, mut ids) = (Vec::new(), BTreeSet::new());
        let mut headers = String::new();
        while seen.len() < 10_000 {
            // Each stream ends in the middle.
            let mut stream = open_stream(&server, "?kind=updated", &headers).await;
            for _ in 0..3_000.min(10_000 - seen.len()) {
                let event = stream.event().await.unwrap();
                assert!(ids.insert(event.id.clone()), "{} is there twice", event.id);
                seen.extend(times(&json!([event.data])));
                headers = format!("Last-Event-ID: {}\r\n", event.id);
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(adding, reading);
    assert_eq!(seen, (0..10_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_idle_stream_has_comments_with_its_position() {
    let limits = imagestore_agent::http::ServerLimits {
        event_comment_interval: Duration::from_millis(20),
        ..Default::default()
    };
    let server = server_with_store(limits).await;
    let mut stream = open_stream(&server, "?kind=removed", "").await;
    let first = stream.block().await.unwrap();
    assert!(!first.is_comment);
    assert_eq!(stream.block().await.unwrap().id, first.id);
    server.ledger().commit(lines(GOOD, 1..2)).await.unwrap();
    let deadline = Instant::now() + TEST_DEADLINE;
    // The position advances although no event is selected.
    loop {
        let block = stream.block().await.unwrap();
        assert!(block.is_comment && block.data.is_null(), "{block:?}");
        if block.id != first.id {
            break;
        }
        assert!(Instant::now() < deadline, "the position does not advance");
    }
}

#[tokio::test]
async fn a_stream_ends_after_its_duration_also_for_a_client_that_is_behind() {
    let limits = imagestore_agent::http::ServerLimits {
        event_stream_duration: Duration::ZERO,
        ..Default::default()
    };
    let server = server_with_store(limits).await;
    server.ledger().commit(lines(GOOD, 0..1000)).await.unwrap();
    let (mut seen, mut headers) = (Vec::new(), String::new());
    for _ in 0..3 {
        let mut stream = open_stream(&server, "?kind=updated", &headers).await;
        let mut events = 0;
        while let Some(block) = stream.block().await {
            headers = format!("Last-Event-ID: {}\r\n", block.id);
            if !block.data.is_null() {
                seen.extend(times(&json!([block.data])));
                events += 1;
            }
        }
        // The first part of a stream has some events, and the rest is left for the next stream.
        assert!((1..100).contains(&events), "{events}");
    }
    assert!(seen.iter().copied().eq(0..i64::try_from(seen.len()).unwrap()), "{seen:?}");
}

/// Waits until a stream can be opened.
async fn until_free(server: &TestServer) -> StreamClient<TcpStream> {
    let deadline = Instant::now() + TEST_DEADLINE;
    loop {
        match StreamClient::open(server.connect().await, "", "").await {
            Ok(stream) => return stream,
            Err(_) => assert!(Instant::now() < deadline, "the permit does not come back"),
        }
    }
}

#[tokio::test]
async fn streams_have_a_limit_of_their_own_and_take_no_permit_from_others() {
    let limits = imagestore_agent::http::ServerLimits {
        max_event_streams: 2,
        max_trusted_connections: 1,
        max_local_connections: 1,
        ..Default::default()
    };
    let server = server_with_store(limits).await;
    let first = StreamClient::open(server.connect_local().await, "", "").await.unwrap();
    let mut second = open_stream(&server, "", "").await;
    second.block().await.unwrap();
    let refused = StreamClient::open(server.connect().await, "", "").await.err().unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.error("/opaque/reason"), "agent_busy");
    assert!(refused.header("retry-after").is_some());
    let line = format!("GET {PATH}");
    let request = HttpRequest { headers: JSON, ..HttpRequest::new(&line, "") };
    let mut local = server.connect_local().await;
    local.write_all(&request.bytes()).await.unwrap();
    assert_eq!(read_answer(&mut local).await.status, 200);
    drop(first);
    drop(until_free(&server).await);
}

#[tokio::test]
async fn a_stop_ends_the_streams_at_once_also_unread_ones() {
    let server = server_with_store(Default::default()).await;
    let mut idle = open_stream(&server, "", "").await;
    while idle.block().await.unwrap().event.is_empty() {}
    let unread = open_stream(&server, "", "").await;
    fill(server.ledger()).await;
    let stopped = Instant::now();
    server.stop.cancel();
    while idle.block().await.is_some() {}
    server.ended().await;
    assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", stopped.elapsed());
    drop(unread);
}

/// Adds more events than the buffers of a connection hold.
async fn fill(ledger: &Ledger) {
    for n in 0..200 {
        let fields = vec!["x".repeat(60_000)];
        let long = entry(n, HistoryEvent::DefinitionUpdated { fields });
        ledger.commit(LedgerChange::new().add_history(GOOD, long)).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_stream() {
    let limits = imagestore_agent::http::ServerLimits {
        max_event_streams: 1,
        write_timeout: Duration::from_millis(200),
        ..Default::default()
    };
    let server = server_with_store(limits).await;
    let mut unread = open_stream(&server, "", "").await;
    fill(server.ledger()).await;
    drop(until_free(&server).await);
    assert!(!closed(&mut unread.reader).await.ends_with(b"0\r\n\r\n"), "the stream is incomplete");
}
