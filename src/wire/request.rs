//! The bodies of requests: which action is asked of a store, and a store to add.
//!
//! Promises: what is returned has passed every lexical rule; nothing here looks at a disk or a network.
//! Never: quotes what was sent.

use std::num::NonZeroU16;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::Value;

use super::fields::{BadField, Fields};
use crate::model::{Credentials, Hostname, ImageDir, Secret, SshAddress, StoreUuid, Tags};

/// Most characters of a name, a user name or a password: ZStack's columns.
const SHORT: usize = 255;
/// Most characters of a description.
const DESCRIPTION: usize = 2048;
/// Most characters of a private key: an RSA key of 16384 bits has 12.7 thousand as PEM.
const PRIVATE_KEY: usize = 32 * 1024;
/// Most characters of a passphrase.
const PASSPHRASE: usize = 1024;
/// Most fingerprints of one host: more than a server has keys.
const FINGERPRINTS: usize = 16;
/// The action that accepts a host key.
const ACCEPT: &str = "acceptHostKey";
/// What a fingerprint looks like.
const FINGERPRINT: &str = "SHA256: and 43 characters of base64, as ssh-keygen -l prints it";
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
    Field(#[from] BadField),
    /// None of [`Action::KEYS`].
    #[error("the body names no action; accepted: {}", Action::KEYS.join(", "))]
    NoAction,
}

/// What a `PUT .../actions` asks of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Prove the store usable anew.
    Reconnect {
        /// Recorded with the attempt.
        tags: Tags,
        /// `force`: whether to log in although the server has refused the credentials several times.
        force: bool,
    },
    /// Pin the host key that the last failed attempt recorded, and reconnect.
    AcceptHostKey {
        /// `SHA256:...`, without padding: the key that the caller has compared.
        fingerprint: String,
        /// Recorded with the attempt.
        tags: Tags,
    },
}

impl Action {
    /// The keys that name an action: that of ZStack's SDK, that of its API document, and our own.
    pub const KEYS: [&str; 3] = ["reconnectImageStoreBackupStorage", "params", ACCEPT];

    /// Reads the body of a `PUT .../actions`.
    ///
    /// # Errors
    /// [`BadBody`]: answer 400.
    pub fn read(body: &[u8]) -> Result<Self, BadBody> {
        let mut document = document(body)?;
        for key in Self::KEYS {
            if let Some(mut inner) = document.object(key)? {
                let tags = tags(&mut document, &mut inner)?;
                return match key {
                    ACCEPT => {
                        Ok(Self::AcceptHostKey { fingerprint: fingerprint(&mut inner)?, tags })
                    }
                    _ => Ok(Self::Reconnect { tags, force: inner.flag("force")?.unwrap_or(false) }),
                };
            }
        }
        Err(BadBody::NoAction)
    }
}

/// A store to add, lexically checked.
#[derive(Clone, Debug)]
pub struct AddRequest {
    /// `resourceUuid`: a version 1 to 5 uuid.
    pub uuid: Option<StoreUuid>,
    /// 1 to 255 characters.
    pub name: String,
    /// At most 2048 characters; empty when absent.
    pub description: String,
    /// `url`: at or below an allowed root.
    pub image_dir: ImageDir,
    /// `hostname` and `sshPort`.
    pub address: SshAddress,
    /// 1 to 255 characters.
    pub username: String,
    /// `password`, `privateKey` or both, and `privateKeyPassphrase`.
    pub credentials: Credentials,
    /// `hostKeyFingerprint`: as `ssh-keygen -l` prints them; empty when absent.
    pub given_fingerprints: Vec<String>,
    /// `takeOver`: whether a directory of another node is to be moved here.
    pub take_over: bool,
    /// Carried by the first notice.
    pub tags: Tags,
}

impl AddRequest {
    /// Reads the body of an add.
    ///
    /// # Errors
    /// [`BadBody`]: answer 400; nothing was touched.
    pub fn read(body: &[u8], allowed_roots: &[String]) -> Result<Self, BadBody> {
        let mut document = document(body)?;
        let mut params = match document.object("params")? {
            Some(params) => params,
            None => return Err(document.bad("params", "an object").into()),
        };
        let tags = tags(&mut document, &mut params)?;
        Ok(Self {
            uuid: uuid(&mut params)?,
            name: params.line("name", SHORT)?,
            description: params.text("description", DESCRIPTION)?.unwrap_or_default(),
            image_dir: image_dir(&mut params, allowed_roots)?,
            address: SshAddress {
                hostname: hostname(&mut params)?,
                port: params.port("sshPort")?.unwrap_or(SSH_PORT),
            },
            username: params.line("username", SHORT)?,
            credentials: credentials(&mut params)?,
            given_fingerprints: fingerprints(&mut params)?,
            take_over: params.flag("takeOver")?.unwrap_or(false),
            tags,
        })
    }
}

/// No body is an object without fields: what is missing from it says more than a parser would.
fn document(body: &[u8]) -> Result<Fields, BadBody> {
    if body.trim_ascii().is_empty() {
        return Ok(Fields::empty());
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
    Ok(Fields::of_document(document)?)
}

/// Tags stand beside the action or inside it; those beside it win.
fn tags(document: &mut Fields, inner: &mut Fields) -> Result<Tags, BadField> {
    let mut kind = |key| {
        let outside = document.texts(key, Tags::MAX_COUNT, Tags::MAX_CHARS)?;
        let inside = inner.texts(key, Tags::MAX_COUNT, Tags::MAX_CHARS)?;
        Ok(outside.or(inside).unwrap_or_default())
    };
    let (system, user) = (kind("systemTags")?, kind("userTags")?);
    Tags::new(system, user).map_err(|error| document.bad_whole("tags within bounds").because(error))
}

fn uuid(params: &mut Fields) -> Result<Option<StoreUuid>, BadField> {
    let key = "resourceUuid";
    let bad = params.bad(key, "a version 1 to 5 uuid of 32 lower-case hexadecimal digits");
    match params.text(key, SHORT) {
        Ok(None) => Ok(None),
        Ok(Some(text)) => match text.parse::<StoreUuid>() {
            Ok(uuid) if uuid.is_rfc4122() => Ok(Some(uuid)),
            _ => Err(bad),
        },
        Err(_) => Err(bad),
    }
}

fn image_dir(params: &mut Fields, allowed_roots: &[String]) -> Result<ImageDir, BadField> {
    let roots = allowed_roots.join(", ");
    let bad = params.bad("url", format!("an absolute path at or below an allowed root ({roots})"));
    let Ok(Some(text)) = params.text("url", ImageDir::MAX_CHARS) else { return Err(bad) };
    let dir = ImageDir::parse(&text).map_err(|error| bad.clone().because(error))?;
    if !dir.is_within(allowed_roots.iter().map(String::as_str)) {
        return Err(bad.because("lies elsewhere"));
    }
    Ok(dir)
}

fn hostname(params: &mut Fields) -> Result<Hostname, BadField> {
    let text = params.text("hostname", SHORT + 2).ok().flatten().unwrap_or_default();
    text.parse().map_err(|_| {
        params.bad("hostname", "an IP address or a host name of at most 255 characters (RFC 1123)")
    })
}

/// An empty secret is none: forms send `""` for a field left blank.
fn credentials(params: &mut Fields) -> Result<Credentials, BadField> {
    let mut secret = |key, most| {
        let text = params.text(key, most)?;
        Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
    };
    let credentials = Credentials {
        password: secret("password", SHORT)?,
        private_key: secret("privateKey", PRIVATE_KEY)?,
        passphrase: secret("privateKeyPassphrase", PASSPHRASE)?,
    };
    if credentials.is_empty() {
        return Err(params.bad_whole("a password, a privateKey or both"));
    }
    Ok(credentials)
}

fn fingerprints(params: &mut Fields) -> Result<Vec<String>, BadField> {
    let key = "hostKeyFingerprint";
    let bad = params.bad(key, FINGERPRINT);
    let given = params.one_or_several(key, FINGERPRINTS, SHORT).map_err(|_| bad.clone())?;
    given.iter().map(|text| unpadded(text).ok_or_else(|| bad.clone())).collect()
}

fn fingerprint(params: &mut Fields) -> Result<String, BadField> {
    let key = "fingerprint";
    let bad = params.bad(key, FINGERPRINT);
    let given = params.text(key, SHORT).ok().flatten();
    given.as_deref().and_then(unpadded).ok_or(bad)
}

/// Some tools pad a fingerprint; the pinned form is without.
fn unpadded(text: &str) -> Option<String> {
    let text = text.trim_end_matches('=');
    let blob = STANDARD_NO_PAD.decode(text.strip_prefix("SHA256:")?).ok()?;
    (blob.len() == 32).then(|| text.to_owned())
}
