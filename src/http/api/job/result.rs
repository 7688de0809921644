//! The route of the results of jobs. Whoever has the id of a job may read its result, because
//! ZStack's clients send no usable credential when they poll.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::api::AppState;
use crate::http::api::response;
use crate::http::auth::rate_limit::RequestSource;
use crate::http::error::ApiError;
use crate::jobs::JobAccess;
use crate::model::{AttemptFailure, Fault, Reason};
use crate::wire::EmptyResponse;

/// Returns the result of a job, or 202 while the job runs.
pub(in crate::http::api) async fn get_job<S: Send + Sync + 'static>(
    State(state): State<Arc<AppState<S>>>,
    source: RequestSource,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let registry = state.jobs.registry();
    // A segment that cannot be decoded names no job either.
    let job = path.ok().and_then(|Path(text)| text.parse().ok());
    let access = match job {
        Some(job) => registry.read(job).await,
        None => JobAccess::Unknown,
    };
    match access {
        JobAccess::Running => Ok(response::json_response(StatusCode::ACCEPTED, &EmptyResponse {})),
        JobAccess::Ended(result) => {
            job.inspect(|job| registry.mark_given(*job));
            let status = match result.succeeded {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            Ok(response::body_response(status, result.body))
        }
        JobAccess::Unreadable(error) => {
            let fault = Fault::new(
                Reason::StateDiskTrouble,
                format!("the result of the job cannot be read: {error}"),
            );
            Err(ApiError::ConnectFailed(AttemptFailure::from_fault(fault)))
        }
        JobAccess::Unknown => Err(match source.count_excess(&state.job_guesses) {
            Some(resets_in) => ApiError::TooManyJobGuesses { resets_in },
            None => ApiError::UnknownJob,
        }),
    }
}
