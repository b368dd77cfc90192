//! Every refusal, said.
use super::*;

fn needed(from: Option<Instant>, until: Option<Instant>, offer: Option<Offer>) -> Why {
    let (node, why) = ("stone-1".to_owned(), "new fans".to_owned());
    Why::NodeNeeded(Box::new(NodeNeeded { node, why, from, until, offer }))
}

fn each() -> Vec<Why> {
    let now = Instant::from_seconds(1_800_000_000);
    let window = Window::lasting(now, Span::from_hours(3)).unwrap();
    let offer = Some(Offer { window, gpus: 2, model: "H200".to_owned() });
    vec![
        Why::NoGpus,
        Why::TooManyGpus { asked: 1_000_000, most: 4, all: 8, model: None },
        Why::UnknownModel { asked: "T4".to_owned(), known: vec!["H200".to_owned()] },
        Why::NoNodes { joined: 0 },
        Why::NoNodes { joined: 3 },
        Why::ShapeNotOffered,
        Why::Past { now },
        Why::NoDuration,
        Why::TooLong { longest: Span::from_days(7) },
        Why::BeyondHorizon { horizon: Span::from_days(28), latest: now },
        Why::NotBefore { by: now, offer: offer.clone() },
        Why::Full { asked: 2, free: 1, window, offer: offer.clone() },
        Why::Away { from: now, offer: offer.clone() },
        Why::NothingFree { asked: 2, latest: now },
        Why::CannotExtend { next: now, offer: offer.clone() },
        needed(Some(now), Some(now), None),
        needed(Some(now), None, offer.clone()),
        needed(None, None, offer),
        needed(None, None, None),
        Why::OnlyInstances { known: vec!["H200 1g.18gb".to_owned()] },
        Why::NoTeam { asked: None, teams: vec!["a".to_owned(), "b".to_owned()] },
        Why::WrongState { action: "release", state: "booked" },
        Why::NotYours { action: "cancel" },
        Why::EmptyCommand,
    ]
}

#[test]
fn every_refusal_says_what_why_and_what_next() {
    for why in each() {
        let said = BookingRefusal::from(why.clone()).sentence();
        for part in [said.what, said.why, said.next] {
            assert!(part.ends_with('.') && part.starts_with(char::is_uppercase), "{why:?}: {part}");
        }
    }
}

#[test]
fn an_offer_is_data_and_words() {
    let now = Instant::from_seconds(1_800_000_000);
    let window = Window::lasting(now, Span::from_hours(3)).unwrap();
    let offer = Some(Offer { window, gpus: 2, model: "H200".to_owned() });
    let refusal = BookingRefusal::from(Why::Full { asked: 2, free: 0, window, offer });
    assert_eq!(
        refusal.offer().unwrap(),
        serde_json::json!({"start": "2027-01-15T08:00:00Z", "end": "2027-01-15T11:00:00Z", "gpus": 2, "model": "H200"})
    );
    assert_eq!(
        refusal.sentence().next,
        "The nearest that works: 2 GPUs (H200) from Fri 15 Jan 2027 08:00 to 11:00 UTC."
    );
}
