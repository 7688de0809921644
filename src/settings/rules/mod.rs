//! Rules for single values, with their ranges: for switches, words and lists here, for numbers and
//! texts in the submodules.
//!
//! A rule parses a value or reports what is wrong with it. It knows neither the key nor the origin
//! of the value.

pub(super) mod numeric;
pub(super) mod text;

use config::{Value, ValueKind};

use crate::settings::error::display_value;

/// Kind of value that the text of an environment variable is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueShape {
    /// `true` or `false`.
    Flag,
    /// A number.
    Number,
    /// The text itself.
    Text,
    /// Texts separated by commas. An empty variable is an empty list.
    List,
}

/// A fault of a value, without its key.
#[derive(Debug)]
pub(crate) struct ValueProblem {
    /// The value, or the item of a list, for display.
    pub(crate) displayed_value: String,
    pub(crate) text: String,
}

pub(super) type RuleResult<T> = Result<T, Vec<ValueProblem>>;

pub(super) fn value_problem<T>(value: &Value, text: impl Into<String>) -> RuleResult<T> {
    Err(vec![ValueProblem { displayed_value: display_value(value), text: text.into() }])
}

pub(crate) trait ValueRule {
    type Out;
    const SHAPE: ValueShape;
    /// Describes the allowed values for the operator.
    fn allowed_values(&self) -> String;
    fn parse_value(&self, value: &Value) -> RuleResult<Self::Out>;
    /// Returns true if the value must stay hidden in a fault.
    fn hides_value(&self) -> bool {
        false
    }
}

/// `true` or `false`.
pub(crate) struct BooleanRule;

impl ValueRule for BooleanRule {
    type Out = bool;
    const SHAPE: ValueShape = ValueShape::Flag;

    fn allowed_values(&self) -> String {
        "true or false".to_owned()
    }

    fn parse_value(&self, value: &Value) -> RuleResult<bool> {
        match value.kind {
            ValueKind::Boolean(on) => Ok(on),
            _ => value_problem(value, "not true or false"),
        }
    }
}

/// One of several words.
pub(crate) struct OneOfRule<T: 'static>(pub(crate) &'static [(&'static str, T)]);

impl<T: Copy> ValueRule for OneOfRule<T> {
    type Out = T;
    const SHAPE: ValueShape = ValueShape::Text;

    fn allowed_values(&self) -> String {
        self.0.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
    }

    fn parse_value(&self, value: &Value) -> RuleResult<T> {
        let ValueKind::String(text) = &value.kind else {
            return value_problem(value, "not a string");
        };
        match self.0.iter().find(|(word, _)| word == text) {
            Some((_, meaning)) => Ok(*meaning),
            None => value_problem(value, "not one of the allowed values"),
        }
    }
}

/// A text that a function parses.
pub(crate) struct TextRule<T> {
    pub(super) allowed: &'static str,
    pub(super) parse: fn(&str) -> Result<T, String>,
    pub(super) hidden: bool,
}

impl<T> ValueRule for TextRule<T> {
    type Out = T;
    const SHAPE: ValueShape = ValueShape::Text;

    fn allowed_values(&self) -> String {
        self.allowed.to_owned()
    }

    fn parse_value(&self, value: &Value) -> RuleResult<T> {
        match &value.kind {
            ValueKind::String(text) => {
                (self.parse)(text).or_else(|problem| value_problem(value, problem))
            }
            _ => value_problem(value, "not a string"),
        }
    }

    fn hides_value(&self) -> bool {
        self.hidden
    }
}

/// A list of distinct texts. A single text is accepted as a list with one item.
pub(crate) struct ListRule<T> {
    pub(crate) item_rule: TextRule<T>,
    /// Minimum number of items.
    pub(crate) min: usize,
}

/// Maximum number of items in a list. It is far above what a node needs, and takes little memory.
const MAX_ITEMS: usize = 256;

impl<T: PartialEq> ValueRule for ListRule<T> {
    type Out = Vec<T>;
    const SHAPE: ValueShape = ValueShape::List;

    fn allowed_values(&self) -> String {
        let minimum = if self.min > 0 { ", at least one" } else { "" };
        format!("a list{minimum}: {}", self.item_rule.allowed)
    }

    fn parse_value(&self, value: &Value) -> RuleResult<Vec<T>> {
        let items = match &value.kind {
            ValueKind::Array(items) => items.as_slice(),
            ValueKind::String(_) => std::slice::from_ref(value),
            _ => return value_problem(value, "neither a list nor a string"),
        };
        if items.len() < self.min {
            return value_problem(value, "empty");
        }
        if items.len() > MAX_ITEMS {
            return value_problem(value, format!("has more than {MAX_ITEMS} items"));
        }
        let mut values = Vec::with_capacity(items.len());
        let mut problems = Vec::new();
        for item in items {
            match self.item_rule.parse_value(item) {
                Ok(value) if values.contains(&value) => {
                    problems.push(ValueProblem {
                        displayed_value: display_value(item),
                        text: "listed twice".to_owned(),
                    });
                }
                Ok(value) => values.push(value),
                Err(item_problems) => problems.extend(item_problems),
            }
        }
        if problems.is_empty() { Ok(values) } else { Err(problems) }
    }

    fn hides_value(&self) -> bool {
        self.item_rule.hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_each_bad_item() {
        let list = ListRule {
            item_rule: TextRule {
                allowed: "a word without x",
                parse: |text| match text.contains('x') {
                    true => Err("has an x".to_owned()),
                    false => Ok(text.to_owned()),
                },
                hidden: false,
            },
            min: 1,
        };
        let items = ["a", "x", "b", "a", "xx"].map(|text| Value::new(None, text)).to_vec();
        let problems = list.parse_value(&Value::new(None, items)).unwrap_err();
        let found: Vec<_> =
            problems.iter().map(|p| (p.displayed_value.as_str(), p.text.as_str())).collect();
        let expected =
            [(r#""x""#, "has an x"), (r#""a""#, "listed twice"), (r#""xx""#, "has an x")];
        assert_eq!(found, expected);
        assert_eq!(list.parse_value(&Value::new(None, "one")).unwrap(), ["one"]);
        let empty = list.parse_value(&Value::new(None, Vec::<Value>::new())).unwrap_err();
        assert_eq!(empty[0].text, "empty");
    }
}
