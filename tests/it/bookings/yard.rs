//! A mill in memory with nodes that are only rows: the test speaks for them, and moves the clock.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gristmill::app::bookings::facts::{apply_facts, node_lost};
use gristmill::app::bookings::{change, desired, place, show, upkeep, verify};
use gristmill::app::error::{Answer, AppError};
use gristmill::app::fleet::hub::Hub;
use gristmill::app::ids;
use gristmill::app::mill::Mill;
use gristmill::app::money::balance;
use gristmill::app::people::actor;
use gristmill::app::people::setup::{put_member, put_membership, put_team};
use gristmill::app::trust::seal::Seal;
use gristmill::base::credits::Credits;
use gristmill::base::hardware::{ObservedNode, UnitShape};
use gristmill::base::ids::*;
use gristmill::base::secret::SecretHash;
use gristmill::base::window::{Instant, Span};
use gristmill::domain::event::Cause;
use gristmill::domain::fleet::duty::Duty;
use gristmill::domain::fleet::node::*;
use gristmill::domain::money::account::Balance;
use gristmill::domain::people::installation::{Installation, Mode, Reality};
use gristmill::domain::people::member::{Member, Membership, Role, Team};
use gristmill::domain::people::rights::Actor;
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command, Read, Store};
use gristmill::wire::api::bookings::{BookRequest, BookingView, ExtendRequest};
use gristmill::wire::node::{DesiredLease, FactState, LeaseFact};

/// Monday 23 November 2026, 08:00 UTC.
pub const START: i64 = 1_795_420_800_000;

/// A clock of one test's own.
macro_rules! clock {
    () => {{
        static NOW: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new($crate::bookings::yard::START);
        fn read() -> gristmill::base::window::Instant {
            gristmill::base::window::Instant::from_millis(NOW.load(std::sync::atomic::Ordering::SeqCst))
        }
        (&NOW, read as fn() -> gristmill::base::window::Instant)
    }};
}
pub(crate) use clock;

pub type Clock = (&'static AtomicI64, fn() -> Instant);

pub struct Yard {
    pub mill: Mill,
    clock: Clock,
    dir: PathBuf,
    pool: PoolId,
    pub vision: TeamId,
    pub ada: Actor,
    pub bo: Actor,
    pub stranger: Actor,
}

impl Drop for Yard {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn id() -> u128 {
    ids::fresh()
}

fn member(name: &str, uid: u32, now: Instant) -> Member {
    Member {
        id: MemberId::from_u128(id()),
        email: format!("{name}@lab.example").parse().unwrap(),
        name: name.parse().unwrap(),
        password: String::new(),
        admin: false,
        disabled: false,
        uid,
        created: now,
    }
}

impl Yard {
    /// Ada and Bo are in Vision, the stranger is in Speech; one pool with the kind policy, and `sizes.len()` nodes.
    pub async fn new(clock: Clock, mode: Mode, sizes: &[u32]) -> Self {
        let dir = std::env::temp_dir().join(format!("gristmill-bookings-{:x}", id()));
        std::fs::create_dir_all(&dir).unwrap();
        let seal = Arc::new(Seal::load_or_create(&dir.join("seal")).unwrap());
        let mill = Mill::new(Store::memory(clock.1), seal, Arc::new(Hub::default()), "http://localhost", &dir);
        let now = clock.1();
        let people = [member("ada", 20_000, now), member("bo", 20_001, now), member("cy", 20_002, now)];
        let teams = ["Vision", "Speech"].map(|name| Team {
            id: TeamId::from_u128(id()),
            name: name.parse().unwrap(),
            cost_centre: None,
            separate_entity: false,
            created: now,
        });
        let pool = PoolId::from_u128(id());
        let (who, whose) = (people.clone(), teams.clone());
        let decide = move |_: &gristmill::store::View<'_>, now| {
            let mut changes = Changes::new();
            changes.put(&Installation {
                organisation: "Mill Lab".parse().unwrap(),
                currency: "EUR".to_owned(),
                time_zone: "UTC".to_owned(),
                mode,
                reality: Reality::Real,
                created: now,
                smtp: None,
                address: Vec::new(),
            });
            for (member, team) in who.iter().zip([0, 0, 1]) {
                put_member(&mut changes, member);
                let team = whose[team].id;
                put_membership(&mut changes, &Membership { team, member: member.id, role: Role::Member, since: now });
            }
            whose.iter().for_each(|team| put_team(&mut changes, team));
            let policy = PoolPolicy::kind(false);
            changes.put(&Pool { id: pool, name: "Main".parse().unwrap(), auto_admit: true, policy, revision: 0 });
            Ok((changes, ()))
        };
        mill.store.write(Command::new(Cause::Operator), decide).await.unwrap();
        let load = |member: &Member| actor::load(&mill.store.read().unwrap(), member.id).unwrap().unwrap().1;
        let [ada, bo, stranger] = [load(&people[0]), load(&people[1]), load(&people[2])];
        let yard = Self { mill: mill.clone(), clock, dir, pool, vision: teams[0].id, ada, bo, stranger };
        for &gpus in sizes {
            yard.join(gpus).await;
        }
        yard
    }

    /// A connected node with so many H200.
    pub async fn join(&self, gpus: u32) -> NodeId {
        let (node, pool) = (NodeId::from_u128(id()), self.pool);
        let decide = move |_: &gristmill::store::View<'_>, now| {
            let mut changes = Changes::new();
            let observed = ObservedNode {
                hostname: "box".to_owned(),
                cpus: 8 * gpus,
                memory_bytes: u64::from(gpus) << 36,
                ..ObservedNode::default()
            };
            changes.put(&Node {
                id: node,
                name: format!("node-{}", node.short()).parse().unwrap(),
                pool,
                owner: None,
                key: SecretHash::of(&node.to_bytes()),
                certificate_serial: "1".to_owned(),
                certificate_expires: now,
                certificate_next: None,
                state: NodeState::Admitted { since: now },
                duty: Duty::Open,
                observed,
                epoch: 1,
                generation: 1,
                joined: now,
                local: false,
            });
            for index in 0..gpus {
                let unit = UnitId::from_u128(node.as_u128() ^ (u128::from(index + 1) << 64));
                changes.put(&Unit {
                    id: unit,
                    node,
                    pool,
                    uuid: format!("GPU-{unit}"),
                    model: "H200".to_owned(),
                    shape: UnitShape::Gpu,
                    index,
                    minor: Some(index),
                    memory_bytes: 141 << 30,
                    service: Service::In,
                });
                changes.index(Table::UnitsByNode, &(node, unit), &unit);
            }
            changes.put(&NodeContact {
                node,
                epoch: 1,
                connected: true,
                last: now,
                skew_ms: 0,
                unattested_since: None,
            });
            Ok((changes, ()))
        };
        self.mill.store.write(Command::new(Cause::Operator), decide).await.unwrap();
        node
    }

    pub fn now(&self) -> Instant {
        self.clock.1()
    }

    /// Lets time pass and does what is due, at each instant at which something is due.
    pub async fn pass(&self, span: Span) {
        let until = self.now().plus(span);
        loop {
            let next = upkeep::next_due(&self.mill.store.read().unwrap()).unwrap().filter(|&at| at <= until);
            self.clock.0.store(next.unwrap_or(until).max(self.now()).as_millis(), Ordering::SeqCst);
            if next.is_none() {
                return;
            }
            upkeep::run(&self.mill, self.now()).await.unwrap();
        }
    }

    pub async fn pass_seconds(&self, seconds: i64) {
        self.pass(Span::from_seconds(seconds)).await;
    }

    pub async fn book(&self, who: &Actor, request: BookRequest) -> Answer<BookingView> {
        place::book(&self.mill, who, request, None, self.now()).await
    }

    pub fn show(&self, id: BookingId) -> BookingView {
        show::show(&self.mill, &self.ada, id, self.now()).unwrap()
    }

    pub async fn extend(&self, id: BookingId, by_seconds: i64) -> Answer<BookingView> {
        change::extend(&self.mill, &self.ada, id, ExtendRequest { by_seconds }, None, self.now()).await
    }

    pub async fn release(&self, id: BookingId) -> Answer<BookingView> {
        change::release(&self.mill, &self.ada, id, None, self.now()).await
    }

    pub async fn cancel(&self, id: BookingId) -> Answer<BookingView> {
        change::cancel(&self.mill, &self.ada, id, None, self.now()).await
    }

    pub fn desired(&self, node: NodeId) -> Vec<DesiredLease> {
        desired::desired(&self.mill.store.read().unwrap(), node, self.now()).unwrap()
    }

    /// A report about one booking's lease, as its node would send it.
    pub async fn report(&self, booking: &BookingView, state: FactState) {
        let lease = &booking.leases[0];
        let fact = LeaseFact { lease: lease.id, attempt: lease.attempt, revision: 1, state, lacking: Vec::new() };
        self.facts(lease.node, vec![fact], false).await;
    }

    pub async fn facts(&self, node: NodeId, facts: Vec<LeaseFact>, complete: bool) {
        apply_facts(&self.mill, node, facts, complete).await.unwrap();
    }

    pub async fn ready(&self, booking: &BookingView) {
        self.report(booking, FactState::Ready { elapsed: Span::ZERO }).await;
    }

    /// Nothing is heard of the node from now on; or it is back.
    pub async fn connected(&self, node: NodeId, connected: bool) {
        let decide = move |view: &gristmill::store::View<'_>, now| {
            let contact: NodeContact = view.must(&node)?;
            let mut changes = Changes::new();
            changes.put(&NodeContact { connected, last: now, ..contact });
            Ok((changes, ()))
        };
        self.mill.store.write(Command::new(Cause::Mill), decide).await.unwrap();
        if !connected {
            node_lost(&self.mill, node).await.unwrap();
        }
    }

    pub fn balance(&self) -> Balance {
        balance::balance(&self.mill.store.read().unwrap(), self.vision).unwrap()
    }

    /// The books, the calendar and the bookings, recomputed from nothing.
    pub fn verify(&self) {
        let checks: Vec<_> = gristmill::store::verify::checks()
            .into_iter()
            .chain(verify::checks())
            .chain(gristmill::app::money::verify::checks())
            .collect();
        let report = gristmill::store::verify::run(&self.mill.store.read().unwrap(), &checks);
        assert!(report.holds(), "{:#?}", report.breaches);
    }
}

/// As soon as possible, for so long.
pub fn soon(gpus: u64, hours: i64) -> BookRequest {
    BookRequest {
        gpus,
        model: None,
        duration_seconds: hours * 3600,
        at: None,
        by: None,
        team: None,
        title: None,
        command: None,
    }
}

/// From so many hours after the test's start.
pub fn at(gpus: u64, from_hour: i64, hours: i64) -> BookRequest {
    let start = Instant::from_millis(START).plus(Span::from_hours(from_hour));
    BookRequest { at: Some(start.into()), ..soon(gpus, hours) }
}

pub fn code(error: &AppError) -> &'static str {
    match error {
        AppError::Refused(refusal) => refusal.reason().code(),
        other => panic!("not a refusal: {other:?}"),
    }
}

pub fn offer(error: &AppError) -> serde_json::Value {
    match error {
        AppError::Refused(refusal) => refusal.reason().offer().unwrap_or_default(),
        other => panic!("not a refusal: {other:?}"),
    }
}

/// Credits at 3.00 per H200 and hour, the default.
pub fn price(gpu_seconds: i64) -> Credits {
    "3".parse::<Credits>().unwrap().for_duration(1, gpu_seconds).unwrap()
}
