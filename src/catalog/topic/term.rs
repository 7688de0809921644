//! The words of the output that need a meaning and no action: statuses, the checks of the daemon,
//! events, phases and the like.

use super::meanings::{
    event_meaning, evidence_meaning, gap_meaning, marker_meaning, obstacle_meaning, state_meaning,
    status_text, store_check_meaning, subject_meaning,
};
use crate::catalog::{Runbook, Text};
use crate::common::string_enum;
use crate::model::{
    Check, EventKind, GapCause, HostEvidence, Obstacle, RemoteMarker, State, Status, StoreCheck,
};

/// A word of the output with its meaning.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// The word.
    pub word: &'static str,
    /// The kind of the word.
    pub kind: TermKind,
    /// The meaning.
    pub meaning: Text,
    /// The runbook for the situation.
    pub runbook: Option<Runbook>,
}

string_enum! {
    /// The kind of a word of the output.
    pub TermKind {
        /// A status of a store.
        Status = "status",
        /// The administrator's switch.
        State = "state",
        /// A check of a store by the daemon.
        StoreCheck = "store_check",
        /// The subject of a fault.
        FaultSubject = "fault_subject",
        /// An event of the history.
        Event = "event",
        /// The cause of a gap in the history.
        GapCause = "gap_cause",
        /// Evidence that the server is this node.
        HostEvidence = "host_evidence",
        /// The marker of a store, as the server shows it.
        RemoteMarker = "remote_marker",
        /// An obstacle to this evidence.
        Obstacle = "obstacle",
        /// The cause of an attempt.
        AttemptCause = "attempt_cause",
        /// A phase of an attempt.
        AttemptPhase = "attempt_phase",
        /// A check that a caller requests.
        RequestedCheck = "requested_check",
        /// A verdict of a diagnosis.
        Verdict = "verdict",
    }
}

impl TermKind {
    /// Returns the kind in a few words.
    pub const fn text(self) -> Text {
        match self {
            Self::Status => {
                Text { en: "a status of a store", zh: "镜像服务器的连接状态" }
            }
            Self::State => Text { en: "a state of a store", zh: "镜像服务器的可用状态" },
            Self::StoreCheck => Text {
                en: "a check of the daemon, and a condition of the health view",
                zh: "代理的检查项，也是健康视图中的条目",
            },
            Self::FaultSubject => Text {
                en: "the subject of a fault (`opaque.check`)",
                zh: "故障的对象（`opaque.check`）",
            },
            Self::Event => Text { en: "an event of the history", zh: "历史中的事件" },
            Self::GapCause => Text {
                en: "the cause of a gap in the history",
                zh: "历史中出现缺口的原因",
            },
            Self::HostEvidence => Text {
                en: "evidence that the SSH server is this node",
                zh: "证实 SSH 服务端就是本节点的依据",
            },
            Self::RemoteMarker => Text {
                en: "the marker of a store, as the SSH server shows it",
                zh: "通过 SSH 登录看到的标识文件",
            },
            Self::Obstacle => Text {
                en: "an obstacle to the proof that the SSH server is this node",
                zh: "无法证实 SSH 服务端就是本节点的原因",
            },
            Self::AttemptCause => {
                Text { en: "the cause of an attempt", zh: "连接尝试的起因" }
            }
            Self::AttemptPhase => Text { en: "a phase of an attempt", zh: "连接尝试的阶段" },
            Self::RequestedCheck => {
                Text { en: "a check on request", zh: "按请求执行的检查" }
            }
            Self::Verdict => Text { en: "a verdict of doctor", zh: "doctor 的结论" },
        }
    }
}

/// Returns every term. A word may have several.
pub(super) fn terms() -> impl Iterator<Item = Term> {
    let statuses = Status::ALL.iter().map(|it| {
        let (meaning, runbook) = status_text(*it);
        Term { word: it.as_str(), kind: TermKind::Status, meaning, runbook }
    });
    let states = of_kind(TermKind::State, State::ALL, State::as_str, state_meaning);
    let checks =
        of_kind(TermKind::StoreCheck, StoreCheck::ALL, StoreCheck::as_str, store_check_meaning);
    let subjects = of_kind(TermKind::FaultSubject, Check::ALL, Check::as_str, subject_meaning);
    let events = of_kind(TermKind::Event, EventKind::ALL, EventKind::as_str, event_meaning);
    let gaps = of_kind(TermKind::GapCause, GapCause::ALL, GapCause::as_str, gap_meaning);
    let evidence =
        of_kind(TermKind::HostEvidence, HostEvidence::ALL, HostEvidence::as_str, evidence_meaning);
    let markers =
        of_kind(TermKind::RemoteMarker, RemoteMarker::ALL, RemoteMarker::as_str, marker_meaning);
    let obstacles = of_kind(TermKind::Obstacle, Obstacle::ALL, Obstacle::as_str, obstacle_meaning);
    let others = OTHER_TERMS.iter().map(|(kind, word, meaning)| Term {
        word,
        kind: *kind,
        meaning: *meaning,
        runbook: None,
    });
    let of_store = statuses.chain(states).chain(checks).chain(subjects);
    let of_history = events.chain(gaps);
    let of_login = evidence.chain(markers).chain(obstacles);
    of_store.chain(of_history).chain(of_login).chain(others)
}

/// Returns the terms of one enum.
fn of_kind<T: Copy>(
    kind: TermKind,
    all: &'static [T],
    word: fn(T) -> &'static str,
    meaning: fn(T) -> Text,
) -> impl Iterator<Item = Term> {
    let term = move |it: &T| Term { word: word(*it), kind, meaning: meaning(*it), runbook: None };
    all.iter().map(term)
}

/// The words of the layers above, which this one does not know.
const OTHER_TERMS: &[(TermKind, &str, Text)] = &[
    (
        TermKind::AttemptCause,
        "person",
        Text {
            en: "A caller of the API or of the command line, or the management node.",
            zh: "API 或命令行的调用方，或管理节点。",
        },
    ),
    (
        TermKind::AttemptCause,
        "monitor",
        Text {
            en: "The monitor of the daemon, because the fault seems repaired or a pause is over.",
            zh: "代理的监控，因为故障似乎已排除，或等待时间已过。",
        },
    ),
    (
        TermKind::AttemptCause,
        "restart",
        Text {
            en: "The start of the daemon, which found an unfinished attempt.",
            zh: "代理启动时发现有未完成的连接尝试。",
        },
    ),
    (
        TermKind::AttemptPhase,
        "key",
        Text { en: "Read the private key of the store.", zh: "读取镜像服务器的私钥。" },
    ),
    (
        TermKind::AttemptPhase,
        "resolve",
        Text { en: "Look up the host name.", zh: "解析物理机名。" },
    ),
    (
        TermKind::AttemptPhase,
        "connect",
        Text { en: "Make the TCP connection.", zh: "建立 TCP 连接。" },
    ),
    (
        TermKind::AttemptPhase,
        "banner",
        Text {
            en: "Wait for the identification line of the SSH server.",
            zh: "等待 SSH 服务端的版本标识行。",
        },
    ),
    (
        TermKind::AttemptPhase,
        "handshake",
        Text {
            en: "Exchange keys with the SSH server, and check its host key.",
            zh: "与 SSH 服务端交换密钥，并核对主机密钥。",
        },
    ),
    (TermKind::AttemptPhase, "auth", LOG_IN),
    (TermKind::AttemptPhase, "authentication", LOG_IN),
    (
        TermKind::AttemptPhase,
        "proof",
        Text {
            en: "Check that the SSH server is this node.", zh: "证实 SSH 服务端就是本节点。"
        },
    ),
    (
        TermKind::AttemptPhase,
        "examine",
        Text {
            en: "Examine the image directory and its disk.", zh: "检查镜像目录及其磁盘。"
        },
    ),
    (
        TermKind::AttemptPhase,
        "write",
        Text { en: "Write a file in the image directory.", zh: "向镜像目录写入文件。" },
    ),
    (
        TermKind::AttemptPhase,
        "commit",
        Text { en: "Record the result in the ledger.", zh: "把结果写入状态数据库。" },
    ),
    (
        TermKind::RequestedCheck,
        "probe",
        Text {
            en: "A probe of the image directory, as the monitor makes it.",
            zh: "与监控相同的镜像目录探测。",
        },
    ),
    (
        TermKind::RequestedCheck,
        "login",
        Text {
            en: "An SSH login, as the monitor makes it. A server may count a wrong one.",
            zh: "与监控相同的 SSH 登录。登录失败时，服务端可能会计数。",
        },
    ),
    (
        TermKind::Verdict,
        "skipped",
        Text {
            en: "The check could not run, because it needs something that is not there.",
            zh: "缺少所需的条件，检查未能运行。",
        },
    ),
    (TermKind::Verdict, "ok", Text { en: "All is well.", zh: "一切正常。" }),
    (
        TermKind::Verdict,
        "warning",
        Text {
            en: "It will not stay well, or it could not be proved.",
            zh: "不会一直正常，或者无法证实正常。",
        },
    ),
    (TermKind::Verdict, "error", Text { en: "Something is wrong.", zh: "存在错误。" }),
];

/// The meaning of both words of this phase: the short one of the progress, and that of a fault.
const LOG_IN: Text = Text { en: "Log in to the SSH server.", zh: "登录 SSH 服务端。" };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::text::tests::assert_text;

    #[test]
    fn every_term_has_texts_in_both_languages() {
        for term in terms() {
            assert_text(term.word, term.meaning);
            let Text { en, zh } = term.meaning;
            assert!(en.ends_with('.') && zh.ends_with('。'), "{}", term.word);
        }
        for kind in TermKind::ALL {
            assert_text(kind.as_str(), kind.text());
            assert!(terms().any(|term| term.kind == *kind), "{kind}");
        }
    }
}
