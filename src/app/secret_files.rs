//! The contents of the files that the settings name. `serve` and `check-config` share this module,
//! so that `serve` accepts every configuration that `check-config` accepts.

use crate::http::{TlsAcceptance, TokenTable};
use crate::management::{CallbackClient, RequestTimeouts};
use crate::settings::{SettingFault, Settings, SettingsError, required_at_start};

/// The contents of all files that a start reads before it opens the state directory.
#[derive(Debug)]
pub struct SecretFiles {
    pub(super) tokens: TokenTable,
    pub(super) client: Option<CallbackClient>,
    pub(super) tls: Option<TlsAcceptance>,
    /// Faults of the files that cannot be read and that a start does not need.
    pub(super) optional_failures: Vec<SettingFault>,
}

impl SecretFiles {
    /// Reads all files. The call blocks on them and needs no runtime.
    ///
    /// # Errors
    /// Returns every fault of every file. A fault names the line of a possible secret and never
    /// shows its text.
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
        // `check_files` has already reported the files that cannot be read.
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
