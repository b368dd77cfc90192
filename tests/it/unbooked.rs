//! Use outside bookings, from readings to what becomes of it: billed against real books and a clock of the test's own, and
//! ended by a real agent whose simulated GPUs claim real processes of other Unix users.
use std::collections::HashMap;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command};
use std::time::Duration;

use gristmill::app::error::AppError;
use gristmill::app::fleet::hub::Hub;
use gristmill::app::fleet::pools;
use gristmill::app::fleet::unbooked::{self, Said, bill, orders, show, users};
use gristmill::app::mill::Mill;
use gristmill::app::money::statement;
use gristmill::app::people::{actor, notices, setup};
use gristmill::app::upkeep;
use gristmill::base::credits::Credits;
use gristmill::base::ids::{NodeId, UnitId, UseId};
use gristmill::base::telemetry::{GpuProcess, GpuReading};
use gristmill::base::window::{Instant, Span};
use gristmill::domain::event::Cause;
use gristmill::domain::fleet::node::{Node, Pool, Unit};
use gristmill::domain::fleet::unbooked::{Deed, UnbookedPolicy, Use};
use gristmill::domain::people::installation::Mode;
use gristmill::domain::people::member::Member;
use gristmill::domain::people::rights::Actor;
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command as Intent, Order, Read};
use gristmill::wire::api::pools::PoolChange;
use gristmill::wire::api::unbooked::{UnixUserRequest, UseView};
use gristmill::wire::node::{EndFact, EndState};

use crate::bookings::yard::{START, Yard, at, clock};
use crate::fleet::mill::{Agent, House, POOL, folder, until};

fn code<T: std::fmt::Debug>(answer: Result<T, AppError>) -> &'static str {
    crate::bookings::yard::code(&answer.unwrap_err())
}

/// A yard whose one pool has this policy, with Bo as admin, and Ada named for the Unix user 1001.
struct Scene {
    yard: Yard,
    mill: Mill,
    node: NodeId,
    units: Vec<Unit>,
    bo: Actor,
}

impl Scene {
    async fn new(yard: Yard, policy: UnbookedPolicy) -> Self {
        let mill = yard.mill.clone();
        let view = mill.store.read().unwrap();
        let node: Node = view.list(&[], Order::Ascending, 1).unwrap().remove(0);
        let mut units: Vec<Unit> = view.list(&[], Order::Ascending, 100).unwrap();
        units.sort_by_key(|unit| unit.index);
        let admin: Member = view.must(&yard.bo.member).unwrap();
        drop(view);
        let decide = move |view: &gristmill::store::View<'_>, _| {
            let mut changes = Changes::new();
            let pool: Pool = view.must(&node.pool)?;
            let policy = gristmill::domain::fleet::node::PoolPolicy { unbooked: policy, ..pool.policy };
            changes.put(&Pool { policy, ..pool });
            setup::put_member(&mut changes, &Member { admin: true, ..admin.clone() });
            Ok((changes, ()))
        };
        mill.store.write(Intent::new(Cause::Operator), decide).await.unwrap();
        let bo = actor::load(&mill.store.read().unwrap(), yard.bo.member).unwrap().unwrap().1;
        let scene = Self { node: node.id, units, bo, mill, yard };
        let (user, member) = ("1001".to_owned(), "ada@lab.example".to_owned());
        let request = UnixUserRequest { user, member, ..UnixUserRequest::default() };
        users::set(&scene.mill, &scene.bo, &request).await.unwrap();
        scene
    }

    /// What the node reads: on each GPU these processes (number, beginning, user).
    fn readings(&self, processes: &[&[(u32, u64, u32)]]) -> HashMap<UnitId, GpuReading> {
        let reading = |processes: &&[(u32, u64, u32)]| GpuReading {
            processes: Some(
                processes
                    .iter()
                    .map(|&(pid, started, uid)| GpuProcess {
                        pid,
                        uid: Some(uid),
                        user: Some(format!("u{uid}")),
                        name: Some("python3".to_owned()),
                        started: Some(started),
                        ..GpuProcess::default()
                    })
                    .collect(),
            ),
            ..GpuReading::default()
        };
        self.units.iter().zip(processes).map(|(unit, processes)| (unit.id, reading(processes))).collect()
    }

    async fn said(&self, clock: Instant, processes: &[&[(u32, u64, u32)]]) {
        let said = Said { node: self.node, boot: "b".to_owned(), clock, skew_ms: 0 };
        unbooked::heard(&self.mill, said, &self.readings(processes), self.yard.now()).await.unwrap();
    }

    /// The same every ten seconds, for so long; the first reading at once.
    async fn goes_on(&self, seconds: i64, processes: &[&[(u32, u64, u32)]]) {
        for step in 0..=seconds / 10 {
            if step > 0 {
                self.yard.pass_seconds(10).await;
            }
            self.said(self.yard.now(), processes).await;
        }
    }

    fn uses(&self) -> Vec<UseView> {
        show::list(&self.mill, &self.bo, self.yard.now()).unwrap()
    }

    /// What the books say, all of it recomputed.
    fn verified(&self) {
        let answer = upkeep::recompute(&self.mill.store.read().unwrap()).unwrap();
        assert!(answer.holds, "{:#?}", answer.breaches);
    }

    fn spent(&self) -> Credits {
        self.yard.balance().posted.negated()
    }
}

fn bills() -> UnbookedPolicy {
    UnbookedPolicy { deed: Deed::Bill, ..UnbookedPolicy::default() }
}

fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

#[tokio::test]
async fn time_outside_bookings_is_billed_once_however_often_it_is_told() {
    let mut scene = Scene::new(Yard::new(clock!(), Mode::Showback, &[2]).await, bills()).await;
    let process: &[(u32, u64, u32)] = &[(50, 7, 1001)];
    scene.goes_on(3600, &[process, process]).await;
    // Two GPUs for an hour, at 3.00.
    assert_eq!(scene.spent(), credits("6"));
    scene.verified();
    // The same readings again, from before, and from the future.
    for clock in [scene.yard.now(), scene.yard.now().minus(Span::from_hours(1)), Instant::from_millis(i64::MAX)] {
        for _ in 0..9 {
            scene.said(clock, &[process, process]).await;
        }
    }
    scene.yard.pass_seconds(20).await;
    // The server starts anew in the middle; what memory knew is gone.
    let seal = scene.mill.seal.clone();
    let data = scene.mill.data.clone();
    let hub = std::sync::Arc::new(Hub::default());
    scene.mill = Mill::new(scene.mill.store.clone(), seal, hub, "http://localhost", &data);
    scene.goes_on(600, &[process, &[]]).await;
    scene.goes_on(40, &[&[], &[]]).await;
    // One GPU for twenty minutes less a second's rounding at most, and not a second twice. What was read between the last
    // row written and the start anew is lost, to the member's good.
    let more = scene.spent().checked_sub(credits("6")).unwrap();
    assert!(more <= credits("3").for_duration(1, 640).unwrap() && more >= credits("3").for_duration(1, 600).unwrap());
    let uses = scene.uses();
    let [one] = uses.as_slice() else { panic!("{uses:#?}") };
    assert_eq!((one.state.as_str(), one.billed.credits(), one.gpus.len()), ("gone", scene.spent(), 2));
    let lines =
        statement::statement(&scene.mill.store.read().unwrap(), &scene.yard.ada, "Vision", None, 9).unwrap().lines;
    assert_eq!(lines[0].kind, "unbooked");
    assert!(
        lines[0].text.starts_with("Used outside bookings, ") && lines[0].text.ends_with(", by u1001"),
        "{lines:#?}"
    );
    scene.verified();
}

#[tokio::test]
async fn a_booking_is_not_paid_a_second_time_and_a_day_has_its_limit() {
    let policy = UnbookedPolicy { most_a_day: credits("5"), ..bills() };
    let scene = Scene::new(Yard::new(clock!(), Mode::Showback, &[1]).await, policy).await;
    let cy = scene.yard.stranger.clone();
    // Somebody else has the GPU for the second half hour of the process's hour.
    let mut ask = at(1, 0, 1);
    ask.at = Some(Instant::from_millis(START).plus(Span::from_minutes(30)).into());
    scene.yard.book(&cy, ask).await.unwrap();
    let process: &[(u32, u64, u32)] = &[(50, 7, 1001)];
    scene.goes_on(3600, &[process]).await;
    assert_eq!(scene.spent(), credits("1.5"), "half an hour at 3.00");
    // From half past nine (and the turnaround of a minute) on it is billed again, until five credits are reached.
    scene.goes_on(5 * 3600, &[process]).await;
    assert_eq!(scene.spent(), credits("5"));
    scene.verified();
}

#[tokio::test]
async fn nobody_pays_who_was_not_named_or_whose_pool_does_not_bill() {
    let scene = Scene::new(Yard::new(clock!(), Mode::Showback, &[2]).await, bills()).await;
    scene.goes_on(3700, &[&[(50, 7, 1002)], &[(60, 7, 0)]]).await;
    assert!(scene.spent().is_zero());
    assert_eq!(scene.uses().len(), 2, "and it is seen all the same");
    let kind = Scene::new(Yard::new(clock!(), Mode::Showback, &[1]).await, UnbookedPolicy::default()).await;
    kind.goes_on(3700, &[&[(50, 7, 1001)]]).await;
    assert!(kind.spent().is_zero());
    let view = kind.mill.store.read().unwrap();
    let told = |member| notices::list(&view, member).unwrap();
    assert_eq!((told(kind.bo.member).len(), told(kind.yard.ada.member).len()), (1, 1), "once, not at each reading");
    assert!(told(kind.yard.ada.member)[0].subject.starts_with("Your process is on GPU 0 of node-"));
    assert!(told(kind.yard.stranger.member).is_empty());
    // Others' uses are not theirs to see; that a GPU is used is.
    assert_eq!(show::list(&kind.mill, &kind.yard.ada, kind.yard.now()).unwrap().len(), 1);
    assert!(show::list(&kind.mill, &kind.yard.stranger, kind.yard.now()).unwrap().is_empty());
    assert_eq!(show::of_node(&view, kind.node, kind.yard.now()).unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_billed_can_be_given_back_until_a_document_lists_it() {
    let scene = Scene::new(Yard::new(clock!(), Mode::Showback, &[1]).await, bills()).await;
    scene.goes_on(1800, &[&[(50, 7, 1001)]]).await;
    scene.goes_on(40, &[&[]]).await;
    let used = scene.uses()[0].id;
    assert_eq!(scene.spent(), credits("1.5"));
    assert_eq!(code(bill::void(&scene.mill, &scene.yard.ada, used, "mine").await), "denied");
    assert_eq!(code(bill::void(&scene.mill, &scene.bo, used, "").await), "reason_missing");
    assert_eq!(bill::void(&scene.mill, &scene.bo, used, "a stuck job").await.unwrap(), credits("1.5"));
    assert!(scene.spent().is_zero());
    assert_eq!(code(bill::void(&scene.mill, &scene.bo, used, "again").await), "nothing_billed");
    scene.verified();

    scene.yard.pass_seconds(10).await;
    scene.goes_on(3600, &[&[(51, 9, 1001)]]).await;
    scene.goes_on(40, &[&[]]).await;
    let draft = gristmill::wire::api::money::DraftRequest { team: "Vision".to_owned(), period: "2026-11".to_owned() };
    let draft = gristmill::app::money::invoices::draft(&scene.mill, &scene.bo, draft, None).await.unwrap();
    assert_eq!((draft.lines.len(), draft.lines[0].text.as_str()), (1, "GPU time outside bookings"));
    assert_eq!(draft.total.credits(), credits("3"));
    gristmill::app::money::invoices::issue(&scene.mill, &scene.bo, draft.id, None).await.unwrap();
    let listed = scene.uses()[0].id;
    assert_ne!(listed, used);
    assert_eq!(code(bill::void(&scene.mill, &scene.bo, listed, "too late").await), "billed_on_document");
    scene.verified();
}

#[tokio::test]
async fn a_node_that_tells_too_much_is_not_written_down() {
    let scene = Scene::new(Yard::new(clock!(), Mode::Showback, &[1]).await, bills()).await;
    for wave in 0..40_u32 {
        let processes: Vec<(u32, u64, u32)> = (0..31).map(|pid| (wave * 100 + pid, 7, 1001)).collect();
        scene.goes_on(10, &[&processes]).await;
        scene.yard.pass_seconds(10).await;
    }
    let kept: Vec<Use> = scene.mill.store.read().unwrap().list(&[], Order::Ascending, 10_000).unwrap();
    assert!(kept.len() <= unbooked::MOST_AN_HOUR, "{}", kept.len());
    let told = notices::list(&scene.mill.store.read().unwrap(), scene.bo.member).unwrap();
    assert_eq!(told.len(), 1, "one Unix user on one node is one thing to know");
    // However many it names: a GPU's time is billed once.
    assert!(scene.spent() <= credits("3").for_duration(1, 40 * 20).unwrap());
    scene.verified();
}

#[tokio::test]
async fn a_node_is_told_to_end_exactly_what_it_named_and_its_word_about_others_is_nothing() {
    let policy = UnbookedPolicy { clear: true, ..UnbookedPolicy::default() };
    let scene = Scene::new(Yard::new(clock!(), Mode::Showback, &[2]).await, policy).await;
    let other = scene.yard.join(1).await;
    let processes: [&[(u32, u64, u32)]; 2] = [&[(50, 7, 1001)], &[(60, 8, 1002), (61, 9, 0)]];
    scene.goes_on(100, &processes).await;
    let wanted = |node| orders::wanted(&scene.mill.store.read().unwrap(), node).unwrap();
    assert!(wanted(scene.node).is_empty(), "the policy is kind while no booking needs the GPUs");
    let first: Vec<UnitId> = scene.units.iter().map(|unit| unit.id).collect();
    let booked = scene.yard.book(&scene.yard.stranger, at(2, 1, 1)).await.unwrap();
    assert_eq!(booked.leases[0].node, scene.node, "{first:?}");
    scene.goes_on(3200, &processes).await;
    assert!(wanted(scene.node).is_empty(), "its start is not near");
    scene.goes_on(250, &processes).await;
    let ordered = wanted(scene.node);
    let mut pids: Vec<(u32, u64, u32)> = ordered.iter().map(|one| (one.pid, one.started, one.uid)).collect();
    pids.sort_unstable();
    assert_eq!(pids, [(50, 7, 1001), (60, 8, 1002)], "what is root's is left alone");
    assert!(wanted(other).is_empty());

    let fact = |used: UseId, state| vec![EndFact { used, state }];
    let (one, two) = (ordered[0].used, ordered[1].used);
    orders::told(&scene.mill, other, fact(one, EndState::Gone), scene.yard.now()).await.unwrap();
    assert_eq!(wanted(scene.node).len(), 2, "another node's word");
    orders::told(&scene.mill, scene.node, fact(one, EndState::Gone), scene.yard.now()).await.unwrap();
    let why = "\u{7}it may not".to_owned();
    orders::told(&scene.mill, scene.node, fact(two, EndState::Refused { why }), scene.yard.now()).await.unwrap();
    assert!(wanted(scene.node).is_empty());
    let state = |id| scene.uses().into_iter().find(|one| one.id == id).map(|one| (one.state, one.note)).unwrap();
    assert_eq!(state(one).0, "ended");
    assert_eq!(state(two), ("refused".to_owned(), "Its node did not end it: it may not.".to_owned()));
    scene.verified();
}

#[tokio::test]
async fn a_pool_is_changed_with_a_reason_to_what_was_looked_at() {
    let scene = Scene::new(Yard::new(clock!(), Mode::Showback, &[1]).await, UnbookedPolicy::default()).await;
    let pool = pools::list(&scene.mill.store.read().unwrap()).unwrap().remove(0);
    let wish = || PoolChange {
        turnaround_seconds: Some(0),
        unbooked: Some("end".to_owned()),
        why: "new rules".to_owned(),
        revision: Some(0),
        ..PoolChange::default()
    };
    scene.yard.book(&scene.yard.ada, at(1, 2, 1)).await.unwrap();
    let change = |wish| pools::change(&scene.mill, &scene.bo, pool.id, wish);
    let seen = change(PoolChange { preview: true, why: String::new(), ..wish() }).await.unwrap();
    assert!(!seen.done && seen.changes.len() == 2, "{seen:?}");
    assert!(seen.follows[0].starts_with("Leases that stand (1) keep the 1 min"), "{seen:?}");
    let read = || scene.mill.store.read().unwrap().must::<Pool>(&pool.id).unwrap();
    assert_eq!(read().revision, 0, "a preview changes nothing");
    assert_eq!(code(change(PoolChange { why: String::new(), ..wish() }).await), "reason_missing");
    assert_eq!(code(pools::change(&scene.mill, &scene.yard.ada, pool.id, wish()).await), "denied");
    assert_eq!(change(wish()).await.unwrap().revision, 1);
    assert_eq!(code(change(PoolChange { grace_seconds: Some(60), ..wish() }).await), "pool_changed_meanwhile");
    let again = change(PoolChange { revision: None, ..wish() }).await.unwrap();
    assert!(again.changes.is_empty() && read().revision == 1, "nothing differs, nothing is written");
    assert_eq!(read().policy.turnaround, Span::ZERO);
    // The next booking has the new turnaround, the one before its own.
    scene.yard.book(&scene.yard.ada, at(1, 1, 1)).await.unwrap();
    assert_eq!(code(scene.yard.book(&scene.yard.ada, at(1, 3, 1)).await), "slot_taken");
    let past = gristmill::app::fleet::pool_past::of_pool(&scene.mill.store.read().unwrap(), pool.id).unwrap();
    assert!(past[0].what.ends_with(". new rules") && past[0].who == "bo", "{}", past[0].what);
    scene.yard.verify();
}

/// A child of this test that is ended with it.
struct Process(Child);

impl Process {
    fn start(uid: u32, script: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).uid(uid);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be over already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_agent_ends_processes_of_others_and_leaves_the_rest_alone() {
    let house = House::open(true).await;
    let (after, grace) = (Span::from_seconds(1), Span::from_seconds(1));
    let decide = move |view: &gristmill::store::View<'_>, _| {
        let mut pool: Pool = view.must(&POOL)?;
        pool.policy.grace = grace;
        pool.policy.unbooked.deed = Deed::End { after };
        let mut changes = Changes::new();
        changes.put(&pool);
        Ok((changes, ()))
    };
    house.fleet.mill.store.write(Intent::new(Cause::Operator), decide).await.unwrap();
    assert!(rustix::process::getuid().is_root(), "this test starts processes of other Unix users: run it as root");
    let mut gentle = Process::start(12_345, "exec sleep 600");
    let mut stubborn = Process::start(12_346, "trap '' TERM; while :; do sleep 1; done");
    let mut roots = Process::start(0, "exec sleep 600");
    let mut bystander = Process::start(12_345, "exec sleep 600");
    let data = folder("agent");
    std::fs::create_dir_all(&data).unwrap();
    let claims = format!("0 {}\n1 {}\n1 {}\n", gentle.0.id(), stubborn.0.id(), roots.0.id());
    std::fs::write(data.join("simulated-processes"), claims).unwrap();
    let _agent = Agent::start(&house, &data, Some(&house.token().await));
    house.connected().await;
    let uses = || -> Vec<Use> { house.fleet.mill.store.read().unwrap().list(&[], Order::Ascending, 9).unwrap() };
    let over = |pid| uses().iter().find(|known| known.process.pid == pid).is_some_and(|known| !known.is_open());
    let (one, two) = (gentle.0.id(), stubborn.0.id());
    until("both processes ended", || async { (over(one) && over(two)).then_some(()) }).await;
    let signal = |process: &mut Process| process.0.wait().unwrap().signal();
    assert_eq!(
        (signal(&mut gentle), signal(&mut stubborn)),
        (Some(15), Some(9)),
        "SIGTERM, and SIGKILL after the grace"
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(roots.0.try_wait().unwrap().is_none(), "root's is left alone");
    assert!(bystander.0.try_wait().unwrap().is_none(), "the same user's other process was never on a GPU");
    assert_eq!(uses().len(), 3);
    let open = |pid| uses().into_iter().find(|known| known.process.pid == pid).is_some_and(|known| known.is_open());
    assert!(open(roots.0.id()));
    let view = house.fleet.mill.store.read().unwrap();
    let index: Vec<Use> = view.list_via(Table::OpenUses, &[], Order::Ascending, 9).unwrap();
    assert_eq!(index.len(), 1);
}
