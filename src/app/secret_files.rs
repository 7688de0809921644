//! What the files that the settings name hold. `serve` and `check-config` both ask here, so that the
//! one starts with what the other has passed.

use crate::http::{TlsAcceptance, TokenTable};
use crate::management::{CallbackClient, RequestTimeouts};
use crate::settings::{SettingFault, Settings, SettingsError, required_at_start};

/// Everything that a start reads before it touches the state directory.
#[derive(Debug)]
pub struct SecretFiles {
    pub(super) tokens: TokenTable,
    pub(super) client: Option<CallbackClient>,
    pub(super) tls: Option<TlsAcceptance>,
    /// Files that cannot be read and that a start does without.
    pub(super) optional_failures: Vec<SettingFault>,
}

impl SecretFiles {
    /// Reads them all. Blocks on them; needs no runtime.
    ///
    /// # Errors
    /// Every fault of every file. What may be a secret is named by its line and never shown.
    pub fn read_files(settings: &Settings) -> Result<Self, SettingsError> {
        let mut faults = settings.check_files();
        let unread: Vec<String> = faults.iter().map(|fault| fault.key.clone()).collect();
        let mut inside = Vec::new();
        let tokens = match &settings.auth.tokens_file {
            Some(path) => TokenTable::load_file(path),
            None => Ok(TokenTable::default()),
        };
        let tokens = SettingsError::gather(tokens, &mut inside);
        let client = CallbackClient::new(&settings.callback, RequestTimeouts::default());
        let client = SettingsError::gather(client, &mut inside);
        let tls = settings.server.tls.as_ref().map(TlsAcceptance::load).transpose();
        let tls = SettingsError::gather(tls, &mut inside);
        // One that cannot be read has been told once.
        faults.extend(inside.into_iter().filter(|fault| !unread.contains(&fault.key)));
        match (tokens, client, tls) {
            (Some(tokens), Some(client), Some(tls))
                if !faults.iter().any(|fault| required_at_start(&fault.key)) =>
            {
                Ok(Self { tokens, client, tls, optional_failures: faults })
            }
            _ => Err(SettingsError::new(faults)),
        }
    }
}
