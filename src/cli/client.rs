//! One HTTP request to the daemon, over its Unix socket or over TCP.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::model::Secret;
use crate::settings::SettingsError;
use crate::tls::{TrustSettings, client_config};

/// The daemon is on this machine or next to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the longest `monitor.attempt_deadline`, 10 min; what is asked goes on in the daemon all
/// the same.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(11 * 60);
/// More than ten thousand inventories.
const MAX_RESPONSE_BYTES: usize = 16 << 20;

/// Where the daemon is.
#[derive(Clone, Debug)]
pub enum DaemonAddress {
    /// Its socket; who may open it needs no token.
    Socket(PathBuf),
    /// An `http` or `https` URL.
    Url {
        /// Host and port.
        authority: String,
        /// A session id that the daemon accepts.
        token: Option<Secret>,
        /// Whom to expect there, and what is believed of it; none speaks plain HTTP.
        tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
    },
}

/// What the daemon answered.
#[derive(Debug)]
pub struct DaemonResponse {
    /// The status.
    pub status: StatusCode,
    /// The body, which is always JSON.
    pub body: Value,
}

/// The daemon could not be asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum ClientError {
    #[error("cannot reach the daemon at {place}: {source}{}", error_hint(.source))]
    Unreachable { place: String, source: io::Error },
    #[error("{0:?} is not an http:// or https:// URL of the daemon, such as http://127.0.0.1:7811")]
    BadUrl(String),
    #[error(transparent)]
    BadFiles(#[from] SettingsError),
    #[error("the daemon at {place} broke off: {source}")]
    Broken { place: String, source: hyper::Error },
    #[error("the daemon at {place} gave an answer that cannot be read")]
    Unreadable { place: String },
    #[error("the daemon at {place} did not answer within {limit:?}")]
    Late { place: String, limit: Duration },
    #[error("the token holds characters that no header can carry")]
    BadToken,
}

fn error_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            " (is it running? systemctl status imagestore-agent)"
        }
        io::ErrorKind::PermissionDenied => {
            " (the socket is open to the daemon's user and group: run as root, or join the group)"
        }
        _ => "",
    }
}

/// What is believed and shown where nothing else is said.
pub(super) const SYSTEM_TRUST: TrustSettings<'static> = TrustSettings {
    ca: None,
    cert: None,
    key: None,
    names: ["--ca-file", "--client-cert", "--client-key"],
};

impl DaemonAddress {
    /// The daemon behind a URL; its path, if any, is left out. Behind `https` it must have a certificate
    /// that the system believes.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`], [`ClientError::BadFiles`].
    pub fn at_url(url: &str, token: Option<Secret>) -> Result<Self, ClientError> {
        Self::trusted_roots(url, token, &SYSTEM_TRUST)
    }

    /// As [`DaemonAddress::at_url`], with what is believed and shown behind `https`. Blocks on those files.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`], [`ClientError::BadFiles`].
    pub(super) fn trusted_roots(
        url: &str,
        token: Option<Secret>,
        trust: &TrustSettings<'_>,
    ) -> Result<Self, ClientError> {
        let bad = || ClientError::BadUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let (secure, usual) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(usual));
        let tls = if secure {
            let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(name).map_err(|_| bad())?;
            Some((name, Arc::new(client_config(trust)?)))
        } else {
            None
        };
        Ok(Self::Url { authority: format!("{host}:{port}"), token, tls })
    }

    fn describe_address(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Url { authority, .. } => authority.clone(),
        }
    }

    /// Sends one request and reads the JSON answer.
    ///
    /// # Errors
    /// [`ClientError`] when there is no answer; an answer that refuses is a [`DaemonResponse`].
    ///
    /// # Cancel safety
    /// The daemon finishes what it has begun.
    pub async fn send_request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<DaemonResponse, ClientError> {
        let place = self.describe_address();
        let request = self.build_request(method, path, body)?;
        match self {
            Self::Socket(socket) => {
                let stream = dial(&place, UnixStream::connect(socket)).await?;
                exchange_messages(stream, request, place).await
            }
            Self::Url { authority, tls, .. } => {
                let stream = dial(&place, TcpStream::connect(authority)).await?;
                let Some((name, config)) = tls else {
                    return exchange_messages(stream, request, place).await;
                };
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = dial(&place, connector.connect(name.clone(), stream)).await?;
                exchange_messages(stream, request, place).await
            }
        }
    }

    /// As [`DaemonAddress::send_request`], for who does not wait longer than `limit` in all.
    ///
    /// # Errors
    /// As [`DaemonAddress::send_request`].
    ///
    /// # Cancel safety
    /// As [`DaemonAddress::send_request`].
    pub async fn ask_within(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
    ) -> Result<DaemonResponse, ClientError> {
        let asked = timeout(limit, self.send_request(method, path, None)).await;
        asked.unwrap_or_else(|_| Err(ClientError::Late { place: self.describe_address(), limit }))
    }

    fn build_request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let (host, token) = match self {
            Self::Socket(_) => ("localhost", None),
            Self::Url { authority, token, .. } => (authority.as_str(), token.as_ref()),
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("OAuth {}", token.expose_secret()));
        }
        let bytes = body.map(|body| {
            request = std::mem::take(&mut request).header(CONTENT_TYPE, "application/json");
            Bytes::from(body.to_string())
        });
        request.body(Full::new(bytes.unwrap_or_default())).map_err(|_| ClientError::BadToken)
    }
}

async fn dial<T>(
    place: &str,
    connecting: impl Future<Output = io::Result<T>>,
) -> Result<T, ClientError> {
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => {
            connected.map_err(|source| ClientError::Unreachable { place: place.to_owned(), source })
        }
        Err(_) => Err(ClientError::Late { place: place.to_owned(), limit: CONNECT_TIMEOUT }),
    }
}

async fn exchange_messages<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    place: String,
) -> Result<DaemonResponse, ClientError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let asked = async {
        let broken = |source| ClientError::Broken { place: place.clone(), source };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the request: dropped, and aborted, with this set.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
        let unreadable = || ClientError::Unreadable { place: place.clone() };
        let bytes = body.map_err(|_| unreadable())?.to_bytes();
        let body = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
        Ok(DaemonResponse { status, body })
    };
    match timeout(RESPONSE_TIMEOUT, asked).await {
        Ok(reply) => reply,
        Err(_) => Err(ClientError::Late { place: place.clone(), limit: RESPONSE_TIMEOUT }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_does_not_answer_is_waited_for_no_longer_than_said() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let _silent = tokio::net::UnixListener::bind(&socket).unwrap();
        let limit = Duration::from_millis(50);
        let asked = DaemonAddress::Socket(socket).ask_within(limit, Method::GET, "/readyz").await;
        let told = asked.unwrap_err().to_string();
        assert!(told.ends_with("did not answer within 50ms"), "{told}");
    }

    #[test]
    fn a_url_is_an_http_authority() {
        let place = |url: &str| {
            DaemonAddress::at_url(url, None).map(|daemon| daemon.describe_address()).ok()
        };
        assert_eq!(place("http://node7:7811"), Some("node7:7811".to_owned()));
        assert_eq!(place("http://[::1]:7811/"), Some("[::1]:7811".to_owned()));
        assert_eq!(place("http://node7"), Some("node7:80".to_owned()));
        for bad in ["node7:7811", "https://", "http://", "/socket", "ftp://x", ""] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
