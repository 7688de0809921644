//! A query: its parameters, and its result over records.

use jiff::tz::TimeZone;

use super::InvalidParameter;
use super::condition::{CONDITION, FieldCondition};
use super::field::QueryField;
use crate::model::StoreUuid;

/// Number of records in a page if the query does not say it. ZStack has the same default.
const DEFAULT_LIMIT: u32 = 1000;
/// Maximum number of conditions. A client asks for a store by at most one for each field, and each
/// condition is evaluated for each record.
const MAX_CONDITIONS: usize = 32;

/// A query over records `R`.
#[derive(Debug)]
pub struct RecordQuery<R: 'static> {
    conditions: Vec<FieldCondition<R>>,
    sort: Option<SortOrder<R>>,
    start: u32,
    limit: u32,
    answer: QueryAnswer,
    fields: Option<Vec<&'static str>>,
}

/// The answer that a query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryAnswer {
    /// Only the number of matching records.
    Count,
    /// A page of the matching records.
    Page,
    /// A page, and the number of all matching records.
    PageWithTotal,
}

#[derive(Debug)]
struct SortOrder<R: 'static> {
    field: &'static QueryField<R>,
    is_descending: bool,
}

/// The parameters that a query may have once.
#[derive(Default)]
struct SingleParameters<'p> {
    limit: Option<&'p str>,
    start: Option<&'p str>,
    count: Option<&'p str>,
    reply_with_count: Option<&'p str>,
    sort: Option<&'p str>,
    fields: Option<&'p str>,
}

impl<R> RecordQuery<R> {
    /// Parses the parameters of a query over records with these fields. The names and values are
    /// decoded. A date without a zone is in `zone`. Unknown parameters are ignored.
    ///
    /// # Errors
    /// [`InvalidParameter`] for the first parameter that cannot be honoured.
    pub fn parse<'p>(
        parameters: impl IntoIterator<Item = (&'p str, &'p str)>,
        fields: &'static [QueryField<R>],
        zone: &TimeZone,
    ) -> Result<Self, InvalidParameter> {
        let mut single = SingleParameters::default();
        let mut conditions = Vec::new();
        for (name, value) in parameters {
            let slot = match name {
                CONDITION => {
                    if conditions.len() == MAX_CONDITIONS {
                        let problem = format!("there are more than {MAX_CONDITIONS} conditions");
                        return Err(InvalidParameter::new(name, problem));
                    }
                    conditions.push(FieldCondition::parse(value, fields, zone)?);
                    continue;
                }
                "groupBy" | "filterName" => {
                    return Err(InvalidParameter::new(name, "the daemon does not support it"));
                }
                "limit" => &mut single.limit,
                "start" => &mut single.start,
                "count" => &mut single.count,
                "replyWithCount" => &mut single.reply_with_count,
                "sort" => &mut single.sort,
                "fields" => &mut single.fields,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(InvalidParameter::repeated(name));
            }
        }
        let count = parse_flag("count", single.count)?;
        let with_total = parse_flag("replyWithCount", single.reply_with_count)?;
        let sort = single.sort.map(|value| SortOrder::parse(value, fields)).transpose()?;
        let selected = single.fields.map(|value| parse_fields(value, fields)).transpose()?;
        Ok(Self {
            conditions,
            sort,
            start: parse_number("start", single.start)?.unwrap_or(0),
            limit: parse_number("limit", single.limit)?.unwrap_or(DEFAULT_LIMIT),
            answer: match (count, with_total) {
                (true, _) => QueryAnswer::Count,
                (false, true) => QueryAnswer::PageWithTotal,
                (false, false) => QueryAnswer::Page,
            },
            fields: selected,
        })
    }

    /// Returns the answer that the query asks for.
    pub fn answer(&self) -> QueryAnswer {
        self.answer
    }

    /// Returns the names of the fields that the answer has, or `None` for all fields.
    pub fn selected_fields(&self) -> Option<&[&'static str]> {
        self.fields.as_deref()
    }

    /// Returns true if the record satisfies all conditions.
    pub fn matches(&self, record: &R) -> bool {
        self.conditions.iter().all(|condition| condition.matches(record))
    }

    /// Returns the only uuid that a matching store can have, or `None` if there may be several.
    pub fn only_uuid(&self) -> Option<StoreUuid> {
        self.conditions.iter().find_map(FieldCondition::only_uuid)
    }

    /// Returns the page of the matching records. Records that are equal in the order of the query
    /// keep their order.
    pub fn page_of<'r>(&self, mut matching: Vec<&'r R>) -> Vec<&'r R> {
        if let Some(SortOrder { field, is_descending }) = &self.sort {
            matching.sort_by(|one, other| match is_descending {
                true => field.compare(other, one),
                false => field.compare(one, other),
            });
        }
        let skipped = usize::try_from(self.start).unwrap_or(usize::MAX);
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        matching.into_iter().skip(skipped).take(limit).collect()
    }
}

impl<R> SortOrder<R> {
    /// Parses `+name`, `-name` or `name`. A `+` that a client does not encode arrives as a blank.
    fn parse(value: &str, fields: &'static [QueryField<R>]) -> Result<Self, InvalidParameter> {
        let value = value.trim();
        let (is_descending, name) = match value.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, value.strip_prefix('+').unwrap_or(value)),
        };
        Ok(Self { field: QueryField::find(fields, name, "sort")?, is_descending })
    }
}

/// Parses a flag, which is false if it is absent.
pub(super) fn parse_flag(name: &str, value: Option<&str>) -> Result<bool, InvalidParameter> {
    match value {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(InvalidParameter::expected(name, "true or false")),
    }
}

fn parse_number(name: &str, value: Option<&str>) -> Result<Option<u32>, InvalidParameter> {
    let Some(value) = value else { return Ok(None) };
    // `parse` also accepts a sign.
    let number = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok());
    let expected = || InvalidParameter::expected(name, "a whole number from 0 to 4294967295");
    number.flatten().map(Some).ok_or_else(expected)
}

fn parse_fields<R>(
    value: &str,
    fields: &'static [QueryField<R>],
) -> Result<Vec<&'static str>, InvalidParameter> {
    let names = value.split(',').map(str::trim);
    names.map(|name| Ok(QueryField::find(fields, name, "fields")?.name)).collect()
}
