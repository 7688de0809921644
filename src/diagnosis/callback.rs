//! The diagnosis of the callback: the way to each receiver, and its last reply.

use super::daemon::CALLBACK_URLS;
use super::finding::{Finding, Verdict};
use super::summary::Summary;
use crate::catalog::{DoctorCheck, Observation};
use crate::model::Fact;

/// The names of the receivers, as evidence.
pub const RECEIVERS: &str = "receivers";
/// The names of the receivers that are down, as evidence.
pub const RECEIVERS_DOWN: &str = "receiversDown";
/// The last reply of each receiver, in their order, as evidence. It is empty without a reply.
pub const LAST_REPLIES: &str = "lastReplies";

/// The first step of the way to a receiver that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverProblem {
    /// The URL has an invalid port.
    InvalidPort,
    /// The name service did not answer within these seconds.
    NameLate(u64),
    /// The name has no address.
    NoAddress,
    /// No connection within these seconds.
    ConnectLate(u64),
    /// No TLS handshake within these seconds.
    TlsLate(u64),
    /// An error of the system or of TLS, in its own words.
    Failed(String),
}

impl ReceiverProblem {
    fn observation(&self, receiver: String) -> Observation {
        match self {
            Self::InvalidPort => Observation::ReceiverNoPort { receiver },
            Self::NameLate(limit) => {
                Observation::ReceiverNameLate { receiver, seconds: limit.to_string() }
            }
            Self::NoAddress => Observation::ReceiverNoAddress { receiver },
            Self::ConnectLate(limit) => {
                Observation::ReceiverConnectLate { receiver, seconds: limit.to_string() }
            }
            Self::TlsLate(limit) => {
                Observation::ReceiverTlsLate { receiver, seconds: limit.to_string() }
            }
            Self::Failed(problem) => {
                Observation::ReceiverUnreached { receiver, problem: problem.clone() }
            }
        }
    }
}

/// A receiver of `callback.urls`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiverFact {
    /// The host and port.
    pub name: String,
    /// The result of a connection now, or `None` if none was tried.
    pub connection: Option<Result<(), ReceiverProblem>>,
    /// True if the daemon counts it as down or gone.
    pub is_down: bool,
    /// The last reply, as the daemon knows it.
    pub last_reply: Option<String>,
}

impl ReceiverFact {
    /// Returns true if notices do not reach the receiver.
    fn is_bad(&self) -> bool {
        self.is_down || matches!(self.connection, Some(Err(_)))
    }

    /// Returns true if neither a connection nor a reply says anything about the receiver.
    fn is_unknown(&self) -> bool {
        self.connection.is_none() && !self.is_down && self.last_reply.is_none()
    }

    fn observations(&self) -> impl Iterator<Item = Observation> {
        let receiver = self.name.clone();
        let state = match &self.connection {
            Some(Err(problem)) => problem.observation(receiver),
            _ if self.is_down => Observation::ReceiverDown { receiver },
            Some(Ok(())) => Observation::ReceiverReached { receiver },
            None if self.is_unknown() => Observation::ReceiverUnknown { receiver },
            None => Observation::ReceiverUp { receiver },
        };
        let reply = self.last_reply.clone().map(|reply| Observation::LastReply { reply });
        [Some(state), reply].into_iter().flatten()
    }
}

/// Returns the finding `management.callback`. A receiver that is down is a warning as long as
/// another one is up.
pub fn diagnose_callback(receivers: &[ReceiverFact]) -> Finding {
    let check = DoctorCheck::ManagementCallback;
    if receivers.is_empty() {
        return Finding::skipped_without(check, CALLBACK_URLS);
    }
    if receivers.iter().all(ReceiverFact::is_unknown) {
        return Finding::skipped(check, Observation::NeedsReply);
    }
    let bad = receivers.iter().filter(|receiver| receiver.is_bad()).count();
    let verdict = match bad {
        0 => Verdict::Ok,
        bad if bad < receivers.len() => Verdict::Warning,
        _ => Verdict::Error,
    };
    // One that is bad is said first.
    let (bad, good): (Vec<_>, Vec<_>) = receivers.iter().partition(|receiver| receiver.is_bad());
    let mut observations = bad.into_iter().chain(good).flat_map(ReceiverFact::observations);
    let mut summary: Summary = observations.next().map(Summary::from).unwrap_or_default();
    observations.for_each(|other| summary.add_other(other.into()));
    let mut finding = Finding::new(check, verdict, summary);
    let names = |wanted: &dyn Fn(&ReceiverFact) -> bool| {
        let wanted = receivers.iter().filter(|receiver| wanted(receiver));
        Fact::List(wanted.map(|receiver| receiver.name.clone()).collect())
    };
    let replies = receivers.iter().map(|it| it.last_reply.clone().unwrap_or_default());
    let evidence = &mut finding.evidence.facts;
    evidence.insert(RECEIVERS.to_owned(), names(&|_| true));
    evidence.insert(RECEIVERS_DOWN.to_owned(), names(&|receiver| receiver.is_down));
    evidence.insert(LAST_REPLIES.to_owned(), Fact::List(replies.collect()));
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Language;

    fn receiver(name: &str, connection: Option<Result<(), &str>>, is_down: bool) -> ReceiverFact {
        ReceiverFact {
            name: name.to_owned(),
            connection: connection
                .map(|result| result.map_err(|it| ReceiverProblem::Failed(it.to_owned()))),
            is_down,
            last_reply: is_down.then(|| "503 Service Unavailable".to_owned()),
        }
    }

    #[test]
    fn each_receiver_counts_by_its_connection_and_its_last_reply() {
        use Verdict::{Error, Ok as Good, Skipped, Warning};
        let up = || receiver("mn-1:8080", Some(Ok(())), false);
        let refused = || receiver("mn-2:8080", Some(Err("connection refused")), false);
        let down = || receiver("mn-3:8080", Some(Ok(())), true);
        let unknown = || receiver("mn-4:8080", None, false);
        let known = || ReceiverFact { last_reply: Some("200".to_owned()), ..unknown() };
        for (receivers, verdict, words) in [
            (vec![], Skipped, "needs callback.urls"),
            (vec![up()], Good, "mn-1:8080 accepts connections"),
            (vec![unknown()], Skipped, "needs a connection or a first reply"),
            (vec![known()], Good, "mn-4:8080 is up; also: last reply: 200"),
            (vec![up(), unknown()], Good, "nothing is known yet about mn-4:8080"),
            (vec![refused()], Error, "mn-2:8080 cannot be reached: connection refused"),
            (
                vec![down()],
                Error,
                "counts mn-3:8080 as down; also: last reply: 503 Service Unavailable",
            ),
            (
                vec![up(), refused()],
                Warning,
                "mn-2:8080 cannot be reached: connection refused; also: mn-1:8080",
            ),
            (vec![down(), refused()], Error, "the daemon counts mn-3:8080"),
        ] {
            let finding = diagnose_callback(&receivers);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            let summary = finding.summary.text(Language::English);
            assert!(summary.contains(words), "{summary}");
        }
        for (problem, en, zh) in [
            (ReceiverProblem::InvalidPort, "the port of mn-1:8080 is invalid", "端口无效"),
            (
                ReceiverProblem::NameLate(5),
                "no name service answers for mn-1:8080 within 5 s",
                "名称服务",
            ),
            (ReceiverProblem::NoAddress, "the name of mn-1:8080 has no address", "没有地址"),
            (
                ReceiverProblem::ConnectLate(5),
                "mn-1:8080 accepts no connection within 5 s",
                "接受连接",
            ),
            (ReceiverProblem::TlsLate(5), "completes no TLS handshake within 5 s", "完成 TLS 握手"),
        ] {
            let late = ReceiverFact { connection: Some(Err(problem)), ..up() };
            let summary = diagnose_callback(&[late]).summary;
            let (english, chinese) =
                (summary.text(Language::English), summary.text(Language::Chinese));
            assert!(english.contains(en) && chinese.contains(zh), "{english} {chinese}");
            assert!(!chinese.contains("within"), "{chinese}");
        }
        let evidence = diagnose_callback(&[up(), down()]).evidence.facts;
        let list = |names: &[&str]| Fact::List(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(evidence.get(RECEIVERS), Some(&list(&["mn-1:8080", "mn-3:8080"])));
        assert_eq!(evidence.get(RECEIVERS_DOWN), Some(&list(&["mn-3:8080"])));
        assert_eq!(evidence.get(LAST_REPLIES), Some(&list(&["", "503 Service Unavailable"])));
    }
}
