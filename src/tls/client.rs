//! Whom a client believes, and what it shows.

use std::path::Path;

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::pem::{private_key, read_certificates, roots_of};
use super::{crypto_provider, without_file};
use crate::settings::{SettingFault, SettingsError};

/// The files of a client, and what they are called by in a fault.
#[derive(Clone, Copy, Debug)]
pub struct TrustSettings<'a> {
    /// The authorities that are believed, instead of the system's.
    pub ca: Option<&'a Path>,
    /// The certificate that is shown, if one is asked for.
    pub cert: Option<&'a Path>,
    /// Its key.
    pub key: Option<&'a Path>,
    /// The names of the three.
    pub names: [&'static str; 3],
}

/// TLS 1.2 and 1.3 by ring.
fn client_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, SettingsError> {
    let builder = ClientConfig::builder_with_provider(crypto_provider());
    builder.with_safe_default_protocol_versions().map_err(|error| without_file("TLS", error))
}

/// For plain HTTP, which asks for no certificate: a system without any is then good enough.
///
/// # Errors
/// ring has no suitable cipher: a fault of ours.
pub fn no_root_certificates() -> Result<ClientConfig, SettingsError> {
    Ok(client_builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// TLS 1.2 and 1.3 as these files say. Blocks on them.
///
/// # Errors
/// Every fault of every file.
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
        // Also finds out whether the two belong together.
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
    // A store may hold certificates that rustls does not take; the others still count.
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        let told = "not set, and the system has no root certificates: install ca-certificates";
        return Err(without_file(name, told));
    }
    Ok(roots)
}
