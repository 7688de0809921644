//! A scripted management node: an HTTP receiver on loopback that records what it gets and answers as
//! told. It owns its tasks; dropped, it is gone.

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

/// How long a test waits for what must come; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) json: Value,
}

impl Received {
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

/// How one request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// With this status.
    Status(u16),
    /// With this status, header and body.
    Full(u16, (&'static str, String), &'static str),
    /// With 200 and this body.
    Says(String),
    /// Never.
    Never,
    /// With the head of a reply whose body never ends.
    Stalled(u16),
    /// With this status, once the gate has a permit left.
    Gated(u16, Arc<Semaphore>),
}

type Script = Box<dyn FnMut(&Received) -> Answer + Send>;

/// What all connections share.
struct Desk {
    script: Mutex<Script>,
    received: mpsc::UnboundedSender<Received>,
    beats: mpsc::UnboundedSender<Received>,
    /// How heartbeats are answered.
    beat: Mutex<Script>,
    open: AtomicUsize,
    peak: AtomicUsize,
}

/// The receiver.
pub(crate) struct ManagementNode {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    desk: Arc<Desk>,
    received: mpsc::UnboundedReceiver<Received>,
    /// Heartbeats, apart from all else.
    beats: mpsc::UnboundedReceiver<Received>,
    tasks: JoinSet<()>,
}

impl ManagementNode {
    /// Answers in this order, then 200.
    pub(crate) async fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: VecDeque<Answer> = answers.into_iter().collect();
        Self::scripted(move |_| answers.pop_front().unwrap_or(Answer::Status(200))).await
    }

    /// Answers as the script says.
    pub(crate) async fn scripted(script: impl FnMut(&Received) -> Answer + Send + 'static) -> Self {
        Self::start(Box::new(script), None).await
    }

    /// Answers 200 over TLS.
    pub(crate) async fn over_tls(config: rustls::ServerConfig) -> Self {
        let tls = TlsAcceptor::from(Arc::new(config));
        Self::start(Box::new(|_| Answer::Status(200)), Some(tls)).await
    }

    async fn start(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let (beating, beats) = mpsc::unbounded_channel();
        let beat: Mutex<Script> = Mutex::new(Box::new(|_| Answer::Status(200)));
        let (open, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let script = Mutex::new(script);
        let desk = Desk { script, received: sender, beats: beating, beat, open, peak };
        let desk = Arc::new(desk);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut node = Self { address, tls, desk, received, beats, tasks: JoinSet::new() };
        node.serve(listener);
        node
    }

    fn serve(&mut self, listener: TcpListener) {
        self.tasks.spawn(accept(listener, self.tls.clone(), Arc::clone(&self.desk)));
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}/events", self.address.port())
    }

    /// Changes the answers from now on.
    pub(crate) fn now_answering(&self, script: impl FnMut(&Received) -> Answer + Send + 'static) {
        *self.desk.script.lock().unwrap() = Box::new(script);
    }

    /// The next request that came.
    pub(crate) async fn next(&mut self) -> Received {
        let next = timeout(PATIENCE, self.received.recv()).await;
        next.expect("the management node was told nothing").unwrap()
    }

    /// The next heartbeat that came.
    pub(crate) async fn next_beat(&mut self) -> Received {
        let next = timeout(PATIENCE, self.beats.recv()).await;
        next.expect("the management node hears no heartbeat").unwrap()
    }

    /// Changes the answers to heartbeats from now on.
    pub(crate) fn answering_beats(&self, script: impl FnMut(&Received) -> Answer + Send + 'static) {
        *self.desk.beat.lock().unwrap() = Box::new(script);
    }

    /// What has come and was not asked for.
    pub(crate) fn unexpected(&mut self) -> Option<Received> {
        self.received.try_recv().ok()
    }

    /// The most requests that were open at once.
    pub(crate) fn peak(&self) -> usize {
        self.desk.peak.load(Ordering::SeqCst)
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

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, desk) = (tls.clone(), Arc::clone(&desk));
        connections.spawn(async move {
            match tls {
                None => talk(stream, desk).await,
                // A handshake that fails is the client's to report.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        talk(stream, desk).await;
                    }
                }
            }
        });
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, desk: Arc<Desk>) {
    let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&desk)));
    // A client that hangs up is part of the tests.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>, desk: Arc<Desk>) -> Result<Reply, hyper::Error> {
    let at = Instant::now();
    let headers = request.headers().clone();
    let body = request.into_body().collect().await?.to_bytes().to_vec();
    let json = serde_json::from_slice(&body).unwrap();
    let received = Received { at, headers, body, json };
    let open = desk.open.fetch_add(1, Ordering::SeqCst) + 1;
    desk.peak.fetch_max(open, Ordering::SeqCst);
    let _closed = Closed(Arc::clone(&desk));
    let beats = received.json["type"] == "backup-storage.heartbeat";
    let (script, sender) =
        if beats { (&desk.beat, &desk.beats) } else { (&desk.script, &desk.received) };
    let answer = (script.lock().unwrap())(&received);
    let _ = sender.send(received);
    Ok(match answer {
        Answer::Status(status) => reply(status, ""),
        Answer::Full(status, (name, value), body) => {
            let mut reply = reply(status, body);
            reply.headers_mut().insert(name, value.parse().unwrap());
            reply
        }
        Answer::Says(text) => Response::new(Full::from(text).boxed_unsync()),
        Answer::Never => std::future::pending().await,
        Answer::Stalled(status) => {
            let mut reply = Response::new(Endless(Some("no more follows")).boxed_unsync());
            *reply.status_mut() = status.try_into().unwrap();
            reply
        }
        Answer::Gated(status, gate) => {
            gate.acquire().await.unwrap().forget();
            reply(status, "")
        }
    })
}

fn reply(status: u16, body: &'static str) -> Reply {
    let mut reply = Response::new(Full::from(body).boxed_unsync());
    *reply.status_mut() = status.try_into().unwrap();
    reply
}

/// A body that begins and never goes on.
struct Endless(Option<&'static str>);

impl Body for Endless {
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

/// Counts a request as answered, or as hung up.
struct Closed(Arc<Desk>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
