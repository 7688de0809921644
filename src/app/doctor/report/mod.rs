//! The report of `doctor --report`: one JSON document about this node, without secrets, for those
//! who help.

pub(super) mod background;
mod file;
mod history;
mod host;

use serde_json::{Map, Value, json};

use super::output::Report;
use super::state_files::StateView;
use crate::common::{Clock as _, Random as _, SystemClock, SystemRandom};
use crate::redaction::{Redactor, mounts_of, redact_diagnosis, redact_store, settings_values};
use crate::settings::Settings;

pub(super) use file::write_report_file;

/// The version of the report. It grows with a change that is not an addition.
const REPORT_VERSION: u32 = 1;
/// The first thing that a reader of the report sees.
const ABOUT: &str = "A text that this report leaves out is replaced by its length and a short hash, \
                     such as <12:1a2b3c4d>. Equal texts have equal hashes within this report only.";

/// Creates the report. A part that cannot be had is null, and `missing` has the reason.
pub(super) async fn make_report(report: &Report) -> Value {
    let (mut salt, system) = ([0; 32], SystemRandom::default());
    let random = system.bytes16().into_iter().chain(system.bytes16());
    for (byte, random) in salt.iter_mut().zip(random) {
        *byte = random;
    }
    let background = report.background.as_ref();
    let redactor = Redactor::new(salt, known_texts(report));
    let mut parts = Parts { redactor: &redactor, shown: Map::new(), missing: Map::new() };
    parts.add("versions", Ok(host::versions(background).await));
    parts.add("doctor", Ok(redact_diagnosis(&report.to_json(false), &redactor)));
    let stores = report.stores.iter().map(|store| redact_store(store, &redactor));
    parts.add("stores", Ok(stores.collect()));
    parts.add("history", history::newest_lines(report, &redactor).await);
    let is_local = background.is_some_and(|it| it.is_local);
    let elsewhere = || "needs the host of the daemon, which was named by its URL".to_owned();
    if is_local {
        let settings = background.and_then(|it| it.settings.as_ref());
        let values = settings.map(|settings| settings_values(settings, &redactor));
        parts.add("settings", values.ok_or_else(|| "needs settings.valid".to_owned()));
        let process = background.and_then(|it| it.state.as_ref()).and_then(StateView::daemon_pid);
        parts.add("mounts", mounts(report, process, &redactor).await);
        parts.add("unit", host::unit(&redactor).await);
        parts.add("process", host::process_figures(process).await);
    } else {
        for part in ["settings", "mounts", "unit", "process"] {
            parts.add(part, Err(elsewhere()));
        }
    }
    let mut document = Map::new();
    document.insert("about".to_owned(), ABOUT.into());
    document.insert("reportVersion".to_owned(), REPORT_VERSION.into());
    document.insert("created".to_owned(), SystemClock.now().to_string().into());
    document.append(&mut parts.shown);
    document.insert("missing".to_owned(), parts.missing.into());
    Value::Object(document)
}

/// The parts of the report.
struct Parts<'a> {
    redactor: &'a Redactor,
    shown: Map<String, Value>,
    missing: Map<String, Value>,
}

impl Parts<'_> {
    fn add(&mut self, name: &str, part: Result<Value, String>) {
        let part = part.unwrap_or_else(|problem| {
            self.missing.insert(name.to_owned(), self.redactor.text(&problem).into());
            Value::Null
        });
        self.shown.insert(name.to_owned(), part);
    }
}

/// Returns the names, paths and hosts that the report shows in any case.
fn known_texts(report: &Report) -> Vec<String> {
    let mut known = Vec::new();
    let mut add = |value: Option<&Value>| {
        known.extend(value.and_then(Value::as_str).map(str::to_owned));
    };
    for store in &report.stores {
        add(store.get("name"));
        add(store.get("uuid"));
        add(store.get("url"));
    }
    for check in &report.checks {
        let hosts = ["/evidence/host", "/evidence/address"].map(|at| check.pointer(at));
        hosts.into_iter().filter(|host| host.is_some_and(is_host)).for_each(&mut add);
    }
    let settings = report.background.as_ref().and_then(|it| it.settings.as_ref());
    if let Some(Settings { server, auth, state, storage, callback, .. }) = settings {
        known.extend(storage.allowed_roots.iter().cloned());
        known.extend(server.host_names.iter().cloned());
        known.extend([&state.dir, &server.socket].map(|path| path.display().to_string()));
        let urls = callback.urls.iter().chain(&auth.session_check_url);
        known.extend(urls.filter_map(|url| host_of(url)));
    }
    known
}

/// Returns true if the value can only be the name or the address of a host.
fn is_host(value: &Value) -> bool {
    let is_host_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    value.as_str().is_some_and(|host| host.len() <= 253 && host.chars().all(is_host_char))
}

fn host_of(url: &str) -> Option<String> {
    let uri: hyper::Uri = url.parse().ok()?;
    // User information is part of the authority, and not of the host.
    uri.host().map(str::to_owned)
}

async fn mounts(
    report: &Report,
    process: Option<u32>,
    redactor: &Redactor,
) -> Result<Value, String> {
    let urls = report.stores.iter().filter_map(|store| store.get("url")?.as_str());
    let mut dirs: Vec<String> = urls.map(str::to_owned).collect();
    let settings = report.background.as_ref().and_then(|it| it.settings.as_ref());
    dirs.extend(settings.into_iter().flat_map(|it| it.storage.allowed_roots.iter().cloned()));
    // The daemon may have a mount namespace of its own.
    let (table, namespace) = host::mount_table(process).await?;
    Ok(json!({"namespace": namespace, "lines": mounts_of(&table, &dirs, redactor)}))
}
