//! The results of jobs: their bodies, and their record in the ledger change of what they report.

use std::fmt;
use std::sync::Mutex;

use crate::agent::{OperationOutcome, OutcomeRecorder};
use crate::catalog::Language;
use crate::common::lock_unpoisoned;
use crate::http::api::operation::OperationResult;
use crate::http::api::response::{self, SchemaRequest};
use crate::http::error::ApiError;
use crate::jobs::{InterruptedJob, JobRegistry};
use crate::ledger::LedgerChange;
use crate::model::{AttemptFailure, Fault, Inventory, JobId, JobResult, Reason, Remedy};
use crate::wire::{DateFormat, EmptyResponse, ErrorResponse, InventoryResponse};

/// The error that an operation makes of a failed attempt.
pub(in crate::http::api) type FailureError = fn(AttemptFailure) -> ApiError;

/// The form of the result of an operation.
#[derive(Clone)]
pub(in crate::http::api) struct ResultForm {
    pub(in crate::http::api) failure_error: FailureError,
    pub(in crate::http::api) schema: SchemaRequest,
    pub(in crate::http::api) dates: DateFormat,
    pub(in crate::http::api) language: Language,
}

/// Adds the result of one job to ledger changes.
pub(in crate::http::api) struct JobRecorder {
    job: JobId,
    registry: JobRegistry,
    form: ResultForm,
    recorded: Mutex<Option<JobResult>>,
}

impl fmt::Debug for JobRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobRecorder")
    }
}

impl JobRecorder {
    pub(in crate::http::api) fn new(job: JobId, registry: JobRegistry, form: ResultForm) -> Self {
        Self { job, registry, form, recorded: Mutex::default() }
    }

    /// Creates the result of an operation that ends now. It is that of the store after it, or of a
    /// removal. The same outcome always has the same body.
    fn new_result(&self, outcome: Result<Option<&Inventory>, &ApiError>) -> JobResult {
        let ResultForm { schema, dates, language, .. } = &self.form;
        let body = match outcome {
            Ok(Some(inventory)) => {
                response::json_bytes(&InventoryResponse::new(inventory, schema.0, dates))
            }
            Ok(None) => response::json_bytes(&EmptyResponse {}),
            Err(error) => error_bytes(error, *language),
        };
        self.registry.new_result(outcome.is_ok(), body)
    }

    /// Returns the result of the operation, and true if it is the one that was recorded. If the
    /// recording change was not committed, the operation has another result.
    pub(in crate::http::api) fn final_result(
        &self,
        outcome: &Result<OperationResult, ApiError>,
    ) -> (JobResult, bool) {
        let result = self.new_result(match outcome {
            Ok(OperationResult::Store(snapshot)) => Ok(Some(&snapshot.inventory)),
            Ok(OperationResult::Removed) => Ok(None),
            Err(error) => Err(error),
        });
        let recorded = lock_unpoisoned(&self.recorded).take();
        let is_recorded = recorded.is_some_and(|recorded| {
            (recorded.succeeded, &recorded.body) == (result.succeeded, &result.body)
        });
        (result, is_recorded)
    }
}

impl OutcomeRecorder for JobRecorder {
    fn record_outcome(&self, change: LedgerChange, outcome: OperationOutcome<'_>) -> LedgerChange {
        let result = match outcome {
            OperationOutcome::Store(inventory) => self.new_result(Ok(Some(inventory))),
            OperationOutcome::Removed => self.new_result(Ok(None)),
            OperationOutcome::Failed(failure) => {
                let error = (self.form.failure_error)(failure.clone());
                // The caller may get it in the response, and then there is no job.
                if error.is_direct_answer() {
                    return change;
                }
                self.new_result(Err(&error))
            }
        };
        *lock_unpoisoned(&self.recorded) = Some(result.clone());
        change.finish_job(self.job, result)
    }

    fn record_definition_change(&self, change: LedgerChange) -> LedgerChange {
        change.mark_job_change(self.job)
    }
}

pub(in crate::http::api) fn error_bytes(error: &ApiError, language: Language) -> Vec<u8> {
    response::json_bytes(&ErrorResponse { error: &error.error_code(language) })
}

/// Returns the body of the result of a job that was running when the daemon stopped.
pub fn interrupted_job_body(job: InterruptedJob, language: Language) -> Vec<u8> {
    let details = match job.changed_definition {
        true => {
            "the daemon was restarted while the job ran: the definition of the store had been \
             changed, and the attempt that follows was not finished"
        }
        false => {
            "the daemon was restarted while the job ran: the job had recorded no change of a \
             definition, no added store and no removal"
        }
    };
    let fault =
        Fault::new(Reason::InterruptedByRestart, details).with_remedy(Remedy::ReadInterruptedStore);
    error_bytes(&ApiError::ConnectFailed(AttemptFailure::from_fault(fault)), language)
}
