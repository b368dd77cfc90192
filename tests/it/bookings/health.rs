//! A GPU fails, or seems to: what becomes of what runs on it, of what is booked on it, and of the GPU.
use gristmill::app::fleet::health::{Told, hear, show, tend, word};
use gristmill::app::people::notices;
use gristmill::base::ids::{NodeId, UnitId};
use gristmill::base::telemetry::GpuReading;
use gristmill::base::window::Span;
use gristmill::base::xid::{self, Told as Source, XidFact};
use gristmill::domain::fleet::health::Word;
use gristmill::domain::fleet::node::{Service, Unit};
use gristmill::domain::people::installation::Mode;
use gristmill::domain::people::rights::Actor;
use gristmill::store::Read as _;
use gristmill::wire::api::health::GpuHealthDetail;
use gristmill::wire::node::FactCause;

use super::ended;
use super::yard::{Yard, at, clock, code, price, soon};

fn admin(yard: &Yard) -> Actor {
    Actor { admin: true, ..yard.ada.clone() }
}

fn told(yard: &Yard) -> Vec<(String, String)> {
    let view = yard.mill.store.read().unwrap();
    let all = notices::list(&view, yard.ada.member).unwrap();
    all.into_iter().map(|notice| (notice.subject, notice.text)).collect()
}

fn unit(yard: &Yard, id: UnitId) -> Unit {
    yard.mill.store.read().unwrap().must(&id).unwrap()
}

/// The first GPU of a node.
fn first(yard: &Yard, node: NodeId) -> Unit {
    unit(yard, UnitId::from_u128(node.as_u128() ^ (1 << 64)))
}

/// What the node says with its next round: that a GPU answers, and the kernel's lines about it.
async fn says(yard: &Yard, gpu: &Unit, answers: bool, lines: &[&str]) {
    let now = yard.now();
    let temperature = answers.then_some(40);
    let readings = [GpuReading { uuid: gpu.uuid.clone(), temperature, ..GpuReading::default() }];
    let fact = |line: &&str| {
        let read = xid::line(&format!("NVRM: Xid (PCI:0000:05:00): {line}")).unwrap();
        let uuid = gpu.uuid.clone();
        XidFact {
            uuid,
            code: read.code,
            at: now,
            told: Source::Kernel,
            pid: read.pid,
            detail: read.detail,
            text: read.text,
        }
    };
    let told = Told { gpus: &readings, xids: lines.iter().map(fact).collect(), kernel_log: None, clock: now };
    hear(&yard.mill, gpu.node, told, now).await.unwrap();
}

fn health(yard: &Yard, gpu: &Unit) -> GpuHealthDetail {
    show::gpu(&yard.mill, &admin(yard), gpu.id, yard.now()).unwrap()
}

const OFF_THE_BUS: &str = "79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.";

#[tokio::test]
async fn a_run_on_a_gpu_that_fails_ends_and_is_not_charged_since_its_last_sign_of_life() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 10)).await.unwrap();
    let node = booking.leases[0].node;
    let gpu = first(&yard, node);
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    yard.pass(Span::from_hours(1)).await;
    says(&yard, &gpu, true, &[]).await;
    // Three minutes in which the driver does not answer for it, then the kernel's line.
    yard.pass(Span::from_minutes(3)).await;
    says(&yard, &gpu, false, &[OFF_THE_BUS]).await;
    assert!(!yard.desired(node)[0].run, "it shall end");
    let (subject, text) = told(&yard)[0].clone();
    assert!(subject.contains("lost its GPU") && text.contains("3 min before"), "{subject}: {text}");
    assert_eq!(health(&yard, &gpu).gpu.state, "draining", "until it has ended");
    assert!(matches!(unit(&yard, gpu.id).service, Service::Out { .. }), "and out of the calendar already");
    // The node takes a while, and says that it ran all the time.
    yard.pass(Span::from_minutes(2)).await;
    yard.report(&booking, ended(65 * 60, 0, None, FactCause::Stopped)).await;
    let over = yard.show(booking.id);
    assert_eq!(over.state, "ended");
    assert_eq!(over.cost.unwrap().credits(), price(3600), "an hour, and nothing after the last sign of life");
    tend(&yard.mill, yard.now()).await.unwrap();
    let shown = health(&yard, &gpu);
    assert_eq!((shown.gpu.state.as_str(), shown.verdict.as_str()), ("quarantined", "person"));
    assert!(shown.gpu.remedy.as_deref().unwrap().contains("restart the machine"));
    assert!(yard.book(&yard.bo, soon(1, 1)).await.is_err(), "there is nothing to book");
    yard.verify();
}

#[tokio::test]
async fn the_same_line_told_again_is_one_fault_and_a_node_speaks_for_its_own_gpus_alone() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1, 1]).await;
    let booking = yard.book(&yard.ada, at(1, 10, 2)).await.unwrap();
    let gpu = first(&yard, booking.leases[0].node);
    for _ in 0..3 {
        says(&yard, &gpu, true, &[OFF_THE_BUS]).await;
    }
    yard.pass(Span::from_minutes(1)).await;
    says(&yard, &gpu, true, &[OFF_THE_BUS]).await;
    let xids = health(&yard, &gpu).evidence.iter().filter(|one| one.kind == "xid").count();
    assert_eq!(xids, 1);
    let shown = health(&yard, &gpu);
    let weighs: Vec<f64> = shown.score.terms.iter().map(|term| term.weight).collect();
    assert!(weighs.len() == 1 && weighs[0] > 0.99, "{weighs:?}");
    // The driver's bare event of the same moment is nothing new, and a kernel's line with more in it is.
    let gpu_of_other = first(&yard, yard.join(1).await);
    let fact = |told, detail| {
        let (uuid, at, text) = (gpu_of_other.uuid.clone(), yard.now(), String::new());
        XidFact { uuid, code: 145, at, told, pid: None, detail, text }
    };
    let line =
        xid::line("NVRM: Xid (PCI:0000:05:00): 145, RLW_CTRL Fatal XC0 i0 Link 00 (0x00000003 0x00000002)").unwrap();
    for (told, detail, state) in [
        (Source::Driver, xid::Detail::Plain, "suspect"),
        (Source::Kernel, line.detail, "quarantined"),
        (Source::Driver, xid::Detail::Plain, "quarantined"),
    ] {
        let told = Told { gpus: &[], xids: vec![fact(told, detail)], kernel_log: None, clock: yard.now() };
        hear(&yard.mill, gpu_of_other.node, told, yard.now()).await.unwrap();
        assert_eq!(health(&yard, &gpu_of_other).gpu.state, state);
        yard.pass_seconds(1).await;
    }
    // Another node names this GPU: nothing comes of it.
    let other = yard.join(1).await;
    let before = health(&yard, &gpu).evidence.len();
    let now = yard.now();
    let (uuid, text) = (gpu.uuid.clone(), String::new());
    let lie = XidFact { uuid, code: 95, at: now, told: Source::Kernel, pid: None, detail: xid::Detail::Plain, text };
    let told = Told { gpus: &[], xids: vec![lie], kernel_log: None, clock: now };
    hear(&yard.mill, other, told, now).await.unwrap();
    assert_eq!(health(&yard, &gpu).evidence.len(), before);
    yard.verify();
}

#[tokio::test]
async fn what_is_booked_on_it_moves_or_is_told_of_and_given_back() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1, 1]).await;
    let first_booking = yard.book(&yard.ada, at(1, 10, 2)).await.unwrap();
    let from = first_booking.leases[0].node;
    says(&yard, &first(&yard, from), true, &["95, pid=7, name=train, Uncontained: LTC TAG"]).await;
    tend(&yard.mill, yard.now()).await.unwrap();
    let moved = yard.show(first_booking.id);
    assert_ne!(moved.leases[0].node, from);
    assert_eq!((moved.start, moved.end), (first_booking.start, first_booking.end), "the promise stands");
    assert!(told(&yard)[0].1.contains("out of service"), "{:?}", told(&yard)[0]);
    // The second one fails too, and now there is nothing.
    let second = moved.leases[0].node;
    says(&yard, &first(&yard, second), true, &["48, pid=7, name=train, DBE"]).await;
    for _ in 0..3 {
        tend(&yard.mill, yard.now()).await.unwrap();
    }
    assert_eq!(yard.show(first_booking.id).state, "booked");
    let warned = told(&yard).iter().filter(|(subject, _)| subject.contains("is out of service")).count();
    assert_eq!(warned, 1, "told once: {:?}", told(&yard));
    yard.pass(Span::from_hours(9)).await;
    tend(&yard.mill, yard.now()).await.unwrap();
    let over = yard.show(first_booking.id);
    assert_eq!((over.state.as_str(), over.cost.unwrap().micros), ("failed", 0));
    assert!(over.explanation.contains("out of service"), "{}", over.explanation);
    yard.verify();
}

#[tokio::test]
async fn what_a_tenants_program_did_moves_nothing_and_weighs_nothing() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 2)).await.unwrap();
    let gpu = first(&yard, booking.leases[0].node);
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    for line in ["13, pid=7, name=train, Graphics SM Warp Exception", "31, pid=7, name=train, MMU Fault", "43, pid=7"] {
        says(&yard, &gpu, true, &[line]).await;
    }
    let shown = health(&yard, &gpu);
    assert_eq!((shown.gpu.state.as_str(), shown.gpu.bookable), ("in_service", true));
    assert!(shown.gpu.check_wanted.is_some(), "our own check decides");
    assert!(shown.score.terms.iter().all(|term| term.weightless.is_some()) && shown.score.failures == 0.0);
    assert!(yard.desired(gpu.node)[0].run, "it goes on");
    yard.verify();
}

#[tokio::test]
async fn an_admin_puts_it_back_and_it_comes_by_probation() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let node = yard.book(&yard.ada, at(1, 90, 1)).await.unwrap().leases[0].node;
    let gpu = first(&yard, node);
    let put_back = || word::say(&yard.mill, &yard.ada, gpu.id, Word::PutBack, "card replaced");
    assert!(put_back().await.is_err());
    let boss = admin(&yard);
    let back = || word::say(&yard.mill, &boss, gpu.id, Word::PutBack, "card replaced");
    assert_eq!(code(&back().await.unwrap_err()), "gpu_not_out");
    word::say(&yard.mill, &boss, gpu.id, Word::TakeOut, "a new fan").await.unwrap();
    let Service::Out { why, .. } = unit(&yard, gpu.id).service else { panic!("still in") };
    assert_eq!(why, "out: a new fan");
    back().await.unwrap();
    // It is not reported by its node just now, which is another reason.
    assert!(matches!(unit(&yard, gpu.id).service, Service::Out { why, .. } if why.contains("does not report")));
    assert_eq!(health(&yard, &gpu).gpu.state, "probation");
    yard.pass(Span::from_hours(23)).await;
    tend(&yard.mill, yard.now()).await.unwrap();
    assert_eq!(health(&yard, &gpu).gpu.state, "probation");
    yard.pass(Span::from_hours(1)).await;
    tend(&yard.mill, yard.now()).await.unwrap();
    assert_eq!(health(&yard, &gpu).gpu.state, "in_service");
    let said: Vec<String> = health(&yard, &gpu).evidence.into_iter().map(|one| one.what).collect();
    assert!(said.iter().any(|what| what.contains("out → probation: card replaced")), "{said:?}");
    yard.verify();
}

#[tokio::test]
async fn evidence_is_contested_with_a_reason_and_struck_out_by_an_admin() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let node = yard.book(&yard.ada, at(1, 90, 1)).await.unwrap().leases[0].node;
    let gpu = first(&yard, node);
    says(&yard, &gpu, true, &["62, pid=7, name=x, PMU Halt"]).await;
    let boss = admin(&yard);
    let shown = health(&yard, &gpu);
    let evidence = shown.evidence.iter().find(|one| one.contestable).unwrap().id;
    let low = shown.score.chance;
    // Nobody owns this node: its evidence is the admins' to contest.
    let stranger = word::contest(&yard.mill, &yard.stranger, gpu.id, evidence, "a cable").await.unwrap_err();
    assert_eq!(code(&stranger), "not_found");
    assert_eq!(code(&word::contest(&yard.mill, &boss, gpu.id, evidence, "").await.unwrap_err()), "reason_missing");
    word::contest(&yard.mill, &boss, gpu.id, evidence, "a cable").await.unwrap();
    assert_eq!(health(&yard, &gpu).score.chance, low, "it counts until it is decided");
    word::decide(&yard.mill, &boss, gpu.id, evidence, true, "seen").await.unwrap();
    assert!(health(&yard, &gpu).score.chance > low);
    let again = word::decide(&yard.mill, &boss, gpu.id, evidence, false, "seen").await.unwrap_err();
    assert_eq!(code(&again), "not_contested");
    yard.verify();
}
