//! Layer 5. TLS on either side: which certificates are believed, and which are shown.
//!
//! Promises: TLS 1.2 is the oldest that is spoken; every fault of every file is named by its setting; ring
//! is the one provider.
//! Never: shows a key, keeps one in a type that prints.

mod client;
mod pem;
mod server;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{TrustSettings, client_config, no_root_certificates};
pub use server::server_config;

use crate::settings::{SettingFault, SettingsError};

fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn without_file(key: &str, what: impl std::fmt::Display) -> SettingsError {
    let key = key.to_owned();
    SettingFault { key, value: None, what: what.to_string(), allowed: None, origin: None }.into()
}
