//! Use outside bookings as people see it. That a GPU is used, and by which Unix user, is everybody's business; program,
//! process and money are the admins' and the member's whose Unix user it is.
use std::collections::HashMap;

use super::{bill, tell};
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::credits::Credits;
use crate::base::ids::{NodeId, PoolId, TeamId, UnitId};
use crate::base::window::{Instant, Span, Window};
use crate::domain::fleet::node::{Node, Pool, PoolPolicy, Unit};
use crate::domain::fleet::unbooked::{Deed, How, Order as EndOrder, Use};
use crate::domain::people::member::{Member, Team};
use crate::domain::people::rights::Actor;
use crate::store::read::{Order, Read, StoreError};
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::wire::api::unbooked::{UseBillView, UseView, UsedGpu};

/// Uses on one page.
const SHOWN: usize = 200;
/// How far back.
const BACK: Span = Span::from_days(31);
/// A node that told no readings for so long is silent.
const SILENT: Span = Span::from_seconds(60);

/// The uses that the reader may see in full: those that go on, then those of the last month, the newest first.
pub fn list(mill: &Mill, who: &Actor, now: Instant) -> Answer<Vec<UseView>> {
    let view = mill.store.read()?;
    let sees = |known: &Use| who.admin || known.member == Some(who.member);
    let mut uses: Vec<Use> = super::recent(&view, now.minus(BACK))?;
    let old: Vec<Use> = view.list_via(Table::OpenUses, &[], Order::Descending, SHOWN)?;
    uses.extend(old.into_iter().filter(|old| old.first < now.minus(BACK)));
    uses.retain(sees);
    uses.sort_by_key(|known| (!known.is_open(), std::cmp::Reverse(known.first)));
    uses.iter().take(SHOWN).map(|known| full(&view, known, now)).collect()
}

/// How many go on that the reader may see.
pub fn open(view: &impl Read) -> Result<usize, StoreError> {
    let from = crate::store::read::prefix_bounds(&[]);
    Ok(view.raw_range(Table::OpenUses, from.0, from.1, Order::Ascending, 1000)?.len())
}

fn full(view: &impl Read, known: &Use, now: Instant) -> Answer<UseView> {
    let node: Option<Node> = view.get(&known.node)?;
    let pool = node.as_ref().map(|node| view.get::<Pool>(&node.pool)).transpose()?.flatten();
    let mut gpus = Vec::new();
    for unit in &known.units {
        gpus.extend(view.get::<Unit>(unit)?.map(|unit| UsedGpu { id: unit.id, index: unit.index, model: unit.model }));
    }
    gpus.sort_by_key(|gpu| gpu.index);
    let member = known.member.map(|member| view.get::<Member>(&member)).transpose()?.flatten();
    let bills = bills(view, known)?;
    let micros = bills.iter().filter(|bill| bill.voided.is_none()).map(|bill| bill.amount.micros).sum();
    let state = state(known, now);
    Ok(UseView {
        id: known.id,
        node: known.node,
        node_name: node.map_or_else(String::new, |node| node.name.to_string()),
        pool: pool.as_ref().map_or_else(String::new, |pool| pool.name.to_string()),
        gpus,
        pid: known.process.pid,
        user: known.user.clone(),
        uid: known.uid,
        program: known.program.clone(),
        member: known.member,
        member_name: member.map(|member| member.name.to_string()),
        first: known.first.into(),
        last: known.last.into(),
        state: state.to_owned(),
        note: note(known, pool.map(|pool| pool.policy), state),
        billed: Credits::from_micros(micros).into(),
        bills,
    })
}

fn state(known: &Use, now: Instant) -> &'static str {
    match (&known.over, &known.order) {
        (Some((_, How::Gone)), _) => "gone",
        (Some((_, How::Ended)), _) => "ended",
        (Some((_, How::Restarted)), _) => "restarted",
        (Some((_, How::Forgotten)), _) => "forgotten",
        _ if now.since(known.last) > SILENT => "unheard",
        (None, EndOrder::Wanted { .. }) => "ending",
        (None, EndOrder::Refused { .. }) => "refused",
        (None, EndOrder::None) => "here",
    }
}

fn note(known: &Use, policy: Option<PoolPolicy>, state: &str) -> String {
    match (state, &known.order) {
        ("gone", _) => "It left the GPU by itself.".to_owned(),
        ("ended", _) => "Its node ended it, as it was told.".to_owned(),
        ("restarted", _) => "The machine started anew.".to_owned(),
        ("forgotten", _) => "Its node was silent for a day; what came after its last reading is not known.".to_owned(),
        ("unheard", _) => "Its node tells nothing now. It may go on; what is not read is not billed.".to_owned(),
        ("ending", _) => "Its node was told to end it.".to_owned(),
        (_, EndOrder::Refused { why, .. }) => format!("Its node did not end it: {}.", why.trim_end_matches('.')),
        _ => policy.map_or_else(String::new, |policy| {
            let billed = policy.unbooked.deed == Deed::Bill && known.member.is_some();
            tell::outlook(known, &policy.unbooked, billed)
        }),
    }
}

fn bills(view: &impl Read, known: &Use) -> Result<Vec<UseBillView>, StoreError> {
    let mut names: HashMap<TeamId, String> = HashMap::new();
    let mut shown = Vec::new();
    for bill in bill::of_use(view, known)? {
        let team = bill.payer.team;
        if let std::collections::hash_map::Entry::Vacant(slot) = names.entry(team) {
            slot.insert(view.get::<Team>(&team)?.map_or_else(String::new, |team| team.name.to_string()));
        }
        shown.push(UseBillView {
            gpu: bill.unit,
            start: bill.window.start().into(),
            end: bill.window.end().into(),
            seconds: bill.seconds,
            rate: bill.rate.into(),
            amount: bill.amount.into(),
            team,
            team_name: names.get(&team).cloned().unwrap_or_default(),
            transfer: bill.transfer,
            voided: bill.voided.map(|voided| voided.why),
        });
    }
    shown.sort_by_key(|bill| bill.start);
    Ok(shown)
}

/// What everybody may know of a use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    pub units: Vec<(UnitId, u32)>,
    pub user: String,
    pub pid: u32,
    pub since: Instant,
    /// What becomes of it.
    pub note: String,
    pub needs: bool,
}

/// What goes on outside bookings on a node now.
pub fn of_node(view: &impl Read, node: NodeId, now: Instant) -> Result<Vec<Glimpse>, StoreError> {
    let open: Vec<Use> = view.list_via(Table::OpenUses, &node.bytes(), Order::Ascending, SHOWN)?;
    open.iter().map(|known| glimpse(view, known, now)).collect()
}

/// The same of a pool.
pub fn of_pool(view: &impl Read, pool: PoolId, now: Instant) -> Result<Vec<(String, Glimpse)>, StoreError> {
    let open: Vec<Use> = view.list_via(Table::OpenUses, &[], Order::Ascending, SHOWN)?;
    let mut found = Vec::new();
    for known in &open {
        let node: Node = view.must(&known.node)?;
        if node.pool == pool {
            found.push((node.name.to_string(), glimpse(view, known, now)?));
        }
    }
    Ok(found)
}

fn glimpse(view: &impl Read, known: &Use, now: Instant) -> Result<Glimpse, StoreError> {
    let node: Node = view.must(&known.node)?;
    let policy = view.get::<Pool>(&node.pool)?.map(|pool| pool.policy);
    let mut units = Vec::new();
    for unit in &known.on {
        units.extend(view.get::<Unit>(unit)?.map(|unit| (unit.id, unit.index)));
    }
    units.sort_by_key(|(_, index)| *index);
    let state = state(known, now);
    Ok(Glimpse {
        units,
        user: tell::user(known),
        pid: known.process.pid,
        since: known.first,
        note: note(known, policy, state),
        needs: state != "unheard",
    })
}

/// Use outside bookings as the calendar draws it: GPU, time, Unix user.
pub fn drawn(view: &impl Read, window: Window) -> Result<HashMap<UnitId, Vec<(Window, String)>>, StoreError> {
    let mut drawn: HashMap<UnitId, Vec<(Window, String)>> = HashMap::new();
    let mut add = |known: &Use| {
        let Some(part) = known.window().intersection(window) else { return };
        let label = format!("Outside bookings: {}", tell::user(known));
        for &unit in &known.units {
            drawn.entry(unit).or_default().push((part, label.clone()));
        }
    };
    // Times before the window have no place on it, and what began before it is found among those that are open.
    let since = window.start().minus(Span::from_days(7));
    let recent = super::recent(view, since)?;
    recent.iter().for_each(&mut add);
    let open: Vec<Use> = view.list_via(Table::OpenUses, &[], Order::Ascending, SHOWN)?;
    open.iter().filter(|known| known.first < since).for_each(&mut add);
    Ok(drawn)
}
