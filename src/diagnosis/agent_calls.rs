//! The diagnosis of the refused calls of the agent protocol.

use super::finding::{Finding, Verdict};
use crate::catalog::{DoctorCheck, Observation};
use crate::common::Timestamp;

/// Time after which a refused call says nothing about the present, in milliseconds (1 h). A
/// management node calls each minute.
pub const RECENT_CALL_MS: i64 = 60 * 60 * 1000;

/// An address whose calls were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCaller {
    /// The address.
    pub address: String,
    /// The number of its refused calls since the start.
    pub calls: u64,
    /// The time of the last one.
    pub last: Timestamp,
}

/// The facts about the agent protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentCallFacts {
    /// True if `server.agent_allow` has a network.
    pub has_networks: bool,
    /// The addresses whose calls were refused, a few of them.
    pub refused: Vec<RefusedCaller>,
    /// The present time.
    pub now: Timestamp,
}

/// Returns the finding `management.agent_allow`.
pub fn diagnose_agent_calls(facts: &AgentCallFacts) -> Finding {
    let check = DoctorCheck::ManagementAgentAllow;
    let is_recent =
        |caller: &&RefusedCaller| facts.now.0.saturating_sub(caller.last.0) <= RECENT_CALL_MS;
    let recent: Vec<&RefusedCaller> = facts.refused.iter().filter(is_recent).collect();
    if recent.is_empty() {
        return match facts.has_networks {
            true => Finding::new(check, Verdict::Ok, Observation::NoCallRefused),
            // A node that no management node calls as an agent needs none.
            false => Finding::skipped_without(check, "server.agent_allow"),
        };
    }
    let calls = recent.iter().map(|caller| format!("{} ({})", caller.address, caller.calls));
    let calls: Vec<String> = calls.collect();
    let summary = Observation::CallsRefused { calls: calls.join(", ") };
    let mut finding = Finding::new(check, Verdict::Warning, summary);
    let last = recent.iter().map(|caller| caller.last).max();
    let total = recent.iter().map(|caller| caller.calls).fold(0, u64::saturating_add);
    let evidence = &mut finding.evidence.facts;
    evidence.insert("refusedCalls".to_owned(), total.into());
    let addresses = recent.iter().map(|caller| caller.address.clone()).collect();
    evidence.insert("addresses".to_owned(), crate::model::Fact::List(addresses));
    if let Some(last) = last {
        evidence.insert("lastRefusal".to_owned(), last.to_string().into());
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Language;

    #[test]
    fn a_recent_refusal_is_a_warning_and_an_old_one_is_none() {
        use Verdict::{Ok, Skipped, Warning};
        let now = Timestamp(10 * RECENT_CALL_MS);
        let refused = |address: &str, ago: i64| RefusedCaller {
            address: address.to_owned(),
            calls: 7,
            last: Timestamp(now.0 - ago),
        };
        for (has_networks, refused, verdict, words) in [
            (false, vec![], Skipped, "needs server.agent_allow"),
            (true, vec![], Ok, "no call"),
            (true, vec![refused("192.0.2.1", RECENT_CALL_MS + 1)], Ok, "no call"),
            (
                false,
                vec![refused("192.0.2.1", RECENT_CALL_MS)],
                Warning,
                "server.agent_allow were refused: 192.0.2.1 (7)",
            ),
            (
                true,
                vec![refused("192.0.2.1", 0), refused("2001:db8::1", 1)],
                Warning,
                "192.0.2.1 (7), 2001:db8::1 (7)",
            ),
        ] {
            let facts = AgentCallFacts { has_networks, refused, now };
            let finding = diagnose_agent_calls(&facts);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            let summary = finding.summary.text(Language::English);
            assert!(summary.contains(words), "{summary}");
        }
    }
}
