//! The table of the metric families: their names, units, kinds and texts.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// A number that only grows, from 0 at the start of the daemon.
    Counter,
    /// A number that grows and shrinks.
    Gauge,
    /// Counts of durations in buckets.
    Histogram,
    /// A sample of 1 whose labels are the information.
    Info,
}

/// A metric family.
#[derive(Debug)]
pub struct MetricFamily {
    /// The name without the unit, and without the suffix of a counter or an info.
    pub(super) name: &'static str,
    pub(super) unit: Option<Unit>,
    /// The kind.
    pub kind: FamilyKind,
    /// The names of the labels.
    pub labels: &'static [&'static str],
    /// The text for a reader, one sentence or more.
    pub help: &'static str,
}

impl FamilyKind {
    pub(super) const fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }

    /// Returns the suffix of the samples. Those of a histogram have further ones.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }

    /// Returns the word that the text format has for the kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

impl MetricFamily {
    /// Returns the name of the family as Prometheus stores it, such as `imagestore_attempts_total`.
    /// The series of a histogram add `_bucket`, `_sum` and `_count`.
    pub fn full_name(&self) -> String {
        let unit = self.unit.as_ref().map(|unit| format!("_{}", unit.as_str()));
        format!("{}{}{}", self.name, unit.unwrap_or_default(), self.kind.suffix())
    }
}

macro_rules! families {
    ($($name:ident: $kind:ident $text:literal $unit:ident [$($label:literal),*], $help:literal;)+)
        => {
        $(pub(super) static $name: MetricFamily = MetricFamily {
            name: $text,
            unit: families!(@unit $unit),
            kind: FamilyKind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)+

        /// Every family, in the order of a scrape.
        pub static FAMILIES: &[&MetricFamily] = &[$(&$name),+];
    };
    (@unit NoUnit) => { None };
    (@unit $unit:ident) => { Some(Unit::$unit) };
}

families! {
    STORE: Info "imagestore_store" NoUnit ["store", "name", "path", "fstype", "device"],
        "Name, path and mount of a store. Each other metric of a store has only its uuid.";
    STORE_STATUS: Gauge "imagestore_store_status" NoUnit ["store", "status"],
        "1 for the status of a store, 0 for the other two.";
    STORE_FAULT: Gauge "imagestore_store_fault" NoUnit ["store", "reason"],
        "1 for the reason for which a store is Disconnected. At most one series for each store.";
    STORE_CONDITION: Gauge "imagestore_store_condition" NoUnit ["store", "condition"],
        "1 for each active condition of a store, 0 for the others.";
    STORE_STATUS_CHANGED: Gauge "imagestore_store_status_changed_timestamp" Seconds ["store"],
        "Time of the last change of the status.";
    STORE_LAST_GOOD: Gauge "imagestore_store_last_good_timestamp" Seconds ["store", "check"],
        "Time at which a check was last good since the daemon started.";
    STORE_CAPACITY: Gauge "imagestore_store_capacity" Bytes ["store"],
        "Size of the filesystem or of the quota of a store, by the last good measurement.";
    STORE_AVAILABLE: Gauge "imagestore_store_available" Bytes ["store"],
        "Space that a store can still use, by the last good measurement.";
    STORE_INODES: Gauge "imagestore_store_inodes" NoUnit ["store"],
        "Number of inodes, by the last good measurement.";
    STORE_INODES_AVAILABLE: Gauge "imagestore_store_inodes_available" NoUnit ["store"],
        "Number of free inodes, by the last good measurement.";
    STORE_FULL_FORECAST: Gauge "imagestore_store_full_forecast_timestamp" Seconds ["store", "limit", "basis"],
        "Time at which the used bytes of a store reach a limit if they grow as they did (net), or as on the days without clean-ups.";
    STORE_INODES_FULL_FORECAST: Gauge "imagestore_store_inodes_full_forecast_timestamp" Seconds ["store", "limit", "basis"],
        "The same time for the inodes, which have no limit near_full.";
    STUCK_WORKERS: Gauge "imagestore_stuck_workers" NoUnit [],
        "Probe workers that wait for a disk and cannot be killed, also those that removed stores left.";
    ATTEMPTS: Counter "imagestore_attempts" NoUnit ["cause", "outcome"],
        "Attempts to connect a store that have ended.";
    ATTEMPT_JOINERS: Counter "imagestore_attempt_joiners" NoUnit [],
        "Requests that joined a running attempt.";
    TRANSITIONS: Counter "imagestore_transitions" NoUnit ["to", "reason"],
        "Committed changes of the status of a store.";
    PROBE_DURATION: Histogram "imagestore_probe_duration" Seconds ["check"],
        "Duration of a probe of an image directory, with the start of its worker.";
    LOGIN_PHASE_DURATION: Histogram "imagestore_login_phase_duration" Seconds ["phase"],
        "Duration of a phase of a login, successful or not.";
    NOTICES_PENDING: Gauge "imagestore_notices_pending" NoUnit [],
        "Notices that the management node has not acknowledged.";
    NOTICE_OLDEST: Gauge "imagestore_notice_oldest_timestamp" Seconds [],
        "Time of the oldest pending notice.";
    NOTICES_FOLDED: Counter "imagestore_notices_folded" NoUnit [],
        "Notices that were replaced by a newer one of the same store before they were delivered.";
    DELIVERIES: Counter "imagestore_deliveries" NoUnit ["outcome"],
        "Requests with a notice to the management node.";
    DELIVERY_DURATION: Histogram "imagestore_delivery_duration" Seconds [],
        "Duration of a request with a notice.";
    HTTP_REQUESTS: Counter "imagestore_http_requests" NoUnit ["route", "method", "status"],
        "Requests by route, method and status.";
    HTTP_REQUEST_DURATION: Histogram "imagestore_http_request_duration" Seconds ["route"],
        "Time from the head of a request to the head of its response.";
    PAGE_STREAMS: Gauge "imagestore_page_streams" NoUnit [],
        "Open streams of events.";
    CALLERS_REFUSED: Counter "imagestore_callers_refused" NoUnit ["why"],
        "Requests and connections that were refused because of their caller.";
    UNKNOWN_FIELDS: Counter "imagestore_unknown_fields" NoUnit [],
        "Fields that the daemon does not know and ignored, in the bodies of adds, actions and attachments.";
    LEDGER_COMMIT_DURATION: Histogram "imagestore_ledger_commit_duration" Seconds [],
        "Duration of a transaction of the ledger, successful or not.";
    STATE_DISK_TROUBLE: Gauge "imagestore_state_disk_trouble" NoUnit [],
        "1 if the state directory cannot be written, otherwise 0.";
    LOG_LINES_LOST: Counter "imagestore_log_lines_lost" NoUnit [],
        "Lines that the log has lost because its reader was too slow.";
    CERTIFICATE_NOT_AFTER: Gauge "imagestore_certificate_not_after_timestamp" Seconds ["which"],
        "Time at which a certificate of the daemon ends.";
    SETTINGS_RELOAD: Gauge "imagestore_settings_reload_timestamp" Seconds [],
        "Time of the last start or reload with valid settings. A change that needs a restart is not in force yet.";
    BUILD: Info "imagestore_build" NoUnit ["version"],
        "Version of the program.";
    PROCESS_CPU: Counter "process_cpu" Seconds [],
        "Processor time of the process.";
    PROCESS_RESIDENT_MEMORY: Gauge "process_resident_memory" Bytes [],
        "Resident memory of the process.";
    PROCESS_VIRTUAL_MEMORY: Gauge "process_virtual_memory" Bytes [],
        "Virtual memory of the process.";
    PROCESS_OPEN_FDS: Gauge "process_open_fds" NoUnit [],
        "Open file descriptors of the process.";
    PROCESS_MAX_FDS: Gauge "process_max_fds" NoUnit [],
        "Maximum number of open file descriptors of the process.";
    PROCESS_START_TIME: Gauge "process_start_time" Seconds [],
        "Time at which the process started.";
    PROCESS_THREADS: Gauge "process_threads" NoUnit [],
        "Threads of the process.";
}
