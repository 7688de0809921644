//! TCP peers that are no SSH server or a broken one.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// An identification line of OpenSSH.
pub(crate) const BANNER: &[u8] = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n";

/// The behaviour of a peer on each connection. Unless it closes, it then waits until the client
/// closes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    /// Sends nothing.
    Silent,
    /// Sends these bytes and nothing more.
    Says(&'static [u8]),
    /// Sends these bytes and closes at once.
    SaysAndCloses(&'static [u8]),
    /// Waits for the first bytes of the client, sends these bytes and closes, as an HTTP server
    /// does.
    AnswersAndCloses(&'static [u8]),
    /// Sends these bytes and resets the connection.
    SaysAndResets(&'static [u8]),
    /// Sends these bytes repeatedly.
    Repeats(&'static [u8]),
    /// Sends these bytes one at a time, with a pause before each.
    Drips(&'static [u8], Duration),
}

/// A scripted peer on a free port of 127.0.0.1. It stops when dropped.
#[derive(Debug)]
pub(crate) struct NonSshPeer {
    pub(crate) address: SocketAddr,
    opened: watch::Receiver<usize>,
    closed: watch::Receiver<usize>,
    _peer: JoinSet<()>,
}

impl NonSshPeer {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (opening, opened) = watch::channel(0);
        let (closing, closed) = watch::channel(0);
        let mut peer = JoinSet::new();
        peer.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                opening.send_modify(|opened| *opened += 1);
                let closing = closing.clone();
                connections.spawn(async move {
                    play(script, tcp).await;
                    closing.send_modify(|closed| *closed += 1);
                });
            }
        });
        Self { address, opened, closed, _peer: peer }
    }

    /// Returns the number of accepted connections.
    pub(crate) fn opened(&self) -> usize {
        *self.opened.borrow()
    }

    /// Waits until this number of connections were accepted.
    pub(crate) async fn until_opened(&mut self, count: usize) {
        self.opened.wait_for(|opened| *opened >= count).await.unwrap();
    }

    /// Waits until this number of connections were closed, by either side.
    pub(crate) async fn until_closed(&mut self, count: usize) {
        self.closed.wait_for(|closed| *closed >= count).await.unwrap();
    }
}

async fn play(script: Script, mut tcp: TcpStream) {
    tcp.set_nodelay(true).unwrap();
    // The client may close at any time, which ends the script.
    let _ = match script {
        Script::Silent => Ok(()),
        Script::Says(words) => tcp.write_all(words).await,
        Script::SaysAndCloses(words) => {
            let _ = tcp.write_all(words).await;
            return;
        }
        Script::AnswersAndCloses(words) => {
            let _ = tcp.read(&mut [0; 256]).await;
            let _ = tcp.write_all(words).await;
            return;
        }
        Script::SaysAndResets(words) => {
            let _ = tcp.write_all(words).await;
            let _ = tcp.read(&mut [0; 256]).await;
            tcp.set_zero_linger().unwrap();
            return;
        }
        Script::Repeats(words) => loop {
            if tcp.write_all(words).await.is_err() {
                return;
            }
        },
        Script::Drips(words, pause) => {
            for byte in words {
                tokio::time::sleep(pause).await;
                if tcp.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
            Ok(())
        }
    };
    while matches!(tcp.read(&mut [0; 4096]).await, Ok(read) if read > 0) {}
}
