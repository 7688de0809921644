//! Client for the daemon: sends one HTTP request over its Unix socket or over TCP.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::daemon_response::DaemonResponse;
use crate::common::UrlPort;
use crate::model::Secret;
use crate::settings::FilePolicy;
use crate::settings::SettingsError;
use crate::tls::{ClientTlsFiles, client_config};

/// The timeout of a connect, 5 s. The daemon is on this machine or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of a response. It exceeds twice the longest `monitor.attempt_deadline`, 10 min,
/// because the preparation of an attempt and the attempt each have that time. After it the daemon
/// still finishes the request.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(21 * 60);
/// The interval at which the result of a job is requested. An operator hardly notices it.
const JOB_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The maximum size of a response: 128 MiB. The inventories of ten thousand stores with the longest
/// descriptions (2,048 characters of four bytes) have 100 MB.
const MAX_RESPONSE_BYTES: usize = 128 << 20;

/// The address of the daemon.
#[derive(Clone, Debug)]
pub enum DaemonAddress {
    /// The Unix socket. Clients that may open it need no token.
    Socket(PathBuf),
    /// An `http` or `https` URL.
    Url {
        /// The host and port.
        authority: String,
        /// The session id that is sent as the token.
        token: Option<Secret>,
        /// The expected server name and the TLS settings. `None` selects plain HTTP.
        tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
    },
}

/// The effect that a request has on the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEffect {
    /// It only reads.
    None,
    /// It may change a store, or start an attempt.
    Possible,
}

impl RequestEffect {
    fn describe(self) -> &'static str {
        match self {
            Self::None => "the request only reads, and has changed nothing",
            Self::Possible => "it is unknown if the request had an effect",
        }
    }
}

/// The reason why there is no response from the daemon.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum ClientError {
    #[error("cannot reach the daemon at {address}: {source}{}", error_hint(.source))]
    Unreachable { address: String, source: io::Error },
    #[error("{0:?} is not an http:// or https:// URL of the daemon, such as http://127.0.0.1:7811")]
    InvalidUrl(String),
    #[error(transparent)]
    InvalidFiles(#[from] SettingsError),
    #[error("the connection to the daemon at {address} failed: {source}")]
    ExchangeFailed { address: String, source: hyper::Error },
    #[error("the response of the daemon at {address} is incomplete, too large or not JSON")]
    InvalidResponse { address: String },
    #[error(
        "{address} is not an imagestore-agent, or one of another version: its response to \
         {request} is not the expected one; {}",
        effect.describe()
    )]
    UnexpectedResponse { address: String, request: String, effect: RequestEffect },
    #[error("the daemon at {address} did not respond within {limit:?}")]
    TimedOut { address: String, limit: Duration },
    #[error(
        "the token is not sent to {0}, because anyone on the way can read it over http://: use an \
         https:// URL, or repeat the command with --insecure-http"
    )]
    TokenInPlainText(String),
    #[error("the token contains characters that an HTTP header cannot contain")]
    InvalidToken,
}

fn error_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            " (check that the daemon runs: systemctl status imagestore-agent)"
        }
        io::ErrorKind::PermissionDenied => {
            " (only the user and the group of the daemon may open the socket: run the command as \
             root, or join the group)"
        }
        _ => "",
    }
}

/// The TLS settings without any files: the CAs of the system and no client certificate.
pub(super) const SYSTEM_TRUST: ClientTlsFiles<'static> = ClientTlsFiles {
    ca: None,
    identity: None,
    names: ["--ca-file", "--client-cert", "--client-key"],
};

/// A connection to the daemon.
pub(super) trait DaemonStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> DaemonStream for S {}

impl ClientError {
    /// Returns true if the daemon may answer the same request later, for example because it is
    /// being restarted.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
            Self::ExchangeFailed { .. } | Self::InvalidResponse { .. } | Self::TimedOut { .. } => {
                true
            }
            Self::InvalidUrl(_)
            | Self::InvalidFiles(_)
            | Self::UnexpectedResponse { .. }
            | Self::TokenInPlainText(_)
            | Self::InvalidToken => false,
        }
    }
}

impl DaemonAddress {
    /// Creates the address of the daemon at a URL. The path of the URL is ignored. With `https` the
    /// system must trust the certificate of the daemon.
    ///
    /// # Errors
    /// Returns [`ClientError::InvalidUrl`] or [`ClientError::InvalidFiles`].
    pub fn at_url(url: &str, token: Option<Secret>) -> Result<Self, ClientError> {
        Self::with_trust(url, token, &SYSTEM_TRUST)
    }

    /// Creates the address as [`DaemonAddress::at_url`] does, with the given TLS settings for
    /// `https`. It blocks while it reads their files.
    ///
    /// # Errors
    /// Returns [`ClientError::InvalidUrl`] or [`ClientError::InvalidFiles`].
    pub(super) fn with_trust(
        url: &str,
        token: Option<Secret>,
        trust: &ClientTlsFiles<'_>,
    ) -> Result<Self, ClientError> {
        let invalid = || ClientError::InvalidUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let (is_tls, default_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(invalid()),
        };
        let authority = uri.authority().ok_or_else(invalid)?;
        let host = authority.host();
        let port = match UrlPort::of(authority) {
            UrlPort::Absent => default_port,
            UrlPort::Number(port) => port,
            // A port that is not set in a script must not send the token to another server.
            UrlPort::Empty | UrlPort::Invalid => return Err(invalid()),
        };
        let tls = if is_tls {
            let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(name).map_err(|_| invalid())?;
            Some((name, Arc::new(client_config(trust, &FilePolicy::of_process())?)))
        } else {
            None
        };
        Ok(Self::Url { authority: format!("{host}:{port}"), token, tls })
    }

    /// Returns true if requests leave this host without encryption, as far as the address shows. A
    /// host name other than `localhost` may be another host.
    pub(super) fn is_readable_on_the_way(&self) -> bool {
        let Self::Url { authority, tls: None, .. } = self else { return false };
        let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) => !address.to_canonical().is_loopback(),
            Err(_) => !host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Returns the error for a response that no daemon of this version sends.
    pub(super) fn unexpected_response(&self, request: &str, effect: RequestEffect) -> ClientError {
        let address = self.describe_address();
        ClientError::UnexpectedResponse { address, request: request.to_owned(), effect }
    }

    pub(super) fn describe_address(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Url { authority, .. } => authority.clone(),
        }
    }

    /// Sends one request and reads the JSON response.
    ///
    /// # Errors
    /// Returns [`ClientError`] if there is no valid response. An error status is still a
    /// [`DaemonResponse`].
    ///
    /// # Cancel safety
    /// The daemon finishes requests that have begun.
    pub async fn send_request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<DaemonResponse, ClientError> {
        let request = self.build_request(method, path, body)?;
        exchange_messages(self.connect().await?, request, self.describe_address()).await
    }

    /// Connects to the daemon.
    pub(super) async fn connect(&self) -> Result<Box<dyn DaemonStream>, ClientError> {
        let address = self.describe_address();
        match self {
            Self::Socket(socket) => {
                let stream = connect_within_limit(&address, UnixStream::connect(socket)).await?;
                Ok(Box::new(stream))
            }
            Self::Url { authority, tls, .. } => {
                let stream = connect_within_limit(&address, TcpStream::connect(authority)).await?;
                let Some((name, config)) = tls else { return Ok(Box::new(stream)) };
                let connector = TlsConnector::from(Arc::clone(config));
                let stream =
                    connect_within_limit(&address, connector.connect(name.clone(), stream)).await?;
                Ok(Box::new(stream))
            }
        }
    }

    /// Sends a request that changes a store. If the response refers to a job, waits for its result,
    /// at most for the time of a response.
    ///
    /// # Errors
    /// The same as for [`DaemonAddress::send_request`].
    ///
    /// # Cancel safety
    /// The same as for [`DaemonAddress::send_request`].
    pub async fn change_store(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<DaemonResponse, ClientError> {
        let response = self.send_request(method, path, body).await?;
        let Some(job) = response.job_path().map(str::to_owned) else { return Ok(response) };
        let polling = async {
            loop {
                sleep(JOB_POLL_INTERVAL).await;
                let polled = self.send_request(Method::GET, &job, None).await?;
                if polled.status != StatusCode::ACCEPTED {
                    return Ok(polled);
                }
            }
        };
        let result = timeout(RESPONSE_TIMEOUT, polling).await;
        result.unwrap_or_else(|_| {
            let address = self.describe_address();
            Err(ClientError::TimedOut { address, limit: RESPONSE_TIMEOUT })
        })
    }

    /// Sends a request without a body as [`DaemonAddress::send_request`] does, within a total time
    /// of `limit`.
    ///
    /// # Errors
    /// The same as for [`DaemonAddress::send_request`].
    ///
    /// # Cancel safety
    /// The same as for [`DaemonAddress::send_request`].
    pub async fn send_request_within(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
    ) -> Result<DaemonResponse, ClientError> {
        let response = timeout(limit, self.send_request(method, path, None)).await;
        response.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { address: self.describe_address(), limit })
        })
    }

    pub(super) fn build_request(
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
        // The events of all stores are a stream by default.
        request = request.header(ACCEPT, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("OAuth {}", token.expose_secret()));
        }
        let bytes = body.map(|body| {
            request = std::mem::take(&mut request).header(CONTENT_TYPE, "application/json");
            Bytes::from(body.to_string())
        });
        request.body(Full::new(bytes.unwrap_or_default())).map_err(|_| ClientError::InvalidToken)
    }
}

async fn connect_within_limit<T>(
    address: &str,
    connecting: impl Future<Output = io::Result<T>>,
) -> Result<T, ClientError> {
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected
            .map_err(|source| ClientError::Unreachable { address: address.to_owned(), source }),
        Err(_) => {
            Err(ClientError::TimedOut { address: address.to_owned(), limit: CONNECT_TIMEOUT })
        }
    }
}

async fn exchange_messages<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    address: String,
) -> Result<DaemonResponse, ClientError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let response = async {
        let failed = |source| ClientError::ExchangeFailed { address: address.clone(), source };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // Dropping this set at the end of the request aborts the connection task.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await;
        let invalid = || ClientError::InvalidResponse { address: address.clone() };
        let bytes = body.map_err(|_| invalid())?.to_bytes();
        DaemonResponse::parse(head.status, &head.headers, &bytes).ok_or_else(invalid)
    };
    match timeout(RESPONSE_TIMEOUT, response).await {
        Ok(reply) => reply,
        Err(_) => Err(ClientError::TimedOut { address: address.clone(), limit: RESPONSE_TIMEOUT }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_request_to_a_daemon_that_does_not_respond_times_out() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let _silent = tokio::net::UnixListener::bind(&socket).unwrap();
        let limit = Duration::from_millis(50);
        let response =
            DaemonAddress::Socket(socket).send_request_within(limit, Method::GET, "/readyz").await;
        let message = response.unwrap_err().to_string();
        assert!(message.ends_with("did not respond within 50ms"), "{message}");
    }

    #[tokio::test]
    async fn ten_thousand_inventories_with_the_longest_descriptions_are_read() {
        let inventory = serde_json::json!({ "description": "\u{10348}".repeat(2048) });
        let list = serde_json::json!({ "inventories": vec![inventory; 10_000] }).to_string();
        let size = list.len();
        assert!(size > 80_000_000, "{size}");
        let (client, mut daemon) = tokio::io::duplex(1 << 20);
        let respond = async move {
            let mut request = [0; 1024];
            let read = daemon.read(&mut request).await.unwrap();
            assert!(read > 0);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            daemon.write_all(head.as_bytes()).await.unwrap();
            daemon.write_all(list.as_bytes()).await.unwrap();
        };
        let request = Request::new(Full::default());
        let exchange = exchange_messages(client, request, "daemon".to_owned());
        let (response, ()) = tokio::join!(exchange, respond);
        let count = response.unwrap().body["inventories"].as_array().map(Vec::len);
        assert_eq!(count, Some(10_000));
    }

    #[test]
    fn only_plain_http_to_another_host_is_readable_on_the_way() {
        for (url, expected) in [
            ("http://127.0.0.1:7811", false),
            ("http://127.8.9.1", false),
            ("http://[::1]:7811", false),
            ("http://[::ffff:127.0.0.1]:7811", false),
            ("http://LocalHost:7811", false),
            ("http://192.0.2.1:7811", true),
            ("http://0.0.0.0:7811", true),
            ("http://[2001:db8::1]:7811", true),
            ("http://node7:7811", true),
            ("http://localhost.example:7811", true),
            ("http://127.0.0.1.example:7811", true),
            ("http://127.0.0.1@node7:7811", true),
        ] {
            let address = DaemonAddress::at_url(url, None).unwrap();
            assert_eq!(address.is_readable_on_the_way(), expected, "{url}");
        }
        let socket = DaemonAddress::Socket("/x".into());
        assert!(!socket.is_readable_on_the_way());
    }

    #[test]
    fn a_url_is_an_http_authority() {
        let address = |url: &str| {
            DaemonAddress::at_url(url, None).map(|daemon| daemon.describe_address()).ok()
        };
        assert_eq!(address("http://node7:7811"), Some("node7:7811".to_owned()));
        assert_eq!(address("http://[::1]:7811/"), Some("[::1]:7811".to_owned()));
        assert_eq!(address("http://node7"), Some("node7:80".to_owned()));
        for bad in ["node7:7811", "https://", "http://", "/socket", "ftp://x", ""] {
            assert_eq!(address(bad), None, "{bad}");
        }
        // None of these is the default port.
        for port in ["", "0", "65536", "76110", "99999", "184467440737095516960"] {
            for url in [format!("http://127.0.0.1:{port}"), format!("https://[::1]:{port}/x")] {
                assert_eq!(address(&url), None, "{url}");
            }
        }
    }
}
