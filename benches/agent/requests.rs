//! `GET` of one inventory beside a constant answer from hyper.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::agent::{Agent, TOKEN};

const CONNECTIONS: usize = 8;
const TURN: Duration = Duration::from_millis(700);
const TURNS: usize = 7;

/// The word that makes this program the peer: a process of its own, as the daemon is.
pub(crate) const PEER: &str = "constant-peer";
const BODY: &str = "BENCH_BODY";

/// Answers everything with the same body, as fast as hyper can, on as many threads as the daemon has;
/// prints where.
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

/// A running peer; ended when dropped.
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

/// Requests answered per second over kept connections.
async fn rate(address: SocketAddr, path: Arc<str>) -> f64 {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let path = Arc::clone(&path);
        clients.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            let mut driver = JoinSet::new();
            driver.spawn(connection);
            let mut answered = 0_u32;
            while begun.elapsed() < TURN {
                let request = Request::get(&*path)
                    .header("host", address.to_string())
                    .header("authorization", format!("OAuth {TOKEN}"))
                    .body(Full::<Bytes>::default())
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap();
                answered += 1;
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
    let path: Arc<str> = format!("/zstack/v1/backup-storage/image-store/{store}").into();
    let body = agent.http().ask(hyper::Method::GET, &path, None).await.unwrap().body.to_string();
    let constant = Peer::start(&body);
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        peer.push(rate(constant.address, Arc::clone(&path)).await);
        ours.push(rate(agent.address(), Arc::clone(&path)).await);
    }
    let median = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (ours, peer) = (median(ours), median(peer));
    println!("GET of one inventory beside a constant answer from hyper, {CONNECTIONS} connections");
    println!("    ours  {ours:.0}/s\n    peer  {peer:.0}/s");
    println!("    ratio {:.3}; goal 0.7", ours / peer);
}
