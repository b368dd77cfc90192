//! Bytes of a node gone bad, made up by the thousand: whatever comes is read or refused, without a panic and without more
//! memory than what came could honestly fill.
use gristmill::base::hardware::{ObservedGpu, ObservedNode};
use gristmill::base::ids::{LeaseId, StreamId};
use gristmill::base::telemetry::GpuReading;
use gristmill::base::window::{Instant, Span};
use gristmill::wire::frame::{Attach, Decoder, Frame, HEADER, MAX_PAYLOAD, Size};
use gristmill::wire::lease::{Deadline, ExitKind};
use gristmill::wire::node::*;
use proptest::prelude::*;

/// One of each kind that a node says.
fn said() -> Vec<String> {
    let fact = |state| LeaseFact { lease: LeaseId::from_u128(3), attempt: 1, revision: 2, state, lacking: Vec::new() };
    let states = [
        FactState::Waiting,
        FactState::Preparing,
        FactState::Ready { elapsed: Span::from_seconds(9) },
        FactState::Stopping { elapsed: Span::from_seconds(9) },
        FactState::Ended {
            elapsed: Span::from_seconds(9),
            ago: Span::ZERO,
            code: Some(1),
            signal: None,
            cause: FactCause::Lost,
        },
        FactState::Failed { why: "no".to_owned() },
    ];
    let gpu = ObservedGpu { uuid: "GPU-1".to_owned(), model: "H200".to_owned(), ..ObservedGpu::default() };
    let observed = Box::new(ObservedNode { gpus: vec![gpu], ..ObservedNode::default() });
    let clock = Instant::from_seconds(1_800_000_000);
    let messages = [
        FromAgent::Hello {
            protocol: PROTOCOL,
            version: "1".to_owned(),
            boot: "b".to_owned(),
            clock,
            simulated: true,
            observed: observed.clone(),
        },
        FromAgent::Heartbeat { epoch: 1, clock },
        FromAgent::Observed { epoch: 1, observed },
        FromAgent::Leases { epoch: 1, generation: 2, leases: states.into_iter().map(fact).collect() },
        FromAgent::StreamRefused { stream: StreamId::from_u128(5), why: "no".to_owned() },
        FromAgent::Samples { epoch: 1, clock, gpus: vec![GpuReading::default()], xids: Vec::new(), kernel_log: None },
        FromAgent::Here { epoch: 1, question: 2 },
    ];
    messages.iter().map(|message| serde_json::to_string(message).unwrap()).collect()
}

/// What stands where something else was expected.
fn odd() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        Just(i64::MIN.to_string()),
        Just("99999999999999999999999999999999".to_owned()),
        Just("-1e999".to_owned()),
        Just("0.1".to_owned()),
        Just("null".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("\"\\u0000\\ud800\"".to_owned()),
        (1usize..5000).prop_map(|deep| "[".repeat(deep)),
        (1usize..5000).prop_map(|deep| "{\"a\":".repeat(deep)),
        (1usize..200).prop_map(|many| format!("[{}]", vec!["{}"; many].join(","))),
    ]
}

/// The places in a JSON text at which a value begins.
fn values(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    for (at, _) in text.match_indices(':') {
        let ends = bytes[at + 1..].iter().position(|byte| matches!(byte, b',' | b'}' | b']'));
        found.extend(ends.map(|length| (at + 1, at + 1 + length)));
    }
    found
}

fn read(text: &str) -> bool {
    serde_json::from_str::<FromAgent>(text).is_ok()
}

fn frames() -> Vec<Frame> {
    let size = Size { cols: 80, rows: 24 };
    vec![
        Frame::Attach(Attach { tab: 1, size }),
        Frame::Input(b"ls".to_vec()),
        Frame::Follow { from: 1, live: true },
        Frame::SetEnd(Deadline { generation: 1, end: Instant::from_seconds(1), boot_ms: 1 }),
        Frame::Log { offset: 7, bytes: b"grain".to_vec() },
        Frame::LogEnd(ExitKind::Code(1)),
        Frame::Refused { why: "no".to_owned() },
    ]
}

/// Takes what comes in pieces until it is no frame any more; answers how many frames there were.
fn take(bytes: &[u8], piece: usize) -> usize {
    let (mut decoder, mut count) = (Decoder::default(), 0);
    for piece in bytes.chunks(piece.max(1)) {
        decoder.feed(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(_)) => count += 1,
                Ok(None) => break,
                Err(_) => return count,
            }
        }
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        read(&text);
        read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn messages_with_something_else_in_them(
        which in 0usize..7, place in any::<prop::sample::Index>(), odd in odd(), cut in any::<prop::sample::Index>(),
    ) {
        let text = said().remove(which);
        prop_assert!(read(&text), "{}", text);
        let places = values(&text);
        let (from, to) = places[place.index(places.len())];
        let changed = format!("{}{odd}{}", &text[..from], &text[to..]);
        read(&changed);
        let cut: String = changed.chars().take(cut.index(changed.len())).collect();
        read(&cut);
    }

    #[test]
    fn frames_with_something_else_in_them(
        order in proptest::collection::vec(0usize..7, 1..6), flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        piece in 1usize..70, cut in any::<prop::sample::Index>(),
    ) {
        let frames = frames();
        let mut bytes: Vec<u8> = order.iter().flat_map(|&which| frames[which].encode()).collect();
        prop_assert_eq!(take(&bytes, piece), order.len());
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        take(&bytes, piece);
        take(&bytes[..cut.index(bytes.len())], piece);
    }
}

#[test]
fn short_words_do_not_become_long_lists() {
    let fill = |entry: &str, most: usize| vec![entry; most].join(",");
    let samples = |most| format!(r#"{{"say":"samples","epoch":1,"clock":0,"gpus":[{}]}}"#, fill("{}", most));
    // What fits into one message would be a hundred times as long in memory.
    let many = (MESSAGE_LIMIT - 100) / 3;
    let refused = serde_json::from_str::<FromAgent>(&samples(many)).unwrap_err().to_string();
    assert!(refused.contains("more than"), "{refused}");
    let clock = serde_json::to_string(&Instant::from_seconds(0)).unwrap();
    assert!(read(&samples(8).replace("\"clock\":0", &format!("\"clock\":{clock}"))));
    let processes = format!(r#"{{"processes":[{}]}}"#, fill("{}", many));
    assert!(serde_json::from_str::<GpuReading>(&processes).is_err());
    assert!(serde_json::from_str::<GpuReading>(&format!(r#"{{"processes":[{}]}}"#, fill("{}", 32))).is_ok());
    for deep in ["[", "{\"say\":", "{\"say\":\"samples\",\"gpus\":["] {
        assert!(!read(&deep.repeat(MESSAGE_LIMIT / deep.len())));
    }
}

#[test]
fn a_long_payload_is_never_waited_for() {
    let mut decoder = Decoder::default();
    let length = u32::try_from(MAX_PAYLOAD + 1).unwrap();
    decoder.feed(&[&[66u8][..], &length.to_be_bytes()].concat());
    assert!(decoder.next_frame().is_err());
    // The most that one waits for: a frame but for its last byte.
    let whole = Frame::Output(vec![1; MAX_PAYLOAD]).encode();
    let mut decoder = Decoder::default();
    decoder.feed(&whole[..whole.len() - 1]);
    assert!(decoder.next_frame().unwrap().is_none());
    decoder.feed(&whole[whole.len() - 1..]);
    assert!(decoder.next_frame().unwrap().is_some());
    assert_eq!(whole.len(), HEADER + MAX_PAYLOAD);
}
