//! Compares a `GET` of one inventory with a constant response from hyper.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::agent::{Agent, TOKEN};

const CONNECTIONS: usize = 8;
const TURN: Duration = Duration::from_millis(700);
const TURNS: usize = 7;

/// Argument that turns this program into the peer, which is a process of its own as the daemon is.
pub(crate) const PEER: &str = "constant-peer";
const BODY: &str = "BENCH_BODY";

/// Answers every request with the same body, as fast as hyper can and on as many threads as the
/// daemon. Prints its address.
pub(crate) fn be_the_peer() {
    let body = Bytes::from(std::env::var(BODY).unwrap());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let body = body.clone();
            connections.spawn(async move {
                let answer = service_fn(move |_| {
                    let body = body.clone();
                    async { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer);
                let _ = served.await;
            });
        }
    });
}

/// A running peer; killed when dropped.
pub(crate) struct Peer {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Peer {
    pub(crate) fn start(body: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(PEER)
            .env(BODY, body)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Placeholder of a header value that differs in each request.
const ONE_EACH: &str = "?";

/// A request that the bench sends repeatedly.
struct RequestTemplate {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// Opens a connection, which stays open while its driver task is kept.
pub(crate) async fn connected(
    address: SocketAddr,
) -> (SendRequest<Full<Bytes>>, JoinSet<hyper::Result<()>>) {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    (sender, driver)
}

/// Returns the number of requests per second over kept-alive connections.
async fn rate(address: SocketAddr, template: Arc<RequestTemplate>) -> f64 {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CONNECTIONS {
        let template = Arc::clone(&template);
        clients.spawn(async move {
            let (mut sender, _driver) = connected(address).await;
            let (mut made, mut answered) = (0_u32, 0_u32);
            while begun.elapsed() < TURN {
                let mut request = Request::builder().method(&template.method).uri(&template.path);
                request = request.header("host", address.to_string());
                for (name, value) in &template.headers {
                    request = match value.as_str() {
                        ONE_EACH => request.header(*name, format!("{client}-{made}")),
                        value => request.header(*name, value),
                    };
                }
                made += 1;
                let request = request.body(Full::new(template.body.clone())).unwrap();
                let response = sender.send_request(request).await.unwrap();
                let status = response.status();
                response.into_body().collect().await.unwrap();
                // The daemon rejects a call while its queue of replies is full; the bench repeats
                // such a call.
                assert!(status == 200 || status == 503, "{status}");
                answered += u32::from(status == 200);
            }
            answered
        });
    }
    let mut answered = 0;
    while let Some(one) = clients.join_next().await {
        answered += one.unwrap();
    }
    f64::from(answered) / begun.elapsed().as_secs_f64()
}

pub(crate) async fn inventory_beside_a_constant(agent: &Agent, store: &str) {
    let path = format!("/zstack/v1/backup-storage/image-store/{store}");
    let body = agent.http().send_request(Method::GET, &path, None).await.unwrap().body.to_string();
    let headers = vec![("authorization", format!("OAuth {TOKEN}"))];
    let template = RequestTemplate { method: Method::GET, path, headers, body: Bytes::new() };
    beside_a_constant("GET of one inventory", agent, template, &body, "goal 0.7").await;
}

/// Measures the calls of the agent protocol that a management node sends most often.
pub(crate) async fn agent_calls_beside_a_constant(agent: &Agent, store: &str) {
    let receiver = Peer::start("");
    let body = Bytes::from(format!("{{\"uuid\":\"{store}\"}}"));
    let json = ("content-type", "application/json".to_owned());
    let path = "/imagestore/echo".to_owned();
    let headers = vec![json.clone()];
    let echo = RequestTemplate { method: Method::POST, path, headers, body: Bytes::new() };
    beside_a_constant("echo", agent, echo, "", "no goal").await;
    let url = format!("http://{}/zstack/asyncrest/callback", receiver.address);
    let headers = vec![json, ("taskuuid", ONE_EACH.to_owned()), ("callbackurl", url)];
    let path = "/imagestore/ping".to_owned();
    let ping = RequestTemplate { method: Method::POST, path, headers, body };
    beside_a_constant("ping, its answer posted", agent, ping, "", "no goal").await;
}

async fn beside_a_constant(
    what: &str,
    agent: &Agent,
    template: RequestTemplate,
    body: &str,
    goal: &str,
) {
    let constant = Peer::start(body);
    let template = Arc::new(template);
    let (mut agent_times, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        peer.push(rate(constant.address, Arc::clone(&template)).await);
        agent_times.push(rate(agent.address(), Arc::clone(&template)).await);
    }
    let median = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (agent_times, peer) = (median(agent_times), median(peer));
    println!("{what} beside a constant answer from hyper, {CONNECTIONS} connections");
    println!("    agent {agent_times:.0}/s\n    peer  {peer:.0}/s");
    println!("    ratio {:.3}; {goal}", agent_times / peer);
}
