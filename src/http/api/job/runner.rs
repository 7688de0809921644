//! Runs the operations of jobs, and answers their callers in time.
//!
//! # Guarantees
//!
//! - A call is answered within its deadline, whatever its operation waits for. Only the record of
//!   the job's begin has [`MIN_BEGIN_TIMEOUT`] even if the deadline is earlier.
//! - An operation outlives the connection of its caller.
//! - The same request under the same id runs once.
//! - No response refers a caller with a web hook to its job before the web hook is durable.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument as _, Span, error};

use super::call::JobCall;
use super::promised_body::PromisedBody;
use super::recorder::{FailureError, JobRecorder, ResultForm};
use crate::agent::OutcomeRecorder;
use crate::catalog::Language;
use crate::common::{crash_point, lock_unpoisoned};
use crate::hooks::{HookCounts, HookQueue};
use crate::http::api::operation::OperationResult;
use crate::http::api::response;
use crate::http::audit::AuditRecord;
use crate::http::error::ApiError;
use crate::jobs::{JobAccess, JobAdmission, JobEnding, JobPromise, JobRegistry};
use crate::ledger::CommitError;
use crate::management::UrlError;
use crate::model::{Fault, JobHook, JobId, JobRequest, Reason, Remedy};
use crate::wire::{DateFormat, JobResponse};

/// Maximum wait for a result that is about to be announced. It takes microseconds.
const ANNOUNCEMENT_TIMEOUT: Duration = Duration::from_millis(250);
/// Minimum time for the record of a job's begin, from the admission of the job. The record takes
/// some milliseconds, so that the state disk hangs after this time. A call may have used up its own
/// time before that, with a slow body or with the check of its session.
const MIN_BEGIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The progress of a job, for the calls that wait for it.
#[derive(Clone, Debug)]
enum JobProgress {
    /// The job is not durable yet.
    Beginning,
    Running,
    Ended(JobEnd),
}

/// The end of a job.
#[derive(Clone, Debug)]
struct JobEnd {
    outcome: Result<OperationResult, ApiError>,
    /// True if the result is kept. False if the callers get it in the response.
    is_kept: bool,
}

/// A call under the id of its job.
struct IdentifiedCall {
    call: JobCall,
    id: JobId,
    /// The request, and the web hook that the result is owed to once a response refers to the job.
    hook: Option<(JobRequest, JobHook)>,
    failure_error: FailureError,
}

/// A job that runs, for the calls that wait for it.
#[derive(Clone, Debug)]
struct RunningJob {
    progress: watch::Receiver<JobProgress>,
    admitted: Instant,
}

/// Runs the operations of jobs. Cheap to clone.
#[derive(Clone)]
pub(in crate::http) struct JobRunner {
    registry: JobRegistry,
    hooks: HookQueue,
    dates: DateFormat,
    language: Language,
    running: Arc<Mutex<HashMap<JobId, RunningJob>>>,
}

impl JobRunner {
    pub(in crate::http) fn new(
        registry: JobRegistry,
        hooks: HookQueue,
        dates: DateFormat,
        language: Language,
    ) -> Self {
        Self { registry, hooks, dates, language, running: Arc::default() }
    }

    /// Returns the counts of the web hooks.
    pub(in crate::http::api) fn hook_counts(&self) -> HookCounts {
        self.hooks.counts()
    }

    pub(in crate::http::api) fn registry(&self) -> &JobRegistry {
        &self.registry
    }

    /// Runs the operation of a call as a job, or joins the job that runs it, and answers the call.
    /// `operation` begins the operation when its job is durable.
    pub(in crate::http::api) async fn run_call<F>(
        &self,
        call: JobCall,
        audit: AuditRecord,
        failure_error: FailureError,
        operation: impl FnOnce(Arc<dyn OutcomeRecorder>) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = Result<OperationResult, ApiError>> + Send + 'static,
    {
        let hook = match self.check_hook(&call).await {
            Ok(hook) => hook,
            Err(error) => return audit.finish(Err(error)),
        };
        let id = call.id.unwrap_or_else(|| self.registry.new_id());
        let caller = [call.caller.kind().as_str().as_bytes(), call.caller.name().as_bytes()];
        let mut parts = vec![call.method.as_bytes(), call.target.as_bytes(), &call.body];
        // Another web hook makes another call.
        parts.extend(call.hook_url.as_ref().map(|url| url.expose_secret().as_bytes()));
        let request = self.registry.identify(id, &caller, &parts);
        let hook = hook.map(|hook| (request, hook));
        // The body may be secret and large, and the digest is all that the job needs of it.
        let call = IdentifiedCall { call: call.without_body(), id, hook, failure_error };
        let (admission, job) = {
            let mut running = lock_unpoisoned(&self.running);
            let admission = self.registry.admit(&request);
            let job = match admission {
                JobAdmission::Begins => {
                    self.hooks.forget_earlier(id);
                    let (sender, progress) = watch::channel(JobProgress::Beginning);
                    let job = RunningJob { progress, admitted: Instant::now() };
                    running.insert(id, job.clone());
                    Some((job, Some(sender)))
                }
                JobAdmission::Joins => running.get(&id).cloned().map(|job| (job, None)),
                JobAdmission::Ended | JobAdmission::Taken | JobAdmission::Full => None,
            };
            (admission, job)
        };
        match (admission, job) {
            (JobAdmission::Taken, _) => audit.finish(Err(ApiError::JobIdTaken)),
            (JobAdmission::Full, _) => audit.finish(Err(too_many_jobs())),
            (JobAdmission::Ended, _) => audit.finish(self.replay(&call).await),
            (JobAdmission::Begins, Some((job, Some(sender)))) => {
                let run = self.clone().run_job(
                    request,
                    sender,
                    audit,
                    ResultForm {
                        failure_error,
                        schema: call.call.schema,
                        dates: self.dates.clone(),
                        language: self.language,
                    },
                    operation,
                );
                self.registry.tasks().spawn(run.instrument(Span::current()));
                let answer = self.wait_for_end(&call, job).await;
                answer.unwrap_or_else(ApiError::into_response)
            }
            (_, Some((job, _))) => audit.finish(self.wait_for_end(&call, job).await),
            // A job of an earlier run, whose end is about to be recorded.
            (_, None) => audit.finish(self.refer_to_job(&call).await),
        }
    }

    async fn run_job<F>(
        self,
        request: JobRequest,
        sender: watch::Sender<JobProgress>,
        mut audit: AuditRecord,
        form: ResultForm,
        operation: impl FnOnce(Arc<dyn OutcomeRecorder>) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<OperationResult, ApiError>> + Send + 'static,
    {
        let job = request.job;
        let end = match self.registry.record_begin(&request).await {
            Err(error) => {
                let outcome = Err(not_recorded(form.failure_error, &error));
                JobEnd { outcome, is_kept: false }
            }
            Ok(false) => {
                let outcome = Err(not_recorded_in_time(form.failure_error));
                JobEnd { outcome, is_kept: false }
            }
            Ok(true) => {
                sender.send_replace(JobProgress::Running);
                crash_point("job.begun");
                let registry = self.registry.clone();
                let recorder = Arc::new(JobRecorder::new(job, registry, form.clone()));
                let given = Arc::<JobRecorder>::clone(&recorder);
                // A task of its own, so that a job whose operation panics ends as well.
                let running = async move { operation(given).await };
                let running = self.registry.tasks().spawn(running.instrument(Span::current()));
                let outcome = running.await;
                let outcome =
                    outcome.unwrap_or_else(|error| Err(panicked(form.failure_error, &error)));
                crash_point("job.ended");
                let (result, is_recorded) = recorder.final_result(&outcome);
                let is_repeatable = outcome.as_ref().is_err_and(ApiError::is_direct_answer);
                let ending = self.registry.end_job(job, result, is_recorded, is_repeatable).await;
                JobEnd { outcome, is_kept: ending == JobEnding::Kept }
            }
        };
        if let Ok(result) = &end.outcome
            && let Some(store) = result.store()
        {
            audit.set_store(store);
        }
        audit
            .finish(end.outcome.clone().map(|result| result.to_response(form.schema, &form.dates)));
        sender.send_replace(JobProgress::Ended(end));
        // The id may already stand for the next request, if the result was not kept.
        if let Entry::Occupied(entry) = lock_unpoisoned(&self.running).entry(job)
            && entry.get().progress.same_channel(&sender.subscribe())
        {
            entry.remove();
        }
        self.registry.remove_dropped().await;
    }

    async fn wait_for_end(
        &self,
        call: &IdentifiedCall,
        RunningJob { mut progress, admitted }: RunningJob,
    ) -> Result<Response, ApiError> {
        let &IdentifiedCall { call: JobCall { deadline, schema, .. }, id, failure_error, .. } =
            call;
        let mut ended = end_until(&mut progress, deadline).await;
        if ended.is_none() {
            let begin_deadline = deadline.max(admitted + MIN_BEGIN_TIMEOUT);
            let begun = progress.wait_for(|now| !matches!(now, JobProgress::Beginning));
            // The table knows if the job is durable, also if this wait ends at the same time.
            let _ = timeout_at(begin_deadline, begun).await;
            match self.registry.promise(id) {
                JobPromise::Kept => return self.refer_to_job(call).await,
                JobPromise::Abandoned => return Err(not_recorded_in_time(failure_error)),
                JobPromise::Over => {
                    ended = end_until(&mut progress, Instant::now() + ANNOUNCEMENT_TIMEOUT).await;
                }
            }
        }
        match ended {
            Some(Some(JobEnd { outcome: Ok(result), .. })) => {
                self.registry.mark_given(id);
                Ok(result.to_response(schema, &self.dates))
            }
            Some(Some(JobEnd { outcome: Err(error), is_kept: false })) => Err(error),
            // The daemon stops.
            Some(None) => Err(stopping(failure_error)),
            Some(Some(JobEnd { is_kept: true, .. })) | None => self.refer_to_job(call).await,
        }
    }

    /// Answers a call whose job has ended.
    async fn replay(&self, call: &IdentifiedCall) -> Result<Response, ApiError> {
        let id = call.id;
        match self.registry.read(id).await {
            JobAccess::Ended(result) if result.succeeded => {
                self.registry.mark_given(id);
                Ok(response::body_response(StatusCode::OK, result.body))
            }
            _ => self.refer_to_job(call).await,
        }
    }

    /// Checks the web hook of a call, if it has one.
    async fn check_hook(&self, call: &JobCall) -> Result<Option<JobHook>, ApiError> {
        let Some(url) = &call.hook_url else { return Ok(None) };
        let checked = self.hooks.check_url(url.expose_secret(), call.network).await;
        checked.map(Some).map_err(|bad| match bad {
            // The URL may be good, so a later call may succeed.
            UrlError::UnknownAddresses(_) => ApiError::url_not_allowed("X-Web-Hook", bad),
            bad => ApiError::HookNotAllowed(bad),
        })
    }

    /// Creates the response that refers the caller to the job. The web hook is durable before that.
    async fn refer_to_job(&self, call: &IdentifiedCall) -> Result<Response, ApiError> {
        let accepted = || accepted_response(&call.call, call.id);
        let Some((request, hook)) = &call.hook else { return Ok(accepted()) };
        let promised = self.hooks.promise_hook(request, hook.clone()).await;
        Ok(match promised.map_err(|error| hook_not_recorded(&error))? {
            Some(promise) => accepted().map(|body| Body::new(PromisedBody::new(body, promise))),
            // The client learns from the job that its result is no longer kept.
            None => accepted(),
        })
    }
}

/// Waits for the end of a job. Returns `None` after the deadline. The inner value is `None` if
/// there will be no end.
async fn end_until(
    progress: &mut watch::Receiver<JobProgress>,
    deadline: Instant,
) -> Option<Option<JobEnd>> {
    let ended = progress.wait_for(|now| matches!(now, JobProgress::Ended(_)));
    let ended = timeout_at(deadline, ended).await.ok()?;
    Some(ended.ok().and_then(|now| match &*now {
        JobProgress::Ended(end) => Some(end.clone()),
        JobProgress::Beginning | JobProgress::Running => None,
    }))
}

/// Creates the response that refers the caller to the job.
fn accepted_response(call: &JobCall, id: JobId) -> Response {
    let body = JobResponse {
        location: call.location(id),
        api_timeout: u64::try_from(call.api_timeout.as_millis()).unwrap_or(u64::MAX),
    };
    response::json_response(StatusCode::ACCEPTED, &body)
}

fn not_recorded(failure_error: FailureError, error: &CommitError) -> ApiError {
    let details = format!("the job was not recorded, and did not begin: {error}");
    failure_error(Fault::new(commit_reason(error), details).into())
}

fn commit_reason(error: &CommitError) -> Reason {
    match error {
        CommitError::Busy => Reason::AgentBusy,
        CommitError::Closed => Reason::AgentStopping,
        CommitError::Unsealable(_) => Reason::SecretUnreadable,
        _ => Reason::StateDiskTrouble,
    }
}

/// Creates the error for a call whose web hook was not recorded. Its job goes on.
fn hook_not_recorded(error: &CommitError) -> ApiError {
    let details = format!("the web hook was not recorded, and the job goes on: {error}");
    let fault = Fault::new(commit_reason(error), details).with_remedy(Remedy::RepeatWithJobUuid);
    // The operation itself has not failed.
    ApiError::ConnectFailed(fault.into())
}

fn not_recorded_in_time(failure_error: FailureError) -> ApiError {
    let details = "the state disk does not respond: the job was not recorded, and does not begin";
    failure_error(Fault::new(Reason::StateDiskTrouble, details).into())
}

fn too_many_jobs() -> ApiError {
    ApiError::ConnectFailed(Fault::new(Reason::AgentBusy, "too many jobs are running").into())
}

fn panicked(failure_error: FailureError, error: &JoinError) -> ApiError {
    error!(%error, "operation of job panicked");
    let details = "the operation ended with an internal error, which the log describes";
    let fault = Fault::new(Reason::AgentBusy, details).with_remedy(Remedy::ReportLog);
    failure_error(fault.into())
}

fn stopping(failure_error: FailureError) -> ApiError {
    failure_error(Fault::new(Reason::AgentStopping, "the daemon is stopping").into())
}
