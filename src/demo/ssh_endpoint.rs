//! The SSH server of the demo: it listens on loopback and has one user. The key exchange and the
//! authentication are real, but it offers no service.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{self, Auth};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::model::Secret;

/// Maximum number of concurrent sessions. The demo makes one login at a time.
const MAX_SESSIONS: usize = 8;

/// The only account that may log in.
#[derive(Clone, Debug)]
pub(super) struct DemoAccount {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// A listening endpoint. Dropping it stops it and its sessions.
#[derive(Debug)]
pub(super) struct SshEndpoint {
    pub(super) address: SocketAddr,
    /// SHA-256 fingerprint of its host key.
    pub(super) fingerprint: String,
    _accepting: JoinSet<()>,
}

impl SshEndpoint {
    /// Starts listening on a free port of 127.0.0.1 with a host key derived from `seed`.
    pub(super) async fn start(account: DemoAccount, seed: Zeroizing<[u8; 32]>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let config = Arc::new(server::Config {
            keys: vec![key],
            auth_rejection_time: Duration::from_millis(100),
            auth_rejection_time_initial: Some(Duration::ZERO),
            inactivity_timeout: Some(Duration::from_secs(10)),
            nodelay: true,
            ..server::Config::default()
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_connections(listener, config, Arc::new(account)));
        Ok(Self { address, fingerprint, _accepting: accepting })
    }
}

async fn accept_connections(
    listener: TcpListener,
    config: Arc<server::Config>,
    account: Arc<DemoAccount>,
) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if sessions.len() < MAX_SESSIONS => {
                let Ok((stream, _)) = accepted else { continue };
                let (config, login) = (Arc::clone(&config), DemoLogin(Arc::clone(&account)));
                sessions.spawn(async move {
                    if let Ok(session) = server::run_stream(config, stream, login).await {
                        // The result does not matter: every end of a session is normal here.
                        let _ = session.await;
                    }
                });
            }
            Some(_) = sessions.join_next() => {}
        }
    }
}

struct DemoLogin(Arc<DemoAccount>);

impl server::Handler for DemoLogin {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        if user == self.0.user && password == self.0.password.expose_secret() {
            return Ok(Auth::Accept);
        }
        Ok(Auth::reject())
    }
}
