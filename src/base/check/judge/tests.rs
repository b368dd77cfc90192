//! Figures held against peers and floors.
use super::*;

fn link(generation: u32, width: u32) -> PcieLink {
    PcieLink { max_generation: 5, max_width: 16, generation: Some(generation), width: Some(width) }
}

fn bar(way: Way, about: About<'_>, peers: &[f64]) -> Option<f64> {
    match Bar::of(way, about, peers) {
        Bar::Fleet { at_least, .. } | Bar::Floor { at_least } => Some(at_least),
        Bar::Nothing => None,
    }
}

#[test]
fn floors_stand_until_there_are_five_peers() {
    let about = About { model: "H200", link: Some(link(5, 16)), nvlinks: 18 };
    assert_eq!(bar(Way::DeviceToDevice, about, &[4300.0; 4]), Some(3870.0));
    assert_eq!(bar(Way::DeviceToDevice, about, &[4300.0; 5]), Some(4085.0));
    let host = bar(Way::HostToDevice, about, &[]).unwrap();
    assert!((50.0..50.6).contains(&host), "{host}");
    let older = bar(Way::DeviceToHost, About { link: Some(link(4, 16)), ..about }, &[]).unwrap();
    assert!((25.0..25.3).contains(&older), "{older}");
    let narrow = bar(Way::DeviceToHost, About { link: Some(link(4, 8)), ..about }, &[]).unwrap();
    assert!((older / narrow - 2.0).abs() < 1e-9);
    let peer = bar(Way::Peer, about, &[]).unwrap();
    assert!((406.0..407.0).contains(&peer), "{peer}");
}

#[test]
fn what_nobody_measured_is_not_judged() {
    for way in Way::ALL {
        let bar = Bar::of(way, About { model: "Unheard-of", ..About::default() }, &[1.0; 4]);
        assert_eq!(bar, Bar::Nothing);
        assert!(bar.holds(0.001));
    }
    let link = PcieLink { max_generation: 9, max_width: 16, generation: None, width: None };
    assert_eq!(bar(Way::HostToDevice, About { link: Some(link), ..About::default() }, &[]), None);
}

#[test]
fn five_percent_below_the_median_is_the_end() {
    let fleet = Bar::of(Way::Peer, About::default(), &[100.0, 101.0, 99.0, 100.0, 5.0, f64::NAN]);
    assert!(fleet.holds(95.0) && !fleet.holds(94.9) && !fleet.holds(f64::NAN));
    assert_eq!(median(&[1.0, 2.0, 3.0, 4.0]), Some(2.5));
}
