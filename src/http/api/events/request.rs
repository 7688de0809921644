//! The parameters and headers of a request for events.

use std::time::Duration;

use axum::http::{HeaderMap, header};

use crate::http::api::query_string::QueryParameters;
use crate::http::error::ApiError;
use crate::model::{EventCursor, EventKind, StoreUuid};
use crate::query::{InvalidParameter, parse_span};

/// The header with which a client resumes a stream.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";
/// The media type of a stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Number of events of a page without `limit`.
const DEFAULT_PAGE_EVENTS: u32 = 100;
/// Maximum number of events of a page. A page with usual events has some 300 KB.
const MAX_PAGE_EVENTS: u32 = 1000;

/// The position at which the events begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EventStart {
    /// The oldest event.
    #[default]
    Oldest,
    /// The event behind this position.
    After(EventCursor),
    /// The first event that is at most this old.
    Since(Duration),
}

/// The form of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventForm {
    /// One page with at most this number of events.
    Page(u32),
    /// A stream without an end.
    Stream,
}

/// A request for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventsRequest {
    pub(super) start: EventStart,
    pub(super) store: Option<StoreUuid>,
    /// The kinds, or none for all kinds.
    pub(super) kinds: Vec<EventKind>,
    pub(super) form: EventForm,
}

impl EventsRequest {
    /// Reads the parameters and headers. `Last-Event-ID` takes precedence over `after` and `since`,
    /// because a client resumes with the URL with which it began.
    ///
    /// # Errors
    /// 400 for an unknown or repeated parameter, for an invalid value, and for `limit` in a request
    /// for a stream.
    pub(super) fn parse(
        parameters: &QueryParameters,
        headers: &HeaderMap,
    ) -> Result<Self, ApiError> {
        let mut request = Self::parse_parameters(parameters, selects_stream(headers))
            .map_err(ApiError::InvalidParameter)?;
        if let Some(cursor) = last_event_id(headers)? {
            request.start = EventStart::After(cursor);
        }
        Ok(request)
    }

    fn parse_parameters(
        parameters: &QueryParameters,
        is_stream: bool,
    ) -> Result<Self, InvalidParameter> {
        let (mut after, mut since, mut store, mut limit) = (None, None, None, None);
        let mut kinds = None;
        for (name, value) in parameters.pairs() {
            let invalid = |problem: &str| InvalidParameter::new(name, problem);
            let is_repeated = match name {
                "after" => {
                    let expected = "expected a cursor as an event has it: <generation>-<number>";
                    after.replace(value.parse().map_err(|_| invalid(expected))?).is_some()
                }
                "since" => {
                    let expected = "expected a duration such as 90s, 2h or 7d";
                    since.replace(parse_span(value).ok_or_else(|| invalid(expected))?).is_some()
                }
                "store" => {
                    let expected = "expected the uuid of a store";
                    store.replace(value.parse().map_err(|_| invalid(expected))?).is_some()
                }
                "kind" => {
                    let list = value.split(',').map(str::parse).collect::<Result<Vec<_>, _>>();
                    kinds.replace(list.map_err(|_| invalid(&known_kinds()))?).is_some()
                }
                "limit" => {
                    let number = value.parse().ok();
                    let number = number.filter(|count| (1..=MAX_PAGE_EVENTS).contains(count));
                    limit.replace(number.ok_or_else(|| invalid("expected 1 to 1000"))?).is_some()
                }
                _ => {
                    return Err(invalid(
                        "it is unknown; known are after, kind, limit, since and store",
                    ));
                }
            };
            if is_repeated {
                return Err(invalid("it may be there only once"));
            }
        }
        let start = match (after, since) {
            (Some(_), Some(_)) => {
                return Err(InvalidParameter::new("since", "it cannot be combined with after"));
            }
            (Some(cursor), None) => EventStart::After(cursor),
            (None, Some(age)) => EventStart::Since(age),
            (None, None) => EventStart::Oldest,
        };
        let form = match (is_stream, limit) {
            (true, Some(_)) => {
                return Err(InvalidParameter::new(
                    "limit",
                    "a stream of events has no limit; a page has one, with Accept: application/json",
                ));
            }
            (true, None) => EventForm::Stream,
            (false, limit) => EventForm::Page(limit.unwrap_or(DEFAULT_PAGE_EVENTS)),
        };
        Ok(Self { start, store, kinds: kinds.unwrap_or_default(), form })
    }
}

/// Returns the expectation of `kind`.
fn known_kinds() -> String {
    let kinds = EventKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>();
    format!("expected a list with commas of {}", kinds.join(", "))
}

/// Returns true if the response is a stream: unless the client prefers JSON to it.
pub(super) fn selects_stream(headers: &HeaderMap) -> bool {
    let json = accepted_weight(headers, "application/json");
    json.is_none_or(|json| json <= accepted_weight(headers, EVENT_STREAM).unwrap_or_default())
}

/// Returns the weight of a media type: that of the most specific range with it (RFC 9110 section
/// 12.5.1). Returns `None` without such a range.
fn accepted_weight(headers: &HeaderMap, media_type: &str) -> Option<f32> {
    let (group, _) = media_type.split_once('/')?;
    let lists = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = lists.flat_map(|list| list.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next()?;
        let specificity = match range.split_once('/')? {
            _ if range.eq_ignore_ascii_case(media_type) => 2,
            (range_group, "*") if range_group.eq_ignore_ascii_case(group) => 1,
            ("*", "*") => 0,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let weight = weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok());
        // The weight 0 means "not acceptable". An invalid one is the default.
        let weight = weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(1.0);
        Some((specificity, weight))
    });
    let best = ranges.max_by(|(one, a), (two, b)| one.cmp(two).then(a.total_cmp(b)));
    best.map(|(_, weight)| weight)
}

/// Returns the cursor of the last event that the client has, if it names one. A browser sends an
/// empty value if it has none.
fn last_event_id(headers: &HeaderMap) -> Result<Option<EventCursor>, ApiError> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_repeated = values.next().is_some();
    if value.is_empty() && !is_repeated {
        return Ok(None);
    }
    let cursor = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|_| !is_repeated);
    let invalid = ApiError::InvalidHeader {
        name: "Last-Event-ID",
        expected: "the id of an event of this stream",
    };
    cursor.map(Some).ok_or(invalid)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const CURSOR: &str = "00000000000000000000000000000001-7";
    const JSON: &[(&str, &str)] = &[("accept", "application/json")];

    fn parse(query: &str, headers: &[(&'static str, &str)]) -> Result<EventsRequest, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        EventsRequest::parse(&QueryParameters::decode(query).unwrap(), &map)
            .map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn every_parameter_is_honoured_or_refused() {
        let page = parse("", JSON).unwrap();
        assert_eq!(page.form, EventForm::Page(100));
        assert_eq!((page.start, page.store, page.kinds), (EventStart::Oldest, None, vec![]));
        let uuid = StoreUuid::from_u128(5);
        let query = format!("store={uuid}&kind=added,gap&limit=1000&after={CURSOR}");
        let full = parse(&query, JSON).unwrap();
        assert_eq!(full.store, Some(uuid));
        assert_eq!(full.kinds, [EventKind::Added, EventKind::Gap]);
        assert_eq!(full.form, EventForm::Page(1000));
        assert_eq!(full.start, EventStart::After(CURSOR.parse().unwrap()));
        let since = parse("since=2h", JSON).unwrap().start;
        assert_eq!(since, EventStart::Since(Duration::from_secs(7200)));
        for query in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=",
            "limit=5&limit=5",
            "after=7",
            "after=",
            "since=2",
            "since=-2h",
            "since=",
            "kind=",
            "kind=added,",
            "kind=Added",
            "kind=nothing",
            "store=images",
            "store=",
            "follow=true",
            "count",
            "=",
        ] {
            assert!(parse(query, JSON).is_err(), "{query}");
        }
        assert!(parse(&format!("since=2h&after={CURSOR}"), JSON).is_err());
    }

    #[test]
    fn the_response_is_a_stream_unless_json_is_preferred() {
        for (accept, is_stream) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("*/*", true),
            ("text/*", true),
            ("", true),
            ("text/html", true),
            ("application/json, text/event-stream", true),
            ("application/json;q=0.5, */*", true),
            ("application/json;q=0.2, text/*;q=0.3, */*;q=0.9", true),
            ("application/json;q=0", true),
            ("application/json", false),
            ("Application/JSON; charset=utf-8", false),
            ("application/*", false),
            ("application/json, */*;q=0.1", false),
            ("application/json, text/event-stream;q=0.5", false),
            ("*/*, text/event-stream; q=0.000", false),
            ("application/json;q=0.4, text/*;q=0.3, text/html", false),
        ] {
            let form = parse("", &[("accept", accept)]).unwrap().form;
            assert_eq!(form == EventForm::Stream, is_stream, "{accept}");
        }
        assert_eq!(parse("", &[]).unwrap().form, EventForm::Stream);
        // The lines of a header are one list.
        let lines = [("accept", "text/event-stream;q=0.5"), ("accept", "application/json")];
        assert_eq!(parse("", &lines).unwrap().form, EventForm::Page(100));
        for headers in [&[][..], &[("accept", EVENT_STREAM)]] {
            let refused = parse("limit=5", headers).unwrap_err();
            assert!(refused.contains("Accept: application/json"), "{refused}");
        }
    }

    #[test]
    fn the_last_event_id_takes_precedence() {
        let after = EventStart::After(CURSOR.parse().unwrap());
        for query in ["", "since=2h", "after=00000000000000000000000000000001-3"] {
            assert_eq!(parse(query, &[(LAST_EVENT_ID, CURSOR)]).unwrap().start, after, "{query}");
        }
        assert_eq!(parse("", &[(LAST_EVENT_ID, "")]).unwrap().start, EventStart::Oldest);
        assert!(parse("", &[(LAST_EVENT_ID, "x")]).is_err());
        for values in [[CURSOR, CURSOR], ["", CURSOR], [CURSOR, ""], ["", "x"], ["", ""]] {
            assert!(parse("", &values.map(|value| (LAST_EVENT_ID, value))).is_err(), "{values:?}");
        }
    }
}
