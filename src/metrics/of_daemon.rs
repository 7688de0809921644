//! The metrics that belong to no store: the counts of the agent, the notifier, the ledger and the
//! HTTP server, and the state of the process.

use std::fmt;
use std::time::Duration;

use super::encoder::MetricsEncoder;
use super::http_stats::{RequestCounts, RouteSample};
use super::of_stores::{STATUS_WORDS, unix_seconds};
use super::{MetricSources, ProcessStats, ServerSample, families as family};
use crate::agent::AttemptEnd;
use crate::common::{HistogramSnapshot, Timestamp};
use crate::diagnosis::DeliveryFact;
use crate::lifecycle::Cause;
use crate::model::{Reason, Status};

/// A sample of everything but the stores.
#[derive(Debug)]
pub(super) struct DaemonSample {
    attempts: Vec<((Cause, AttemptEnd), u64)>,
    joiners: u64,
    transitions: Vec<((Status, Option<Reason>), u64)>,
    probes: [(&'static str, HistogramSnapshot); 2],
    pub(super) login_phases: Vec<(&'static str, HistogramSnapshot)>,
    delivery: Option<DeliverySample>,
    requests: RequestCounts,
    open_streams: usize,
    commits: HistogramSnapshot,
    has_state_disk_trouble: bool,
    lost_log_lines: u64,
    certificate_ends: [(&'static str, Option<Timestamp>); 2],
    settings_loaded: Option<Timestamp>,
    process: Option<ProcessStats>,
}

/// A sample of the delivery of notices.
#[derive(Debug)]
struct DeliverySample {
    waiting: DeliveryFact,
    outcomes: Vec<(&'static str, u64)>,
    durations: HistogramSnapshot,
    folded: u64,
}

impl DaemonSample {
    pub(super) fn read(sources: &MetricSources, server: ServerSample) -> Self {
        let agent = &sources.agent;
        let delivery = sources.notifier.as_ref().map(|notifier| {
            let stats = notifier.delivery_stats();
            let outcomes = stats.deliveries.values().into_iter();
            DeliverySample {
                waiting: notifier.waiting_notices(),
                outcomes: outcomes.map(|(word, count)| (word.as_str(), count)).collect(),
                durations: stats.durations.snapshot(),
                folded: stats.folded.value(),
            }
        });
        let client = sources.notifier.as_ref().and_then(|notifier| notifier.client_certificate());
        Self {
            attempts: agent.attempts.values(),
            joiners: agent.joiners.value(),
            transitions: agent.transitions.values(),
            probes: [("examine", agent.examine.snapshot()), ("write", agent.write.snapshot())],
            login_phases: agent
                .login_phases
                .all()
                .map(|(phase, histogram)| (phase, histogram.snapshot()))
                .collect(),
            delivery,
            requests: sources.http.counts(),
            open_streams: server.open_streams,
            commits: sources.ledger.stats().commits.snapshot(),
            has_state_disk_trouble: sources.conditions.state_disk.borrow().is_some(),
            lost_log_lines: sources.lost_log_lines.value(),
            certificate_ends: [
                ("server", server.certificate_end),
                ("client", client.map(|certificate| certificate.not_after)),
            ],
            settings_loaded: sources.settings_loaded.value(),
            process: (sources.process_stats)(),
        }
    }

    /// Writes all families of the sample, except that of the login phases.
    pub(super) fn encode(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        self.encode_agent(encoder)?;
        self.encode_delivery(encoder)?;
        self.encode_requests(encoder)?;
        self.encode_state(encoder)?;
        self.encode_process(encoder)
    }

    fn encode_agent(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        let mut family = encoder.begin(&family::ATTEMPTS)?;
        for ((cause, end), count) in &self.attempts {
            family.counter(&[("cause", cause.as_str()), ("outcome", end.as_str())], *count)?;
        }
        encoder.write_counter(&family::ATTEMPT_JOINERS, self.joiners)?;
        let mut family = encoder.begin(&family::TRANSITIONS)?;
        for ((to, reason), count) in &self.transitions {
            let word = STATUS_WORDS.iter().find(|(status, _)| status == to);
            let to = word.map_or("", |(_, word)| word);
            let reason = reason.map_or("", Reason::as_str);
            family.counter(&[("to", to), ("reason", reason)], *count)?;
        }
        let mut family = encoder.begin(&family::PROBE_DURATION)?;
        let mut probes = self.probes.iter();
        probes.try_for_each(|(check, durations)| family.histogram(&[("check", check)], durations))
    }

    fn encode_delivery(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        let Some(DeliverySample { waiting, outcomes, durations, folded }) = &self.delivery else {
            return Ok(());
        };
        encoder.write_gauge(&family::NOTICES_PENDING, Some(waiting.pending))?;
        encoder.write_gauge(&family::NOTICE_OLDEST, waiting.oldest.map(unix_seconds))?;
        encoder.write_counter(&family::NOTICES_FOLDED, *folded)?;
        let mut family = encoder.begin(&family::DELIVERIES)?;
        for (outcome, count) in outcomes {
            family.counter(&[("outcome", outcome)], *count)?;
        }
        encoder.begin(&family::DELIVERY_DURATION)?.histogram(&[], durations)
    }

    fn encode_requests(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        let RequestCounts { routes, refused, unknown_fields } = &self.requests;
        let mut family = encoder.begin(&family::HTTP_REQUESTS)?;
        for RouteSample { route, responses, .. } in routes {
            for ((method, status), count) in responses {
                let labels = [("route", &**route), ("method", method), ("status", status.as_str())];
                family.counter(&labels, *count)?;
            }
        }
        let mut family = encoder.begin(&family::HTTP_REQUEST_DURATION)?;
        for RouteSample { route, durations, .. } in routes {
            family.histogram(&[("route", route)], durations)?;
        }
        encoder.write_gauge(&family::PAGE_STREAMS, Some(self.open_streams))?;
        let mut family = encoder.begin(&family::CALLERS_REFUSED)?;
        for (why, count) in refused {
            family.counter(&[("why", why)], *count)?;
        }
        encoder.write_counter(&family::UNKNOWN_FIELDS, *unknown_fields)
    }

    fn encode_state(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        encoder.begin(&family::LEDGER_COMMIT_DURATION)?.histogram(&[], &self.commits)?;
        let trouble = u32::from(self.has_state_disk_trouble);
        encoder.write_gauge(&family::STATE_DISK_TROUBLE, Some(trouble))?;
        encoder.write_counter(&family::LOG_LINES_LOST, self.lost_log_lines)?;
        let mut family = encoder.begin(&family::CERTIFICATE_NOT_AFTER)?;
        for (which, end) in self.certificate_ends {
            if let Some(end) = end {
                family.gauge(&[("which", which)], unix_seconds(end))?;
            }
        }
        let loaded = self.settings_loaded.map(unix_seconds);
        encoder.write_gauge(&family::SETTINGS_RELOAD, loaded)?;
        encoder.begin(&family::BUILD)?.info(&[("version", env!("CARGO_PKG_VERSION"))])
    }

    fn encode_process(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        let Some(ProcessStats {
            resident_bytes,
            virtual_bytes,
            cpu_milliseconds,
            start_seconds,
            open_files,
            max_open_files,
            threads,
        }) = self.process
        else {
            return Ok(());
        };
        let cpu = Duration::from_millis(cpu_milliseconds).as_secs_f64();
        encoder.begin(&family::PROCESS_CPU)?.fractional_counter(&[], cpu)?;
        // These figures of a process cannot be 0, so the system hides one that is.
        let known = |figure: u64| Some(figure).filter(|figure| *figure > 0);
        encoder.write_gauge(&family::PROCESS_RESIDENT_MEMORY, known(resident_bytes))?;
        encoder.write_gauge(&family::PROCESS_VIRTUAL_MEMORY, known(virtual_bytes))?;
        encoder.write_gauge(&family::PROCESS_OPEN_FDS, known(open_files))?;
        encoder.write_gauge(&family::PROCESS_MAX_FDS, known(max_open_files))?;
        encoder.write_gauge(&family::PROCESS_START_TIME, known(start_seconds))?;
        encoder.write_gauge(&family::PROCESS_THREADS, known(threads))
    }
}
