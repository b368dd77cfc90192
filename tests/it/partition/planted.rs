//! Faults that are planted into the world, to see that its invariants find them: each takes away one of the guards by which
//! the mill and its nodes survive being cut off. They lie in the test's own network and agents; the program has no switch
//! for any of them.
use std::collections::BTreeSet;

use gristmill::app::fleet::Fleet;
use gristmill::base::ids::NodeId;
use gristmill::base::window::Span;
use gristmill::domain::event::Cause;
use gristmill::domain::fleet::node::NodeContact;
use gristmill::store::{Changes, Command, Order, Read as _};
use gristmill::wire::node::{DesiredLease, FromAgent, LeaseFact};

use super::machine::{Machine, Wire};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An agent ignores that its connection was fenced: orders that were under way on it are obeyed when they come, after
    /// those of the connection that took over.
    FencedOrdersObeyed,
    /// The mill does not look at the epoch of a report: what a node said over an earlier connection is believed when it
    /// comes in over a later one.
    LateReportBelieved,
    /// The mill takes a silent node to have been heard an hour later than it was, and bills that hour.
    BilledBeyondContact,
}

/// What had been said over a connection when the next one began.
pub struct Before {
    orders: (u64, Vec<DesiredLease>),
    facts: Vec<LeaseFact>,
}

impl Before {
    pub fn of(machine: &Machine) -> Self {
        Self { orders: (machine.leases.generation, machine.leases.desired().to_vec()), facts: machine.said.clone() }
    }
}

/// So late comes what was under way, in milliseconds: long enough for work to have begun meanwhile.
const LATE: i64 = 300_000;

/// The fault of a world, if it has one.
pub struct Planted {
    pub fault: Option<Fault>,
    /// Losses that were dated wrongly already.
    dated: BTreeSet<(NodeId, u64)>,
}

impl Planted {
    pub fn new(fault: Option<Fault>) -> Self {
        Self { fault, dated: BTreeSet::new() }
    }

    /// Dates the last contact of each lost node an hour too late, once for each loss.
    pub async fn shift_contacts(&mut self, fleet: &Fleet) {
        if self.fault != Some(Fault::BilledBeyondContact) {
            return;
        }
        let contacts: Vec<NodeContact> =
            fleet.mill.store.read().unwrap().list(&[], Order::Ascending, usize::MAX).unwrap();
        for contact in contacts.into_iter().filter(|contact| !contact.connected) {
            if self.dated.insert((contact.node, contact.epoch)) {
                let wrong = NodeContact { last: contact.last.plus(Span::from_hours(1)), ..contact };
                let decide = move |_: &gristmill::store::View<'_>, _| {
                    let mut changes = Changes::new();
                    changes.put(&wrong);
                    Ok((changes, ()))
                };
                fleet.mill.store.write(Command::new(Cause::Operator), decide).await.unwrap();
            }
        }
    }

    /// What was under way on the connection before arrives some minutes after the new one has brought its first order.
    pub async fn come_late(&self, machine: &mut Machine, now: i64) -> bool {
        let late = matches!(self.fault, Some(Fault::FencedOrdersObeyed | Fault::LateReportBelieved));
        if !late || !machine.reachable || !machine.agent {
            return false;
        }
        let Wire::Up(talk) = &mut machine.wire else { return false };
        if !talk.ordered || now - talk.began < LATE {
            return false;
        }
        let Some(Before { orders: (generation, leases), facts }) = machine.before.take() else { return false };
        if self.fault == Some(Fault::FencedOrdersObeyed) {
            machine.leases.order(generation, leases);
            machine.leases.step(now - machine.boot);
        } else if let Some((conversation, _)) = &mut talk.server {
            let (epoch, generation) = (talk.epoch, machine.leases.generation);
            conversation.listen(FromAgent::Leases { epoch, generation, leases: facts }).await.unwrap();
        }
        true
    }
}
