//! Layer 5. TLS of the listener and of clients: the trusted authorities and the certificates that
//! are sent.
//!
//! # Guarantees
//! - TLS 1.2 is the oldest supported version.
//! - Every fault of every file names its setting.
//! - ring is the only provider.
//!
//! # Never
//! - It never shows a private key, and never keeps one in a type that prints it.

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
