//! The bodies of requests: a store to add, and an action on a store.
//!
//! # Guarantees
//! - Returned values satisfy all lexical rules.
//! - Parsing accesses neither a disk nor a network.
//!
//! # Never
//! - It never quotes a value. It names a key that an object has twice, and no other key of the
//!   client.

mod body_size;
mod document;
mod fields;
mod params;

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;

use crate::common::skip_byte_order_mark;
use crate::model::{AddStore, SshAddress, StoreUpdate, Tags};
use document::{DocumentError, parse_unique};
use fields::JsonFields;
use params::{
    HOSTNAME_FORM, MAX_DESCRIPTION_CHARS, take_credentials, take_fingerprint, take_fingerprints,
    take_hostname, take_image_dir, take_optional_credentials, take_tags, take_uuid,
};

pub use body_size::MAX_BODY_BYTES;
pub use fields::InvalidField;
pub(super) use params::MAX_SHORT_TEXT_CHARS;

/// The key of the action that changes the definition of a store. The name is ZStack's.
const UPDATE_ACTION: &str = "updateImageStoreBackupStorage";
/// The key of the action that accepts a host key.
const ACCEPT_HOST_KEY_ACTION: &str = "acceptHostKey";
/// The default port of an SSH server, 22.
const DEFAULT_SSH_PORT: NonZeroU16 = NonZeroU16::MIN.saturating_add(21);

/// A body that names no known action, or that violates a rule. The caller must correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBody {
    /// The body is not JSON.
    #[error("the body is not JSON: {problem} at line {line} column {column}")]
    NotJson {
        /// The problem that the parser reported. It never quotes the input.
        problem: String,
        /// The line number, from 1.
        line: usize,
        /// The column number, from 1. It is 0 at the start of a line.
        column: usize,
    },
    /// An object in the body has the same key twice.
    #[error("an object in the body has the same key twice: line {line} column {column}")]
    RepeatedKey {
        /// The line number of the second one, from 1.
        line: usize,
        /// The column number of its end, from 1.
        column: usize,
    },
    /// The body is JSON of the wrong shape.
    #[error(transparent)]
    Field(#[from] InvalidField),
    /// The body has none of [`StoreAction::ACTION_KEYS`].
    #[error("the body has no action; expected one of {}", StoreAction::ACTION_KEYS.join(", "))]
    NoAction,
    /// The body has several of [`StoreAction::ACTION_KEYS`].
    #[error("the body has several actions: {}", .0.join(" and "))]
    SeveralActions(Vec<&'static str>),
}

/// The action that a `PUT .../actions` requests.
#[derive(Clone, Debug)]
pub enum StoreAction {
    /// Reconnect the store: check again that it is usable.
    Reconnect {
        /// The tags that are recorded with the attempt.
        tags: Tags,
        /// `force`: log in even if the server has rejected the credentials repeatedly.
        force: bool,
    },
    /// Change the definition of the store.
    Update(Box<StoreUpdate>),
    /// Pin the host key that the last failed attempt recorded, and reconnect.
    AcceptHostKey {
        /// The fingerprint of the key that the caller has compared: `SHA256:...` without padding.
        fingerprint: String,
        /// The tags that are recorded with the attempt.
        tags: Tags,
    },
}

impl StoreAction {
    /// The keys that name an action: those of ZStack's SDK and of its API document, and the
    /// daemon's own.
    pub const ACTION_KEYS: [&str; 4] =
        ["reconnectImageStoreBackupStorage", "params", UPDATE_ACTION, ACCEPT_HOST_KEY_ACTION];

    /// Parses the body of a `PUT .../actions`.
    ///
    /// # Errors
    /// Returns [`InvalidBody`] if the body is invalid. The status of the response is 400.
    pub fn parse_action(body: &[u8]) -> Result<Self, InvalidBody> {
        let mut document = parse_document(body)?;
        let named: Vec<_> =
            Self::ACTION_KEYS.into_iter().filter(|key| document.contains_key(key)).collect();
        let &[key] = named.as_slice() else {
            let several = || InvalidBody::SeveralActions(named.clone());
            return Err(if named.is_empty() { InvalidBody::NoAction } else { several() });
        };
        let Some(mut inner) = document.take_object(key)? else {
            return Err(InvalidBody::NoAction);
        };
        let tags = take_tags(&mut document, &mut inner)?;
        match key {
            UPDATE_ACTION => Ok(Self::Update(Box::new(parse_store_update(inner, tags)?))),
            ACCEPT_HOST_KEY_ACTION => {
                Ok(Self::AcceptHostKey { fingerprint: take_fingerprint(&mut inner)?, tags })
            }
            _ => Ok(Self::Reconnect { tags, force: inner.take_flag("force")?.unwrap_or(false) }),
        }
    }
}

/// Parses the body of an add.
///
/// # Errors
/// Returns [`InvalidBody`] if the body is invalid. The status of the response is 400, and nothing
/// was changed.
pub fn parse_add_store(body: &[u8], allowed_roots: &[String]) -> Result<AddStore, InvalidBody> {
    let mut document = parse_document(body)?;
    let mut params = match document.take_object("params")? {
        Some(params) => params,
        None => return Err(document.invalid_field("params", "a JSON object").into()),
    };
    let tags = take_tags(&mut document, &mut params)?;
    Ok(AddStore {
        uuid: take_uuid(&mut params)?,
        name: params.take_line("name", MAX_SHORT_TEXT_CHARS)?,
        description: params.take_text("description", MAX_DESCRIPTION_CHARS)?.unwrap_or_default(),
        image_dir: take_image_dir(&mut params, allowed_roots)?,
        address: SshAddress {
            hostname: take_hostname(&mut params)?
                .ok_or_else(|| params.invalid_field("hostname", HOSTNAME_FORM))?,
            port: params.take_port("sshPort")?.unwrap_or(DEFAULT_SSH_PORT),
        },
        username: params.take_line("username", MAX_SHORT_TEXT_CHARS)?,
        credentials: take_credentials(&mut params)?,
        given_fingerprints: take_fingerprints(&mut params)?,
        take_over: params.take_flag("takeOver")?.unwrap_or(false),
        force: params.take_flag("force")?.unwrap_or(false),
        tags,
    })
}

/// Parses the fields of an update.
fn parse_store_update(mut fields: JsonFields, tags: Tags) -> Result<StoreUpdate, InvalidField> {
    let secrets = take_optional_credentials(&mut fields)?;
    if secrets.is_empty() && secrets.passphrase.is_some() {
        return Err(fields.invalid_field(
            "privateKey",
            "a private key, because privateKeyPassphrase is present",
        ));
    }
    let update = StoreUpdate {
        name: fields.take_optional_line("name", MAX_SHORT_TEXT_CHARS)?,
        description: fields.take_text("description", MAX_DESCRIPTION_CHARS)?,
        hostname: take_hostname(&mut fields)?,
        port: fields.take_port("sshPort")?,
        username: fields.take_optional_line("username", MAX_SHORT_TEXT_CHARS)?,
        credentials: Some(secrets).filter(|secrets| !secrets.is_empty()),
        given_fingerprints: take_fingerprints(&mut fields)?,
        force: fields.take_flag("force")?.unwrap_or(false),
        by_admin: false,
        tags,
    };
    if update.changed_fields().is_empty() {
        let expected = "at least one of the keys name, description, hostname, sshPort, username, \
                        password, privateKey, hostKeyFingerprint";
        return Err(fields.invalid_object(expected));
    }
    Ok(update)
}

/// Parses the document of a request. An empty body counts as an object without fields: the error
/// about a missing field is clearer than that of the JSON parser.
pub(super) fn parse_document(body: &[u8]) -> Result<JsonFields, InvalidBody> {
    let body = skip_byte_order_mark(body);
    if body.trim_ascii().is_empty() {
        return Ok(JsonFields::empty());
    }
    let document = parse_unique(body).map_err(|error| match error {
        DocumentError::RepeatedKey { line, column } => InvalidBody::RepeatedKey { line, column },
        DocumentError::Syntax(error) => syntax_error(&error),
    })?;
    Ok(JsonFields::from_document(document)?)
}

fn syntax_error(error: &serde_json::Error) -> InvalidBody {
    let message = error.to_string();
    let problem = match message.split(" at line ").next().unwrap_or(&message) {
        "recursion limit exceeded" => "nested deeper than 127 levels",
        problem => problem,
    };
    InvalidBody::NotJson { problem: problem.to_owned(), line: error.line(), column: error.column() }
}
