//! Messages of clients and receivers.

use std::time::Duration;

use crate::common::{
    MAX_QUOTED, Timestamp, escape_hidden, is_hidden, mask_hidden, sanitize_line, sanitize_message,
    to_ascii_json, write_safe_json,
};
use crate::delivery::{DeliveryOutcome, ReceiverReply, classify, retry_after};
use crate::management::{EventSigner, MAX_HOOK_URL_BYTES, check_hook_form};
use crate::model::Tags;
use crate::wire::{
    ActionPath, AgentCommand, InvalidBody, ParsedRequest, StoreAction, UnsupportedCall,
    parse_account_login, parse_add_store, parse_attachment, parse_empty_body, parse_resync_request,
    parse_session_validity, parse_version_request,
};

/// Maximum length of the message about an invalid body, in characters. A message names a path in
/// the document and the expected type, and it never quotes the document.
const MAX_BODY_ERROR_CHARS: usize = 512;

/// Parses the body of a request: to add or to change a store, to log in, to ask for the version,
/// and of a call that is not supported.
pub(super) fn fuzz_request_body(bytes: &[u8]) {
    for path in [ActionPath::ImageStore, ActionPath::BackupStorage] {
        fuzz_action(path, bytes);
    }
    let calls = UnsupportedCall::ALL;
    let errors = [
        parse_attachment(bytes).err(),
        parse_empty_body(bytes).err(),
        parse_version_request(bytes).err(),
        UnsupportedCall::parse_call(calls, bytes).err(),
    ];
    errors.iter().flatten().for_each(check_error);
    match &parse_account_login(bytes) {
        Ok(login) => {
            assert!(!login.account_name.contains(is_hidden));
            assert_eq!(login.password.expose_secret().len(), 128);
        }
        Err(error) => check_error(error),
    }
    let roots = ["/srv".to_owned()];
    let added = parse_add_store(bytes, &roots);
    match &added {
        Ok(ParsedRequest { request: store, .. }) => {
            check_tags(&store.tags);
            assert!(store.image_dir.as_str().starts_with("/srv"));
        }
        Err(error) => check_error(error),
    }
}

fn fuzz_action(path: ActionPath, bytes: &[u8]) {
    match &StoreAction::parse_action(path, bytes).map(|parsed| parsed.request) {
        Ok(StoreAction::Reconnect { tags, .. } | StoreAction::AcceptHostKey { tags, .. }) => {
            check_tags(tags);
        }
        Ok(StoreAction::Update(update)) => check_tags(&update.tags),
        Ok(StoreAction::ChangeState(_) | StoreAction::Unsupported(_)) => {}
        Err(error) => check_error(error),
    }
}

/// Checks the URL of a web hook.
pub(super) fn fuzz_hook_url(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if check_hook_form(&text).is_ok() {
        assert!(text.len() <= MAX_HOOK_URL_BYTES);
        let scheme = text.get(..7).unwrap_or_default();
        assert!(scheme.eq_ignore_ascii_case("http://"));
        let rest = text.get(7..).unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        assert!(!authority.is_empty() && !authority.contains('@'));
    }
}

/// Parses the body of a call of the agent protocol.
pub(super) fn fuzz_agent_command(bytes: &[u8]) {
    if let Err(error) = AgentCommand::parse_command(bytes) {
        check_error(&error);
    }
}

/// Parses the reply of a receiver: its body, also as an answer about a session, and its
/// `Retry-After` as seconds or as a date.
pub(super) fn fuzz_receiver_reply(bytes: &[u8]) {
    assert!(parse_resync_request(bytes).len() <= bytes.len() / 32);
    let text = String::from_utf8_lossy(bytes);
    // An escape may spell the key differently.
    assert!(parse_session_validity(bytes).is_none() || text.contains(['v', '\\']));
    let delay = |now| retry_after(&text, Timestamp(now));
    for now in [0, 1_700_000_000_000, i64::MAX] {
        let reply = ReceiverReply::Response {
            status: 503,
            retry_after: delay(now),
            excerpt: String::new(),
        };
        let outcome = classify(&reply, false);
        let is_bounded = |delay| delay <= Duration::from_secs(300);
        assert!(matches!(outcome, DeliveryOutcome::Retry(delay) if is_bounded(delay)));
    }
    assert!(delay(1_700_000_000_000) <= delay(0));
}

/// Parses the file of the signing secrets.
pub(super) fn fuzz_signing_secrets(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(signer) = EventSigner::parse_secrets(&text) {
        let header = signer.sign_event("id", 1, bytes);
        assert!(signer.verify_signature("id", 1, bytes, &header));
    }
    // A header of others must not be valid by accident.
    if let Ok(signer) = EventSigner::parse_secrets("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz") {
        assert!(!signer.verify_signature("id", 1, b"body", &text));
    }
}

/// Makes the text of a peer safe to display.
pub(super) fn fuzz_peer_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let line = sanitize_line(bytes, MAX_QUOTED);
    let message = sanitize_message(&text, MAX_QUOTED);
    assert!(line.chars().count() <= MAX_QUOTED);
    assert!(message.chars().count() <= MAX_QUOTED + 3);
    for safe in [line, message, escape_hidden(&text), mask_hidden(&text)] {
        assert!(!safe.contains(is_hidden), "{safe:?}");
    }
    let mut safe = Vec::new();
    assert!(write_safe_json(&text, &mut safe).is_ok());
    let ascii = to_ascii_json(&text).unwrap_or_default();
    assert!(ascii.iter().all(|byte| matches!(byte, 0x20..0x7f)));
    for json in [safe, ascii] {
        assert_eq!(serde_json::from_slice::<String>(&json).ok().as_deref(), Some(&*text));
    }
}

fn check_error(error: &InvalidBody) {
    let message = error.to_string();
    assert!(message.chars().count() <= MAX_BODY_ERROR_CHARS, "{message}");
}

fn check_tags(tags: &Tags) {
    for list in [tags.system_tags(), tags.user_tags()] {
        assert!(list.len() <= Tags::MAX_COUNT);
        assert!(list.iter().all(|tag| tag.chars().count() <= Tags::MAX_CHARS));
    }
}
