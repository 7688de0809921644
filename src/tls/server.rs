//! The TLS configuration of the listener: its certificate, and the authorities of its clients.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::pem::{private_key, read_certificates, roots_of};
use super::{crypto_provider, without_file};
use crate::settings::{SettingFault, SettingsError, TlsSettings};

const CERT_SETTING: &str = "server.tls.cert";
const KEY_SETTING: &str = "server.tls.key";
const CLIENT_CA_SETTING: &str = "server.tls.client_ca";

/// Returns a configuration for TLS 1.2 and 1.3 with HTTP/1.1. With `client_ca`, a client without a
/// certificate of these authorities is rejected. Blocks while it reads the files.
///
/// # Errors
/// Returns every fault of every file. Returns a fault if the certificate and the key do not match.
pub fn server_config(settings: &TlsSettings) -> Result<ServerConfig, SettingsError> {
    let mut faults = Vec::new();
    let chain = SettingsError::gather(read_certificates(CERT_SETTING, &settings.cert), &mut faults);
    let key = SettingsError::gather(private_key(KEY_SETTING, &settings.key), &mut faults);
    let clients = settings.client_ca.as_ref().map(|path| (path, roots_of(CLIENT_CA_SETTING, path)));
    let clients =
        clients.and_then(|(path, read)| Some((path, SettingsError::gather(read, &mut faults)?)));
    let (Some(chain), Some(key), true) = (chain, key, faults.is_empty()) else {
        return Err(SettingsError::new(faults));
    };
    let builder = ServerConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| without_file("server.tls", error))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some((path, roots)) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto_provider())
                    .build();
            let verifier =
                verifier.map_err(|error| SettingFault::in_file(CLIENT_CA_SETTING, path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| SettingFault::in_file(CERT_SETTING, &settings.cert, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
