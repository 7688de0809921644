//! The description of the API, compared with the program: its paths, words and examples, and its
//! own path.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use imagestore_agent::catalog::{DoctorCheck, ZstackCode};
use imagestore_agent::common::Timestamp;
use imagestore_agent::diagnosis::Verdict;
use imagestore_agent::http::{RouteMethod, served_paths};
use imagestore_agent::lifecycle::{Cause, HistoryEntry, HistoryEvent, MeasuredSpace};
use imagestore_agent::model::{
    AttemptFailure, AttemptId, Capacity, Check, Condition, Fault, HostEvidence, InodeCounts,
    MountLocation, MountedPart, Obstacle, Reason, RemoteMarker, Role, State, Status, StoreCheck,
    Tags,
};
use imagestore_agent::wire::{
    API_DESCRIPTION, HistoryLine, MAX_BODY_BYTES, REMEDY_MARK, UnsupportedCall,
};
use serde_json::{Value, json};

use crate::support::api_description::{METHODS, check_value, document, resolve};
use crate::support::http_server::{HttpRequest, READER, TestServer, exchange};

fn schema(name: &str) -> &'static Value {
    &document()["components"]["schemas"][name]
}

/// Returns every operation with its method and path.
fn operations() -> Vec<(&'static str, &'static str, &'static Value)> {
    let paths = document()["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let operation = |method| item.get(method).map(|found| (method, path.as_str(), found));
        METHODS.into_iter().filter_map(operation)
    });
    operations.collect()
}

/// Visits every value of the document.
fn visit<'a>(value: &'a Value, then: &mut impl FnMut(&'a Value)) {
    then(value);
    match value {
        Value::Object(fields) => fields.values().for_each(|value| visit(value, then)),
        Value::Array(items) => items.iter().for_each(|value| visit(value, then)),
        _ => {}
    }
}

#[test]
fn every_route_is_described_and_nothing_else() {
    const ANY: &str = "any method";
    let method_of = |method: &str, path: &str| match &document()["paths"][path]["x-any-method"] {
        Value::Bool(true) => ANY.to_owned(),
        _ => method.to_uppercase(),
    };
    let described: BTreeSet<(String, String)> = operations()
        .iter()
        .map(|(method, path, _)| (method_of(method, path), (*path).to_owned()))
        .collect();
    let served: BTreeSet<(String, String)> =
        served_paths(&["/zstack".to_owned()], &["/imagestore".to_owned()])
            .into_iter()
            // A slash after a path means the same.
            .filter(|(_, path)| !path.ends_with('/'))
            .map(|(method, path)| {
                // OpenAPI has no parameter of several segments.
                (method.map_or(ANY, RouteMethod::as_str).to_owned(), path.replace("{*", "{"))
            })
            .collect();
    assert_eq!(described, served);
    let methods: BTreeSet<String> = METHODS.iter().map(|method| method.to_uppercase()).collect();
    assert_eq!(methods, RouteMethod::ALL.iter().map(|m| m.as_str().to_owned()).collect());
}

#[test]
fn the_table_of_the_operations_is_complete() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/http-api.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let requests = rows.map(|(request, _)| request.to_owned());
    let documented: BTreeSet<String> = requests
        .filter(|row| row.contains(" /"))
        .map(|row| row.split('?').next().unwrap().to_owned())
        .collect();
    let described = operations().into_iter();
    // These calls have a table of their own.
    let described = described.filter(|(_, _, item)| item["tags"] != json!(["Not supported"]));
    let described = described.map(|(method, path, _)| format!("{} {path}", method.to_uppercase()));
    assert_eq!(documented, described.collect());
}

#[test]
fn the_words_are_those_of_the_program() {
    let words = |all: &[&'static str]| all.iter().map(|&word| json!(word)).collect::<Vec<_>>();
    let is_described = |found: &Value, words: &[&'static str], name: &str| {
        let expected: BTreeSet<&str> = words.iter().copied().collect();
        let found = found.as_array().unwrap().iter().filter_map(Value::as_str);
        assert_eq!(found.collect::<BTreeSet<_>>(), expected, "{name}");
    };
    macro_rules! texts {
        ($kind:ty) => {
            <$kind>::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>()
        };
    }
    for (name, program) in [
        ("Reason", texts!(Reason)),
        ("ConditionType", texts!(Condition)),
        ("StoreStatus", texts!(Status)),
        ("StoreState", texts!(State)),
        ("FaultSubject", texts!(Check)),
        ("AttemptCause", texts!(Cause)),
        ("DoctorCheck", texts!(DoctorCheck)),
        ("Verdict", texts!(Verdict)),
        ("CheckType", texts!(StoreCheck)),
        ("CallerRole", texts!(Role)),
        ("ErrorCodeWord", texts!(ZstackCode)),
    ] {
        is_described(&schema(name)["enum"], &program, name);
        assert_eq!(schema(name)["enum"].as_array().unwrap().len(), words(&program).len(), "{name}");
    }
    let proven = &schema("ProvenHost")["properties"];
    is_described(&proven["evidence"]["enum"], &texts!(HostEvidence), "evidence");
    is_described(&proven["marker"]["enum"], &texts!(RemoteMarker), "marker");
    let call = &schema("ErrorFacts")["properties"]["call"]["enum"];
    is_described(call, &texts!(UnsupportedCall), "call");
    let obstacle = &schema("UnprovenHost")["properties"]["obstacle"]["enum"];
    is_described(obstacle, &texts!(Obstacle), "obstacle");
}

/// Returns one event of each kind. A new kind must be added here, or the match does not compile.
fn history_events() -> Vec<HistoryEvent> {
    let mount = MountLocation {
        mount_point: "/data".to_owned(),
        fs_type: "ext4".to_owned(),
        device: "8:1".to_owned(),
        on_root_disk: false,
        part: Some(MountedPart::Folder("/a".to_owned())),
        quota_folder: Some("/a".to_owned()),
    };
    let capacity = Capacity::new(9, 4).unwrap();
    let inodes = Some(InodeCounts { total: 2, available: 1 });
    let failure = AttemptFailure::from_fault(Fault::new(Reason::NotMounted, "not mounted"));
    let (old, new) = (Status::Connecting, Status::Disconnected);
    let (algorithm, fingerprint) = ("ssh-ed25519".to_owned(), "SHA256:A".to_owned());
    let events = vec![
        HistoryEvent::AttemptStarted { cause: Cause::User, tags: Tags::default() },
        HistoryEvent::RequestJoined { tags: Tags::default() },
        HistoryEvent::InterruptedByRestart,
        HistoryEvent::StatusChanged { old, new, failure: Some(failure) },
        HistoryEvent::ConditionChanged { condition: Condition::Full, active: true },
        HistoryEvent::SpaceMeasured(MeasuredSpace { capacity, inodes }),
        HistoryEvent::DefinitionUpdated { fields: vec!["name".to_owned()] },
        HistoryEvent::HostKeyAccepted { algorithm, fingerprint },
        HistoryEvent::DirectoryMoved(mount),
        HistoryEvent::StoreAdded { name: "images".to_owned() },
        HistoryEvent::StoreRemoved { name: "images".to_owned() },
    ];
    for event in &events {
        match event {
            HistoryEvent::AttemptStarted { .. }
            | HistoryEvent::RequestJoined { .. }
            | HistoryEvent::InterruptedByRestart
            | HistoryEvent::StatusChanged { .. }
            | HistoryEvent::ConditionChanged { .. }
            | HistoryEvent::SpaceMeasured(_)
            | HistoryEvent::DefinitionUpdated { .. }
            | HistoryEvent::HostKeyAccepted { .. }
            | HistoryEvent::DirectoryMoved(_)
            | HistoryEvent::StoreAdded { .. }
            | HistoryEvent::StoreRemoved { .. } => {}
        }
    }
    events
}

#[test]
fn each_kind_of_history_line_is_described_by_its_own_schema() {
    let mapping = schema("HistoryLine")["discriminator"]["mapping"].as_object().unwrap();
    let mut written = BTreeSet::new();
    for event in history_events() {
        let entry = HistoryEntry { at: Timestamp(0), attempt: AttemptId(1), event };
        let line = serde_json::to_value(HistoryLine::from(&entry)).unwrap();
        let word = line["event"].as_str().unwrap().to_owned();
        check_value(&json!({"$ref": mapping[&word]}), &line, &word);
        check_value(schema("HistoryLine"), &line, &word);
        written.insert(word);
    }
    assert_eq!(written, mapping.keys().cloned().collect());
}

#[test]
fn the_document_is_complete_in_itself() {
    let info = &document()["info"];
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    jsonschema::draft202012::meta::validate(&json!({"$defs": document()["components"]["schemas"]}))
        .unwrap();
    let mut used = BTreeSet::new();
    visit(document(), &mut |value| {
        if let Some(reference) = value["$ref"].as_str() {
            assert!(!resolve(value).is_null(), "{reference}");
            used.insert(reference);
        }
    });
    for (kind, components) in document()["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
            let reference = format!("#/components/{kind}/{name}");
            assert!(used.contains(reference.as_str()), "nothing refers to {reference}");
        }
    }
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations() {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        for field in ["summary", "description"] {
            assert!(operation[field].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        }
        let role = operation["x-role"].as_str().unwrap();
        assert!(["none", "network", "read", "operate", "admin"].contains(&role), "{name}: {role}");
        let is_open = operation["security"] == json!([]);
        assert_eq!(is_open, ["none", "network"].contains(&role), "{name}");
        assert_eq!(operation["responses"].get("401").is_some(), !is_open, "{name}");
        assert!(!path.ends_with('/'), "{method} {path}");
    }
}

#[test]
fn each_example_of_a_body_has_its_form() {
    let mut examples = 0;
    visit(document(), &mut |value| {
        let Some(content) = value["content"].as_object() else { return };
        for content in content.values() {
            for (name, example) in content["examples"].as_object().into_iter().flatten() {
                examples += 1;
                if example.get("x-status").is_none_or(|status| status == 200) {
                    check_value(&content["schema"], &example["value"], name);
                }
            }
        }
    });
    assert!(examples > 30, "only {examples} examples found");
    for (name, response) in document()["components"]["responses"].as_object().unwrap() {
        if ["Accepted", "LegacyFailure"].contains(&name.as_str()) {
            continue;
        }
        let codes = response["x-codes"].as_array().unwrap();
        let error = &response["content"]["application/json"]["examples"]["error"]["value"]["error"];
        assert!(codes.contains(&error["code"]), "{response:#}");
    }
    visit(document(), &mut |value| {
        if let (Some(error), None) = (value.get("error"), value.get("properties")) {
            assert_remedy_in_details(error);
        }
    });
    let texts: BTreeMap<&str, &str> =
        ZstackCode::ALL.iter().map(|code| (code.as_str(), code.description())).collect();
    visit(document(), &mut |value| {
        if let (Some(code), Some(text)) = (value["code"].as_str(), value["description"].as_str()) {
            assert_eq!(texts.get(code), Some(&text), "{code}");
        }
    });
}

/// Fails if the details of an error do not end with the remedy of its root cause.
fn assert_remedy_in_details(error: &Value) {
    let root = std::iter::successors(Some(error), |error| error.get("cause")).last().unwrap();
    let (Some(remedy), Some(details)) = (root["elaboration"].as_str(), error["details"].as_str())
    else {
        return;
    };
    let (_, short) = details.split_once(REMEDY_MARK.en).unwrap_or_else(|| panic!("{details}"));
    assert!(remedy.starts_with(short) && !short.is_empty(), "{details}");
}

#[test]
fn the_limit_of_a_body_is_that_of_the_program() {
    let response = &document()["components"]["responses"]["BodyTooLarge"];
    let example = &response["content"]["application/json"]["examples"]["error"]["value"]["error"];
    assert_eq!(example["opaque"]["bytes"], MAX_BODY_BYTES);
    let text = response["description"].as_str().unwrap().replace(',', "");
    assert!(text.contains(&format!(" {MAX_BODY_BYTES} bytes")), "{text}");
}

#[test]
fn each_reason_of_a_response_exists() {
    let mut lists = 0;
    visit(document(), &mut |value| {
        for reason in value["x-reasons"].as_array().into_iter().flatten() {
            reason.as_str().unwrap().parse::<Reason>().unwrap();
            lists += 1;
        }
    });
    assert!(lists > 5);
}

fn get<'a>(headers: &'a str, token: Option<&'a str>) -> HttpRequest<'a> {
    HttpRequest { token, headers, ..HttpRequest::new("GET /openapi.json", "") }
}

#[test]
fn the_command_prints_the_document_without_a_daemon_or_settings() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imagestore-agent"));
    let output = command.arg("openapi").env_clear().output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected = std::fs::read(tree.join("docs/openapi.json")).unwrap();
    assert_eq!(output.stdout, expected);
}

#[tokio::test]
async fn a_caller_gets_the_document_once() {
    let server = TestServer::start();
    let first = server.ask(get("", Some(READER))).await;
    assert_eq!((first.status, &first.body), (200, document()));
    let length = API_DESCRIPTION.len().to_string();
    assert_eq!(first.header("content-length"), Some(length.as_str()));
    let tag = first.header("etag").unwrap();
    for (tags, status) in [
        (tag.to_owned(), 304),
        (format!("\"x\", W/{tag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
        (tag.replace('"', ""), 200),
    ] {
        let headers = format!("If-None-Match: {tags}\r\n");
        let response = server.ask(get(&headers, Some(READER))).await;
        assert_eq!((response.status, response.header("etag")), (status, Some(tag)), "{tags}");
        assert_eq!(response.body.is_null(), status == 304, "{tags}");
    }
    let head = HttpRequest { token: Some(READER), ..HttpRequest::new("HEAD /openapi.json", "") };
    let mut stream = server.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &head.bytes()).await.unwrap();
    let head = crate::support::http_server::read_head(&mut stream).await;
    assert_eq!((head.status, head.header("etag")), (200, Some(tag)));
    assert_eq!(server.ask(get("", None)).await.status, 401);
    assert_eq!(server.ask(get("", Some("unknown"))).await.status, 401);
    let local = exchange(server.connect_local().await, &get("", None).bytes()).await;
    assert_eq!(local.status, 200);
}
