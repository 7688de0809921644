//! The use of a store by day, with the forecast: `{prefix}/stores/{uuid}/capacity`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::agent::StoreService;
use crate::catalog::Language;
use crate::http::api::query_string::QueryParameters;
use crate::http::api::{AppState, StoreIdPath, response};
use crate::http::auth::{Principal, Role};
use crate::http::error::ApiError;
use crate::model::DAY_SECONDS;
use crate::query::{InvalidParameter, parse_span};
use crate::wire::{CapacityHistoryBody, CapacityPoint, ForecastBody};

/// The number of days without the parameter `since`.
const DEFAULT_DAYS: u32 = 90;
/// Maximum number of days. The ledger keeps no more.
const MAX_DAYS: u32 = 400;

/// The choice of a caller.
#[derive(Debug, PartialEq, Eq)]
struct CapacityRequest {
    /// The number of days, with today.
    days: u32,
    language: Language,
}

impl CapacityRequest {
    /// Reads the parameters `since` (`1d` to `400d`) and `language` (`en` or `zh`).
    ///
    /// # Errors
    /// [`InvalidParameter`] for any other parameter or value, and for one that is there twice.
    fn parse(parameters: &QueryParameters) -> Result<Self, InvalidParameter> {
        let (mut days, mut language) = (None, None);
        for (name, value) in parameters.pairs() {
            let invalid = |expected: &str| InvalidParameter::new(name, expected);
            let is_repeated = match name {
                "since" => {
                    let known = parse_days(value)
                        .ok_or_else(|| invalid("expected a number of days, 1d to 400d"))?;
                    days.replace(known).is_some()
                }
                "language" => {
                    let known = value.parse().map_err(|_| invalid("expected en or zh"))?;
                    language.replace(known).is_some()
                }
                _ => return Err(invalid("the history of the capacity has no such parameter")),
            };
            if is_repeated {
                return Err(invalid("it may be there only once"));
            }
        }
        Ok(Self {
            days: days.unwrap_or(DEFAULT_DAYS),
            language: language.unwrap_or(Language::English),
        })
    }
}

/// Returns the number of days of a duration. A part of a day counts as a day.
fn parse_days(text: &str) -> Option<u32> {
    let days = parse_span(text)?.as_secs().div_ceil(u64::from(DAY_SECONDS));
    u32::try_from(days).ok().filter(|days| (1..=MAX_DAYS).contains(days))
}

/// Returns the use of a store by day, its limits, and the forecast.
pub(in crate::http::api) async fn get_capacity_history<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
    parameters: QueryParameters,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let store = store.ok_or(ApiError::InvalidUuid)?;
    let request = CapacityRequest::parse(&parameters).map_err(ApiError::InvalidParameter)?;
    let snapshot = state.stores.snapshot(store).ok_or(ApiError::UnknownStore(store))?;
    let history = state.stores.capacity_history(&snapshot, request.days).await;
    let sharers = state.stores.space_sharers(&snapshot);
    let sharers = (!sharers.is_empty()).then(|| sharers.to_string());
    let mut body = CapacityHistoryBody::new(store, sharers);
    if let Some(history) = history {
        body.forecast = history
            .forecast
            .map(|forecast| ForecastBody::new(&forecast, history.today, request.language));
        body.points = Some(history.days.iter().map(CapacityPoint::from).collect());
    }
    Ok(response::json_response(StatusCode::OK, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_honoured_or_refused() {
        let parse = |query: &str| CapacityRequest::parse(&QueryParameters::decode(query).unwrap());
        let days = |days| CapacityRequest { days, language: Language::English };
        for (query, expected) in [
            ("", days(90)),
            ("since=1d", days(1)),
            ("since=400d", days(400)),
            ("since=25h", days(2)),
            ("since=7d&language=zh", CapacityRequest { days: 7, language: Language::Chinese }),
        ] {
            assert_eq!(parse(query).unwrap(), expected, "{query}");
        }
        for query in [
            "since=",
            "since=d",
            "since=0d",
            "since=401d",
            "since=7",
            "since=-1d",
            "since=%2B1d",
            "since=1w",
            "since=1.5d",
            "since=99999999999d",
            "since=7%E5%A4%A9",
            "step=1d",
            "since=1d&since=2d",
            "language=fr",
            "language=en&language=en",
        ] {
            let name = query.split('=').next().unwrap();
            assert_eq!(parse(query).unwrap_err().parameter(), name, "{query}");
        }
    }
}
