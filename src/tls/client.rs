//! Whom a client believes, and what it shows.

use std::path::Path;

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::pem::{certificates, private_key, roots_of};
use super::{provider, without_file};
use crate::settings::{BadSettings, SettingFault};

/// The files of a client, and what they are called by in a fault.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
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
fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, BadSettings> {
    let builder = ClientConfig::builder_with_provider(provider());
    builder.with_safe_default_protocol_versions().map_err(|error| without_file("TLS", error))
}

/// For plain HTTP, which asks for no certificate: a system without any is then good enough.
///
/// # Errors
/// ring has no suitable cipher: a fault of ours.
pub fn trusting_nobody() -> Result<ClientConfig, BadSettings> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// TLS 1.2 and 1.3 as these files say. Blocks on them.
///
/// # Errors
/// Every fault of every file.
pub fn client_config(trust: &Trust<'_>) -> Result<ClientConfig, BadSettings> {
    let mut faults = Vec::new();
    let [ca_name, cert_name, key_name] = trust.names;
    let roots = BadSettings::gather(roots(ca_name, trust.ca), &mut faults);
    let shown = match (trust.cert, trust.key) {
        (Some(cert), Some(key)) => {
            let chain = BadSettings::gather(certificates(cert_name, cert), &mut faults);
            let secret = BadSettings::gather(private_key(key_name, key), &mut faults);
            chain.zip(secret).map(|pair| (cert, pair))
        }
        _ => None,
    };
    let Some(builder) = BadSettings::gather(builder(), &mut faults) else {
        return Err(BadSettings::new(faults));
    };
    let builder = builder.with_root_certificates(roots.unwrap_or_else(RootCertStore::empty));
    let config = match shown {
        // Also finds out whether the two belong together.
        Some((cert, (chain, key))) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| SettingFault::in_file(cert_name, cert, error).into()),
        None => Ok(builder.with_no_client_auth()),
    };
    match BadSettings::gather(config, &mut faults) {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(BadSettings::new(faults)),
    }
}

fn roots(name: &'static str, ca: Option<&Path>) -> Result<RootCertStore, BadSettings> {
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
