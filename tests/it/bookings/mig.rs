//! GPUs that are cut into MIG instances, and what that means for who books what when: by name alone, at their part of the
//! price, and never a GPU and an instance of it at the same moment.
use gristmill::app::bookings::timeline;
use gristmill::app::error::AppError;
use gristmill::app::fleet::maintenance;
use gristmill::app::money::rates;
use gristmill::base::hardware::{MigPlace, UnitShape};
use gristmill::base::ids::{NodeId, UnitId};
use gristmill::base::window::Span;
use gristmill::domain::event::Cause;
use gristmill::domain::fleet::hardware::{CUT, WHOLE};
use gristmill::domain::fleet::node::{Service, Unit};
use gristmill::domain::people::installation::Mode;
use gristmill::domain::people::rights::Actor;
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command};
use gristmill::wire::api::bookings::BookRequest;
use gristmill::wire::api::money::RateRequest;
use gristmill::wire::node::{FactState, LeaseFact};

use super::yard::{Yard, at, clock, code, offer, soon};

const WORD: &str = "H200 1g.18gb";

fn named(request: BookRequest) -> BookRequest {
    BookRequest { model: Some(WORD.to_owned()), ..request }
}

fn units(yard: &Yard, node: NodeId) -> Vec<Unit> {
    gristmill::app::fleet::join::units_of(&yard.mill.store.read().unwrap(), node).unwrap()
}

async fn put(yard: &Yard, units: Vec<Unit>) {
    let decide = move |_: &gristmill::store::View<'_>, _| {
        let mut changes = Changes::new();
        for unit in &units {
            changes.put(unit).index(Table::UnitsByNode, &(unit.node, unit.id), &unit.id);
        }
        Ok((changes, ()))
    };
    yard.mill.store.write(Command::new(Cause::Operator), decide).await.unwrap();
}

fn out(unit: &Unit, yard: &Yard, why: &str) -> Unit {
    Unit { service: Service::Out { since: yard.now(), why: why.to_owned() }, ..unit.clone() }
}

/// The node's first GPU is cut in two from now on.
async fn cut(yard: &Yard, node: NodeId) -> [UnitId; 2] {
    let whole = units(yard, node).remove(0);
    let parts = [7, 8].map(|gpu_instance| Unit {
        id: UnitId::from_u128(node.as_u128() ^ (u128::from(gpu_instance) << 80)),
        uuid: format!("MIG-{gpu_instance}-{node}"),
        model: WORD.to_owned(),
        shape: UnitShape::Mig {
            parent_uuid: whole.uuid.clone(),
            profile: "1g.18gb".to_owned(),
            parent_bytes: whole.memory_bytes,
            place: Some(MigPlace { gpu_instance, compute_instance: 0 }),
        },
        memory_bytes: 17 << 30,
        service: Service::In,
        ..whole.clone()
    });
    let ids = [parts[0].id, parts[1].id];
    put(yard, [vec![out(&whole, yard, CUT)], parts.to_vec()].concat()).await;
    ids
}

/// It is in one piece again.
async fn mend(yard: &Yard, node: NodeId) {
    let mended = units(yard, node).into_iter().map(|unit| match unit.shape {
        UnitShape::Gpu => Unit { service: Service::In, ..unit },
        UnitShape::Mig { .. } => out(&unit, yard, WHOLE),
    });
    put(yard, mended.collect()).await;
}

fn refusal(error: &AppError) -> String {
    match error {
        AppError::Refused(refusal) => refusal.to_string(),
        other => panic!("not a refusal: {other:?}"),
    }
}

#[tokio::test]
async fn an_instance_is_booked_by_its_name_at_its_part_of_the_price() {
    let yard = Yard::new(clock!(), Mode::Showback, &[2]).await;
    let whole = yard.book(&yard.ada, soon(1, 1)).await.unwrap();
    let node = whole.leases[0].node;
    yard.release(whole.id).await.unwrap_err();
    yard.cancel(whole.id).await.unwrap();
    let parts = cut(&yard, node).await;
    // Any model means whole GPUs, of which one is left.
    let any = yard.book(&yard.ada, soon(1, 1)).await.unwrap();
    assert_eq!((any.model.as_str(), any.leases[0].gpu_names[0].as_str()), ("H200", "GPU 1"));
    assert_eq!(code(&yard.book(&yard.ada, soon(2, 1)).await.unwrap_err()), "too_many_gpus");
    let booking =
        yard.book(&yard.ada, BookRequest { model: Some("h200 1G.18GB".to_owned()), ..soon(1, 1) }).await.unwrap();
    assert_eq!((booking.model.as_str(), booking.price.decimal.as_str()), (WORD, "0.375"));
    let lease = &booking.leases[0];
    assert!(parts.contains(&lease.units[0]) && lease.gpu_names[0].starts_with("GPU 0:"), "{lease:?}");
    // The node has 16 CPUs and two GPUs, of which one is cut: an eighth of half of it.
    assert_eq!((any.share.cpu_millis, booking.share.cpu_millis), (8000, 1000));
    let ordered = yard.desired(node);
    let order = ordered.iter().find(|order| order.lease == lease.id).unwrap();
    assert!(order.gpus[0].uuid.starts_with("MIG-"), "{order:?}");
    // More of it costs the same part; a rate of its own holds from then on.
    assert_eq!(yard.extend(booking.id, 3600).await.unwrap().price.decimal, "0.75");
    let admin = Actor { admin: true, ..yard.ada.clone() };
    let request = RateRequest { model: WORD.to_owned(), per_gpu_hour: "0.5".to_owned() };
    rates::set(&yard.mill, &admin, request, None).await.unwrap();
    assert_eq!(yard.book(&yard.ada, named(soon(1, 1))).await.unwrap().price.decimal, "0.50");
    let listed = rates::list(&yard.mill.store.read().unwrap()).unwrap();
    assert!(listed.iter().any(|rate| rate.model == WORD && rate.version == 1));
    assert_eq!(code(&yard.book(&yard.ada, named(soon(3, 1))).await.unwrap_err()), "too_many_gpus");
    yard.verify();
}

#[tokio::test]
async fn where_everything_is_cut_only_a_name_helps() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let node = yard.book(&yard.ada, at(1, 90, 1)).await.unwrap().leases[0].node;
    cut(&yard, node).await;
    let refused = yard.book(&yard.ada, soon(1, 1)).await.unwrap_err();
    assert_eq!(code(&refused), "only_instances");
    assert!(refusal(&refused).contains(WORD));
    assert!(yard.book(&yard.ada, named(soon(2, 1))).await.is_ok());
}

#[tokio::test]
async fn a_gpu_that_is_cut_keeps_its_time_free_of_instances_and_the_other_way_round() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let promised = yard.book(&yard.ada, at(1, 10, 2)).await.unwrap();
    let node = promised.leases[0].node;
    cut(&yard, node).await;
    // The GPU is promised from 10 to 12: no instance of it then, or into it, on any path.
    let refused = yard.book(&yard.bo, named(at(1, 9, 2))).await.unwrap_err();
    assert_eq!(code(&refused), "slot_taken");
    assert_eq!(offer(&refused)["start"], "2026-11-23T20:01:00Z", "after its turnaround");
    let before = yard.book(&yard.ada, named(soon(2, 9))).await.unwrap();
    assert_eq!(code(&yard.extend(before.id, 3600).await.unwrap_err()), "cannot_extend");
    let after = yard.book(&yard.bo, named(at(2, 13, 2))).await.unwrap();
    // In one piece again, its instances' time is not the GPU's.
    mend(&yard, node).await;
    assert_eq!(code(&yard.book(&yard.bo, at(1, 13, 1)).await.unwrap_err()), "slot_taken");
    assert_eq!(code(&yard.extend(promised.id, 2 * 3600).await.unwrap_err()), "cannot_extend");
    let next = yard.book(&yard.ada, soon(1, 3)).await.unwrap();
    assert!(next.start.0 >= after.end.0, "between 12:01 and 13 there is no room for three hours");
    yard.verify();
    // A calendar that shows both sides shows each once, and counts what can be booked.
    let (from, until) = (yard.now(), yard.now().plus(Span::from_hours(24)));
    let shown = timeline::calendar(&yard.mill, &yard.ada, from, until, from).unwrap();
    let names: Vec<&str> = shown.nodes[0].units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!((names, shown.total, shown.free_now), (vec!["GPU 0", "GPU 0:7", "GPU 0:8"], 1, 0));
    let gpus = gristmill::app::fleet::show::gpus(&yard.mill, &yard.ada, from).unwrap();
    let whole = gpus.iter().find(|gpu| gpu.name == "GPU 0").unwrap();
    assert_eq!((whole.state.as_str(), whole.until.map(|at| at.0 > from)), ("leased", Some(true)), "an instance has it");
}

#[tokio::test]
async fn what_waits_for_a_gpu_that_was_cut_moves_to_an_equal_one() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1, 2]).await;
    let promised = yard.book(&yard.ada, at(1, 10, 2)).await.unwrap();
    let node = promised.leases[0].node;
    let unit = promised.leases[0].units[0];
    put(&yard, units(&yard, node).iter().filter(|one| one.id == unit).map(|one| out(one, &yard, CUT)).collect()).await;
    assert_eq!(maintenance::clear(&yard.mill, yard.now()).await.unwrap(), 0, "it may be back in a moment");
    yard.pass_seconds(301).await;
    assert_eq!(maintenance::clear(&yard.mill, yard.now()).await.unwrap(), 1);
    let moved = yard.show(promised.id);
    assert_ne!(moved.leases[0].units[0], unit);
    assert_eq!((moved.start, moved.end, moved.model.as_str()), (promised.start, promised.end, "H200"));
    assert_eq!(maintenance::clear(&yard.mill, yard.now()).await.unwrap(), 0);
    yard.verify();
}

#[tokio::test]
async fn what_a_sandbox_goes_without_stands_with_its_lease() {
    let yard = Yard::new(clock!(), Mode::Showback, &[1]).await;
    let booking = yard.book(&yard.ada, soon(1, 1)).await.unwrap();
    yard.pass_seconds(0).await;
    let lease = &booking.leases[0];
    let fact = |lacking: &[&str]| LeaseFact {
        lease: lease.id,
        attempt: lease.attempt,
        revision: 1,
        state: FactState::Ready { elapsed: Span::ZERO },
        lacking: lacking.iter().map(|&lack| lack.to_owned()).collect(),
    };
    let said =
        ["the CPU share is not enforced: no writable cgroup with the cpu controller", "no\u{7} network:\n down."];
    yard.facts(lease.node, vec![fact(&said)], false).await;
    let shown = yard.show(booking.id).leases[0].lacking.clone();
    let cpu = "The CPU share is not enforced: no writable cgroup with the cpu controller.";
    assert_eq!(shown, [cpu, "No network: down."]);
    // A later word that leaves it out takes nothing back.
    yard.facts(lease.node, vec![fact(&[])], false).await;
    assert_eq!(yard.show(booking.id).leases[0].lacking.len(), 2);
    let node = gristmill::app::fleet::show::node(&yard.mill, &yard.ada, lease.node, yard.now()).unwrap();
    assert!(node.lacking.iter().any(|lack| lack == cpu), "{:?}", node.lacking);
}
