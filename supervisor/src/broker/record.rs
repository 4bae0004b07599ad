//! What is recorded of a claim, before it is answered.

use super::Case;
use super::claim::{Claim, Purpose};
use super::outcome::{Outcome, Refusal};
use super::remembered::TakenBack;
use crate::audit::{Answer as Recorded, Bytes, Decision, Door, Event, Log, TAKEN_BACK};
use crate::policy::Mechanism;
use protocol::Code;

/// The record precedes the answer; there is no other exit.
///
/// What is given under an approval that was taken back meanwhile is not given.
pub(super) fn conclude(log: &mut Log, case: &Case, outcome: Outcome) -> Outcome {
    let is_descriptor = !matches!(case.claim.purpose, Purpose::Deed(_));
    let slip = case.approval.as_deref();
    let outcome = match (outcome, slip) {
        (Outcome::Granted(grant), Some(slip)) if !slip.use_it(&case.asker, is_descriptor) => {
            let refusal = Refusal::usual(Code::AskRefused).by(grant.rule);
            Outcome::Refused(refusal.explained(TAKEN_BACK))
        }
        (outcome, _) => outcome,
    };
    let event = match &outcome {
        Outcome::Granted(grant) => Decision {
            rule: Some(&grant.rule),
            mechanism: Some(grant.mechanism),
            detail: case.note,
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
        Err(_) => {
            if let (Outcome::Granted(_), Some(slip)) = (&outcome, slip) {
                slip.unuse(is_descriptor);
            }
            outcome.withdrawn()
        }
    }
}

/// What is recorded of a case, whatever came of it.
pub(super) fn decision(case: &Case, answer: Recorded) -> Decision<'_> {
    let path = case.path.as_deref();
    let (call, id) = match case.claim.call {
        Some(call) => (call, None),
        None => ("open", Some(case.claim.id)),
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
        ..Decision::new(door(&case.claim), call, case.asker.who(), answer)
    }
}

/// Which way it came.
pub(super) fn door(claim: &Claim) -> Door {
    match claim.call {
        Some(_) => Door::Call,
        None => Door::Socket,
    }
}

/// What an operator took back. It is so whether it can be recorded or not: to give nothing needs no record, and whoever watches is told
/// of a record that cannot be written.
pub(super) fn revoked(log: &mut Log, taken: &TakenBack) {
    let TakenBack {
        terms,
        revocation,
        handed,
    } = taken;
    let then = match revocation.refuses {
        true => "whoever asks again is refused",
        false => "whoever asks again is asked about",
    };
    let detail = match handed {
        0 => format!("no descriptor was handed out under it; {then}"),
        1 => format!("one descriptor that was handed out stays with who has it; {then}"),
        more => format!("{more} descriptors that were handed out stay with who has them; {then}"),
    };
    let event = Decision {
        path: Some(Bytes::from(terms.path.as_path())),
        access: Some(terms.access),
        rule: Some(&terms.rule),
        scope: Some(terms.scope),
        answered_by: Some(revocation.by),
        detail: Some(&detail),
        ..Decision::new(terms.door, "revoke", terms.asker.who(), Recorded::Revoked)
    };
    let _told = log.record(&Event::Decision(event));
}
