//! HTTP receivers that take a request and give no answer in time, each in its own way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// The kind of silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It accepts connections and never answers.
    NeverAnswers,
    /// It answers with one byte a second.
    ByteASecond,
    /// It drops the packets of new connections.
    Blackhole,
}

/// A silent receiver on a free port of 127.0.0.1. It stops when dropped.
pub(crate) struct SilentReceiver {
    pub(crate) address: SocketAddr,
    open: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
    _listener: Option<TcpListener>,
    _queued: Vec<TcpStream>,
}

impl SilentReceiver {
    pub(crate) async fn start(silence: Silence) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let backlog = if silence == Silence::Blackhole { 1 } else { 1024 };
        let listener = socket.listen(backlog).unwrap();
        let mut receiver = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::default(),
            peak: Arc::default(),
            _tasks: JoinSet::new(),
            _listener: None,
            _queued: Vec::new(),
        };
        if silence == Silence::Blackhole {
            // The kernel drops the packets of new connections while the queue is full.
            let connect = || TcpStream::connect(receiver.address);
            while let Ok(queued) = timeout(Duration::from_millis(500), connect()).await {
                receiver._queued.push(queued.unwrap());
            }
            receiver._listener = Some(listener);
        } else {
            let (open, peak) = (Arc::clone(&receiver.open), Arc::clone(&receiver.peak));
            receiver._tasks.spawn(accept(listener, silence, open, peak));
        }
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/callback", self.address)
    }

    /// Returns the highest number of connections that were open at once.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    silence: Silence,
    open: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        peak.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let open = Arc::clone(&open);
        connections.spawn(async move {
            serve(tcp, silence).await;
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Reads until the client closes, and answers slowly or not at all.
async fn serve(mut tcp: TcpStream, silence: Silence) {
    let (mut reader, mut writer) = tcp.split();
    let reading = async {
        let mut buffer = [0; 4096];
        while matches!(reader.read(&mut buffer).await, Ok(1..)) {}
    };
    let answering = async {
        let mut seconds = interval(Duration::from_secs(1));
        let bytes = b"HTTP/1.1 200 OK\r\nserver: a very slow one with a long head\r\n".iter();
        for byte in bytes.take(if silence == Silence::ByteASecond { usize::MAX } else { 0 }) {
            seconds.tick().await;
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        () = reading => {}
        () = answering => {}
    }
}
