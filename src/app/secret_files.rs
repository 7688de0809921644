//! What the files that the settings name hold. `serve` and `check-config` both ask here, so that the
//! one starts with what the other has passed.

use crate::http::{Tls, Tokens};
use crate::management::{CallbackClient, RequestTimeouts};
use crate::settings::{SettingFault, Settings, SettingsError, required_at_start};

/// Everything that a start reads before it touches the state directory.
#[derive(Debug)]
pub struct Files {
    pub(super) tokens: Tokens,
    pub(super) client: Option<CallbackClient>,
    pub(super) tls: Option<Tls>,
    /// Files that cannot be read and that a start does without.
    pub(super) spared: Vec<SettingFault>,
}

impl Files {
    /// Reads them all. Blocks on them; needs no runtime.
    ///
    /// # Errors
    /// Every fault of every file. What may be a secret is named by its line and never shown.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let mut faults = settings.check_files();
        let unread: Vec<String> = faults.iter().map(|fault| fault.key.clone()).collect();
        let mut inside = Vec::new();
        let tokens = match &settings.auth.tokens_file {
            Some(path) => Tokens::load(path),
            None => Ok(Tokens::default()),
        };
        let tokens = SettingsError::gather(tokens, &mut inside);
        let client = CallbackClient::new(&settings.callback, RequestTimeouts::default());
        let client = SettingsError::gather(client, &mut inside);
        let tls = settings.server.tls.as_ref().map(Tls::load).transpose();
        let tls = SettingsError::gather(tls, &mut inside);
        // One that cannot be read has been told once.
        faults.extend(inside.into_iter().filter(|fault| !unread.contains(&fault.key)));
        match (tokens, client, tls) {
            (Some(tokens), Some(client), Some(tls))
                if !faults.iter().any(|fault| required_at_start(&fault.key)) =>
            {
                Ok(Self { tokens, client, tls, spared: faults })
            }
            _ => Err(SettingsError::new(faults)),
        }
    }
}
