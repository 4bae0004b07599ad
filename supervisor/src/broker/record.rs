//! What is recorded of a claim, before it is answered.

use super::Case;
use super::outcome::Outcome;
use crate::audit::{Answer as Recorded, Bytes, Decision, Door, Event, Log};
use crate::policy::Mechanism;

/// The record precedes the answer; there is no other exit.
pub(super) fn conclude(log: &mut Log, case: &Case, outcome: Outcome) -> Outcome {
    let event = match &outcome {
        Outcome::Granted(grant) => Decision {
            rule: Some(&grant.rule),
            mechanism: Some(grant.mechanism),
            expires_ms: grant
                .expires
                .map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            ..decision(case, Recorded::Granted)
        },
        Outcome::Refused(refusal) => Decision {
            code: Some(refusal.code.as_str()),
            errno: Some(refusal.errno),
            reason: refusal.reason,
            rule: refusal.rule.as_ref(),
            mechanism: Some(Mechanism::Broker),
            detail: refusal.detail.as_deref(),
            ..decision(case, Recorded::Refused)
        },
    };
    match log.record(&Event::Decision(event)) {
        Ok(()) => outcome,
        Err(_) => outcome.withdrawn(),
    }
}

/// What is recorded of a case, whatever came of it.
pub(super) fn decision(case: &Case, answer: Recorded) -> Decision<'_> {
    let path = case.path.as_deref();
    let (door, call, id) = match case.claim.call {
        Some(call) => (Door::Call, call, None),
        None => (Door::Socket, "open", Some(case.claim.id)),
    };
    Decision {
        id,
        path: path.map(Bytes::from),
        to: case.claim.to.as_deref().map(Bytes::from),
        asked: (path != Some(&case.claim.path)).then(|| Bytes::from(case.claim.path.as_path())),
        access: Some(case.claim.access),
        flags: case.claim.called_with,
        why: case.claim.why.as_deref().map(Bytes::from),
        answered_by: case.answered_by,
        scope: case.scope,
        ..Decision::new(door, call, case.asker.who(), answer)
    }
}
