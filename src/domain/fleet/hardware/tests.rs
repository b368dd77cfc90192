//! The rules on hardware that changes, one by one.
use super::*;
use crate::base::ids::{NodeId, PoolId};
use crate::base::secret::SecretHash;

fn at(seconds: i64) -> Instant {
    Instant::from_seconds(seconds)
}

fn gpu(index: u32, uuid: &str, model: &str) -> ObservedGpu {
    ObservedGpu {
        uuid: uuid.to_owned(),
        model: model.to_owned(),
        index,
        minor: Some(index),
        memory_bytes: 141 << 30,
        ..ObservedGpu::default()
    }
}

fn seen(gpus: Vec<ObservedGpu>) -> ObservedNode {
    ObservedNode { hostname: "box".to_owned(), gpus, ..ObservedNode::default() }
}

fn node(state: NodeState, observed: ObservedNode) -> Node {
    Node {
        id: NodeId::from_u128(1),
        name: "box".parse().unwrap(),
        pool: PoolId::from_u128(2),
        owner: None,
        key: SecretHash::of(b"key"),
        certificate_serial: "1".to_owned(),
        certificate_expires: at(1000),
        certificate_next: None,
        state,
        duty: super::super::duty::Duty::Open,
        observed,
        epoch: 1,
        generation: 0,
        joined: at(0),
        local: false,
    }
}

fn ids() -> impl FnMut() -> UnitId {
    let mut next = 100;
    move || {
        next += 1;
        UnitId::from_u128(next)
    }
}

fn two() -> (Node, Vec<Unit>) {
    let node = node(NodeState::Admitted { since: at(0) }, seen(vec![gpu(0, "A", "H200"), gpu(1, "B", "H200")]));
    let units = first_units(&node, &mut ids(), at(0));
    (node, units)
}

#[test]
fn a_missing_gpu_goes_out_and_comes_back() {
    let (node, units) = two();
    let gone = judge(&node, &units, &seen(vec![gpu(0, "A", "H200")]), at(5));
    assert_eq!(gone.state, None);
    assert_eq!(gone.units.len(), 1);
    assert_eq!(gone.units[0].service, Service::Out { since: at(5), why: MISSING.to_owned() });
    let now_units = vec![units[0].clone(), gone.units[0].clone()];
    let back = judge(&node, &now_units, &node.observed, at(9));
    assert_eq!(back.units[0].service, Service::In);
    assert_eq!(judge(&node, &units, &node.observed, at(9)), Verdict::default());
}

#[test]
fn what_an_admin_took_out_stays_out() {
    let (node, mut units) = two();
    units[0].service = Service::Out { since: at(1), why: "fan is loud".to_owned() };
    assert_eq!(judge(&node, &units, &node.observed, at(2)), Verdict::default());
    assert!(matches!(accept(&node, &units, &mut ids(), at(2))[0].service, Service::Out { .. }));
}

#[test]
fn strange_hardware_closes_and_the_old_opens_again() {
    let (mut node, units) = two();
    for strange in [gpu(1, "C", "H200"), gpu(1, "B", "B200"), ObservedGpu { memory_bytes: 1, ..gpu(1, "B", "H200") }] {
        let verdict = judge(&node, &units, &seen(vec![gpu(0, "A", "H200"), strange]), at(5));
        assert!(matches!(verdict.state, Some(NodeState::Closed { .. })), "{verdict:?}");
    }
    node.state = NodeState::Closed { since: at(5), why: format!("{CHANGED}: x") };
    assert_eq!(judge(&node, &units, &node.observed, at(6)).state, Some(NodeState::Admitted { since: at(6) }));
    node.state = NodeState::Closed { since: at(5), why: "an admin closed it".to_owned() };
    assert_eq!(judge(&node, &units, &node.observed, at(6)).state, None);
    node.state = NodeState::Revoked { at: at(5) };
    assert_eq!(judge(&node, &units, &seen(vec![gpu(0, "Z", "H200")]), at(6)).state, None);
}

#[test]
fn accepting_keeps_ids_and_adds_units() {
    let (mut node, units) = two();
    node.observed = seen(vec![gpu(0, "A", "B200"), gpu(1, "C", "H200")]);
    let accepted = accept(&node, &units, &mut ids(), at(7));
    assert_eq!(accepted.len(), 3);
    assert_eq!((accepted[0].id, accepted[0].model.as_str()), (units[0].id, "B200"));
    assert_eq!(accepted[2].uuid, "B");
    assert!(matches!(accepted[2].service, Service::Out { .. }));
}

#[test]
fn pending_nodes_offer_nothing() {
    let node = node(NodeState::Pending, seen(vec![gpu(0, "A", "H200")]));
    let units = first_units(&node, &mut ids(), at(0));
    assert!(matches!(units[0].service, Service::Out { .. }));
    assert_eq!(accept(&node, &units, &mut ids(), at(1))[0].service, Service::In);
}

#[test]
fn incredible_observations_are_named() {
    assert!(credible(&seen(vec![gpu(0, "A", "H200")])).is_ok());
    assert!(credible(&seen(vec![gpu(0, "A", "H200"), gpu(1, "A", "H200")])).is_err());
    assert!(credible(&seen(vec![gpu(0, "", "H200")])).is_err());
    assert!(credible(&seen(vec![gpu(0, "A", "H200\n")])).is_err());
    assert!(credible(&seen((0..129).map(|n| gpu(n, &n.to_string(), "H200")).collect())).is_err());
}

#[test]
fn a_renewed_certificate_takes_over_when_it_is_used() {
    let (mut node, _) = two();
    node.certificate_next =
        Some(crate::domain::fleet::node::IssuedCertificate { serial: "2".to_owned(), expires: at(2000) });
    assert!(node.accepts_serial("1") && node.accepts_serial("2") && !node.accepts_serial("3"));
    node.serial_used("1");
    assert!(node.accepts_serial("2"));
    node.serial_used("2");
    assert!(!node.accepts_serial("1") && node.accepts_serial("2"));
    assert_eq!(node.certificate_expires, at(2000));
}

fn instance(uuid: &str, parent: &str) -> ObservedGpu {
    let shape = UnitShape::Mig {
        parent_uuid: parent.to_owned(),
        profile: "1g.18gb".to_owned(),
        parent_bytes: 141 << 30,
        place: None,
    };
    ObservedGpu { shape, memory_bytes: 17 << 30, mig: Some(true), ..gpu(0, uuid, "H200") }
}

fn why(unit: &Unit) -> Option<&str> {
    match &unit.service {
        Service::In => None,
        Service::Out { why, .. } => Some(why),
    }
}

#[test]
fn a_gpu_and_its_instances_are_never_both_in_service() {
    let (mut node, units) = two();
    let cut = seen(vec![instance("a", "A"), instance("b", "A"), gpu(1, "B", "H200")]);
    let verdict = judge(&node, &units, &cut, at(5));
    assert!(matches!(verdict.state, Some(NodeState::Closed { .. })), "nobody admitted the instances");
    assert_eq!(why(&verdict.units[0]), Some(CUT));
    node.observed = cut.clone();
    let mut fresh = ids();
    // Past the ids of the two that are there.
    fresh();
    fresh();
    let accepted = accept(&node, &[verdict.units[0].clone(), units[1].clone()], &mut fresh, at(6));
    let words: Vec<_> = accepted.iter().map(|unit| (unit.model.as_str(), why(unit))).collect();
    assert_eq!(words, [("H200 1g.18gb", None), ("H200 1g.18gb", None), ("H200", None), ("H200", Some(CUT))]);
    assert!(is_replaced(&accepted[3]) && !is_replaced(&accepted[0]));
    let kin: Vec<&str> = excluded(&accepted[3], &accepted).map(|unit| unit.uuid.as_str()).collect();
    assert_eq!(kin, ["a", "b"]);
    assert_eq!(excluded(&accepted[0], &accepted).map(|unit| unit.uuid.as_str()).collect::<Vec<_>>(), ["A"]);
    // In one piece again: the GPU comes back by itself, and its instances go.
    let back = judge(&node, &accepted, &seen(vec![gpu(0, "A", "H200"), gpu(1, "B", "H200")]), at(9));
    let back: Vec<_> = back.units.iter().map(|unit| (unit.uuid.as_str(), why(unit))).collect();
    assert_eq!(back, [("a", Some(WHOLE)), ("b", Some(WHOLE)), ("A", None)]);
    // One instance was destroyed, another made: the first is missing, and the second waits for an admin.
    let other =
        judge(&node, &accepted, &seen(vec![instance("a", "A"), instance("c", "A"), gpu(1, "B", "H200")]), at(9));
    assert!(matches!(other.state, Some(NodeState::Closed { .. })));
    assert_eq!((other.units.len(), why(&other.units[0])), (1, Some(MISSING)));
}

#[test]
fn a_gpu_in_mig_mode_without_instances_is_not_bookable() {
    let (node, units) = two();
    let empty = ObservedGpu { mig: Some(true), ..gpu(0, "A", "H200") };
    let verdict = judge(&node, &units, &seen(vec![empty.clone(), gpu(1, "B", "H200")]), at(5));
    assert_eq!((verdict.state, why(&verdict.units[0])), (None, Some(EMPTY)));
    let joined = super::Node { observed: seen(vec![empty]), ..node };
    assert_eq!(why(&first_units(&joined, &mut ids(), at(0))[0]), Some(EMPTY));
    assert_eq!(why(&accept(&joined, &units[..1], &mut ids(), at(0))[0]), Some(EMPTY));
}

#[test]
fn a_gpu_together_with_its_instances_is_not_believed() {
    assert!(credible(&seen(vec![instance("a", "A"), gpu(1, "B", "H200")])).is_ok());
    assert!(credible(&seen(vec![instance("a", "A"), gpu(0, "A", "H200")])).is_err());
    let nameless =
        UnitShape::Mig { parent_uuid: "A".to_owned(), profile: " ".to_owned(), parent_bytes: 0, place: None };
    assert!(credible(&seen(vec![ObservedGpu { shape: nameless, ..gpu(0, "a", "H200") }])).is_err());
}
