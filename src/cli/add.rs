//! The body of an add.

use serde_json::{Value, json};

use super::args::{AddArgs, TagArgs};
use crate::model::Credentials;

/// What the documented operation takes, from what was typed.
pub(super) fn body(args: &AddArgs, credentials: &Credentials) -> Value {
    let mut params = json!({
        "name": args.name,
        "url": args.path,
        "hostname": args.hostname.as_str(),
        "username": args.username,
        "sshPort": args.port,
        "takeOver": args.take_over,
    });
    let secret = |secret: &Option<crate::model::Secret>| {
        secret.as_ref().map(|secret| Value::from(secret.expose()))
    };
    let optional = [
        ("description", args.description.as_deref().map(Value::from)),
        ("resourceUuid", args.uuid.map(|uuid| Value::from(uuid.to_string()))),
        ("password", secret(&credentials.password)),
        ("privateKey", secret(&credentials.private_key)),
        ("privateKeyPassphrase", secret(&credentials.passphrase)),
        ("hostKeyFingerprint", fingerprints(&args.host_key_fingerprints)),
    ];
    if let Value::Object(params) = &mut params {
        for (name, value) in optional {
            if let Some(value) = value {
                params.insert(name.to_owned(), value);
            }
        }
    }
    with_tags("params", params, &args.tags)
}

/// A body of one action with its tags.
pub(super) fn with_tags(action: &str, params: Value, tags: &TagArgs) -> Value {
    json!({ action: params, "systemTags": tags.system, "userTags": tags.user })
}

fn fingerprints(given: &[String]) -> Option<Value> {
    match given {
        [] => None,
        [one] => Some(Value::from(one.as_str())),
        several => Some(Value::from(several.to_vec())),
    }
}
