//! Tests with valid and invalid bodies of requests.

use serde_json::{Value, json};

use super::{InvalidBody, StoreAction, parse_add_store};
use crate::model::{AddStore, Tags};

fn roots() -> Vec<String> {
    vec!["/srv/images".to_owned()]
}

fn add(change: Value) -> Result<AddStore, String> {
    let mut params = json!({
        "hostname": "node-1", "username": "root", "password": "hunter2", "url": "/srv/images/a",
        "name": "images",
    });
    let fields = params.as_object_mut().unwrap();
    for (key, value) in change.as_object().unwrap() {
        fields.insert(key.clone(), value.clone());
    }
    let body = json!({ "params": params }).to_string();
    parse_add_store(body.as_bytes(), &roots()).map_err(|error| error.to_string())
}

fn tags_of(body: &Value) -> Tags {
    match StoreAction::parse_action(body.to_string().as_bytes()).unwrap() {
        StoreAction::Reconnect { tags, .. } => tags,
        other => panic!("{body} is {other:?}"),
    }
}

fn system_tags(body: Value) -> Vec<String> {
    tags_of(&body).system_tags().to_vec()
}

#[test]
fn every_known_form_of_a_reconnect_is_accepted() {
    for body in [
        json!({"params": {"systemTags": ["a"], "userTags": []}}),
        json!({"params": {"uuid": "8a2f", "systemTags": ["a"]}, "sessionId": "x"}),
        json!({"reconnectImageStoreBackupStorage": {}, "systemTags": ["a"]}),
        json!({"reconnectImageStoreBackupStorage": null, "systemTags": ["a"], "userTags": null}),
        json!({"reconnectImageStoreBackupStorage": {"uuid": "8a2f", "systemTags": ["a"]}}),
        json!({"params": {"systemTags": ["inner"]}, "systemTags": ["a"]}),
    ] {
        assert_eq!(system_tags(body.clone()), ["a"], "{body}");
    }
}

#[test]
fn tags_of_the_document_take_precedence_for_each_kind() {
    let body = json!({"params": {"systemTags": ["s"], "userTags": ["u"]}, "systemTags": []});
    let tags = tags_of(&body);
    assert!(tags.system_tags().is_empty());
    assert_eq!(tags.user_tags(), ["u"]);
}

#[test]
fn a_reconnect_is_forced_by_a_flag_and_nothing_else() {
    for (body, expected) in [
        (json!({"params": {}}), Some(false)),
        (json!({"params": {"force": null}}), Some(false)),
        (json!({"params": {"force": true}}), Some(true)),
        (json!({"reconnectImageStoreBackupStorage": {"force": true}}), Some(true)),
        (json!({"params": {"force": "yes"}}), None),
    ] {
        let forced = match StoreAction::parse_action(body.to_string().as_bytes()) {
            Ok(StoreAction::Reconnect { force, .. }) => Some(force),
            _ => None,
        };
        assert_eq!(forced, expected, "{body}");
    }
}

#[test]
fn a_host_key_is_accepted_by_its_whole_fingerprint() {
    let bare = format!("SHA256:{}", "A".repeat(43));
    for fingerprint in [bare.clone(), format!("{bare}=")] {
        let body = json!({"acceptHostKey": {"fingerprint": fingerprint}, "userTags": ["u"]});
        match StoreAction::parse_action(body.to_string().as_bytes()).unwrap() {
            StoreAction::AcceptHostKey { fingerprint, tags } => {
                assert_eq!((fingerprint, tags.user_tags()), (bare.clone(), &["u".to_owned()][..]));
            }
            other => panic!("{other:?}"),
        }
    }
    for fingerprint in
        [json!(null), json!(""), json!("hunter2"), json!(7), json!("MD5:aa"), json!("SHA256:AAAA")]
    {
        let body = json!({"acceptHostKey": {"fingerprint": fingerprint}}).to_string();
        let message = StoreAction::parse_action(body.as_bytes()).unwrap_err().to_string();
        assert!(
            message.contains("acceptHostKey.fingerprint") && message.contains("SHA256:"),
            "{message}"
        );
        assert!(!message.contains("hunter2"));
    }
}

#[test]
fn an_error_about_a_missing_action_lists_the_accepted_ones() {
    for body in ["", " \n", "{}", r#"{"reclaimSpaceFromImageStore":{"name":"hunter2"}}"#] {
        let error = StoreAction::parse_action(body.as_bytes()).unwrap_err();
        assert_eq!(error, InvalidBody::NoAction, "{body:?}");
        let message = error.to_string();
        assert!(
            message.ends_with("expected one of reconnectImageStoreBackupStorage, params, updateImageStoreBackupStorage, acceptHostKey"),
            "{message}"
        );
    }
}

#[test]
fn an_invalid_body_is_described_without_quoting_it() {
    let deep = format!("{}hunter2", "[".repeat(200));
    let many = json!({"params": {"systemTags": vec!["hunter2"; 65]}}).to_string();
    let long = json!({"params": {}, "userTags": ["x", "hunter2".repeat(64)]}).to_string();
    for (body, expected) in [
        ("{\"params\": hunter2}", "the body is not JSON: expected value at line 1 column 12"),
        ("{\"params\": {", "the body is not JSON: EOF while parsing an object at line 1 column 12"),
        ("\"hunter2\"", "$: expected a JSON object"),
        ("[1]", "$: expected a JSON object"),
        ("{\"params\": \"hunter2\"}", "$.params: expected a JSON object"),
        (
            "{\"params\":{\"userTags\":\"hunter2\"}}",
            "$.params.userTags: expected a list of at most 64 strings of at most 255 characters",
        ),
        (
            &many,
            "$.params.systemTags: expected a list of at most 64 strings of at most 255 characters",
        ),
        (&long, "$.userTags[1]: expected a string of at most 255 characters"),
        (&deep, "the body is not JSON: nested deeper than 127 levels at line 1 column 128"),
    ] {
        assert_eq!(StoreAction::parse_action(body.as_bytes()).unwrap_err().to_string(), expected);
    }
    let invalid = StoreAction::parse_action(b"{\"params\": {\"a\": \"\xff\"}}").unwrap_err();
    assert!(matches!(invalid, InvalidBody::NotJson { .. }), "{invalid}");
}

#[test]
fn an_add_has_defaults_and_ignores_unknown_fields() {
    let request = add(json!({"importImages": true, "tagUuids": [], "type": "x"})).unwrap();
    assert_eq!(
        (request.uuid, request.name.as_str(), request.description.as_str()),
        (None, "images", "")
    );
    assert_eq!(request.address.to_string(), "node-1:22");
    assert_eq!(request.image_dir.as_str(), "/srv/images/a");
    assert_eq!(request.credentials.password.unwrap().expose_secret(), "hunter2");
    assert!(
        !request.take_over
            && !request.force
            && request.given_fingerprints.is_empty()
            && request.tags.is_empty()
    );
}

#[test]
fn an_add_accepts_every_documented_field() {
    let print = "SHA256:qg+Fu0zRcwVlFZqwzZ3lT9b4P5oUJ8V0n2ZkmY1J8cE";
    let request = add(json!({
        "hostname": "[fe80::1]", "sshPort": 2222.0, "password": "", "privateKey": "PEM",
        "privateKeyPassphrase": "p", "description": "two\nlines", "takeOver": true, "force": true,
        "resourceUuid": "8a2fe4b5c9d34e6fa1b2c3d4e5f60718",
        "hostKeyFingerprint": [format!("{print}="), print], "userTags": ["t"],
    }))
    .unwrap();
    assert_eq!(request.address.to_string(), "[fe80::1]:2222");
    assert!(request.credentials.password.is_none());
    assert_eq!(request.credentials.private_key.unwrap().expose_secret(), "PEM");
    assert_eq!(request.given_fingerprints, [print, print]);
    assert_eq!(request.uuid.unwrap().to_string(), "8a2fe4b5c9d34e6fa1b2c3d4e5f60718");
    assert!(request.take_over && request.force);
    assert_eq!(request.tags.user_tags(), ["t"]);
    let one = add(json!({"hostKeyFingerprint": print})).unwrap();
    assert_eq!(one.given_fingerprints, [print]);
}

#[test]
fn each_rule_of_an_add_names_its_field() {
    let url = "$.params.url: expected an absolute path of at most 2048 characters, at or below one of \
               storage.allowed_roots (/srv/images)";
    let url = |problem: &str| format!("{url}{problem}");
    for (change, expected) in [
        (json!({"url": null}), url("")),
        (json!({"url": 3}), url("")),
        (json!({"url": "a"}), url(": not an absolute path")),
        (json!({"url": "/srv/images/../x"}), url(": contains a `.` or `..` part")),
        (json!({"url": "/srv/images\n"}), url(": contains a control character")),
        (json!({"url": "/proc/self"}), url(": lies in /dev, /proc or /sys")),
        (json!({"url": "/srv/images2"}), url(": is outside the allowed roots")),
    ] {
        assert_eq!(add(change).unwrap_err(), expected);
    }
    for (change, path) in [
        (json!({"name": ""}), "$.params.name:"),
        (json!({"name": "a\u{1b}[2J"}), "$.params.name:"),
        (json!({"username": null}), "$.params.username:"),
        (json!({"username": "u".repeat(256)}), "$.params.username:"),
        (json!({"hostname": "10.0.0.256"}), "$.params.hostname:"),
        (json!({"hostname": 5}), "$.params.hostname:"),
        (json!({"sshPort": 0}), "$.params.sshPort:"),
        (json!({"description": "d".repeat(2049)}), "$.params.description:"),
        (json!({"password": ["hunter2"]}), "$.params.password:"),
        (json!({"password": null}), "$.params: expected the key password, privateKey or both"),
        (json!({"resourceUuid": "8A2FE4B5C9D34E6FA1B2C3D4E5F60718"}), "$.params.resourceUuid:"),
        (json!({"resourceUuid": "0".repeat(32)}), "$.params.resourceUuid:"),
        (json!({"hostKeyFingerprint": "MD5:aa:bb"}), "$.params.hostKeyFingerprint:"),
        (json!({"hostKeyFingerprint": "SHA256:hunter2"}), "$.params.hostKeyFingerprint:"),
        (json!({"takeOver": "yes"}), "$.params.takeOver:"),
        (json!({"systemTags": [1]}), "$.params.systemTags[0]:"),
    ] {
        let error = add(change).unwrap_err();
        assert!(error.starts_with(path) && !error.contains("hunter2"), "{error}");
    }
    assert_eq!(
        parse_add_store(b"{}", &roots()).unwrap_err().to_string(),
        "$.params: expected a JSON object"
    );
}
