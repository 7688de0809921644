//! `docs/openapi.json`, with which every response and event is compared that a test receives.
//!
//! Objects have exactly the described fields here, although clients must accept more: a field that
//! is not described is a fault of the description.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use hyper::Method;
use imagestore_agent::cli::{ClientError, DaemonAddress, DaemonResponse};
use jsonschema::Validator;
use serde_json::{Value, json};

/// Methods that a path can describe.
pub(crate) const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// Statuses of every request, also of one for an unknown path or with another method.
const STATUSES_OF_ANY_REQUEST: [u16; 10] = [400, 401, 403, 404, 405, 408, 413, 421, 429, 503];

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
});

/// The components, with objects that permit no other fields.
static COMPONENTS: LazyLock<Value> = LazyLock::new(|| {
    let mut components = document()["components"].clone();
    forbid_other_fields(&mut components["schemas"]);
    components
});

/// The validators of the schemas so far, by their text. A schema takes tens of milliseconds to
/// compile.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Returns the document.
pub(crate) fn document() -> &'static Value {
    &DOCUMENT
}

fn forbid_other_fields(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") && fields.get("type") == Some(&json!("object")) {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            fields.values_mut().for_each(forbid_other_fields);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_other_fields),
        _ => {}
    }
}

/// Follows a `$ref` into the components.
pub(crate) fn resolve(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let found = document().pointer(reference.strip_prefix('#').unwrap());
            found.unwrap_or_else(|| panic!("{reference} does not exist"))
        }
        None => value,
    }
}

/// Checks a value. Panics with `context` and every fault.
pub(crate) fn check_value(schema: &Value, value: &Value, context: &str) {
    // A benchmark measures the daemon, and not this.
    if !cfg!(test) {
        return;
    }
    let text = schema.to_string();
    let validator = Arc::clone(VALIDATORS.lock().unwrap().entry(text).or_insert_with(|| {
        let schema = json!({"allOf": [schema], "components": &*COMPONENTS});
        let options = jsonschema::options().should_validate_formats(true);
        Arc::new(options.build(&schema).unwrap())
    }));
    let faults: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        faults.is_empty(),
        "docs/openapi.json does not describe {context}: {faults:#?} in {value:#}"
    );
}

/// Returns the item of a path. The flag is true if the path is described as it is, and false if it
/// is for another base path or agent prefix than those of the document.
fn find_path(target: &str) -> Option<(&'static Value, bool)> {
    let path = target.split(['?', '#']).next().unwrap();
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    };
    let path = decode_unreserved(path);
    let paths = document()["paths"].as_object().unwrap();
    let find = |path: &str| {
        let same = |template: &&String| {
            let (count, parts) = (path.split('/').count(), path.split('/'));
            let is_longer = template.ends_with("/{rest}") && count > template.split('/').count();
            parts
                .zip(template.split('/'))
                .all(|(part, t)| t == part || t.starts_with('{') && !part.is_empty())
                && (is_longer || count == template.split('/').count())
        };
        // A literal part takes precedence over a parameter.
        let template = paths.keys().filter(same).min_by_key(|t| t.matches('{').count());
        template.map(|template| &paths[template])
    };
    let below = |mark: &str, prefix: &str| {
        path.find(mark).and_then(|at| find(&format!("{prefix}{}", &path[at..])))
    };
    let call = || {
        let (_, command) = path.strip_suffix('/').unwrap_or(&path).rsplit_once('/')?;
        let is_call = ["echo", "connect", "ping"].contains(&command);
        if is_call { find(&format!("/imagestore/{command}")) } else { None }
    };
    let elsewhere =
        || below("/v1/", "/zstack").or_else(|| below("/stores", "/imagestore")).or_else(call);
    // A slash at the end of this path means the same.
    find(if path == "/zstack/api/" { "/zstack/api" } else { &path })
        .map(|item| (item, true))
        .or_else(|| elsewhere().map(|item| (item, false)))
}

/// Decodes `%2D` and the like, as the daemon does (RFC 3986 section 6.2.2.2).
fn decode_unreserved(path: &str) -> String {
    let mut decoded = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.map(char::from).filter(|c| c.is_ascii_alphanumeric() || "-._~".contains(*c)) {
            Some(c) => {
                decoded.push(c);
                rest = &after[2..];
            }
            None => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded + rest
}

/// Checks the response to a request: its status, its headers unless they are unknown, its body, and
/// the code and the reason of an error. An absent body is null.
pub(crate) fn check_response(
    (method, target): (&str, &str),
    status: u16,
    headers: Option<&[(String, String)]>,
    body: &Value,
) {
    let method = method.to_ascii_lowercase();
    let context = format!("the response {status} to {method} {target}");
    let has_body = method != "head";
    let verb = if has_body { method.as_str() } else { "get" };
    let found = find_path(target).map(|(item, is_exact)| {
        let any = METHODS
            .iter()
            .find(|method| item["x-any-method"] == true && item.get(method).is_some());
        (&item[*any.unwrap_or(&verb)], is_exact)
    });
    // Another base path or prefix may be that of the server, or lead nowhere.
    let found = found.filter(|(operation, is_exact)| {
        let is_described = operation["responses"].get(status.to_string()).is_some();
        operation.is_object() && (*is_exact || is_described)
    });
    let Some((operation, _)) = found else {
        assert!(
            STATUSES_OF_ANY_REQUEST.contains(&status),
            "docs/openapi.json does not describe {context}"
        );
        if has_body {
            check_value(&json!({"$ref": "#/components/schemas/ErrorResponse"}), body, &context);
        }
        return;
    };
    let response = resolve(&operation["responses"][status.to_string()]);
    assert!(response.is_object(), "docs/openapi.json does not describe {context}: {body:#}");
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let header = resolve(header);
        let found = headers.map(|headers| {
            headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v)
        });
        match found {
            Some(Some(value)) => {
                let number = (header["schema"]["type"] == "integer").then(|| value.parse::<u64>());
                let value = number.map_or(json!(value), |number| json!(number.unwrap()));
                check_value(&header["schema"], &value, &format!("{name} of {context}"));
            }
            Some(None) => {
                assert_ne!(header["required"], true, "{context} has no header {name}");
            }
            None => {}
        }
    }
    let content_type = headers.into_iter().flatten().find(|(name, _)| name == "content-type");
    let content_type = content_type.map_or("application/json", |(_, value)| value);
    let media_type = content_type.split(';').next().unwrap().trim();
    let schema = &response["content"][media_type]["schema"];
    match (schema, body) {
        (Value::Null, Value::Null) => {}
        (Value::Null, body) => panic!("docs/openapi.json has no body for {context}: {body}"),
        (_, Value::Null) => assert!(!has_body, "{context} has no body"),
        (schema, body) => {
            check_value(schema, body, &context);
            check_error(response, &body["error"], &context);
        }
    }
}

/// Checks the code and the reason of an error object, if there is one.
fn check_error(response: &Value, error: &Value, context: &str) {
    // The reply to a command of the agent protocol has a text.
    if !error.is_object() {
        return;
    }
    let codes = response["x-codes"].as_array().unwrap();
    assert!(codes.contains(&error["code"]), "x-codes of {context} lack {}", error["code"]);
    let root = std::iter::successors(Some(error), |error| error.get("cause")).last().unwrap();
    let reason = &root["opaque"]["reason"];
    if let (false, Some(reasons)) = (reason.is_null(), response["x-reasons"].as_array()) {
        assert!(reasons.contains(reason), "x-reasons of {context} lack {reason}");
    }
}

/// Checks a request of the daemon to a management node.
pub(crate) fn check_event(headers: &hyper::HeaderMap, body: &Value) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let name = match (body["type"].as_str(), header("commandpath")) {
        (_, Some("/backup-storage/status/change")) => "zstackStatusChange",
        (_, Some("/backup-storage/disconnected")) => "zstackDisconnected",
        (Some("backup-storage.status.changed"), None) => "statusChanged",
        (Some("backup-storage.status.resync"), None) => "statusResync",
        (Some("backup-storage.heartbeat"), None) => "heartbeat",
        (None, None) if header("taskuuid").is_some() => "agentReply",
        (None, None) if header("x-job-uuid").is_some() => "jobEnded",
        (None, None) if header("x-imagestore-agent-question").is_some() => "sessionQuestion",
        other => panic!("docs/openapi.json does not describe an event {other:?}: {body:#}"),
    };
    let item = document()["webhooks"][name].as_object().unwrap();
    let operation = item.values().next().unwrap();
    let content = operation["requestBody"]["content"].as_object();
    let (media_type, content) = content.and_then(|content| content.iter().next()).unzip();
    assert_eq!(header("content-type"), media_type.map(String::as_str), "{name}");
    match content {
        Some(content) => check_value(&content["schema"], body, &format!("the event {name}")),
        None => assert_eq!(*body, Value::Null, "{name}"),
    }
    for parameter in operation["parameters"].as_array().unwrap() {
        let parameter = resolve(parameter);
        let named = parameter["name"].as_str().unwrap();
        match header(named) {
            Some(value) => check_value(&parameter["schema"], &json!(value), named),
            None => assert_ne!(parameter["required"], true, "{name} has no header {named}"),
        }
    }
}

/// A client of the daemon whose responses are checked.
#[derive(Clone, Debug)]
pub(crate) struct CheckedClient(pub(crate) DaemonAddress);

impl CheckedClient {
    pub(crate) async fn send_request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<DaemonResponse, ClientError> {
        let response = self.0.send_request(method.clone(), path, body).await?;
        check_response((method.as_str(), path), response.status.as_u16(), None, &response.body);
        Ok(response)
    }
}
