//! Compares a scrape of the metrics with one of node_exporter, by the number of stores.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::figures;
use crate::support::agent::{Agent, TOKEN};
use crate::support::many_stores::{RARE_PROBES, fill_ledger};
use crate::support::wait::until;

const STORES: [u128; 3] = [8, 100, 1000];
const ROUNDS: usize = 51;

/// Scrapes over a new connection, as a scraper does whose interval is longer than the time that a
/// connection is kept. Returns the length of the body.
pub(crate) async fn scrape(address: std::net::SocketAddr) -> usize {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /metrics HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Accept: text/plain;version=0.0.4\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    assert!(response.starts_with(b"HTTP/1.0 200") || response.starts_with(b"HTTP/1.1 200"));
    let head = response.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    response.len() - head
}

pub(crate) async fn scrape_beside_node_exporter() {
    let peer = NodeExporter::start().await;
    println!("scrape over a new connection, as text 0.0.4");
    for stores in STORES {
        let root = tempfile::tempdir().unwrap();
        let mut agent = Agent::installed(root.path(), RARE_PROBES);
        fill_ledger(&agent, 1..=stores).await;
        agent.start();
        let (mut own, mut others) = (Vec::new(), Vec::new());
        let (mut bytes, mut other_bytes) = (0, 0);
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            bytes = scrape(agent.address()).await;
            own.push(begun.elapsed());
            if let Some(peer) = &peer {
                let begun = Instant::now();
                other_bytes = scrape(peer.address).await;
                others.push(begun.elapsed());
            }
        }
        let (low, median, high) = figures::spread(own);
        println!("    {stores} stores       {median:?} ({low:?} to {high:?}), {bytes} bytes");
        if peer.is_some() {
            let (low, median, high) = figures::spread(others);
            println!("    node_exporter  {median:?} ({low:?} to {high:?}), {other_bytes} bytes");
        }
    }
}

/// A running node_exporter; killed when dropped.
struct NodeExporter {
    child: Child,
    address: std::net::SocketAddr,
}

impl NodeExporter {
    /// Starts the program of the variable `BENCH_NODE_EXPORTER`, or none without it.
    async fn start() -> Option<Self> {
        let program = std::env::var_os("BENCH_NODE_EXPORTER").map(PathBuf::from);
        let Some(program) = program.filter(|program| program.exists()) else {
            println!("no peer: BENCH_NODE_EXPORTER names no program");
            return None;
        };
        // The port is free again once the listener is dropped.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let child = Command::new(program)
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("node_exporter listens", async || TcpStream::connect(address).await.is_ok()).await;
        Some(Self { child, address })
    }
}

impl Drop for NodeExporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
