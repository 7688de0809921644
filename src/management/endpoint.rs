//! The connection to a configured URL of the management node: its form, and the trusted
//! certificates, which `[callback]` names.

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::http_client::RequestTimeouts;
use crate::settings::{CallbackSettings, FilePolicy, SettingFault, SettingsError};
use crate::tls::{ClientTlsFiles, client_config, config_without_roots};

/// The connector of the clients of configured URLs.
pub(super) type EndpointConnector = HttpsConnector<HttpConnector>;

/// Creates a connector. If `only_https` is set, it refuses `http://` URLs.
pub(super) fn new_connector(
    tls: ClientConfig,
    timeouts: RequestTimeouts,
    only_https: bool,
) -> EndpointConnector {
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(timeouts.connect));
    http.set_nodelay(true);
    http.enforce_http(false);
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
    if only_https {
        builder.https_only().enable_http1().wrap_connector(http)
    } else {
        builder.https_or_http().enable_http1().wrap_connector(http)
    }
}

/// Returns the TLS configuration of the management node. The files of `[callback]` are read only if
/// `has_https` is set. Blocks while it reads them.
///
/// # Errors
/// [`SettingsError`] with every fault of the files.
pub fn endpoint_tls(
    settings: &CallbackSettings,
    policy: &FilePolicy,
    has_https: bool,
) -> Result<ClientConfig, SettingsError> {
    if !has_https {
        return config_without_roots();
    }
    let trust = ClientTlsFiles {
        ca: settings.ca_file.as_deref(),
        // The settings reject one without the other.
        identity: settings.client_cert.as_deref().zip(settings.client_key.as_deref()),
        names: ["callback.ca_file", "callback.client_cert", "callback.client_key"],
    };
    client_config(&trust, policy)
}

/// Parses the URL of a setting. The host of an `https://` URL must be a name that a certificate can
/// have.
///
/// # Errors
/// [`SettingsError`] with one fault of `key`.
pub fn parse_url(key: &str, text: &str) -> Result<Uri, SettingsError> {
    let fault = |problem: &str| SettingFault {
        key: key.to_owned(),
        value: Some(format!("{text:?}")),
        problem: problem.to_owned(),
        allowed: None,
        origin: None,
    };
    let url: Uri = text.parse().map_err(|_| fault("not a URL"))?;
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if is_https(&url) && ServerName::try_from(host).is_err() {
        let problem = "its host is no name that TLS can verify (letters, digits, - and _): give the \
                       receiver another name, or use its address";
        return Err(fault(problem).into());
    }
    Ok(url)
}

/// Returns true for an `https://` URL.
pub fn is_https(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

/// Returns the host and port of a URL, as a text for operators.
pub fn host_and_port(url: &Uri) -> String {
    let host = url.authority().map_or("", |authority| authority.as_str());
    // The user information before an `@` could contain a secret.
    host.rsplit('@').next().unwrap_or_default().to_owned()
}
