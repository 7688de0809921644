//! The way to each receiver of `callback.urls`: its name, the connection, and TLS. No request is
//! sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::common::{UrlPort, root_cause, run_blocking};
use crate::diagnosis::{
    Finding, LAST_REPLIES, RECEIVERS, RECEIVERS_DOWN, ReceiverFact, ReceiverProblem,
    diagnose_callback,
};
use crate::management::{endpoint_tls, host_and_port, is_https, parse_url};
use crate::settings::{CallbackSettings, FilePolicy};

/// Maximum time of the way to a receiver: its name, all its addresses, and TLS. The daemon gives a
/// connection as much.
const WAY_TIMEOUT: Duration = Duration::from_secs(5);

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
    let loaded = run_blocking(Instant::now() + WAY_TIMEOUT, load).await;
    loaded.ok()?.ok().map(Arc::new)
}

/// Tries the way to a receiver. Returns `None` if this process cannot read the files of
/// `[callback]` that it needs, of which `settings.valid` says more.
async fn try_way(url: &Uri, tls: Option<Arc<ClientConfig>>) -> Option<Result<(), ReceiverProblem>> {
    match (tls, is_https(url)) {
        (None, true) => None,
        (tls, _) => Some(connect(url, tls, Instant::now() + WAY_TIMEOUT).await),
    }
}

/// Finds the address, connects, and shakes hands with `https`, all before the deadline.
///
/// # Errors
/// Returns the step that failed, and its cause.
async fn connect(
    url: &Uri,
    tls: Option<Arc<ClientConfig>>,
    deadline: Instant,
) -> Result<(), ReceiverProblem> {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let default_port = if is_https(url) { 443 } else { 80 };
    let port = url.authority().and_then(|it| UrlPort::of(it).number_or(default_port));
    let port = port.ok_or(ReceiverProblem::InvalidPort)?;
    let found = before(deadline, ReceiverProblem::NameLate, lookup_host((host, port))).await?;
    let stream = connect_any(&found.collect::<Vec<_>>(), deadline).await?;
    let Some(tls) = tls.filter(|_| is_https(url)) else { return Ok(()) };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| ReceiverProblem::Failed(error.to_string()))?;
    let handshake = TlsConnector::from(tls).connect(name, stream);
    let shaken = before(deadline, ReceiverProblem::TlsLate, handshake).await;
    shaken.map(drop).map_err(|problem| match problem {
        ReceiverProblem::Failed(cause) => ReceiverProblem::Failed(format!("TLS: {cause}")),
        other => other,
    })
}

/// Connects to the first address that answers. Each one gets an equal part of the time that is
/// left, as the daemon gives it, so that a silent one leaves time for the next.
///
/// # Errors
/// Returns the problem of the last address.
async fn connect_any(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, ReceiverProblem> {
    let mut result = Err(ReceiverProblem::NoAddress);
    for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
        let now = Instant::now();
        let parts = u32::try_from(left).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(now) / parts;
        let connection = TcpStream::connect(address);
        result = before(now + share, ReceiverProblem::ConnectLate, connection).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Waits for a step.
///
/// # Errors
/// Returns the cause, or `late` if the step did not end in time.
async fn before<T>(
    deadline: Instant,
    late: impl FnOnce(u64) -> ReceiverProblem,
    step: impl Future<Output = std::io::Result<T>>,
) -> Result<T, ReceiverProblem> {
    match timeout_at(deadline, step).await {
        Ok(result) => {
            result.map_err(|error| ReceiverProblem::Failed(root_cause(&error).to_string()))
        }
        Err(_) => Err(late(WAY_TIMEOUT.as_secs())),
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

    #[tokio::test]
    async fn all_steps_and_addresses_of_a_receiver_share_one_deadline() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        // The kernel drops what exceeds a listener's queue: listen(2), tcp_abort_on_overflow = 0.
        let listener = socket.listen(0).unwrap();
        let silent = listener.local_addr().unwrap();
        let wait = Duration::from_millis(200);
        let mut queued = Vec::new();
        while let Ok(Ok(tcp)) = tokio::time::timeout(wait, TcpStream::connect(silent)).await {
            queued.push(tcp);
        }
        let limit = Duration::from_millis(400);
        let began = Instant::now();
        let problem = connect_any(&[silent; 16], began + limit).await.unwrap_err();
        assert_eq!(problem, ReceiverProblem::ConnectLate(5));
        let took = began.elapsed();
        assert!(limit <= took && took < 8 * limit, "{took:?}");
        // A silent address leaves time for the next one.
        let answers = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = answers.local_addr().unwrap();
        let tcp = connect_any(&[silent, silent, address], Instant::now() + limit).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), address);
        assert_eq!(
            connect_any(&[], Instant::now() + limit).await.unwrap_err(),
            ReceiverProblem::NoAddress
        );
        // A receiver that accepts and is silent has what the steps before have left.
        let url = format!("https://{address}/").parse().unwrap();
        let tls = Some(Arc::new(crate::tls::config_without_roots().unwrap()));
        let began = Instant::now();
        let problem = connect(&url, tls, began + limit).await.unwrap_err();
        assert_eq!(problem, ReceiverProblem::TlsLate(5));
        assert!(began.elapsed() < 8 * limit, "{:?}", began.elapsed());
    }
}
