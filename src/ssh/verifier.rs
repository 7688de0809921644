//! One login check from the hostname to the server's decision. It never starts a phase without its deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::common::IpAllowlist;
use crate::model::{
    Fault, HostEvidence, HostIdentity, HostKey, Reason, SshAddress, SshCredentials, UnverifiedHost,
};
use crate::settings;

use super::auth::method::Method;
use super::auth::private_key;
use super::auth::{self, Proofs};
use super::host::host_key::Expected;
use super::host::identity::{MarkerAt, Node, prove};
use super::host::local_keys::OwnKeys;
use super::phase::{Phase, Phases, timed};
use super::session::algorithms::Algorithms;
use super::session::disconnect::Disconnects;
use super::session::handshake::Session;
use super::session::host_key_negotiation::greet;
use super::session::host_limit::Gate;
use super::session::{dial, resolve};

/// A login to check.
#[derive(Clone, Debug)]
pub struct Login {
    /// Where the server is.
    pub address: SshAddress,
    /// Who logs in.
    pub username: String,
    /// With what.
    pub credentials: SshCredentials,
    /// The key that the server must have, if one is pinned.
    pub pinned: Option<HostKey>,
    /// Fingerprints given with the store, as `ssh-keygen -l` prints them: without a pinned key, the
    /// server must have the key of one of them.
    pub given_fingerprints: Vec<String>,
    /// What would show that the server is this node, where `ssh.prove_host` is on.
    pub asked: Asked,
}

/// What is asked of the host behind a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All that there is; the store's marker too, where it has one.
    Everything(Option<MarkerAt>),
    /// Nothing over SFTP: an earlier login has met this in its place, which is the answer again if the
    /// host key is no evidence either.
    HostKeyAlone(UnverifiedHost),
}

/// What a successful check has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The server's key, to be pinned where the policy pins.
    pub host_key: HostKey,
    /// The methods that the server took, in order; several when it wanted several.
    pub methods: Vec<Method>,
    /// The address that was dialled.
    pub peer: SocketAddr,
    /// Whether it is this node.
    pub proof: HostIdentity,
    /// How long each phase took.
    pub phases: Phases,
}

/// Checks logins by the rules of `[ssh]`. Cheap to clone; checks run side by side.
#[derive(Clone, Debug)]
pub struct Verifier {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    settings: settings::Ssh,
    allowed_targets: IpAllowlist,
    algorithms: Algorithms,
    /// Seats for keys that are being opened.
    opening: Arc<Semaphore>,
    gate: Gate,
    node: Node,
    disconnects: Disconnects,
}

impl Verifier {
    /// Takes over the settings. A name in `ssh.legacy` that is no algorithm of this build is warned
    /// of, and otherwise ignored.
    pub fn new(settings: &settings::Ssh) -> Self {
        let (algorithms, unknown) = Algorithms::new(&settings.legacy);
        if !unknown.is_empty() {
            tracing::warn!(?unknown, "ssh.legacy names algorithms that this build does not have");
        }
        let opening = Arc::new(Semaphore::new(private_key::AT_ONCE));
        Self {
            rules: Arc::new(Rules {
                settings: settings.clone(),
                allowed_targets: IpAllowlist::new(&settings.allowed_targets),
                algorithms,
                opening,
                gate: Gate::default(),
                node: Node::this(),
                disconnects: Disconnects::default(),
            }),
        }
    }

    /// Logs in. Ends by `deadline`. A disconnect is sent afterwards, for which nobody waits but
    /// [`Verifier::finish_disconnects`].
    ///
    /// # Errors
    /// A fault with one of the contract's SSH reasons, or `agent_busy` when too many encrypted keys are
    /// being opened, or other logins on the same host do not end. Facts: `host`, `port`, `phase`, `milliseconds`
    /// (spent in that phase), `address` (once one was dialled), and those of the reason. With
    /// `host_key_changed` and `host_key_unknown` the fact `offeredKey` holds the server's key, so that
    /// a person can accept it.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection and ends the task that russh runs it in. Three things
    /// end a little later on the runtime's blocking pool: a name lookup, the decryption of a key, and the
    /// reading of this node's own host keys.
    pub async fn verify(&self, login: &Login, deadline: Instant) -> Result<Verified, Fault> {
        let span = tracing::info_span!("ssh_check", address = %login.address);
        let checking = async {
            let outcome = self.check(login, deadline).await;
            if let Ok(Verified { methods, peer, phases, .. }) = &outcome {
                let methods = || methods.iter().map(|method| method.as_str()).collect::<Vec<_>>();
                tracing::debug!(%peer, methods = ?methods(), ?phases, "login verified");
            }
            outcome
        };
        checking.instrument(span).await.map_err(|fault| {
            fault
                .with_detail("host", login.address.hostname.as_str())
                .with_detail("port", login.address.port.get())
        })
    }

    /// Waits until the disconnects of all logins that have ended are sent, at most 255 ms. Later logins
    /// are checked as before.
    ///
    /// # Cancel safety
    /// The disconnects go on without this future.
    pub async fn finish_disconnects(&self) {
        self.rules.disconnects.finish().await;
    }

    async fn check(&self, login: &Login, deadline: Instant) -> Result<Verified, Fault> {
        let Rules { settings, allowed_targets, algorithms, gate, disconnects, .. } = &*self.rules;
        let within = |limit: Duration| deadline.min(Instant::now() + limit);
        let proofs = self.proofs(login, deadline).await?;

        let until = within(settings.resolve_timeout);
        let resolving = resolve::resolve(&login.address, allowed_targets, until);
        let (addresses, resolve) = timed(Phase::Resolve, resolving).await?;

        let seat = gate.enter(&addresses, deadline).await?;

        let dialling = dial::dial(&addresses, settings.connect_timeout, deadline);
        let ((tcp, peer), connect) = timed(Phase::Connect, dialling).await?;
        let at_peer = |fault: Fault| fault.with_detail("address", peer.ip().to_string());

        let expected = Expected {
            policy: settings.host_key_policy,
            pinned: login.pinned.clone(),
            given_fingerprints: login.given_fingerprints.clone(),
        };
        let until = within(settings.handshake_timeout);
        let greeting = greet(tcp, peer, algorithms, &expected, settings.connect_timeout, until);
        let (mut session, handshake) = timed(Phase::Handshake, greeting).await.map_err(at_peer)?;

        let conversing = async {
            let until = within(settings.auth_timeout);
            let logging_in = auth::log_in(&mut session, &proofs, until);
            let ((methods, authentication), own) =
                self.beside_own_keys(logging_in, deadline).await?;
            // The server has decided: what follows is no login.
            drop(seat);
            // russh does not end a key exchange of a new connection without a judgement of the key.
            let unjudged = || Fault::new(Reason::HostKeyUnknown, "the server showed no host key");
            let host_key = session.host_key().ok_or_else(unjudged)?;
            let proving = self.prove(&session, &host_key, own.as_ref(), &login.asked, deadline);
            let (proof, took) = timed(Phase::Proof, proving).await?;
            let phases = Phases { resolve, connect, handshake, authentication, proof: took };
            Ok(Verified { host_key, methods, peer, proof, phases })
        };
        let outcome = conversing.await.map_err(at_peer);
        disconnects.schedule(session);
        outcome
    }

    /// Logs in, and reads this node's own host keys meanwhile, where they will be asked for.
    async fn beside_own_keys<T>(
        &self,
        logging_in: impl Future<Output = Result<T, Fault>>,
        deadline: Instant,
    ) -> Result<((T, Duration), Option<OwnKeys>), Fault> {
        let logging_in = timed(Phase::Authentication, logging_in);
        if !self.rules.settings.prove_host {
            return Ok((logging_in.await?, None));
        }
        // A directory that hangs is none of the login's: without its keys there is other evidence.
        let reading = timeout_at(deadline, OwnKeys::read());
        let (logged_in, own) = tokio::join!(logging_in, reading);
        Ok((logged_in?, Some(own.unwrap_or_default())))
    }

    async fn prove(
        &self,
        session: &Session,
        key: &HostKey,
        own: Option<&OwnKeys>,
        asked: &Asked,
        deadline: Instant,
    ) -> Result<HostIdentity, Fault> {
        match (own, asked) {
            (None, _) => Ok(HostIdentity::NotAsked),
            (Some(own), Asked::Everything(marker)) => {
                prove(session, key, own, &self.rules.node, marker.as_ref(), deadline).await
            }
            (Some(own), Asked::HostKeyAlone(_)) if own.have(key) => {
                Ok(HostIdentity::newly_shown(HostEvidence::HostKey))
            }
            (Some(_), Asked::HostKeyAlone(earlier)) => {
                Ok(HostIdentity::Unavailable(earlier.clone()))
            }
        }
    }

    /// What the login proves itself with. Read before anything is dialled: a key that is of no use
    /// needs no server to say so.
    async fn proofs<'a>(&self, login: &'a Login, deadline: Instant) -> Result<Proofs<'a>, Fault> {
        let SshCredentials { password, private_key, passphrase } = &login.credentials;
        if login.credentials.is_empty() {
            let details = "the store has neither a password nor a private key";
            return Err(Fault::new(Reason::MethodNotOffered, details));
        }
        let key = match private_key {
            Some(text) => {
                let opening = &self.rules.opening;
                let parsing = private_key::parse(text, passphrase.as_ref(), opening, deadline);
                Some(timed(Phase::Key, parsing).await?.0)
            }
            None => None,
        };
        Ok(Proofs {
            username: &login.username,
            key,
            password: password.as_ref(),
            rsa_sha1: self.rules.algorithms.rsa_sha1(),
        })
    }
}
