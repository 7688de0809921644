//! Failures and their evidence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Undecodable, as_text, refused};
use crate::model::{Fact, Failure, Fault, Reason};

/// A failure: its faults, never none.
#[derive(Serialize, Deserialize)]
pub(super) struct FailureForm(Vec<FaultForm>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultForm {
    #[serde(with = "as_text")]
    reason: Reason,
    details: String,
    facts: BTreeMap<String, FactForm>,
    remedy: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum FactForm {
    Flag(bool),
    Number(i64),
    Text(String),
    List(Vec<String>),
}

impl FailureForm {
    pub(super) fn of(failure: &Failure) -> Self {
        Self(failure.faults().map(FaultForm::of).collect())
    }

    pub(super) fn into_failure(self) -> Result<Failure, Undecodable> {
        Failure::from_faults(self.0.into_iter().map(FaultForm::into_fault))
            .ok_or_else(|| refused("a failure without a fault"))
    }
}

impl FaultForm {
    fn of(fault: &Fault) -> Self {
        let form = |fact: &Fact| match fact {
            Fact::Number(number) => FactForm::Number(*number),
            Fact::Flag(flag) => FactForm::Flag(*flag),
            Fact::Text(text) => FactForm::Text(text.clone()),
            Fact::List(list) => FactForm::List(list.clone()),
        };
        Self {
            reason: fault.reason(),
            details: fault.details().to_owned(),
            facts: fault.facts().iter().map(|(name, fact)| (name.clone(), form(fact))).collect(),
            remedy: fault.own_remedy().map(str::to_owned),
        }
    }

    fn into_fault(self) -> Fault {
        let fault = self.facts.into_iter().fold(
            Fault::new(self.reason, self.details),
            |fault, (name, fact)| match fact {
                FactForm::Number(number) => fault.fact(&name, Fact::Number(number)),
                FactForm::Flag(flag) => fault.fact(&name, Fact::Flag(flag)),
                FactForm::Text(text) => fault.fact(&name, Fact::Text(text)),
                FactForm::List(list) => fault.fact(&name, Fact::List(list)),
            },
        );
        match self.remedy {
            Some(remedy) => fault.remedied(remedy),
            None => fault,
        }
    }
}
