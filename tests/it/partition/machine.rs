//! A node of the partition test: its leases, its agent and its end of the wire. The server's end of a connection is the real
//! one; this end says what a node's link would say.
use std::collections::VecDeque;
use std::time::Duration;

use gristmill::agent::converge::Offset;
use gristmill::agent::simulate::leases::Leases;
use gristmill::app::fleet::Fleet;
use gristmill::app::fleet::contact::Credential;
use gristmill::app::fleet::hub::LinkEnd;
use gristmill::app::fleet::link::{Conversation, Over};
use gristmill::base::hardware::{ObservedGpu, ObservedNode};
use gristmill::base::ids::NodeId;
use gristmill::base::secret::SecretHash;
use gristmill::domain::event::Cause;
use gristmill::domain::fleet::node::Unit;
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command, Order, Read};
use gristmill::wire::node::{FromAgent, LeaseFact, PROTOCOL, ToAgent};

use super::pieces::{Dice, LONG, now, read};
use super::planted::Before;
use crate::bookings::yard::Yard;

/// A node's end of the wire.
pub enum Wire {
    /// The next attempt.
    Waiting {
        until: i64,
    },
    /// An attempt into the void, and the wait after it.
    Dialling {
        until: i64,
        wait: Duration,
    },
    Up(Box<Talk>),
}

/// A connection as both ends see it; either may be gone without the other knowing.
pub struct Talk {
    /// The server's end; `None` once it has closed.
    pub server: Option<(Conversation, LinkEnd)>,
    pub epoch: u64,
    pub to_node: VecDeque<ToAgent>,
    pub to_mill: VecDeque<FromAgent>,
    pub said: Option<(u64, Vec<LeaseFact>)>,
    /// When the node last heard anything.
    pub heard: i64,
    pub woken: bool,
    /// An order has come over it.
    pub ordered: bool,
    pub began: i64,
}

pub struct Machine {
    pub node: NodeId,
    credential: Credential,
    pub observed: ObservedNode,
    pub leases: Leases,
    /// The mill's clock less this node's boot clock.
    pub boot: i64,
    /// Whether its agent runs; its leases do in any case.
    pub agent: bool,
    /// Whether packets get through.
    pub reachable: bool,
    pub wire: Wire,
    /// When the server last heard of it.
    pub heard: i64,
    /// Silences of nearly a day and more.
    silences: Vec<(i64, i64)>,
    /// When the whole machine restarted.
    pub crashes: Vec<i64>,
    /// The last report of its leases, over whichever connection.
    pub said: Vec<LeaseFact>,
    /// What a planted fault remembers of the connection before this one.
    pub before: Option<Before>,
}

impl Machine {
    pub async fn new(yard: &Yard, node: NodeId, dice: &mut Dice) -> Self {
        let key = SecretHash::of(&node.to_bytes());
        let decide = move |_: &gristmill::store::View<'_>, _| {
            let mut changes = Changes::new();
            changes.index(Table::NodesByKey, key.as_bytes(), &node);
            Ok((changes, ()))
        };
        yard.mill.store.write(Command::new(Cause::Operator), decide).await.unwrap();
        let view = yard.mill.store.read().unwrap();
        let units: Vec<Unit> =
            view.list_via(Table::UnitsByNode, &node.to_bytes(), Order::Ascending, usize::MAX).unwrap();
        let gpus = units.into_iter().map(|unit| ObservedGpu {
            uuid: unit.uuid,
            model: unit.model,
            index: unit.index,
            minor: unit.minor,
            memory_bytes: unit.memory_bytes,
            ..ObservedGpu::default()
        });
        Self {
            node,
            credential: Credential { key, serial: "1".to_owned() },
            observed: ObservedNode { hostname: "box".to_owned(), gpus: gpus.collect(), ..ObservedNode::default() },
            leases: Leases::default(),
            boot: now() - dice.signed(1_000_000_000),
            agent: true,
            reachable: true,
            wire: Wire::Waiting { until: now() },
            heard: now(),
            silences: Vec::new(),
            crashes: Vec::new(),
            said: Vec::new(),
            before: None,
        }
    }

    /// Whether both ends are there and packets get through.
    pub fn connected(&self) -> bool {
        matches!(&self.wire, Wire::Up(talk) if talk.server.is_some()) && self.reachable && self.agent
    }

    /// The last time that it was silent for nearly a day or more between these instants, and until when.
    pub fn silence(&self, from: i64, until: i64) -> Option<(i64, i64)> {
        let still = (self.heard, now());
        let long = |(last, again): &&(i64, i64)| again - last > LONG.as_millis() && *last < until && *again > from;
        self.silences.iter().chain([&still]).filter(long).max().copied()
    }

    /// Everything it has, as it would say now.
    pub fn facts(&self) -> Vec<LeaseFact> {
        self.leases.facts(now() - self.boot)
    }

    pub fn hears(&mut self, now: i64) {
        if now - self.heard > LONG.as_millis() {
            self.silences.push((self.heard, now));
        }
        self.heard = now;
    }

    pub fn greeting(&self) -> FromAgent {
        FromAgent::Hello {
            protocol: PROTOCOL,
            version: "test".to_owned(),
            boot: String::new(),
            clock: read(),
            simulated: false,
            observed: Box::new(self.observed.clone()),
        }
    }

    /// A new connection: from the hello to the welcome.
    pub async fn hello(&mut self, fleet: Fleet) -> Talk {
        let opened = Conversation::open(fleet, self.node, self.credential.clone(), self.greeting()).await;
        let (conversation, end, welcome) = match opened {
            Ok(opened) => opened,
            Err(Over::Goodbye(why)) => panic!("{why}"),
            Err(Over::Gone) => panic!("nobody went away"),
        };
        let ToAgent::Welcome { epoch, clock, .. } = welcome else { panic!("{welcome:?}") };
        self.before = Some(Before::of(self));
        self.leases.clock(Offset::between(clock, now() - self.boot));
        self.hears(now());
        Talk {
            server: Some((conversation, end)),
            epoch,
            to_node: VecDeque::new(),
            to_mill: VecDeque::new(),
            said: None,
            heard: now(),
            woken: true,
            ordered: false,
            began: now(),
        }
    }
}
