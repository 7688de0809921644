//! The bodies of the requests that add or update a store.

use serde_json::{Value, json};

use crate::cli::args::{AddArgs, TagArgs, UpdateArgs};
use crate::model::{Secret, SshCredentials};

/// Creates the body of an add from the command-line arguments.
pub(super) fn add_body(args: &AddArgs, credentials: &SshCredentials) -> Value {
    let mut params = json!({
        "name": args.name,
        "url": args.path,
        "hostname": args.hostname.as_str(),
        "username": args.username,
        "sshPort": args.port,
        "takeOver": args.take_over,
        "force": args.force,
    });
    let optional = [
        ("description", args.description.as_deref().map(Value::from)),
        ("resourceUuid", args.uuid.map(|uuid| Value::from(uuid.to_string()))),
        ("hostKeyFingerprint", fingerprints_value(&args.host_key_fingerprints)),
    ];
    insert_fields(&mut params, optional);
    insert_fields(&mut params, secret_fields(credentials));
    with_tags("params", params, &args.tags)
}

/// Creates the body of an update from the command-line arguments. Arguments that are not given are
/// omitted.
pub(super) fn update_body(args: &UpdateArgs, credentials: &SshCredentials) -> Value {
    let mut fields = json!({});
    let optional = [
        ("name", args.name.as_deref().map(Value::from)),
        ("description", args.description.as_deref().map(Value::from)),
        ("hostname", args.hostname.as_ref().map(|hostname| Value::from(hostname.as_str()))),
        ("sshPort", args.port.map(Value::from)),
        ("username", args.username.as_deref().map(Value::from)),
        ("hostKeyFingerprint", fingerprints_value(&args.host_key_fingerprints)),
        ("force", args.force.then_some(Value::from(true))),
    ];
    insert_fields(&mut fields, optional);
    insert_fields(&mut fields, secret_fields(credentials));
    with_tags("updateImageStoreBackupStorage", fields, &args.tags)
}

fn secret_fields(credentials: &SshCredentials) -> [(&'static str, Option<Value>); 3] {
    let value =
        |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose_secret().into());
    [
        ("password", value(&credentials.password)),
        ("privateKey", value(&credentials.private_key)),
        ("privateKeyPassphrase", value(&credentials.passphrase)),
    ]
}

fn insert_fields<const N: usize>(object: &mut Value, fields: [(&'static str, Option<Value>); N]) {
    if let Value::Object(object) = object {
        let present =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        object.extend(present);
    }
}

/// Creates the body of one action with its tags.
pub(super) fn with_tags(action: &str, params: Value, tags: &TagArgs) -> Value {
    json!({ action: params, "systemTags": tags.system, "userTags": tags.user })
}

fn fingerprints_value(given: &[String]) -> Option<Value> {
    match given {
        [] => None,
        [one] => Some(Value::from(one.as_str())),
        several => Some(Value::from(several.to_vec())),
    }
}
