//! What people say of a GPU: an admin puts it back or takes it out, whoever owns the node contests a piece of evidence, and
//! an admin decides. Always with a reason, always in the audit. It refuses to change the evidence itself.
use super::note::Noting;
use crate::app::error::Answer;
use crate::app::fleet::duty::reason;
use crate::app::fleet::manage::admins_only;
use crate::app::mill::Mill;
use crate::base::ids::{EvidenceId, UnitId};
use crate::base::window::Instant;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::evidence::{Contest, Decided, Evidence, Fault, Seen};
use crate::domain::fleet::health::{HealthRefusal, Outcome, Signal, Word};
use crate::domain::fleet::node::{Node, Unit};
use crate::domain::notice::Common;
use crate::domain::people::rights::Actor;
use crate::store::changes::Changes;
use crate::store::command::{Command, Reject};
use crate::store::read::Read;
use crate::store::view::View;

/// An admin's word on a GPU.
pub async fn say(mill: &Mill, who: &Actor, unit: UnitId, word: Word, why: &str) -> Answer<()> {
    admins_only(who, "decide which GPUs are in service")?;
    let why = reason(why)?;
    let (speaking, cause) = (mill.clone(), Cause::Member(who.member));
    let decide = move |view: &View<'_>, now: Instant| {
        let row: Unit = view.get(&unit)?.ok_or(Common::NotFound { what: "GPU" })?;
        let mut noting = Noting::begin(view, &speaking, cause, now)?;
        let outcome = noting.step(&row, &Signal::Admin { word, why: why.clone() }, false)?;
        match outcome {
            Outcome::Refused(why) => Err(HealthRefusal::Word(why).into()),
            Outcome::Noted => {
                noting.write(&row, Seen::Noted { what: why.clone() }, Fault::Nothing, now)?;
                noting.finish()
            }
            _ => noting.finish(),
        }
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

fn evidence_of(view: &impl Read, unit: UnitId, evidence: EvidenceId) -> Result<Evidence, Reject> {
    Ok(view.get::<Evidence>(&(unit, evidence))?.ok_or(Common::NotFound { what: "evidence" })?)
}

/// Whether somebody may contest what is said of a node: its owner's people, and admins.
pub fn may_contest(who: &Actor, node: &Node) -> bool {
    who.admin || node.owner.is_some_and(|team| who.sees(team))
}

/// Says that a piece of evidence should not count.
pub async fn contest(mill: &Mill, who: &Actor, unit: UnitId, evidence: EvidenceId, why: &str) -> Answer<()> {
    let why = reason(why)?;
    let (who, cause) = (who.clone(), Cause::Member(who.member));
    let decide = move |view: &View<'_>, now: Instant| {
        let mut row = evidence_of(view, unit, evidence)?;
        let node: Node = view.must(&row.node)?;
        if !may_contest(&who, &node) {
            return Err(Common::NotFound { what: "evidence" }.into());
        }
        if row.fault.quarters() == 0 || row.contest.is_some() {
            return Err(HealthRefusal::NothingToContest.into());
        }
        row.contest = Some(Contest { by: who.member, at: now, why: why.clone(), decided: None });
        let mut changes = Changes::new();
        changes.put(&row);
        changes.event(cause, Event::EvidenceContested { unit, node: row.node, evidence, why: why.clone() });
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}

/// An admin's word on a contest; final.
pub async fn decide(
    mill: &Mill,
    who: &Actor,
    unit: UnitId,
    evidence: EvidenceId,
    accepted: bool,
    why: &str,
) -> Answer<()> {
    admins_only(who, "decide contests")?;
    let why = reason(why)?;
    let (by, cause) = (who.member, Cause::Member(who.member));
    let decide = move |view: &View<'_>, now: Instant| {
        let mut row = evidence_of(view, unit, evidence)?;
        let open = row.contest.as_mut().filter(|contest| contest.decided.is_none());
        let contest = open.ok_or(HealthRefusal::NotContested)?;
        contest.decided = Some(Decided { by, at: now, accepted, why: why.clone() });
        let mut changes = Changes::new();
        changes.put(&row);
        changes.event(cause, Event::ContestDecided { unit, node: row.node, evidence, accepted, why: why.clone() });
        Ok((changes, ()))
    };
    Ok(mill.store.write(Command::new(cause), decide).await?)
}
