//! TLS on the TCP listeners: the server certificate, and the authentication of clients by
//! certificate.
//!
//! `server.tls.clients_file` names the clients that need no token, one `name[:role]` per line. The
//! name is a DNS name or an IP address that the certificate is valid for (RFC 5280 subjectAltName,
//! compared as in RFC 6125). The default role is `operate`.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::admission::tarpit::EvictableStream;
use super::auth::{CallerKind, Principal, Role};
use super::server::connection::shutdown_grace_elapsed;
use crate::common::parse_lines;
use crate::diagnosis::CertificateFact;
use crate::settings;
use crate::settings::{FilePolicy, FilePurpose, SettingFault, SettingsError, read_text};
use crate::tls::server_config;

const CLIENTS_KEY: &str = "server.tls.clients_file";

/// The TLS configuration and the client rules for new connections.
pub struct TlsListenerConfig {
    config: Arc<rustls::ServerConfig>,
    clients: ClientCertRules,
    certificate: Option<CertificateFact>,
}

/// The certificate of a client, and the current client rules. The rules are checked with each
/// request. A name that is removed from the file therefore loses access also on an open connection.
#[derive(Clone)]
pub(crate) struct ClientCertificate {
    certificate: CertificateDer<'static>,
    tls: watch::Receiver<Arc<TlsListenerConfig>>,
}

impl ClientCertificate {
    /// Returns the caller that the certificate belongs to, or `None` if no rule matches.
    pub(crate) fn caller(&self) -> Option<Principal> {
        self.tls.borrow().caller(&self.certificate)
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

impl fmt::Debug for TlsListenerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsListenerConfig({} clients)", self.clients.len())
    }
}

impl TlsListenerConfig {
    /// Reads the certificates, the key and the client rules. It blocks on the files, so call it
    /// before the runtime starts or on a separate thread.
    ///
    /// # Errors
    /// [`SettingsError`] contains every fault of every file.
    pub fn load(
        settings: &settings::TlsSettings,
        policy: &FilePolicy,
    ) -> Result<Self, SettingsError> {
        let mut faults = Vec::new();
        let config = SettingsError::gather(server_config(settings, policy), &mut faults);
        let clients = match &settings.clients_file {
            Some(path) => load_client_rules(path, policy),
            None => Ok(Vec::new()),
        };
        let clients = SettingsError::gather(clients, &mut faults);
        match (config, clients) {
            (Some((config, certificate)), Some(clients)) => {
                Ok(Self { config: Arc::new(config), clients, certificate })
            }
            _ => Err(SettingsError::new(faults)),
        }
    }

    /// Returns the certificate of the server, or `None` if it is not of the form of X.509.
    pub(super) fn certificate(&self) -> Option<&CertificateFact> {
        self.certificate.as_ref()
    }

    /// Returns the caller of the first rule that matches the certificate, or `None` if no rule
    /// matches. The handshake has already verified the certificate.
    fn caller(&self, certificate: &CertificateDer<'_>) -> Option<Principal> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let is_valid_for = |name: &ServerName<'_>| verify_server_name(&parsed, name).is_ok();
        self.clients.iter().find(|(name, _)| is_valid_for(name)).map(|(_, caller)| caller.clone())
    }
}

/// Performs the TLS handshake and returns the stream and the certificate of the client, if it has
/// presented one. The handshake uses the current configuration.
///
/// Returns `None` if the handshake fails, takes longer than `limit`, or is incomplete when the
/// grace period after `stop` ends.
pub(super) async fn accept_tls(
    tls: watch::Receiver<Arc<TlsListenerConfig>>,
    tcp: EvictableStream,
    address: SocketAddr,
    limit: Duration,
    stop: &CancellationToken,
) -> Option<(TlsStream<EvictableStream>, Option<ClientCertificate>)> {
    let config = Arc::clone(&tls.borrow().config);
    let handshake = TlsAcceptor::from(config).accept(tcp);
    let result = tokio::select! {
        biased;
        result = timeout(limit, handshake) => result,
        () = shutdown_grace_elapsed(stop) => return None,
    };
    let why = match result {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certificate = certificate.map(|certificate| ClientCertificate {
                certificate: certificate.clone().into_owned(),
                tls,
            });
            return Some((stream, certificate));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the handshake timed out".to_owned(),
    };
    debug!(%address, why, "TLS handshake failed");
    None
}

/// The client names, and the principal of each.
type ClientCertRules = Vec<(ServerName<'static>, Principal)>;

fn load_client_rules(path: &Path, policy: &FilePolicy) -> Result<ClientCertRules, SettingsError> {
    let text = read_text(path, FilePurpose::Access, policy)
        .map_err(|error| SettingFault::unusable_file(CLIENTS_KEY, path, &error))?;
    parse_lines(&text, parse_client_rule)
        .map_err(|lines| SettingsError::in_lines(CLIENTS_KEY, path, &lines))
}

/// Parses one line of the clients file. An IPv6 address contains colons, so the part after the last
/// colon can be a role or the end of the address.
pub(super) fn parse_client_rule(
    line: &str,
) -> Result<(ServerName<'static>, Principal), &'static str> {
    let parse_name = |name: &str| ServerName::try_from(name.to_owned()).ok();
    let (name, role) = match (parse_name(line), line.rsplit_once(':')) {
        (Some(name), _) => (name, Role::Operate),
        (None, Some((name, role))) => (
            parse_name(name).ok_or("the name is neither a DNS name nor an IP address")?,
            role.parse().map_err(|_| "the role is none of read, operate and admin")?,
        ),
        (None, None) => return Err("the name is neither a DNS name nor an IP address"),
    };
    let caller = Principal::new(CallerKind::Certificate, &name.to_str(), role);
    Ok((name, caller))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_rule_is_a_name_or_an_address_and_an_optional_role() {
        for (line, expected) in [
            ("mn-1.example", Ok(("mn-1.example", Role::Operate))),
            ("mn-1.example:read", Ok(("mn-1.example", Role::Read))),
            ("192.0.2.1:admin", Ok(("192.0.2.1", Role::Admin))),
            ("2001:db8::1", Ok(("2001:db8::1", Role::Operate))),
            ("2001:db8::1:admin", Ok(("2001:db8::1", Role::Admin))),
            ("mn-1.example:root", Err("the role is none of read, operate and admin")),
            ("a b", Err("the name is neither a DNS name nor an IP address")),
            (":admin", Err("the name is neither a DNS name nor an IP address")),
        ] {
            let client = parse_client_rule(line);
            let principal = client.as_ref().map(|(_, caller)| (caller.name(), caller.role()));
            assert_eq!(principal.map_err(|error| *error), expected, "{line}");
        }
        let bad = parse_lines("# mine\nmn-1:root\n\nmn-2\na b\n", parse_client_rule).unwrap_err();
        assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 5]);
    }
}
