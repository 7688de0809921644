//! A proxy that corrupts every packet of a server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A proxy on a free port of 127.0.0.1 that flips a bit in the last byte of each read from the
/// server. In a plain packet that byte is padding, which nobody reads (RFC 4253 section 6); in an
/// encrypted one it belongs to the authentication tag. It stops when dropped.
#[derive(Debug)]
pub(crate) struct CorruptingProxy {
    pub(crate) address: SocketAddr,
    _proxy: JoinSet<()>,
}

impl CorruptingProxy {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut proxy = JoinSet::new();
        proxy.spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let there = async { tokio::io::copy(&mut from_client, &mut to_server).await };
            let back = async {
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
                    let sent = &mut bytes[..read];
                    // The identification line of the server stays as it is.
                    if !sent.ends_with(b"\n") {
                        sent[read - 1] ^= 1;
                    }
                    if to_client.write_all(sent).await.is_err() {
                        break;
                    }
                }
            };
            // The proxy ends when either direction ends.
            tokio::select! {
                _ = there => {}
                () = back => {}
            }
        });
        Self { address, _proxy: proxy }
    }
}
