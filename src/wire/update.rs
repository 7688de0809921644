//! The body of an update: what is to be changed, and nothing else.

use std::num::NonZeroU16;

use super::fields::{BadField, Fields};
use super::params::{DESCRIPTION, SHORT, fingerprints, given_credentials, hostname};
use crate::model::{Credentials, Hostname, Tags};

/// Changes of a store's definition, lexically checked; what is none stays as it is.
#[derive(Clone, Debug)]
pub struct UpdateRequest {
    /// 1 to 255 characters.
    pub name: Option<String>,
    /// At most 2048 characters.
    pub description: Option<String>,
    /// An address or a name.
    pub hostname: Option<Hostname>,
    /// `sshPort`
    pub port: Option<NonZeroU16>,
    /// 1 to 255 characters.
    pub username: Option<String>,
    /// `password`, `privateKey` or both, and `privateKeyPassphrase`: in the place of all there are.
    pub credentials: Option<Credentials>,
    /// `hostKeyFingerprint`; empty when absent.
    pub given_fingerprints: Vec<String>,
    /// Whether to log in also where the server has refused this login too often; no change by itself.
    pub force: bool,
    /// Recorded with the attempt that follows.
    pub tags: Tags,
}

impl UpdateRequest {
    /// Reads the fields of an update.
    pub(super) fn read(mut fields: Fields, tags: Tags) -> Result<Self, BadField> {
        let secrets = given_credentials(&mut fields)?;
        if secrets.is_empty() && secrets.passphrase.is_some() {
            return Err(fields.bad("privateKey", "the key that the passphrase is for"));
        }
        let request = Self {
            name: fields.optional_line("name", SHORT)?,
            description: fields.text("description", DESCRIPTION)?,
            hostname: hostname(&mut fields)?,
            port: fields.port("sshPort")?,
            username: fields.optional_line("username", SHORT)?,
            credentials: Some(secrets).filter(|secrets| !secrets.is_empty()),
            given_fingerprints: fingerprints(&mut fields)?,
            force: fields.flag("force")?.unwrap_or(false),
            tags,
        };
        if request.changed().is_empty() {
            let accepted = "at least one of name, description, hostname, sshPort, username, \
                            password, privateKey, hostKeyFingerprint";
            return Err(fields.bad_whole(accepted));
        }
        Ok(request)
    }

    /// The names of the fields that are to change.
    pub fn changed(&self) -> Vec<&'static str> {
        let secrets = self.credentials.as_ref();
        let fields = [
            ("name", self.name.is_some()),
            ("description", self.description.is_some()),
            ("hostname", self.hostname.is_some()),
            ("sshPort", self.port.is_some()),
            ("username", self.username.is_some()),
            ("password", secrets.is_some_and(|secrets| secrets.password.is_some())),
            ("privateKey", secrets.is_some_and(|secrets| secrets.private_key.is_some())),
            ("hostKeyFingerprint", !self.given_fingerprints.is_empty()),
        ];
        fields.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }
}
