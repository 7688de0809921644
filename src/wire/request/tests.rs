//! Tests with valid and invalid bodies of requests.

use serde_json::{Value, json};

use super::{
    ActionPath, InvalidBody, StoreAction, UnsupportedCall, login, parse_account_login,
    parse_add_store, parse_attachment, parse_version_request,
};
use crate::model::{AddStore, State, Tags};

fn image_store_action(body: &[u8]) -> Result<StoreAction, InvalidBody> {
    StoreAction::parse_action(ActionPath::ImageStore, body).map(|parsed| parsed.request)
}

fn storage_action(body: &Value) -> Result<StoreAction, InvalidBody> {
    let body = body.to_string();
    let parsed = StoreAction::parse_action(ActionPath::BackupStorage, body.as_bytes());
    parsed.map(|parsed| parsed.request)
}

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
    let parsed = parse_add_store(body.as_bytes(), &roots());
    parsed.map(|parsed| parsed.request).map_err(|error| error.to_string())
}

fn tags_of(body: &Value) -> Tags {
    match image_store_action(body.to_string().as_bytes()).unwrap() {
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
        let forced = match image_store_action(body.to_string().as_bytes()) {
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
        match image_store_action(body.to_string().as_bytes()).unwrap() {
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
        let message = image_store_action(body.as_bytes()).unwrap_err().to_string();
        assert!(
            message.contains("acceptHostKey.fingerprint") && message.contains("SHA256:"),
            "{message}"
        );
        assert!(!message.contains("hunter2"));
    }
}

#[test]
fn an_error_about_a_missing_action_lists_the_accepted_ones() {
    for body in ["", " \n", "{}", "null", r#"{"reconnectBackupStorage":{"name":"hunter2"}}"#] {
        let error = image_store_action(body.as_bytes()).unwrap_err();
        assert!(matches!(error, InvalidBody::NoAction(_)), "{body:?}");
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
        assert_eq!(image_store_action(body.as_bytes()).unwrap_err().to_string(), expected);
    }
    let invalid = image_store_action(b"{\"params\": {\"a\": \"\xff\"}}").unwrap_err();
    assert!(matches!(invalid, InvalidBody::NotJson { .. }), "{invalid}");
}

#[test]
fn an_add_has_defaults_and_ignores_unknown_fields() {
    let request = add(json!({"importImages": false, "tagUuids": [], "rootPath": "x"})).unwrap();
    assert!(request.without_effect.is_empty());
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

#[test]
fn the_documented_reconnect_holds_nothing_but_a_reconnect() {
    for params in [
        json!({}),
        json!({"uuid": "8a2f", "systemTags": [], "userTags": ["a"], "force": false}),
        json!({"name": null}),
    ] {
        let body = json!({"params": params, "sessionId": "x", "timeout": 7}).to_string();
        assert!(image_store_action(body.as_bytes()).is_ok(), "{body}");
    }
    for params in [
        json!({"name": "hunter2"}),
        json!({"uuid": "8a2f", "password": "hunter2"}),
        json!({"hunter2": false}),
    ] {
        let body = json!({ "params": params }).to_string();
        let message = image_store_action(body.as_bytes()).unwrap_err().to_string();
        let expected = "$.params: expected only uuid, force, systemTags and userTags; send a change \
                        of the store as updateImageStoreBackupStorage";
        assert_eq!(message, expected);
    }
    // The form of ZStack's SDK has more fields than are documented.
    let body = json!({"reconnectImageStoreBackupStorage": {"requestIp": "192.0.2.9"}}).to_string();
    assert!(image_store_action(body.as_bytes()).is_ok());
}

#[test]
fn any_backup_storage_is_reconnected_renamed_enabled_and_disabled() {
    let body = json!({"reconnectBackupStorage": {"uuid": "8a2f"}, "userTags": ["u"]});
    match storage_action(&body).unwrap() {
        StoreAction::Reconnect { tags, force: false } => assert_eq!(tags.user_tags(), ["u"]),
        other => panic!("{other:?}"),
    }
    let body = json!({"updateBackupStorage": {"name": "n", "description": "", "url": "/a"}});
    match storage_action(&body).unwrap() {
        StoreAction::Update(update) => {
            assert_eq!(update.changed_fields(), ["name", "description"]);
            assert_eq!(update.given_url.as_deref(), Some("/a"));
            assert!(!update.changes_login());
        }
        other => panic!("{other:?}"),
    }
    for (event, expected) in [
        ("enable", State::Enabled),
        ("Disable", State::Disabled),
        ("ENABLE", State::Enabled),
        ("disable", State::Disabled),
    ] {
        let body = json!({"changeBackupStorageState": {"stateEvent": event, "uuid": "8a2f"}});
        match storage_action(&body).unwrap() {
            StoreAction::ChangeState(state) => assert_eq!(state, expected, "{event}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_invalid_action_on_any_backup_storage_says_where_and_what_is_expected() {
    let event = "$.changeBackupStorageState.stateEvent: expected enable or disable";
    for (body, expected) in [
        (json!({"changeBackupStorageState": {}}), event),
        (json!({"changeBackupStorageState": null}), event),
        (json!({"changeBackupStorageState": {"stateEvent": "hunter2"}}), event),
        (json!({"changeBackupStorageState": {"stateEvent": ["enable"]}}), event),
        (json!({"changeBackupStorageState": {"stateEvent": ""}}), event),
        (
            json!({"updateBackupStorage": {}}),
            "$.updateBackupStorage: expected at least one of the keys name and description",
        ),
        (
            json!({"updateBackupStorage": {"url": "/a"}}),
            "$.updateBackupStorage: expected at least one of the keys name and description",
        ),
        (
            json!({"updateBackupStorage": {"name": "a", "password": "hunter2"}}),
            "$.updateBackupStorage.password: expected no value here: \
             updateImageStoreBackupStorage changes the login of a store",
        ),
        (
            json!({"params": {}}),
            "the body has no action; expected one of reconnectBackupStorage, \
             updateBackupStorage, changeBackupStorageState",
        ),
        (
            json!({"reconnectBackupStorage": {}, "changeBackupStorageState": {}}),
            "the body has several actions: reconnectBackupStorage and changeBackupStorageState",
        ),
        (
            json!({"updateBackupStorage": {}, "exportImageFromBackupStorage": {}}),
            "the body has several actions: updateBackupStorage and exportImageFromBackupStorage",
        ),
    ] {
        assert_eq!(storage_action(&body).unwrap_err().to_string(), expected, "{body}");
    }
}

#[test]
fn two_actions_are_several_whatever_path_they_belong_to() {
    let calls = UnsupportedCall::ALL.iter().map(|call| call.as_str());
    let keys: Vec<_> = ActionPath::all_actions().chain(calls).chain(login::ACTIONS).collect();
    for (first, second) in
        keys.iter().flat_map(|first| keys.iter().map(move |other| (first, other)))
    {
        if first == second {
            continue;
        }
        let body = json!({ *first: {}, *second: {} });
        for path in [ActionPath::ImageStore, ActionPath::BackupStorage] {
            let error = StoreAction::parse_action(path, body.to_string().as_bytes()).unwrap_err();
            assert!(matches!(error, InvalidBody::SeveralActions(_)), "{body}: {error}");
        }
        let body = body.to_string();
        if *first == "params" {
            let add = parse_add_store(body.as_bytes(), &roots()).map(drop);
            for error in [add.unwrap_err(), parse_attachment(body.as_bytes()).unwrap_err()] {
                assert!(matches!(error, InvalidBody::SeveralActions(_)), "{body}: {error}");
            }
        }
        if login::ACTIONS.contains(first) {
            let login = parse_account_login(body.as_bytes()).map(drop);
            let version = parse_version_request(body.as_bytes());
            for error in [login.unwrap_err(), version.unwrap_err()] {
                assert!(matches!(error, InvalidBody::SeveralActions(_)), "{body}: {error}");
            }
        }
    }
}

#[test]
fn a_body_that_is_no_object_names_no_action() {
    for body in ["[]", "5", "\"x\"", "true", "[{\"params\":{}}]"] {
        assert_eq!(image_store_action(body.as_bytes()).unwrap_err(), InvalidBody::NotAnObject);
        assert!(matches!(parse_add_store(body.as_bytes(), &[]), Err(InvalidBody::NotAnObject)));
    }
}

#[test]
fn an_action_that_is_not_supported_is_recognized_on_its_own_path() {
    let call = |action: StoreAction| match action {
        StoreAction::Unsupported(call) => call,
        other => panic!("{other:?}"),
    };
    let body = br#"{"reclaimSpaceFromImageStore":{}}"#;
    assert_eq!(call(image_store_action(body).unwrap()), UnsupportedCall::ReclaimSpace);
    for (key, expected) in [
        ("exportImageFromBackupStorage", UnsupportedCall::ExportImage),
        ("recoveryImageFromImageStoreBackupStorage", UnsupportedCall::RecoverImage),
    ] {
        assert_eq!(call(storage_action(&json!({ key: {"imageUuid": "a"} })).unwrap()), expected);
        let elsewhere = image_store_action(json!({ key: {} }).to_string().as_bytes());
        assert!(matches!(elsewhere, Err(InvalidBody::NoAction(_))));
    }
}

#[test]
fn an_attachment_has_an_empty_body_in_every_form_that_clients_send() {
    for body in [
        "",
        " ",
        "null",
        "{}",
        r#"{"params":{}}"#,
        r#"{"params":null}"#,
        r#"{"params":{"systemTags":["a"]},"userTags":[]}"#,
    ] {
        assert!(parse_attachment(body.as_bytes()).is_ok(), "{body}");
    }
    for body in [
        "[]",
        "7",
        "{",
        r#"{"params":"hunter2"}"#,
        r#"{"systemTags":"hunter2"}"#,
        r#"{"changeBackupStorageState":{"stateEvent":"hunter2"}}"#,
    ] {
        let error = parse_attachment(body.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn an_add_takes_numbers_and_flags_as_texts_and_no_other_type() {
    let request = add(json!({
        "type": "ImageStoreBackupStorage", "sshPort": "2222", "importImages": "true",
        "tagUuids": ["8a2f"], "takeOver": "False",
    }))
    .unwrap();
    assert_eq!(request.address.port.get(), 2222);
    assert_eq!(request.without_effect, ["importImages", "tagUuids"]);
    assert!(!request.take_over);
    assert_eq!(add(json!({"sshPort": 1.0})).unwrap().address.port.get(), 1);
    assert!(add(json!({"type": null, "tagUuids": null})).unwrap().without_effect.is_empty());
    for (change, expected) in [
        (json!({"type": "SftpBackupStorage"}), "$.params.type: expected ImageStoreBackupStorage"),
        (json!({"type": ""}), "$.params.type: expected ImageStoreBackupStorage"),
        (json!({"type": 7}), "$.params.type: expected ImageStoreBackupStorage"),
        (json!({"importImages": "hunter2"}), "$.params.importImages: expected true or false"),
        (json!({"sshPort": 1.2}), "$.params.sshPort: expected an integer from 1 to 65535"),
        (json!({"sshPort": "hunter2"}), "$.params.sshPort: expected an integer from 1 to 65535"),
        (
            json!({"tagUuids": [7]}),
            "$.params.tagUuids[0]: expected a string of at most 255 characters",
        ),
    ] {
        assert_eq!(add(change).unwrap_err(), expected);
    }
}

#[test]
fn a_field_that_had_no_effect_counts_unless_it_is_ignored_on_purpose() {
    let params = |change: &str| {
        format!(
            r#"{{"params":{{"hostname":"n","username":"root","password":"hunter2","name":"a",
            "url":"/srv/images/a","importImages":true,"tagUuids":["a"],"type":null{change}}}}}"#
        )
    };
    for (change, unknown) in [
        ("", 0),
        (r#","sshport":22"#, 1),
        (r#","sshport":null"#, 0),
        (r#","requestIp":"::1","uuid":"8a2f","sessionId":"x","timeout":7"#, 0),
        (r#","a":{"b":1,"c":2},"d":[1,2]"#, 2),
        (r#"},"b":1,"systemTags":[],"c":{"d":1"#, 2),
    ] {
        let parsed = parse_add_store(params(change).as_bytes(), &roots()).unwrap();
        assert_eq!(parsed.unknown_fields, unknown, "{change}");
    }
    for (path, body, unknown) in [
        (ActionPath::ImageStore, r#"{"reconnectImageStoreBackupStorage":null}"#, 0),
        (ActionPath::ImageStore, r#"{"reconnectImageStoreBackupStorage":{"Force":true}}"#, 1),
        (ActionPath::ImageStore, r#"{"params":{"force":true},"x":1}"#, 1),
        (
            ActionPath::ImageStore,
            r#"{"updateImageStoreBackupStorage":{"name":"a","url":"/b","port":22,"user":"x"}}"#,
            2,
        ),
        (ActionPath::BackupStorage, r#"{"updateBackupStorage":{"name":"a","label":"b"}}"#, 1),
        (
            ActionPath::BackupStorage,
            r#"{"changeBackupStorageState":{"stateEvent":"enable","force":true}}"#,
            1,
        ),
        // A call that fails by name ignores nothing.
        (ActionPath::ImageStore, r#"{"reclaimSpaceFromImageStore":{"a":1}}"#, 0),
    ] {
        let parsed = StoreAction::parse_action(path, body.as_bytes()).unwrap();
        assert_eq!(parsed.unknown_fields, unknown, "{body}");
    }
    for (body, unknown) in [("", 0), ("null", 0), (r#"{"params":{"zone":"a"},"b":1}"#, 2)] {
        assert_eq!(parse_attachment(body.as_bytes()).unwrap().unknown_fields, unknown, "{body}");
    }
}
