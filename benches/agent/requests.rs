//! `GET` of one inventory beside a constant answer from hyper.

use std::convert::Infallible;
use std::net::SocketAddr;
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

/// Answers everything with the same body, as fast as hyper can; returns where.
async fn constant(body: Bytes, tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
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
    address
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
    let mut tasks = JoinSet::new();
    let peer_at = constant(Bytes::from(body), &mut tasks).await;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        peer.push(rate(peer_at, Arc::clone(&path)).await);
        ours.push(rate(agent.address(), Arc::clone(&path)).await);
    }
    let median = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (ours, peer) = (median(ours), median(peer));
    println!("GET of one inventory beside a constant answer from hyper, {CONNECTIONS} connections");
    println!("    ours  {ours:.0}/s\n    peer  {peer:.0}/s (in this process)");
    println!("    ratio {:.3}; goal 0.7", ours / peer);
}
