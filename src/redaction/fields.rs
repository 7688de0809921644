//! The lists of fields that are shown, and the form of their values.

use serde_json::{Map, Value};

use super::redactor::{Redactor, is_fingerprint};
use crate::common::Timestamp;
use crate::model::StoreUuid;

/// The form of a field. A number, a truth value and null are shown in every field of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldForm {
    /// A text of this program, see [`Redactor::text`].
    Text,
    /// A path.
    Path,
    /// The name of a store, which a report shows.
    Name,
    /// The uuid of a store.
    Uuid,
    /// A time in RFC 3339 format.
    Time,
    /// The fingerprint of a host key.
    Fingerprint,
    /// The reply of a receiver: its status is shown, and its body is left out.
    Reply,
    /// A text of a peer, a caller or an operator, which is left out.
    Hidden,
}

impl FieldForm {
    /// Returns a value in this form. An object is left out.
    pub(super) fn redact(self, value: &Value, redactor: &Redactor) -> Value {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            Value::String(text) => self.redact_text(text, redactor).into(),
            Value::Array(items) => items.iter().map(|item| self.redact(item, redactor)).collect(),
            Value::Object(_) => Value::Null,
        }
    }

    fn redact_text(self, text: &str, redactor: &Redactor) -> String {
        let is_shown = match self {
            Self::Text => return redactor.text(text),
            Self::Path => return redactor.path(text),
            Self::Reply => {
                return match split_reply(text) {
                    Some((status, body)) => {
                        format!("{}: {}", redactor.text(status), redactor.hide(body))
                    }
                    None => redactor.text(text),
                };
            }
            Self::Name => true,
            Self::Uuid => text.parse::<StoreUuid>().is_ok(),
            Self::Time => text.parse::<Timestamp>().is_ok(),
            Self::Fingerprint => is_fingerprint(text),
            Self::Hidden => false,
        };
        if is_shown { text.to_owned() } else { redactor.hide(text) }
    }
}

/// Splits the reply of a receiver into its status and its body, if it has one. The status of a
/// redirect has words behind it.
pub(super) fn split_reply(reply: &str) -> Option<(&str, &str)> {
    let (status, body) = reply.split_once(": ")?;
    let number = status.strip_prefix("status ")?.split(',').next()?;
    number.parse::<u16>().ok()?;
    Some((status, body))
}

/// Fields by name, with their forms.
pub(super) type FieldList = &'static [(&'static str, FieldForm)];

/// Returns the listed fields of an object. Fields that are not on the list are left out.
pub(super) fn listed_fields(
    object: &Value,
    list: FieldList,
    redactor: &Redactor,
) -> Map<String, Value> {
    let field = |(name, form): &(&str, FieldForm)| {
        Some(((*name).to_owned(), form.redact(object.get(name)?, redactor)))
    };
    list.iter().filter_map(field).collect()
}
