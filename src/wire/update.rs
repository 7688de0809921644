//! Parses the body of an update: the fields to change, and nothing else.

use super::fields::{InvalidField, JsonFields};
use super::params::{
    MAX_DESCRIPTION_CHARS, MAX_SHORT_CHARS, given_credentials, take_fingerprints, take_hostname,
};
use crate::model::{StoreUpdate, Tags};

/// Parses the fields of an update.
pub(super) fn parse_store_update(
    mut fields: JsonFields,
    tags: Tags,
) -> Result<StoreUpdate, InvalidField> {
    let secrets = given_credentials(&mut fields)?;
    if secrets.is_empty() && secrets.passphrase.is_some() {
        return Err(fields.invalid_field("privateKey", "the key that the passphrase is for"));
    }
    let update = StoreUpdate {
        name: fields.optional_line("name", MAX_SHORT_CHARS)?,
        description: fields.take_text("description", MAX_DESCRIPTION_CHARS)?,
        hostname: take_hostname(&mut fields)?,
        port: fields.take_port("sshPort")?,
        username: fields.optional_line("username", MAX_SHORT_CHARS)?,
        credentials: Some(secrets).filter(|secrets| !secrets.is_empty()),
        given_fingerprints: take_fingerprints(&mut fields)?,
        force: fields.take_flag("force")?.unwrap_or(false),
        tags,
    };
    if update.changed_fields().is_empty() {
        let accepted = "at least one of name, description, hostname, sshPort, username, \
                        password, privateKey, hostKeyFingerprint";
        return Err(fields.bad_whole(accepted));
    }
    Ok(update)
}
