//! The way to each receiver of `callback.urls`: its name, the connection, and TLS. No request is
//! sent.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::common::{UrlPort, root_cause, run_blocking};
use crate::diagnosis::{
    Finding, LAST_REPLIES, RECEIVERS, RECEIVERS_DOWN, ReceiverFact, diagnose_callback,
};
use crate::management::{endpoint_tls, host_and_port, is_https, parse_url};
use crate::settings::{CallbackSettings, FilePolicy};

/// Maximum time of each step. The daemon gives a connection as much.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to each receiver, and returns the finding. `known` is the finding of the daemon.
pub(in crate::app::doctor) async fn check_callback(
    settings: &CallbackSettings,
    known: Option<&Value>,
) -> Finding {
    let urls: Vec<Uri> =
        settings.urls.iter().filter_map(|url| parse_url("callback.urls", url).ok()).collect();
    let tls = load_tls(settings.clone(), urls.iter().any(is_https)).await;
    let mut connections = JoinSet::new();
    for (index, url) in urls.iter().cloned().enumerate() {
        let tls = tls.clone();
        connections.spawn(async move { (index, try_way(&url, tls).await) });
    }
    let mut receivers: Vec<ReceiverFact> =
        urls.iter().map(|url| receiver_in(&host_and_port(url), known)).collect();
    while let Some(ended) = connections.join_next().await {
        if let Ok((index, result)) = ended
            && let Some(receiver) = receivers.get_mut(index)
        {
            receiver.connection = result;
        }
    }
    diagnose_callback(&receivers)
}

/// Returns what the evidence of the daemon says about a receiver.
fn receiver_in(name: &str, known: Option<&Value>) -> ReceiverFact {
    let list = |key: &str| -> Vec<&str> {
        let list = known.and_then(|known| known.get("evidence")?.get(key)?.as_array());
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let mut replies = list(RECEIVERS).into_iter().zip(list(LAST_REPLIES));
    let reply = replies.find(|(of, _)| *of == name).map(|(_, reply)| reply.to_owned());
    ReceiverFact {
        name: name.to_owned(),
        connection: None,
        is_down: list(RECEIVERS_DOWN).contains(&name),
        last_reply: reply.filter(|reply| !reply.is_empty()),
    }
}

/// Loads TLS as the daemon does, on a thread. Returns `None` if the files cannot be used.
async fn load_tls(settings: CallbackSettings, has_https: bool) -> Option<Arc<ClientConfig>> {
    // The check of the settings judges the owner and the mode.
    let policy = FilePolicy { takes_unsafe: true, ..FilePolicy::of_process() };
    let load = move || endpoint_tls(&settings, &policy, has_https);
    let loaded = run_blocking(Instant::now() + STEP_TIMEOUT, load).await;
    loaded.ok()?.ok().map(Arc::new)
}

/// Tries the way to a receiver. Returns `None` if this process cannot read the files of
/// `[callback]` that it needs, of which `settings.valid` says more.
async fn try_way(url: &Uri, tls: Option<Arc<ClientConfig>>) -> Option<Result<(), String>> {
    match (tls, is_https(url)) {
        (None, true) => None,
        (tls, _) => Some(connect(url, tls).await),
    }
}

/// Finds the address, connects, and shakes hands with `https`.
///
/// # Errors
/// Returns the step that failed, and its cause.
async fn connect(url: &Uri, tls: Option<Arc<ClientConfig>>) -> Result<(), String> {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let default_port = if is_https(url) { 443 } else { 80 };
    let port = url.authority().and_then(|it| UrlPort::of(it).number_or(default_port));
    let port = port.ok_or("its port is invalid")?;
    let addresses = within("no answer of the name service", lookup_host((host, port))).await?;
    let addresses: Vec<_> = addresses.collect();
    let mut result = Err("its name has no address".to_owned());
    for address in addresses {
        result = within("no connection", TcpStream::connect(address)).await;
        if result.is_ok() {
            break;
        }
    }
    let stream = result?;
    let Some(tls) = tls.filter(|_| is_https(url)) else { return Ok(()) };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let handshake = TlsConnector::from(tls).connect(name, stream);
    within("no TLS handshake", handshake).await.map_err(|cause| format!("TLS: {cause}"))?;
    Ok(())
}

/// Waits for a step.
///
/// # Errors
/// Returns the cause, or `late` if the step did not end in time.
async fn within<T>(
    late: &str,
    step: impl Future<Output = std::io::Result<T>>,
) -> Result<T, String> {
    match timeout(STEP_TIMEOUT, step).await {
        Ok(result) => result.map_err(|error| root_cause(&error).to_string()),
        Err(_) => Err(format!("{late} within {} s", STEP_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_receiver_has_the_reply_of_the_evidence() {
        let known = json!({"evidence": {
            RECEIVERS: ["mn-1:8080", "mn-2:8080"],
            RECEIVERS_DOWN: ["mn-2:8080"],
            LAST_REPLIES: ["", "503"],
        }});
        let receiver = |name: &str| receiver_in(name, Some(&known));
        assert_eq!(
            (receiver("mn-1:8080").is_down, receiver("mn-1:8080").last_reply),
            (false, None)
        );
        let second = receiver("mn-2:8080");
        assert_eq!((second.is_down, second.last_reply.as_deref()), (true, Some("503")));
        assert_eq!(receiver("mn-3:8080").last_reply, None);
        assert_eq!(receiver_in("mn-1:8080", None).last_reply, None);
    }
}
