//! Whom the callback's client believes, and what it shows.

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::pem::{certificates, private_key, roots_of};
use super::{provider, without_file};
use crate::settings::{BadSettings, Callback, SettingFault};

const CA: &str = "callback.ca_file";
const CERT: &str = "callback.client_cert";
const KEY: &str = "callback.client_key";

/// TLS 1.2 and 1.3 by ring.
fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, BadSettings> {
    let builder = ClientConfig::builder_with_provider(provider());
    builder.with_safe_default_protocol_versions().map_err(|error| without_file("callback", error))
}

/// For plain HTTP, which asks for no certificate: a system without any is then good enough.
///
/// # Errors
/// ring has no suitable cipher: a fault of ours.
pub fn trusting_nobody() -> Result<ClientConfig, BadSettings> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The roots of `ca_file`, else the system's; the client certificate, if one is set. Blocks on the files.
///
/// # Errors
/// Every fault of every file.
pub fn client_config(settings: &Callback) -> Result<ClientConfig, BadSettings> {
    let mut faults = Vec::new();
    let roots = BadSettings::gather(roots(settings), &mut faults);
    let shown = match (&settings.client_cert, &settings.client_key) {
        (Some(cert), Some(key)) => {
            let chain = BadSettings::gather(certificates(CERT, cert), &mut faults);
            let secret = BadSettings::gather(private_key(KEY, key), &mut faults);
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
            .map_err(|error| SettingFault::in_file(CERT, cert, error).into()),
        None => Ok(builder.with_no_client_auth()),
    };
    match BadSettings::gather(config, &mut faults) {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(BadSettings::new(faults)),
    }
}

fn roots(settings: &Callback) -> Result<RootCertStore, BadSettings> {
    if let Some(path) = &settings.ca_file {
        return roots_of(CA, path);
    }
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    // A store may hold certificates that rustls does not take; the others still count.
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        let told = "not set, and the system has no root certificates: install ca-certificates";
        return Err(without_file(CA, told));
    }
    Ok(roots)
}
