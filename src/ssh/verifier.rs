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

use super::auth::method::AuthMethod;
use super::auth::private_key;
use super::auth::{self, AuthMaterial};
use super::host::identity::{LocalHost, MarkerLocation, verify_same_host};
use super::host::local_keys::LocalHostKeys;
use super::phase::{LoginPhase, PhaseDurations, time_phase};
use super::session::algorithms::SshAlgorithms;
use super::session::disconnect::PendingDisconnects;
use super::session::handshake::SshSession;
use super::session::host_key::HostKeyCheck;
use super::session::host_key_negotiation::connect_with_known_key;
use super::session::host_limit::PerHostLimiter;
use super::session::{dial, resolve};

/// A login to check.
#[derive(Clone, Debug)]
pub struct LoginRequest {
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
    pub asked: EvidenceWanted,
}

/// What is asked of the host behind a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidenceWanted {
    /// All that there is; the store's marker too, where it has one.
    Full(Option<MarkerLocation>),
    /// Nothing over SFTP: an earlier login has met this in its place, which is the answer again if the
    /// host key is no evidence either.
    HostKeyOnly(UnverifiedHost),
}

/// What a successful check has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLogin {
    /// The server's key, to be pinned where the policy pins.
    pub host_key: HostKey,
    /// The methods that the server took, in order; several when it wanted several.
    pub methods: Vec<AuthMethod>,
    /// The address that was dialled.
    pub peer: SocketAddr,
    /// Whether it is this node.
    pub proof: HostIdentity,
    /// How long each phase took.
    pub phases: PhaseDurations,
}

/// Checks logins by the rules of `[ssh]`. Cheap to clone; checks run side by side.
#[derive(Clone, Debug)]
pub struct Verifier {
    rules: Arc<VerifierInner>,
}

#[derive(Debug)]
struct VerifierInner {
    settings: settings::SshSettings,
    allowed_targets: IpAllowlist,
    algorithms: SshAlgorithms,
    /// Seats for keys that are being opened.
    opening: Arc<Semaphore>,
    gate: PerHostLimiter,
    node: LocalHost,
    disconnects: PendingDisconnects,
}

impl Verifier {
    /// Takes over the settings. A name in `ssh.legacy` that is no algorithm of this build is warned
    /// of, and otherwise ignored.
    pub fn new(settings: &settings::SshSettings) -> Self {
        let (algorithms, unknown) = SshAlgorithms::new(&settings.legacy);
        if !unknown.is_empty() {
            tracing::warn!(?unknown, "ssh.legacy names algorithms that this build does not have");
        }
        let opening = Arc::new(Semaphore::new(private_key::MAX_CONCURRENT_OPENINGS));
        Self {
            rules: Arc::new(VerifierInner {
                settings: settings.clone(),
                allowed_targets: IpAllowlist::new(&settings.allowed_targets),
                algorithms,
                opening,
                gate: PerHostLimiter::default(),
                node: LocalHost::this_host(),
                disconnects: PendingDisconnects::default(),
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
    pub async fn verify(
        &self,
        login: &LoginRequest,
        deadline: Instant,
    ) -> Result<VerifiedLogin, Fault> {
        let span = tracing::info_span!("ssh_check", address = %login.address);
        let checking = async {
            let outcome = self.check_login(login, deadline).await;
            if let Ok(VerifiedLogin { methods, peer, phases, .. }) = &outcome {
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
        self.rules.disconnects.finish_all().await;
    }

    async fn check_login(
        &self,
        login: &LoginRequest,
        deadline: Instant,
    ) -> Result<VerifiedLogin, Fault> {
        let VerifierInner { settings, allowed_targets, algorithms, gate, disconnects, .. } =
            &*self.rules;
        let within = |limit: Duration| deadline.min(Instant::now() + limit);
        let proofs = self.auth_material(login, deadline).await?;

        let until = within(settings.resolve_timeout);
        let resolving = resolve::resolve_address(&login.address, allowed_targets, until);
        let (addresses, resolve) = time_phase(LoginPhase::Resolve, resolving).await?;

        let seat = gate.acquire(&addresses, deadline).await?;

        let dialling = dial::dial(&addresses, settings.connect_timeout, deadline);
        let ((tcp, peer), connect) = time_phase(LoginPhase::Connect, dialling).await?;
        let at_peer = |fault: Fault| fault.with_detail("address", peer.ip().to_string());

        let expected = HostKeyCheck {
            policy: settings.host_key_policy,
            pinned: login.pinned.clone(),
            given_fingerprints: login.given_fingerprints.clone(),
        };
        let until = within(settings.handshake_timeout);
        let greeting = connect_with_known_key(
            tcp,
            peer,
            algorithms,
            &expected,
            settings.connect_timeout,
            until,
        );
        let (mut session, handshake) =
            time_phase(LoginPhase::Handshake, greeting).await.map_err(at_peer)?;

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
            let proving =
                self.verify_host(&session, &host_key, own.as_ref(), &login.asked, deadline);
            let (proof, took) = time_phase(LoginPhase::Proof, proving).await?;
            let phases =
                PhaseDurations { resolve, connect, handshake, authentication, proof: took };
            Ok(VerifiedLogin { host_key, methods, peer, proof, phases })
        };
        let outcome = conversing.await.map_err(at_peer);
        disconnects.schedule_disconnect(session);
        outcome
    }

    /// Logs in, and reads this node's own host keys meanwhile, where they will be asked for.
    async fn beside_own_keys<T>(
        &self,
        logging_in: impl Future<Output = Result<T, Fault>>,
        deadline: Instant,
    ) -> Result<((T, Duration), Option<LocalHostKeys>), Fault> {
        let logging_in = time_phase(LoginPhase::Authentication, logging_in);
        if !self.rules.settings.prove_host {
            return Ok((logging_in.await?, None));
        }
        // A directory that hangs is none of the login's: without its keys there is other evidence.
        let reading = timeout_at(deadline, LocalHostKeys::read_all());
        let (logged_in, own) = tokio::join!(logging_in, reading);
        Ok((logged_in?, Some(own.unwrap_or_default())))
    }

    async fn verify_host(
        &self,
        session: &SshSession,
        key: &HostKey,
        own: Option<&LocalHostKeys>,
        asked: &EvidenceWanted,
        deadline: Instant,
    ) -> Result<HostIdentity, Fault> {
        match (own, asked) {
            (None, _) => Ok(HostIdentity::NotAsked),
            (Some(own), EvidenceWanted::Full(marker)) => {
                verify_same_host(session, key, own, &self.rules.node, marker.as_ref(), deadline)
                    .await
            }
            (Some(own), EvidenceWanted::HostKeyOnly(_)) if own.contains(key) => {
                Ok(HostIdentity::newly_shown(HostEvidence::HostKey))
            }
            (Some(_), EvidenceWanted::HostKeyOnly(earlier)) => {
                Ok(HostIdentity::Unavailable(earlier.clone()))
            }
        }
    }

    /// What the login proves itself with. Read before anything is dialled: a key that is of no use
    /// needs no server to say so.
    async fn auth_material<'a>(
        &self,
        login: &'a LoginRequest,
        deadline: Instant,
    ) -> Result<AuthMaterial<'a>, Fault> {
        let SshCredentials { password, private_key, passphrase } = &login.credentials;
        if login.credentials.is_empty() {
            let details = "the store has neither a password nor a private key";
            return Err(Fault::new(Reason::MethodNotOffered, details));
        }
        let key = match private_key {
            Some(text) => {
                let opening = &self.rules.opening;
                let parsing = private_key::parse_key(text, passphrase.as_ref(), opening, deadline);
                Some(time_phase(LoginPhase::Key, parsing).await?.0)
            }
            None => None,
        };
        Ok(AuthMaterial {
            username: &login.username,
            key,
            password: password.as_ref(),
            rsa_sha1: self.rules.algorithms.rsa_sha1(),
        })
    }
}
