//! The TLS configuration of a client: its trusted authorities and its client certificate.

use std::path::Path;

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::pem::{private_key, read_certificates, roots_of};
use super::{crypto_provider, without_file};
use crate::settings::{SettingFault, SettingsError};

/// The TLS files of a client, and the names of their settings.
#[derive(Clone, Copy, Debug)]
pub struct TrustSettings<'a> {
    /// The trusted authorities, instead of those of the system.
    pub ca: Option<&'a Path>,
    /// The client certificate, sent if the server requests one.
    pub cert: Option<&'a Path>,
    /// The private key of the certificate.
    pub key: Option<&'a Path>,
    /// The names of the three settings, for a fault.
    pub names: [&'static str; 3],
}

/// Returns a builder for TLS 1.2 and 1.3 with ring.
fn client_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, SettingsError> {
    let builder = ClientConfig::builder_with_provider(crypto_provider());
    builder.with_safe_default_protocol_versions().map_err(|error| without_file("TLS", error))
}

/// Returns a configuration without trusted authorities, for plain HTTP. It also works on a system
/// without root certificates.
///
/// # Errors
/// Returns an internal error if ring has no suitable cipher.
pub fn no_root_certificates() -> Result<ClientConfig, SettingsError> {
    Ok(client_builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Returns a configuration for TLS 1.2 and 1.3 with the files of `trust`. Blocks while it reads
/// them.
///
/// # Errors
/// Returns every fault of every file.
pub fn client_config(trust: &TrustSettings<'_>) -> Result<ClientConfig, SettingsError> {
    let mut faults = Vec::new();
    let [ca_name, cert_name, key_name] = trust.names;
    let roots = SettingsError::gather(root_store(ca_name, trust.ca), &mut faults);
    let shown = match (trust.cert, trust.key) {
        (Some(cert), Some(key)) => {
            let chain = SettingsError::gather(read_certificates(cert_name, cert), &mut faults);
            let secret = SettingsError::gather(private_key(key_name, key), &mut faults);
            chain.zip(secret).map(|pair| (cert, pair))
        }
        _ => None,
    };
    let Some(builder) = SettingsError::gather(client_builder(), &mut faults) else {
        return Err(SettingsError::new(faults));
    };
    let builder = builder.with_root_certificates(roots.unwrap_or_else(RootCertStore::empty));
    let config = match shown {
        // Also checks that the certificate and the key match.
        Some((cert, (chain, key))) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| SettingFault::in_file(cert_name, cert, error).into()),
        None => Ok(builder.with_no_client_auth()),
    };
    match SettingsError::gather(config, &mut faults) {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(SettingsError::new(faults)),
    }
}

fn root_store(name: &'static str, ca: Option<&Path>) -> Result<RootCertStore, SettingsError> {
    if let Some(path) = ca {
        return roots_of(name, path);
    }
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    // A system store may contain certificates that rustls rejects. The others are still used.
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        let told = "not set, and the system has no root certificates: install ca-certificates";
        return Err(without_file(name, told));
    }
    Ok(roots)
}
