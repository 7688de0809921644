//! A management node that receives events, verifies their signatures and passes them on.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::management::EventSigner;
use crate::wire::headers::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};

/// Maximum number of received events in the queue. The demo prints each at once.
const MAX_QUEUED_EVENTS: usize = 64;
/// Maximum number of connections. The daemon keeps a few.
const MAX_CONNECTIONS: usize = 16;
/// Maximum size of an event, in bytes (1 MiB). An event of the demo has a few KiB.
const MAX_BODY_BYTES: usize = 1 << 20;

/// A received event.
#[derive(Debug)]
pub(super) struct ReceivedEvent {
    pub(super) event: Value,
    pub(super) signature_good: bool,
}

/// A listening management node. Dropping it stops it.
#[derive(Debug)]
pub(super) struct ManagementNode {
    pub(super) address: SocketAddr,
    pub(super) events: mpsc::Receiver<ReceivedEvent>,
    _accepting: JoinSet<()>,
}

impl ManagementNode {
    /// Starts listening on a free port of 127.0.0.1.
    pub(super) async fn start(signer: EventSigner) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (event_sender, events) = mpsc::channel(MAX_QUEUED_EVENTS);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_connections(listener, Arc::new(signer), event_sender));
        Ok(Self { address, events, _accepting: accepting })
    }
}

async fn accept_connections(
    listener: TcpListener,
    signer: Arc<EventSigner>,
    event_sender: mpsc::Sender<ReceivedEvent>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                let Ok((stream, _)) = accepted else { continue };
                let (signer, event_sender) = (Arc::clone(&signer), event_sender.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        receive_event(request, Arc::clone(&signer), event_sender.clone())
                    });
                    let result = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    // A failed connection is ignored, because the daemon resends unanswered events.
                    let _ = result.await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn receive_event(
    request: Request<Incoming>,
    signer: Arc<EventSigner>,
    event_sender: mpsc::Sender<ReceivedEvent>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else { return Ok(response) };
    let body = body.to_bytes();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let signature_good = header(WEBHOOK_TIMESTAMP)
        .and_then(|text| text.parse().ok())
        .zip(header(WEBHOOK_ID))
        .zip(header(WEBHOOK_SIGNATURE))
        .is_some_and(|((at, id), signature)| signer.verify_signature(id, at, &body, signature));
    if let Ok(event) = serde_json::from_slice(&body)
        && event_sender.send(ReceivedEvent { event, signature_good }).await.is_ok()
    {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    Ok(response)
}
