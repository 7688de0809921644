//! The operators of a condition, and their place in its text.

use crate::common::string_enum;

string_enum! {
    /// An operator. Of two that begin alike, the longer one is first.
    pub(super) Operator {
        /// The field has a value.
        NotNull = "not null",
        /// The field has no value.
        IsNull = "is null",
        /// The field has none of the values of a list.
        NotIn = "!?=",
        /// The field does not match a pattern.
        NotLike = "!~=",
        /// The field differs from the value.
        NotEqual = "!=",
        /// The field is the value or after it.
        AtLeast = ">=",
        /// The field is the value or before it.
        AtMost = "<=",
        /// The field matches a pattern.
        Like = "~=",
        /// The field has one of the values of a list.
        In = "?=",
        /// The field has the value.
        Equal = "=",
        /// The field is after the value.
        Above = ">",
        /// The field is before the value.
        Below = "<",
    }
}

impl Operator {
    /// Returns true if the operator has no value.
    pub(super) fn is_unary(self) -> bool {
        matches!(self, Self::IsNull | Self::NotNull)
    }
}

/// Splits a condition at its leftmost operator, and takes the longest one at that place. Returns
/// the trimmed name of the field, the operator and the value, or `None` if there is no operator.
/// The value is not trimmed.
pub(super) fn split_condition(text: &str) -> Option<(&str, Operator, &str)> {
    text.char_indices().find_map(|(at, _)| {
        let (name, rest) = text.split_at(at);
        let found = Operator::ALL.iter().find(|operator| begins_with(name, rest, **operator))?;
        let value = rest.get(found.as_str().len()..)?;
        Some((name.trim(), *found, value))
    })
}

/// Returns true if `rest`, which follows `name`, begins with the operator. An operator that is a
/// word follows a blank.
fn begins_with(name: &str, rest: &str, operator: Operator) -> bool {
    let Some(start) = rest.get(..operator.as_str().len()) else { return false };
    if operator.is_unary() {
        return name.ends_with(char::is_whitespace)
            && start.eq_ignore_ascii_case(operator.as_str());
    }
    start == operator.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leftmost_operator_counts_and_the_longest_at_its_place() {
        use Operator::*;
        for (text, expected) in [
            ("name=x", Some(("name", Equal, "x"))),
            (" name =x ", Some(("name", Equal, "x "))),
            ("name!=x", Some(("name", NotEqual, "x"))),
            ("name!?=x,y", Some(("name", NotIn, "x,y"))),
            ("name!~=%x", Some(("name", NotLike, "%x"))),
            ("name~=%x", Some(("name", Like, "%x"))),
            ("name?=x", Some(("name", In, "x"))),
            ("sshPort>=22", Some(("sshPort", AtLeast, "22"))),
            ("sshPort<=22", Some(("sshPort", AtMost, "22"))),
            ("sshPort>22", Some(("sshPort", Above, "22"))),
            ("sshPort<22", Some(("sshPort", Below, "22"))),
            ("name==x", Some(("name", Equal, "=x"))),
            ("name=>x", Some(("name", Equal, ">x"))),
            ("name=a!=b", Some(("name", Equal, "a!=b"))),
            ("name>a=b", Some(("name", Above, "a=b"))),
            ("name!x=y", Some(("name!x", Equal, "y"))),
            ("name=", Some(("name", Equal, ""))),
            ("=x", Some(("", Equal, "x"))),
            ("description is null", Some(("description", IsNull, ""))),
            ("description  IS NULL ", Some(("description", IsNull, " "))),
            ("description not null", Some(("description", NotNull, ""))),
            ("name=is null", Some(("name", Equal, "is null"))),
            ("name~=% not null", Some(("name", Like, "% not null"))),
            ("description is null=x", Some(("description", IsNull, "=x"))),
            ("descriptionis null", None),
            ("name", None),
            ("name!", None),
            ("", None),
            ("名=画", Some(("名", Equal, "画"))),
        ] {
            assert_eq!(split_condition(text), expected, "{text}");
        }
    }
}
