//! Jobs: operations on stores whose callers fetch the result later, or get it by a web hook.

use std::fmt;
use std::str::FromStr;

use super::id::InvalidUuid;
use super::ssh::Secret;
use crate::common::Timestamp;

/// The id of a job: 32 hexadecimal digits. Whoever knows it may read the result, so it is not
/// displayed: neither a log line nor an error contains it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId([u8; 16]);

impl JobId {
    /// Creates the id whose 32 digits are this number.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    /// Creates an id of 128 random bits.
    pub fn new_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 digits, for the client and for the ledger.
    pub fn expose_digits(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobId(..)")
    }
}

/// Clients choose ids themselves, so digits of both cases are accepted.
impl FromStr for JobId {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidUuid);
        }
        u128::from_str_radix(text, 16).map(Self::from_u128).map_err(|_| InvalidUuid)
    }
}

/// Length of a keyed digest, in bytes.
pub const JOB_DIGEST_BYTES: usize = 32;

/// A keyed digest of the caller of a job, or of its request. It identifies both without their
/// content.
pub type JobDigest = [u8; JOB_DIGEST_BYTES];

/// The identity of a job: the request that it runs, and the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobRequest {
    /// The id.
    pub job: JobId,
    /// The caller.
    pub caller: JobDigest,
    /// The method, the path and the body.
    pub request: JobDigest,
    /// The time at which the job began.
    pub began: Timestamp,
}

/// The result of a job, as its caller reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// True if the operation succeeded.
    pub succeeded: bool,
    /// The body of the response.
    pub body: Vec<u8>,
    /// The time at which the job ended.
    pub ended: Timestamp,
}

/// A job as the ledger holds it, without the body of its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredJob {
    /// The identity.
    pub request: JobRequest,
    /// True if the job has changed the definition of a store.
    pub changed_definition: bool,
    /// The end, or `None` if the job was running when the daemon stopped.
    pub ended: Option<StoredJobEnd>,
}

/// The end of a job as the ledger holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredJobEnd {
    /// The time at which the job ended.
    pub at: Timestamp,
    /// The length of the result, in bytes.
    pub bytes: u64,
}

/// The web hook of a job.
#[derive(Clone, Debug)]
pub struct JobHook {
    /// The URL. Its path and its query may contain a secret.
    pub url: Secret,
    /// The address and the port behind the URL, which are no secret and do not depend on the
    /// spelling of the host.
    pub destination: String,
}

/// The web hook of a job to whose result its caller was referred.
#[derive(Clone, Debug)]
pub struct OwedHook {
    /// The web hook.
    pub hook: JobHook,
    /// The number of times that a caller was referred to the job since the web hook was recorded.
    pub turn: u32,
    /// The result, or `None` while the job runs.
    pub result: Option<JobResult>,
}

/// An owed web hook as the ledger holds it, without its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHook {
    /// The job.
    pub job: JobId,
    /// The address and the port behind the URL.
    pub destination: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_32_digits_of_any_case_and_is_not_displayed() {
        let id: JobId = "14C18a1ec8734438869ae841449197d5".parse().unwrap();
        assert_eq!(id.expose_digits(), "14c18a1ec8734438869ae841449197d5");
        assert_eq!(format!("{id:?}"), "JobId(..)");
        for bad in [
            "",
            "abc",
            "14c18a1ec8734438869ae841449197d",
            "+4c18a1ec8734438869ae841449197d5",
            "14c18a1ec8734438869ae841449197d5a",
            "14c18a1e-8734438869ae841449197d5",
            "ａ4c18a1ec8734438869ae841449197",
        ] {
            assert_eq!(bad.parse::<JobId>(), Err(InvalidUuid), "{bad}");
        }
    }
}
