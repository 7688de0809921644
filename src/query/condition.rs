//! One condition on a field.

use std::cmp::Ordering;

use jiff::tz::TimeZone;

use super::InvalidParameter;
use super::field::{FieldReader, FieldValue, QueryField};
use super::operand::Operand;
use super::operator::{Operator, split_condition};
use super::pattern::LikePattern;
use crate::model::StoreUuid;

/// The name of the parameter with a condition.
pub(super) const CONDITION: &str = "q";

/// A condition on a field of a record.
#[derive(Debug)]
pub(super) struct FieldCondition<R: 'static> {
    field: &'static QueryField<R>,
    rule: FieldRule,
    /// True if the condition holds where the rule does not.
    is_negated: bool,
}

#[derive(Debug)]
enum FieldRule {
    IsNull,
    OneOf(Vec<Operand>),
    /// The order of the field and the operand satisfies the function.
    Ordered(fn(Ordering) -> bool, Operand),
    Like(LikePattern),
}

impl<R> FieldCondition<R> {
    /// Parses a condition on one of the fields. A date without a zone is in `zone`.
    ///
    /// # Errors
    /// [`InvalidParameter`] says which part of the condition is wrong.
    pub(super) fn parse(
        text: &str,
        fields: &'static [QueryField<R>],
        zone: &TimeZone,
    ) -> Result<Self, InvalidParameter> {
        let Some((name, operator, value)) = split_condition(text) else {
            let operators: Vec<&str> = Operator::ALL.iter().map(|one| one.as_str()).collect();
            let expected = format!("a field and an operator of {}", operators.join(" "));
            return Err(InvalidParameter::expected(CONDITION, &expected));
        };
        let field = QueryField::find(fields, name, CONDITION)?;
        let expected = |what: &str| {
            InvalidParameter::expected(CONDITION, &format!("{what} after {name} {operator}"))
        };
        let parse_value = |value| Operand::parse(&field.reader, value, zone).map_err(expected);
        let ordered = |holds: fn(Ordering) -> bool| {
            Ok::<_, InvalidParameter>(FieldRule::Ordered(holds, parse_value(value)?))
        };
        let rule = match operator {
            Operator::IsNull | Operator::NotNull if !value.trim().is_empty() => {
                return Err(expected("nothing"));
            }
            Operator::IsNull | Operator::NotNull => FieldRule::IsNull,
            Operator::Equal | Operator::NotEqual => FieldRule::OneOf(vec![parse_value(value)?]),
            Operator::In | Operator::NotIn => {
                FieldRule::OneOf(value.split(',').map(parse_value).collect::<Result<_, _>>()?)
            }
            Operator::Like | Operator::NotLike => {
                if matches!(field.reader, FieldReader::Date(_)) {
                    let problem = format!("{name} is a date, which has no {operator}");
                    return Err(InvalidParameter::new(CONDITION, problem));
                }
                let pattern = LikePattern::parse(value);
                let max = LikePattern::MAX_CHARS;
                let long = || expected(&format!("a pattern of at most {max} characters"));
                FieldRule::Like(pattern.ok_or_else(long)?)
            }
            Operator::AtLeast => ordered(Ordering::is_ge)?,
            Operator::AtMost => ordered(Ordering::is_le)?,
            Operator::Above => ordered(Ordering::is_gt)?,
            Operator::Below => ordered(Ordering::is_lt)?,
        };
        let is_negated = matches!(
            operator,
            Operator::NotNull | Operator::NotEqual | Operator::NotIn | Operator::NotLike
        );
        Ok(Self { field, rule, is_negated })
    }

    /// Returns true if the record satisfies the condition. A list satisfies a rule if one of its
    /// elements does.
    pub(super) fn matches(&self, record: &R) -> bool {
        let holds = match &self.field.reader {
            FieldReader::Text(read) | FieldReader::Normalized(read, _) => {
                self.rule.holds(FieldValue::Text(read(record)))
            }
            FieldReader::Uuid(read) => self.rule.holds(FieldValue::Uuid(read(record))),
            FieldReader::Number(read) => self.rule.holds(FieldValue::Number(read(record))),
            FieldReader::Date(read) => self.rule.holds(FieldValue::Date(read(record))),
            FieldReader::List(read) => match &self.rule {
                FieldRule::IsNull => read(record).is_empty(),
                rule => read(record).iter().any(|text| rule.holds(FieldValue::Text(text))),
            },
        };
        holds != self.is_negated
    }

    /// Returns the only uuid that a matching store can have, or `None` if there may be several.
    pub(super) fn only_uuid(&self) -> Option<StoreUuid> {
        match (&self.rule, self.is_negated) {
            (FieldRule::OneOf(operands), false) => match operands.as_slice() {
                [Operand::Uuid(uuid)] => Some(*uuid),
                _ => None,
            },
            _ => None,
        }
    }
}

impl FieldRule {
    fn holds(&self, value: FieldValue<'_>) -> bool {
        match self {
            Self::IsNull => matches!(value, FieldValue::Text("")),
            Self::OneOf(operands) => operands
                .iter()
                .any(|operand| operand.compare_from(value).is_some_and(Ordering::is_eq)),
            Self::Ordered(wanted, operand) => operand.compare_from(value).is_some_and(wanted),
            Self::Like(pattern) => match value {
                FieldValue::Text(text) => pattern.matches(text),
                FieldValue::Uuid(uuid) => pattern.matches(&uuid.to_string()),
                FieldValue::Number(number) => pattern.matches(&number.to_string()),
                // The parser refuses a pattern for a date.
                FieldValue::Date(_) => false,
            },
        }
    }
}
