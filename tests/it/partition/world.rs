//! A server, its nodes and the network between them, without sockets and by a clock of its own: the server's half of each
//! connection is the real one, the nodes plan with the real `converge`, and what lies between can be cut. Nothing happens
//! but at instants at which something is due, so that two days pass in a moment.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill::agent::converge::same_but_for_time;
use gristmill::agent::dial::CONNECT_PATIENCE;
use gristmill::agent::{SHORTEST_WAIT, pause};
use gristmill::app::bookings::orders::FromBookings;
use gristmill::app::bookings::upkeep;
use gristmill::app::fleet::hub::{Hub, LinkEnd};
use gristmill::app::fleet::link::Conversation;
use gristmill::app::fleet::{Fleet, brake, watch};
use gristmill::app::mill::Mill;
use gristmill::app::trust::Root;
use gristmill::base::ids::{LeaseId, NodeId};
use gristmill::base::window::{Instant, Span};
use gristmill::domain::people::installation::Mode;
use gristmill::store::Subscription;
use gristmill::wire::node::{FromAgent, LOST_AFTER, ToAgent};
use tokio::sync::{Mutex, MutexGuard};

use super::machine::{Machine, Wire};
use super::pieces::{Dice, NOW, PopIf as _, millis, now, read, record, ticks};
use super::planted::{Fault, Planted};
use crate::bookings::yard::{START, Yard};

/// There is one clock: worlds of one process come one after the other.
static ALONE: Mutex<()> = Mutex::const_new(());

pub struct World {
    pub yard: Yard,
    pub dice: Dice,
    pub machines: Vec<Machine>,
    /// How long each lease's work really ran, in milliseconds, whoever heard of it.
    pub truth: BTreeMap<LeaseId, i64>,
    /// Everything that nodes said, in words, while it is wanted.
    pub recorded: Option<Vec<(NodeId, String)>>,
    pub fleet: Option<Fleet>,
    root: Arc<Root>,
    commits: Subscription,
    patient_until: i64,
    /// How often anything was looked at.
    pub looks: u64,
    pub planted: Planted,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    /// Three nodes with one to three GPUs, connected.
    pub async fn new(seed: u64) -> Self {
        Self::with(seed, None).await
    }

    /// The same with a fault in it.
    pub async fn with(seed: u64, fault: Option<Fault>) -> Self {
        let alone = ALONE.lock().await;
        NOW.store(START, Ordering::SeqCst);
        let mut dice = Dice::new(seed);
        let yard = Yard::new((&NOW, read), Mode::Showback, &[]).await;
        let root = Arc::new(Root::make("partition", 1, yard.now()).unwrap());
        let mut machines = Vec::new();
        for gpus in 1..=3 {
            let node = yard.join(gpus).await;
            machines.push(Machine::new(&yard, node, &mut dice).await);
        }
        let commits = yard.mill.store.subscribe();
        let mut world = Self {
            yard,
            dice,
            machines,
            truth: BTreeMap::new(),
            recorded: None,
            fleet: None,
            root,
            commits,
            patient_until: 0,
            looks: 0,
            planted: Planted::new(fault),
            _alone: alone,
        };
        world.start_server();
        world.pass(Span::from_seconds(10)).await;
        world
    }

    pub fn serves(&self) -> bool {
        self.fleet.is_some()
    }

    /// A server on the same store, as after a restart: it knows nobody's connection.
    pub fn start_server(&mut self) {
        let before = &self.yard.mill;
        let hub = Arc::new(Hub::by(ticks));
        let mill = Mill::new(before.store.clone(), before.seal.clone(), hub, &before.public_url, &before.data);
        self.yard.mill = mill.clone();
        let fleet = Fleet { mill, root: self.root.clone(), orders: Arc::new(FromBookings) };
        watch::expect(&fleet).unwrap();
        self.fleet = Some(fleet);
        self.patient_until = now() + upkeep::FORBEARANCE.as_millis();
        (0..self.machines.len()).for_each(|index| self.resume(index));
    }

    pub fn stop_server(&mut self) {
        self.fleet = None;
        for machine in &mut self.machines {
            if let Wire::Up(talk) = &mut machine.wire {
                talk.server = None;
            }
        }
    }

    /// Lets time pass; everything that falls due on the way happens when it is due.
    pub async fn pass(&mut self, span: Span) {
        let until = now() + span.as_millis();
        loop {
            let next = self.settle().await;
            if now() >= until {
                return;
            }
            NOW.store(next.clamp(now() + 1, until), Ordering::SeqCst);
        }
    }

    /// Does what is due now until nothing moves any more; answers when something is due next.
    pub async fn settle(&mut self) -> i64 {
        self.looks += 1;
        // Those who are there say so before anybody counts the silence.
        for index in 0..self.machines.len() {
            self.beat(index).await;
        }
        if let Some(fleet) = self.fleet.clone() {
            watch::look(&fleet).await;
            self.planted.shift_contacts(&fleet).await;
            upkeep::run_with(&fleet.mill, read(), now() < self.patient_until).await.unwrap();
        }
        loop {
            let mut moved = false;
            self.wake();
            for index in 0..self.machines.len() {
                moved |= self.dial(index).await;
                moved |= self.talk(index).await;
            }
            if !moved {
                break;
            }
        }
        self.observe();
        self.next()
    }

    fn wake(&mut self) {
        let mut woken = BTreeSet::new();
        while let Ok(told) = self.commits.try_recv() {
            woken.extend(told.wake_nodes.iter().copied());
        }
        for machine in &mut self.machines {
            if let Wire::Up(talk) = &mut machine.wire {
                talk.woken |= woken.contains(&machine.node);
            }
        }
    }

    /// A sign of life in both directions, where both ends are there and packets get through.
    async fn beat(&mut self, index: usize) {
        let (machine, now) = (&mut self.machines[index], now());
        let Wire::Up(talk) = &mut machine.wire else { return };
        if !machine.reachable || !machine.agent {
            return;
        }
        if let Some((conversation, _)) = &mut talk.server {
            let beat = FromAgent::Heartbeat { epoch: talk.epoch, clock: read() };
            record(&mut self.recorded, machine.node, &beat);
            conversation.listen(beat).await.unwrap();
            talk.heard = now;
            machine.hears(now);
        }
    }

    /// Attempts to connect, and connections that a node gives up.
    async fn dial(&mut self, index: usize) -> bool {
        let chance = self.dice.chance();
        let (machine, now) = (&mut self.machines[index], now());
        if !machine.agent {
            return false;
        }
        let rest = |wait| {
            let until = now + millis(pause(wait, chance).0).max(1);
            Wire::Waiting { until }
        };
        match &machine.wire {
            // Nothing was heard for too long, or the other end closed and the node hears of it.
            Wire::Up(talk)
                if now - talk.heard > LOST_AFTER.as_millis() + 5000 || (machine.reachable && talk.server.is_none()) =>
            {
                machine.wire = rest(SHORTEST_WAIT);
                true
            }
            // What cannot succeed is not gone through; `resume` puts it back into its round.
            Wire::Waiting { .. } if !machine.reachable || self.fleet.is_none() => false,
            Wire::Dialling { until, wait } if *until <= now => {
                machine.wire = rest(*wait);
                true
            }
            Wire::Waiting { until, .. } if *until <= now => {
                let Some(fleet) = &self.fleet else { return false };
                record(&mut self.recorded, machine.node, &machine.greeting());
                let talk = machine.hello(fleet.clone()).await;
                machine.wire = Wire::Up(Box::new(talk));
                true
            }
            _ => false,
        }
    }

    /// What passes over one connection now, and what both ends do about it.
    async fn talk(&mut self, index: usize) -> bool {
        let (machine, now) = (&mut self.machines[index], now());
        machine.leases.step(now - machine.boot);
        // Before anything is forgotten.
        self.truth.extend(machine.leases.ran(now - machine.boot));
        let Wire::Up(talk) = &mut machine.wire else { return false };
        let mut moved = false;
        if machine.agent {
            let facts = machine.leases.facts(now - machine.boot);
            let generation = machine.leases.generation;
            if talk.said.as_ref().is_none_or(|(g, said)| *g != generation || !same_but_for_time(said, &facts)) {
                let report = FromAgent::Leases { epoch: talk.epoch, generation, leases: facts.clone() };
                record(&mut self.recorded, machine.node, &report);
                talk.to_mill.push_back(report);
                machine.said.clone_from(&facts);
                talk.said = Some((generation, facts));
                moved = true;
            }
        }
        let closed = match &mut talk.server {
            Some((_, end)) if end.fenced.borrow().is_some() => true,
            Some((conversation, _)) => {
                while let Some(message) = talk.to_mill.pop_front_if_mut(machine.reachable) {
                    conversation.listen(message).await.unwrap();
                    moved = true;
                }
                if std::mem::take(&mut talk.woken)
                    && let Some(message) = conversation.publish().unwrap()
                {
                    talk.to_node.push_back(message);
                    moved = true;
                }
                false
            }
            None => false,
        };
        if closed && let Some((_, end)) = talk.server.take() {
            if let Some(fleet) = &self.fleet {
                fleet.mill.hub.detach(&end.link);
            }
            moved = true;
        }
        while let Some(message) = talk.to_node.pop_front_if_mut(machine.reachable && machine.agent) {
            if let ToAgent::Desired { generation, leases, .. } = message {
                machine.leases.order(generation, leases);
                machine.leases.step(now - machine.boot);
                talk.ordered = true;
            }
            moved = true;
        }
        moved | self.planted.come_late(machine, now).await
    }

    /// Looks at what really is the case on the nodes, and holds it against what must never be.
    fn observe(&self) {
        for machine in &self.machines {
            let mut taken = BTreeSet::new();
            for (lease, gpus) in machine.leases.at_work() {
                for gpu in gpus {
                    assert!(taken.insert(gpu.clone()), "two leases at work on {gpu}, the second is {lease}");
                }
            }
        }
    }

    /// The next instant at which anything is due.
    fn next(&self) -> i64 {
        let mut next = now() + Span::from_hours(1).as_millis();
        let mut at = |instant: i64| next = next.min(instant.max(now() + 1));
        for machine in &self.machines {
            if let Some(due) = machine.leases.next() {
                at(due + machine.boot);
            }
            let quiet = LOST_AFTER.as_millis();
            if self.serves() && !machine.connected() && machine.heard + quiet >= now() {
                at(machine.heard + quiet);
            }
            if !machine.agent {
                continue;
            }
            match &machine.wire {
                Wire::Waiting { until, .. } if machine.reachable && self.serves() => at(*until),
                Wire::Dialling { until, .. } => at(*until),
                Wire::Up(talk) if talk.server.is_none() || !machine.reachable => at(talk.heard + quiet + 5001),
                Wire::Waiting { .. } | Wire::Up(_) => {}
            }
        }
        if self.serves() {
            let view = self.yard.mill.store.read().unwrap();
            let due = upkeep::next_due(&view).unwrap().map(Instant::as_millis);
            // What the brake holds back is looked at every few seconds; for days that is too often here.
            let braked = brake::engaged(&view).unwrap().is_some();
            due.into_iter().for_each(|due| at(if braked { due.max(now() + 600_000) } else { due }));
        }
        next
    }

    /// The server's end of a node's connection, and its epoch.
    pub fn line(&mut self, index: usize) -> (&mut Conversation, &mut LinkEnd, u64) {
        let Wire::Up(talk) = &mut self.machines[index].wire else { panic!("node {index} is not connected") };
        let (conversation, end) = talk.server.as_mut().expect("both ends are there");
        (conversation, end, talk.epoch)
    }

    /// Cuts the network between the server and a node; nobody is told.
    pub fn cut(&mut self, index: usize) {
        self.machines[index].reachable = false;
    }

    pub fn heal(&mut self, index: usize) {
        if !self.machines[index].reachable {
            self.machines[index].reachable = true;
            self.resume(index);
        }
    }

    /// Trouble is over for a node: somewhere in its round of attempts and rests it finds out.
    fn resume(&mut self, index: usize) {
        let longest = pause(Duration::MAX / 4, 0.0).1;
        let (into_the_void, chance) = (self.dice.below(2) == 0, self.dice.chance());
        let machine = &mut self.machines[index];
        if matches!(&machine.wire, Wire::Waiting { until, .. } if *until <= now()) {
            let rest = |of: Duration| now() + millis(of.mul_f64(chance)).max(1);
            machine.wire = match into_the_void {
                true => Wire::Dialling { until: rest(CONNECT_PATIENCE), wait: longest },
                false => Wire::Waiting { until: rest(longest) },
            };
        }
    }

    /// The agent stops, or starts again with what it has on file.
    pub fn stop_agent(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        machine.agent = false;
        if let Wire::Up(talk) = &mut machine.wire
            && let Some((_, end)) = talk.server.take_if(|_| machine.reachable)
            && let Some(fleet) = &self.fleet
        {
            fleet.mill.hub.detach(&end.link);
        }
    }

    pub fn start_agent(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        if !machine.agent {
            machine.agent = true;
            machine.wire = Wire::Waiting { until: now() };
        }
    }

    /// The whole machine restarts: what ran is gone.
    pub fn crash(&mut self, index: usize) {
        self.stop_agent(index);
        let machine = &mut self.machines[index];
        machine.leases.crash(now() - machine.boot);
        machine.crashes.push(now());
        self.start_agent(index);
    }
}
