//! A scripted management node: an HTTP receiver on loopback that records each request and answers
//! by a script. It owns its tasks and stops when dropped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::api_description::check_event;

/// Maximum wait of a test for a request; reaching it is a failure.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    /// The method and the target.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The body, or null if it is empty.
    pub(crate) json: Value,
}

impl Received {
    /// Compares the event with the description of the API.
    fn checked(self) -> Self {
        check_event(&self.headers, &self.json);
        self
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn store(&self) -> &str {
        self.json["subject"].as_str().unwrap()
    }

    pub(crate) fn seq(&self) -> u64 {
        self.json["data"]["seq"].as_u64().unwrap()
    }
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This status.
    Status(u16),
    /// This status, header and body.
    Full(u16, (&'static str, String), &'static str),
    /// The status 200 and this body.
    Body(String),
    /// No answer.
    Never,
    /// The head of a response whose body never ends.
    Stalled(u16),
    /// The status 200 and this body, after the semaphore has given a permit.
    BodyAfterPermit(String, Arc<Semaphore>),
    /// This status, after the semaphore has given a permit.
    AfterPermit(u16, Arc<Semaphore>),
}

type Script = Box<dyn FnMut(&Received) -> Answer + Send>;

/// The state that all connections share.
struct SharedState {
    script: Mutex<Script>,
    received: mpsc::UnboundedSender<Received>,
    heartbeats: mpsc::UnboundedSender<Received>,
    /// Answers to heartbeats.
    heartbeat_script: Mutex<Script>,
    open: AtomicUsize,
    peak: AtomicUsize,
}

/// The receiver.
pub(crate) struct ManagementNode {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    state: Arc<SharedState>,
    received: mpsc::UnboundedReceiver<Received>,
    /// Heartbeats, separate from all other events.
    heartbeats: mpsc::UnboundedReceiver<Received>,
    tasks: JoinSet<()>,
}

impl ManagementNode {
    /// Starts a node that gives these answers in order, then 200.
    pub(crate) async fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: VecDeque<Answer> = answers.into_iter().collect();
        Self::scripted(move |_| answers.pop_front().unwrap_or(Answer::Status(200))).await
    }

    /// Starts a node that answers by a script.
    pub(crate) async fn scripted(script: impl FnMut(&Received) -> Answer + Send + 'static) -> Self {
        Self::start(Box::new(script), None).await
    }

    /// Starts a node that answers 200 over TLS.
    pub(crate) async fn over_tls(config: rustls::ServerConfig) -> Self {
        Self::scripted_over_tls(|_| Answer::Status(200), config).await
    }

    /// Starts a node that answers by a script over TLS.
    pub(crate) async fn scripted_over_tls(
        script: impl FnMut(&Received) -> Answer + Send + 'static,
        config: rustls::ServerConfig,
    ) -> Self {
        let tls = TlsAcceptor::from(Arc::new(config));
        Self::start(Box::new(script), Some(tls)).await
    }

    async fn start(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let (heartbeat_sender, heartbeats) = mpsc::unbounded_channel();
        let heartbeat_script: Mutex<Script> = Mutex::new(Box::new(|_| Answer::Status(200)));
        let (open, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let script = Mutex::new(script);
        let state = SharedState {
            script,
            received: sender,
            heartbeats: heartbeat_sender,
            heartbeat_script,
            open,
            peak,
        };
        let state = Arc::new(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut node = Self { address, tls, state, received, heartbeats, tasks: JoinSet::new() };
        node.serve(listener);
        node
    }

    fn serve(&mut self, listener: TcpListener) {
        self.tasks.spawn(accept(listener, self.tls.clone(), Arc::clone(&self.state)));
    }

    pub(crate) fn url(&self) -> String {
        self.url_of("/events")
    }

    /// Returns the URL of a path.
    pub(crate) fn url_of(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    /// Sets the script for later requests.
    pub(crate) fn set_script(&self, script: impl FnMut(&Received) -> Answer + Send + 'static) {
        *self.state.script.lock().unwrap() = Box::new(script);
    }

    /// Waits for the next request that is no heartbeat.
    pub(crate) async fn next(&mut self) -> Received {
        let next = timeout(TEST_TIMEOUT, self.received.recv()).await;
        next.expect("the management node received no event").unwrap().checked()
    }

    /// Waits for the next heartbeat.
    pub(crate) async fn next_heartbeat(&mut self) -> Received {
        let next = timeout(TEST_TIMEOUT, self.heartbeats.recv()).await;
        next.expect("the management node received no heartbeat").unwrap().checked()
    }

    /// Sets the script for later heartbeats.
    pub(crate) fn set_heartbeat_script(
        &self,
        script: impl FnMut(&Received) -> Answer + Send + 'static,
    ) {
        *self.state.heartbeat_script.lock().unwrap() = Box::new(script);
    }

    /// Returns the next request if there is one already.
    pub(crate) fn try_next(&mut self) -> Option<Received> {
        self.received.try_recv().ok().map(Received::checked)
    }

    /// Returns the highest number of requests that were open at once.
    pub(crate) fn peak(&self) -> usize {
        self.state.peak.load(Ordering::SeqCst)
    }

    /// Closes the port and every connection.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Opens the same port again.
    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<SharedState>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                None => serve_connection(stream, state).await,
                // The client reports a failed handshake.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve_connection(stream, state).await;
                    }
                }
            }
        });
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    state: Arc<SharedState>,
) {
    let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&state)));
    // Some tests close the connection, so an error is no failure.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    state: Arc<SharedState>,
) -> Result<Reply, hyper::Error> {
    let at = Instant::now();
    let line = format!("{} {}", request.method(), request.uri());
    let headers = request.headers().clone();
    let body = request.into_body().collect().await?.to_bytes().to_vec();
    let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let received = Received { at, line, headers, body, json };
    let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
    state.peak.fetch_max(open, Ordering::SeqCst);
    let _closed = OpenRequestGuard(Arc::clone(&state));
    let heartbeats = received.json["type"] == "backup-storage.heartbeat";
    let (script, sender) = if heartbeats {
        (&state.heartbeat_script, &state.heartbeats)
    } else {
        (&state.script, &state.received)
    };
    let answer = (script.lock().unwrap())(&received);
    let _ = sender.send(received);
    Ok(match answer {
        Answer::Status(status) => reply(status, ""),
        Answer::Full(status, (name, value), body) => {
            let mut reply = reply(status, body);
            reply.headers_mut().insert(name, value.parse().unwrap());
            reply
        }
        Answer::Body(text) => Response::new(Full::from(text).boxed_unsync()),
        Answer::Never => std::future::pending().await,
        Answer::Stalled(status) => {
            let mut reply = Response::new(EndlessBody(Some("no more follows")).boxed_unsync());
            *reply.status_mut() = status.try_into().unwrap();
            reply
        }
        Answer::BodyAfterPermit(text, permits) => {
            permits.acquire().await.unwrap().forget();
            Response::new(Full::from(text).boxed_unsync())
        }
        Answer::AfterPermit(status, permits) => {
            permits.acquire().await.unwrap().forget();
            reply(status, "")
        }
    })
}

fn reply(status: u16, body: &'static str) -> Reply {
    let mut reply = Response::new(Full::from(body).boxed_unsync());
    *reply.status_mut() = status.try_into().unwrap();
    reply
}

/// A body of one frame that never ends.
struct EndlessBody(Option<&'static str>);

impl Body for EndlessBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(text) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))),
            None => Poll::Pending,
        }
    }
}

/// Counts a request as open until dropped.
struct OpenRequestGuard(Arc<SharedState>);

impl Drop for OpenRequestGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
