//! The bodies of requests: which action is asked of a store, and a store to add.
//!
//! Promises: what is returned has passed every lexical rule; nothing here looks at a disk or a network.
//! Never: quotes what was sent.

use std::num::NonZeroU16;

use serde_json::Value;

use super::fields::{InvalidField, JsonFields};
use super::params::{
    HOSTNAME_RULE, MAX_DESCRIPTION_CHARS, MAX_SHORT_CHARS, image_dir, parse_fingerprint,
    take_credentials, take_fingerprints, take_hostname, take_tags, take_uuid,
};
use super::update::parse_store_update;
use crate::model::{AddStore, SshAddress, StoreUpdate, Tags};

/// The action that changes a store's definition: ZStack's own.
const UPDATE_KEY: &str = "updateImageStoreBackupStorage";
/// The action that accepts a host key.
const ACCEPT_KEY: &str = "acceptHostKey";
/// Where an SSH server listens unless told otherwise.
const SSH_PORT: NonZeroU16 = NonZeroU16::MIN.saturating_add(21);

/// A body that asks for nothing we know or breaks a rule: the caller corrects it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// Not JSON.
    #[error("the body is not JSON: {problem} at line {line} column {column}")]
    NotJson {
        /// What the parser met; never what was sent.
        problem: String,
        /// From 1.
        line: usize,
        /// From 1; 0 at a line's start.
        column: usize,
    },
    /// JSON of the wrong shape.
    #[error(transparent)]
    Field(#[from] InvalidField),
    /// None of [`StoreAction::ACTION_KEYS`].
    #[error("the body names no action; accepted: {}", StoreAction::ACTION_KEYS.join(", "))]
    NoAction,
}

/// What a `PUT .../actions` asks of a store.
#[derive(Clone, Debug)]
pub enum StoreAction {
    /// Prove the store usable anew.
    Reconnect {
        /// Recorded with the attempt.
        tags: Tags,
        /// `force`: whether to log in although the server has refused the credentials several times.
        force: bool,
    },
    /// Change the definition.
    Update(Box<StoreUpdate>),
    /// Pin the host key that the last failed attempt recorded, and reconnect.
    AcceptHostKey {
        /// `SHA256:...`, without padding: the key that the caller has compared.
        fingerprint: String,
        /// Recorded with the attempt.
        tags: Tags,
    },
}

impl StoreAction {
    /// The keys that name an action: that of ZStack's SDK, that of its API document, and our own.
    pub const ACTION_KEYS: [&str; 4] =
        ["reconnectImageStoreBackupStorage", "params", UPDATE_KEY, ACCEPT_KEY];

    /// Reads the body of a `PUT .../actions`.
    ///
    /// # Errors
    /// [`BadBody`]: answer 400.
    pub fn parse_action(body: &[u8]) -> Result<Self, BadBody> {
        let mut document = parse_document(body)?;
        for key in Self::ACTION_KEYS {
            if let Some(mut inner) = document.take_object(key)? {
                let tags = take_tags(&mut document, &mut inner)?;
                return match key {
                    UPDATE_KEY => Ok(Self::Update(Box::new(parse_store_update(inner, tags)?))),
                    ACCEPT_KEY => Ok(Self::AcceptHostKey {
                        fingerprint: parse_fingerprint(&mut inner)?,
                        tags,
                    }),
                    _ => Ok(Self::Reconnect {
                        tags,
                        force: inner.take_flag("force")?.unwrap_or(false),
                    }),
                };
            }
        }
        Err(BadBody::NoAction)
    }
}

/// Parses the body of an add.
///
/// # Errors
/// [`BadBody`]: answer 400; nothing was touched.
pub fn parse_add_store(body: &[u8], allowed_roots: &[String]) -> Result<AddStore, BadBody> {
    let mut document = parse_document(body)?;
    let mut params = match document.take_object("params")? {
        Some(params) => params,
        None => return Err(document.invalid_field("params", "an object").into()),
    };
    let tags = take_tags(&mut document, &mut params)?;
    Ok(AddStore {
        uuid: take_uuid(&mut params)?,
        name: params.take_line("name", MAX_SHORT_CHARS)?,
        description: params.take_text("description", MAX_DESCRIPTION_CHARS)?.unwrap_or_default(),
        image_dir: image_dir(&mut params, allowed_roots)?,
        address: SshAddress {
            hostname: take_hostname(&mut params)?
                .ok_or_else(|| params.invalid_field("hostname", HOSTNAME_RULE))?,
            port: params.take_port("sshPort")?.unwrap_or(SSH_PORT),
        },
        username: params.take_line("username", MAX_SHORT_CHARS)?,
        credentials: take_credentials(&mut params)?,
        given_fingerprints: take_fingerprints(&mut params)?,
        take_over: params.take_flag("takeOver")?.unwrap_or(false),
        force: params.take_flag("force")?.unwrap_or(false),
        tags,
    })
}

/// No body is an object without fields: what is missing from it says more than a parser would.
pub(super) fn parse_document(body: &[u8]) -> Result<JsonFields, BadBody> {
    if body.trim_ascii().is_empty() {
        return Ok(JsonFields::no_fields());
    }
    let document: Value = serde_json::from_slice(body).map_err(|error| {
        let told = error.to_string();
        let problem = told.split(" at line ").next().unwrap_or(&told);
        let problem = if problem == "recursion limit exceeded" {
            "nested deeper than 127 levels"
        } else {
            problem
        };
        BadBody::NotJson { problem: problem.to_owned(), line: error.line(), column: error.column() }
    })?;
    Ok(JsonFields::of_document(document)?)
}
