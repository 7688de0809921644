//! Parses the body of an update: the fields to change, and nothing else.

use super::fields::{BadField, Fields};
use super::params::{DESCRIPTION, SHORT, fingerprints, given_credentials, hostname};
use crate::model::{StoreUpdate, Tags};

/// Parses the fields of an update.
pub(super) fn parse_store_update(mut fields: Fields, tags: Tags) -> Result<StoreUpdate, BadField> {
    let secrets = given_credentials(&mut fields)?;
    if secrets.is_empty() && secrets.passphrase.is_some() {
        return Err(fields.bad("privateKey", "the key that the passphrase is for"));
    }
    let update = StoreUpdate {
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
    if update.changed_fields().is_empty() {
        let accepted = "at least one of name, description, hostname, sshPort, username, \
                        password, privateKey, hostKeyFingerprint";
        return Err(fields.bad_whole(accepted));
    }
    Ok(update)
}
