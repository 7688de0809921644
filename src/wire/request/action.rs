//! The actions on one store: the body of a `PUT .../actions`.

use super::fields::{InvalidField, JsonFields};
use super::params::{
    MAX_DESCRIPTION_CHARS, MAX_SHORT_TEXT_CHARS, take_fingerprint, take_fingerprints,
    take_hostname, take_optional_credentials, take_tags,
};
use super::{InvalidBody, ParsedRequest, UnsupportedCall, parse_document, select_action};
use crate::model::{ImageDir, State, StoreUpdate, Tags};

/// The key of the action that changes the definition of an image store. The name is ZStack's.
const UPDATE_IMAGE_STORE: &str = "updateImageStoreBackupStorage";
/// The key of the action that accepts a host key.
const ACCEPT_HOST_KEY: &str = "acceptHostKey";
/// The key of a reconnect in ZStack's API document.
pub(super) const PARAMS: &str = "params";
/// The key of the action that changes the texts of any backup storage. The name is ZStack's.
const UPDATE_STORAGE: &str = "updateBackupStorage";
/// The key of the action that enables or disables any backup storage. The name is ZStack's.
const CHANGE_STATE: &str = "changeBackupStorageState";

/// The actions on an image store: those of ZStack's SDK and of its API document, and the daemon's
/// own.
const IMAGE_STORE_ACTIONS: [&str; 4] =
    ["reconnectImageStoreBackupStorage", PARAMS, UPDATE_IMAGE_STORE, ACCEPT_HOST_KEY];
/// The actions on any backup storage.
const STORAGE_ACTIONS: [&str; 3] = ["reconnectBackupStorage", UPDATE_STORAGE, CHANGE_STATE];

/// The fields of the login, which only [`UPDATE_IMAGE_STORE`] changes.
const LOGIN_FIELDS: [&str; 7] = [
    "hostname",
    "sshPort",
    "username",
    "password",
    "privateKey",
    "privateKeyPassphrase",
    "hostKeyFingerprint",
];

/// The path of a `PUT .../actions`. It decides which actions the body may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionPath {
    /// `.../backup-storage/image-store/{uuid}/actions`
    ImageStore,
    /// `.../backup-storage/{uuid}/actions`
    BackupStorage,
}

impl ActionPath {
    /// Returns the keys that name an action.
    fn actions(self) -> &'static [&'static str] {
        match self {
            Self::ImageStore => &IMAGE_STORE_ACTIONS,
            Self::BackupStorage => &STORAGE_ACTIONS,
        }
    }

    /// Returns the keys that name an action on any of the paths.
    pub(super) fn all_actions() -> impl Iterator<Item = &'static str> {
        IMAGE_STORE_ACTIONS.into_iter().chain(STORAGE_ACTIONS)
    }

    /// Returns the actions that are known, but not supported.
    fn unsupported_calls(self) -> &'static [UnsupportedCall] {
        match self {
            Self::ImageStore => &[UnsupportedCall::ReclaimSpace],
            Self::BackupStorage => &[UnsupportedCall::ExportImage, UnsupportedCall::RecoverImage],
        }
    }
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
    /// Enable or disable the store.
    ChangeState(State),
    /// An action that the daemon does not carry out.
    Unsupported(UnsupportedCall),
}

impl StoreAction {
    /// Parses the body of a `PUT .../actions`.
    ///
    /// # Errors
    /// Returns [`InvalidBody`] if the body is invalid. The status of the response is 400.
    pub fn parse_action(path: ActionPath, body: &[u8]) -> Result<ParsedRequest<Self>, InvalidBody> {
        let mut document = parse_document(body)?;
        let calls = path.unsupported_calls();
        let unsupported: Vec<_> = calls.iter().map(|call| call.as_str()).collect();
        let key = select_action(&document, path.actions(), &unsupported)?;
        if let Some(call) = calls.iter().find(|call| call.as_str() == key) {
            return Ok(ParsedRequest { request: Self::Unsupported(*call), unknown_fields: 0 });
        }
        let mut inner = document.take_object(key)?.unwrap_or_else(JsonFields::empty);
        let tags = take_tags(&mut document, &mut inner)?;
        let action = match key {
            UPDATE_IMAGE_STORE => Self::Update(Box::new(parse_store_update(&mut inner, tags)?)),
            UPDATE_STORAGE => Self::Update(Box::new(parse_storage_update(&mut inner, tags)?)),
            CHANGE_STATE => Self::ChangeState(take_state(&mut inner)?),
            ACCEPT_HOST_KEY => {
                Self::AcceptHostKey { fingerprint: take_fingerprint(&mut inner)?, tags }
            }
            _ => {
                let force = inner.take_flag("force")?.unwrap_or(false);
                if key == PARAMS {
                    check_reconnect_only(&mut inner)?;
                }
                Self::Reconnect { tags, force }
            }
        };
        Ok(ParsedRequest::new(action, [&document, &inner]))
    }
}

/// Checks that the documented form of a reconnect holds nothing else. A client that sends an update
/// in this form would otherwise get a success without an effect.
fn check_reconnect_only(params: &mut JsonFields) -> Result<(), InvalidField> {
    params.remove_field("uuid");
    if params.has_values() {
        return Err(params.invalid_object(format!(
            "only uuid, force, systemTags and userTags; send a change of the store as \
             {UPDATE_IMAGE_STORE}"
        )));
    }
    Ok(())
}

fn take_state(fields: &mut JsonFields) -> Result<State, InvalidField> {
    let key = "stateEvent";
    let event = fields.take_text(key, MAX_SHORT_TEXT_CHARS).ok().flatten().unwrap_or_default();
    match event.to_ascii_lowercase().as_str() {
        "enable" => Ok(State::Enabled),
        "disable" => Ok(State::Disabled),
        _ => Err(fields.invalid_field(key, "enable or disable")),
    }
}

/// Parses the fields of an update of an image store.
fn parse_store_update(fields: &mut JsonFields, tags: Tags) -> Result<StoreUpdate, InvalidField> {
    let secrets = take_optional_credentials(fields)?;
    if secrets.is_empty() && secrets.passphrase.is_some() {
        return Err(fields.invalid_field(
            "privateKey",
            "a private key, because privateKeyPassphrase is present",
        ));
    }
    let update = StoreUpdate {
        hostname: take_hostname(fields)?,
        port: fields.take_port("sshPort")?,
        username: fields.take_optional_line("username", MAX_SHORT_TEXT_CHARS)?,
        credentials: Some(secrets).filter(|secrets| !secrets.is_empty()),
        given_fingerprints: take_fingerprints(fields)?,
        force: fields.take_flag("force")?.unwrap_or(false),
        ..parse_texts(fields, tags)?
    };
    if update.changed_fields().is_empty() {
        let expected = "at least one of the keys name, description, hostname, sshPort, username, \
                        password, privateKey, hostKeyFingerprint";
        return Err(fields.invalid_object(expected));
    }
    Ok(update)
}

/// Parses the fields of an update of any backup storage, which has no login.
fn parse_storage_update(fields: &mut JsonFields, tags: Tags) -> Result<StoreUpdate, InvalidField> {
    if let Some(key) = LOGIN_FIELDS.into_iter().find(|key| fields.has_value(key)) {
        let expected = format!("no value here: {UPDATE_IMAGE_STORE} changes the login of a store");
        return Err(fields.invalid_field(key, expected));
    }
    let update = parse_texts(fields, tags)?;
    if update.changed_fields().is_empty() {
        return Err(fields.invalid_object("at least one of the keys name and description"));
    }
    Ok(update)
}

/// Parses the fields that both updates have.
fn parse_texts(fields: &mut JsonFields, tags: Tags) -> Result<StoreUpdate, InvalidField> {
    Ok(StoreUpdate {
        name: fields.take_optional_line("name", MAX_SHORT_TEXT_CHARS)?,
        description: fields.take_text("description", MAX_DESCRIPTION_CHARS)?,
        given_url: fields.take_text("url", ImageDir::MAX_CHARS)?,
        tags,
        ..StoreUpdate::default()
    })
}
