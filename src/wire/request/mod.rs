//! The bodies of requests: a store to add, an action on a store, and the login of an account.
//!
//! # Guarantees
//! - Returned values satisfy all lexical rules.
//! - Parsing accesses neither a disk nor a network.
//!
//! # Never
//! - It never quotes a value or a key of the client.

mod action;
mod body_size;
mod document;
mod fields;
mod login;
mod params;
mod unsupported;

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;

use crate::common::skip_byte_order_mark;
use crate::model::{AddStore, Inventory, SshAddress, Tags};
use document::{DocumentError, parse_unique};
use fields::JsonFields;
use params::{
    HOSTNAME_FORM, MAX_DESCRIPTION_CHARS, take_credentials, take_fingerprints, take_hostname,
    take_image_dir, take_tags, take_uuid,
};

pub use action::{ActionPath, StoreAction};
pub use body_size::MAX_BODY_BYTES;
pub use fields::InvalidField;
pub use login::{AccountLogin, parse_account_login, parse_version_request};
pub(super) use params::MAX_SHORT_TEXT_CHARS;
pub use unsupported::UnsupportedCall;

/// The field of an add that asks for the import of the images that the directory has.
const IMPORT_IMAGES: &str = "importImages";
/// The field of an add that attaches tags of the management node's database.
const TAG_UUIDS: &str = "tagUuids";
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
    /// The body is JSON, but not an object.
    #[error("$: expected a JSON object")]
    NotAnObject,
    /// The body is JSON of the wrong shape.
    #[error(transparent)]
    Field(#[from] InvalidField),
    /// The body names no action. The value has the keys that name one.
    #[error("the body has no action; expected one of {}", .0.join(", "))]
    NoAction(Vec<&'static str>),
    /// The body names several actions.
    #[error("the body has several actions: {}", .0.join(" and "))]
    SeveralActions(Vec<&'static str>),
}

/// A request, and the number of the fields of its body that are unknown and had no effect. Fields
/// of ZStack's clients that are ignored on purpose are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRequest<T> {
    /// The request.
    pub request: T,
    /// The number of unknown fields.
    pub unknown_fields: u64,
}

impl<T> ParsedRequest<T> {
    /// Creates the request from these objects, of which every known field was taken.
    fn new<const N: usize>(request: T, objects: [&JsonFields; N]) -> Self {
        let unknown_fields = objects.into_iter().map(JsonFields::unknown_fields).sum();
        Self { request, unknown_fields }
    }
}

/// Parses the body of an add.
///
/// # Errors
/// Returns [`InvalidBody`] if the body is invalid. The status of the response is 400, and nothing
/// was changed.
pub fn parse_add_store(
    body: &[u8],
    allowed_roots: &[String],
) -> Result<ParsedRequest<AddStore>, InvalidBody> {
    let mut document = parse_document(body)?;
    check_no_action(&document)?;
    let mut params = match document.take_object(action::PARAMS)? {
        Some(params) => params,
        None => return Err(document.invalid_field(action::PARAMS, "a JSON object").into()),
    };
    let tags = take_tags(&mut document, &mut params)?;
    check_type(&mut params)?;
    let request = AddStore {
        without_effect: take_without_effect(&mut params)?,
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
    };
    Ok(ParsedRequest::new(request, [&document, &params]))
}

/// Checks that the store is of the one type that the daemon serves, if the field is present.
fn check_type(params: &mut JsonFields) -> Result<(), InvalidField> {
    match params.take_text("type", MAX_SHORT_TEXT_CHARS) {
        Ok(None) => Ok(()),
        Ok(Some(text)) if text == Inventory::TYPE => Ok(()),
        _ => Err(params.invalid_field("type", Inventory::TYPE)),
    }
}

/// Takes the fields of ZStack's SDK that have no effect here, and returns the keys of those that
/// request something.
fn take_without_effect(params: &mut JsonFields) -> Result<Vec<&'static str>, InvalidField> {
    let imports = params.take_flag(IMPORT_IMAGES)?.unwrap_or(false);
    let tags = params.take_texts(TAG_UUIDS, Tags::MAX_COUNT, MAX_SHORT_TEXT_CHARS)?;
    let requested = [(IMPORT_IMAGES, imports), (TAG_UUIDS, tags.is_some_and(|t| !t.is_empty()))];
    Ok(requested.into_iter().filter_map(|(key, on)| on.then_some(key)).collect())
}

/// Parses the body of an attachment to a zone, which has nothing but tags.
///
/// # Errors
/// Returns [`InvalidBody`] if the body is invalid. The status of the response is 400.
pub fn parse_attachment(body: &[u8]) -> Result<ParsedRequest<()>, InvalidBody> {
    let mut document = parse_document(body)?;
    check_no_action(&document)?;
    let mut params = document.take_object(action::PARAMS)?.unwrap_or_else(JsonFields::empty);
    take_tags(&mut document, &mut params)?;
    Ok(ParsedRequest::new((), [&document, &params]))
}

/// Checks that the body of a request without parameters is empty or an empty object.
///
/// # Errors
/// Returns [`InvalidBody`] if the body is invalid. The status of the response is 400.
pub fn parse_empty_body(body: &[u8]) -> Result<(), InvalidBody> {
    let document = parse_document(body)?;
    match document.is_empty() {
        true => Ok(()),
        false => Err(document.invalid_object("no fields: the request has no parameters").into()),
    }
}

/// Returns the one key of the document that names an action. `expected` are the keys that an error
/// lists, and `unsupported` those of actions that are known, too. A second action is an error even
/// if it belongs to another path, because it would have no effect.
fn select_action(
    document: &JsonFields,
    expected: &[&'static str],
    unsupported: &[&'static str],
) -> Result<&'static str, InvalidBody> {
    let is_here = |key: &&str| expected.contains(key) || unsupported.contains(key);
    let here = expected.iter().chain(unsupported).copied();
    let elsewhere = all_actions().filter(|key| !is_here(key));
    let named: Vec<_> = here.chain(elsewhere).filter(|key| document.contains_key(key)).collect();
    match named.as_slice() {
        [key] if is_here(key) => Ok(key),
        [] | [_] => Err(InvalidBody::NoAction(expected.to_vec())),
        _ => Err(InvalidBody::SeveralActions(named)),
    }
}

/// Checks that the document of a request with `params` names no action beside or instead of it. The
/// action would have no effect.
fn check_no_action(document: &JsonFields) -> Result<(), InvalidBody> {
    let mut named = all_actions().filter(|key| document.contains_key(key));
    match named.next() {
        Some(key) if key != action::PARAMS || named.next().is_some() => {
            select_action(document, &[action::PARAMS], &[]).map(drop)
        }
        _ => Ok(()),
    }
}

/// Returns the keys of all actions, of any path.
fn all_actions() -> impl Iterator<Item = &'static str> {
    let unsupported = UnsupportedCall::ALL.iter().map(|call| call.as_str());
    ActionPath::all_actions().chain(unsupported).chain(login::ACTIONS)
}

/// Parses the document of a request. An empty body and `null` count as an object without fields:
/// the error about a missing field is clearer than that of the JSON parser.
pub(super) fn parse_document(body: &[u8]) -> Result<JsonFields, InvalidBody> {
    let body = skip_byte_order_mark(body);
    if body.trim_ascii().is_empty() {
        return Ok(JsonFields::empty());
    }
    let document = parse_unique(body).map_err(|error| match error {
        DocumentError::RepeatedKey { line, column } => InvalidBody::RepeatedKey { line, column },
        DocumentError::Syntax(error) => syntax_error(&error),
    })?;
    // The Go SDK of ZStack sends `null` for a body without fields.
    if document.is_null() {
        return Ok(JsonFields::empty());
    }
    JsonFields::from_document(document).ok_or(InvalidBody::NotAnObject)
}

fn syntax_error(error: &serde_json::Error) -> InvalidBody {
    let message = error.to_string();
    let problem = match message.split(" at line ").next().unwrap_or(&message) {
        "recursion limit exceeded" => "nested deeper than 127 levels",
        problem => problem,
    };
    InvalidBody::NotJson { problem: problem.to_owned(), line: error.line(), column: error.column() }
}
