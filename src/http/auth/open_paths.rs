//! The paths that need no session.
//!
//! ZStack's clients poll a job, log in, validate a session, log out and ask for the version without
//! a session. A job and a session are named by their uuid, which only its owner knows.

/// The path of the liveness check.
pub(in crate::http) const LIVENESS_PATH: &str = "/healthz";
/// The path of the readiness check.
pub(in crate::http) const READINESS_PATH: &str = "/readyz";
/// The path of the metrics, which `server.open_metrics` opens.
pub(in crate::http) const METRICS_PATH: &str = "/metrics";
/// The base path by which ZStack's clients poll a job, whatever `server.base_path` is. They search
/// the location of the job for it.
pub(in crate::http) const ZSTACK_BASE_PATH: &str = "/zstack";
/// The path of the older protocol of ZStack, which has the session in its body.
pub(in crate::http) const LEGACY_API_PATH: &str = "/zstack/api";

/// The kind of a path that needs no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenPath {
    /// A check of the daemon itself, which any program may make.
    HealthCheck,
    /// The metrics of the daemon, which any program may read.
    Metrics,
    /// A path of ZStack's API. No page of another site may send a request to it.
    Api,
}

/// The paths that need no session, under each `server.base_path`.
pub(in crate::http) struct OpenPaths {
    bases: Vec<String>,
    has_open_metrics: bool,
}

impl OpenPaths {
    pub(in crate::http) fn new(bases: &[String], has_open_metrics: bool) -> Self {
        Self { bases: bases.to_owned(), has_open_metrics }
    }

    /// Returns the kind of the path, or `None` if it needs a session.
    pub(super) fn find(&self, path: &str) -> Option<OpenPath> {
        if matches!(path, LIVENESS_PATH | READINESS_PATH) {
            return Some(OpenPath::HealthCheck);
        }
        if path == METRICS_PATH {
            return self.has_open_metrics.then_some(OpenPath::Metrics);
        }
        let below = |base: &String| path.strip_prefix(base.as_str())?.strip_prefix("/v1/");
        let own = self.bases.iter().find_map(below);
        let is_open = match own {
            Some(path) => is_open_below_base(path),
            None => is_job_of_zstack(path) || is_legacy_api(path),
        };
        is_open.then_some(OpenPath::Api)
    }
}

/// Returns true if the path needs no session. It is relative to `/v1/` below the base path.
fn is_open_below_base(path: &str) -> bool {
    match path.split_once('/') {
        Some(("api-jobs", job)) => is_segment(job),
        Some(("accounts", "login")) | Some(("management-nodes", "actions")) => true,
        Some(("accounts", rest)) => rest
            .strip_prefix("sessions/")
            .is_some_and(|session| is_segment(session.strip_suffix("/valid").unwrap_or(session))),
        _ => false,
    }
}

fn is_job_of_zstack(path: &str) -> bool {
    let job =
        path.strip_prefix(ZSTACK_BASE_PATH).and_then(|path| path.strip_prefix("/v1/api-jobs/"));
    job.is_some_and(is_segment)
}

/// Returns true if the path is one of the older protocol.
pub(in crate::http) fn is_legacy_api(path: &str) -> bool {
    path.strip_prefix(LEGACY_API_PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns true if the text is one segment of a path.
fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_open_for_its_kind_below_its_base() {
        use OpenPath::{Api, HealthCheck};
        for (base, path, expected) in [
            ("/zstack", "/healthz", Some(HealthCheck)),
            ("", "/readyz", Some(HealthCheck)),
            ("/zstack", "/metrics", None),
            ("/zstack", "/healthz/", None),
            ("/zstack", "/zstack/healthz", None),
            ("/zstack", "/zstack/v1/api-jobs/4cd9", Some(Api)),
            ("/x", "/zstack/v1/api-jobs/4cd9", Some(Api)),
            ("/x", "/x/v1/api-jobs/4cd9", Some(Api)),
            ("", "/v1/api-jobs/4cd9", Some(Api)),
            ("/zstack", "/x/v1/api-jobs/4cd9", None),
            ("/zstack", "/zstack/v1/api-jobs", None),
            ("/zstack", "/zstack/v1/api-jobs/", None),
            ("/zstack", "/zstack/v1/api-jobs/4cd9/", None),
            ("/zstack", "/zstack/v1/api-jobs/4cd9/x", None),
            ("/zstack", "/zstack/v1/accounts/login", Some(Api)),
            ("/x", "/zstack/v1/accounts/login", None),
            ("/zstack", "/zstack/v1/accounts/login/", None),
            ("/zstack", "/zstack/v1/accounts", None),
            ("/zstack", "/zstack/v1/accounts/sessions", None),
            ("/zstack", "/zstack/v1/accounts/sessions/", None),
            ("/zstack", "/zstack/v1/accounts/sessions/4cd9", Some(Api)),
            ("/zstack", "/zstack/v1/accounts/sessions/4cd9/valid", Some(Api)),
            ("/zstack", "/zstack/v1/accounts/sessions//valid", None),
            ("/zstack", "/zstack/v1/accounts/sessions/4cd9/x", None),
            ("/zstack", "/zstack/v1/accounts/sessions/4cd9/x/valid", None),
            ("/zstack", "/zstack/v1/management-nodes/actions", Some(Api)),
            ("/zstack", "/zstack/v1/management-nodes", None),
            ("/zstack", "/zstack/v1/backup-storage/image-store", None),
            ("/zstack", "/zstack/v1/zones", None),
            ("/zstack", "/imagestore/stores", None),
            ("/zstack", "/zstack/api", Some(Api)),
            ("/zstack", "/zstack/api/", Some(Api)),
            ("/x", "/zstack/api/result/4cd9", Some(Api)),
            ("/zstack", "/zstack/apis", None),
            ("/x", "/x/api", None),
            // The base path takes precedence: its other paths need a session.
            ("/zstack/api", "/zstack/api/v1/backup-storage/image-store", None),
            ("/zstack/api", "/zstack/api/v1/accounts/login", Some(Api)),
            ("/zstack", "/", None),
            ("/zstack", "", None),
        ] {
            let open_paths = OpenPaths::new(&[base.to_owned()], false);
            assert_eq!(open_paths.find(path), expected, "{base} {path}");
        }
        for bases in [["", "/zstack"], ["/zstack", ""], ["/x", ""], ["", "/x"]] {
            let open_paths = OpenPaths::new(&bases.map(str::to_owned), false);
            for base in bases.into_iter().chain(["/other"]) {
                let expected = bases.contains(&base).then_some(Api);
                let path = format!("{base}/v1/accounts/login");
                assert_eq!(open_paths.find(&path), expected, "{bases:?} {path}");
                let closed = format!("{base}/v1/backup-storage/image-store");
                assert_eq!(open_paths.find(&closed), None, "{bases:?} {closed}");
            }
            assert_eq!(open_paths.find("/zstack/v1/api-jobs/4cd9"), Some(Api), "{bases:?}");
        }
    }

    #[test]
    fn the_settings_decide_if_the_metrics_are_open() {
        for (is_open, expected) in [(true, Some(OpenPath::Metrics)), (false, None)] {
            let open_paths = OpenPaths::new(&["/zstack".to_owned()], is_open);
            assert_eq!(open_paths.find("/metrics"), expected);
            assert_eq!(open_paths.find("/metrics/"), None);
            assert_eq!(open_paths.find("/zstack/metrics"), None);
        }
    }
}
