//! A way to a server on which every packet arrives spoilt.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A proxy on a free port of 127.0.0.1 that turns a bit in the last byte of whatever the server sends
/// at once. In the clear that is padding, which nobody looks at (RFC 4253 section 6); under a key it is
/// the authentication tag. It ends when dropped.
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
                    // The server's name ends with its line.
                    if !sent.ends_with(b"\n") {
                        sent[read - 1] ^= 1;
                    }
                    if to_client.write_all(sent).await.is_err() {
                        break;
                    }
                }
            };
            // Over when either side is.
            tokio::select! {
                _ = there => {}
                () = back => {}
            }
        });
        Self { address, _proxy: proxy }
    }
}
