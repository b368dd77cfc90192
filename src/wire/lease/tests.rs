//! What a spec may and may not say.
use super::*;
use proptest::prelude::*;

fn spec() -> LeaseSpec {
    LeaseSpec {
        lease: LeaseId::from_u128(7),
        attempt: 1,
        kind: LeaseKind::Batch { command: vec!["true".to_owned()] },
        env: BTreeMap::new(),
        gpus: vec![LeasedGpu { uuid: "GPU-8a7".to_owned(), minor: Some(0), instance: None }],
        simulated: false,
        share: Share::default(),
        home: "/var/lib/gristmill/homes/ada".into(),
        member: MemberAccount { name: "ada".to_owned(), uid: 100_001, gid: 100_001 },
        deadline: Deadline { generation: 1, end: Instant::from_seconds(10), boot_ms: 10_000 },
        grace_seconds: 30,
        warnings: default_warnings(),
        log_cap: DEFAULT_LOG_CAP,
    }
}

#[test]
fn an_ordinary_spec_passes_and_returns_from_json() {
    let spec = spec();
    assert_eq!(spec.check(), Ok(()));
    assert_eq!(serde_json::from_str::<LeaseSpec>(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
}

#[test]
fn paths_that_wander_are_refused() {
    for home in ["", "home/ada", "/", "/etc", "/var/../etc/ssh", "/var/homes/..", "/var//homes", "/var/./x", "/a/\0b"] {
        let bad = LeaseSpec { home: home.into(), ..spec() };
        assert_eq!(bad.check(), Err(BadSpec::Home(home.into())), "{home:?}");
    }
}

#[test]
fn names_and_numbers_of_the_mighty_are_refused() {
    for name in ["", "root", "../x", "a/b", "Ada", "a b", "a\n", "-x", "1a", &"a".repeat(33)] {
        let member = MemberAccount { name: name.to_owned(), uid: 1000, gid: 1000 };
        assert!(matches!(LeaseSpec { member, ..spec() }.check(), Err(BadSpec::Name(_))), "{name:?}");
    }
    for uid in [0, 1, 999, 65_534, u32::MAX] {
        let member = MemberAccount { name: "ada".to_owned(), uid, gid: 1000 };
        assert_eq!(LeaseSpec { member, ..spec() }.check(), Err(BadSpec::Privileged(uid)));
    }
}

#[test]
fn commands_and_variables() {
    let batch = |words: &[&str]| LeaseKind::Batch { command: words.iter().map(|&w| w.to_owned()).collect() };
    assert_eq!(LeaseSpec { kind: batch(&[]), ..spec() }.check(), Err(BadSpec::NoCommand));
    assert_eq!(LeaseSpec { kind: batch(&["a\0"]), ..spec() }.check(), Err(BadSpec::ZeroByte));
    let long = "x".repeat(COMMAND_LIMIT);
    assert!(matches!(LeaseSpec { kind: batch(&[&long]), ..spec() }.check(), Err(BadSpec::TooLong(_))));
    let env = BTreeMap::from([("A=B".to_owned(), String::new())]);
    assert!(matches!(LeaseSpec { env, ..spec() }.check(), Err(BadSpec::Variable(_))));
    let gpus = vec![LeasedGpu { uuid: "GPU-1,GPU-2".to_owned(), minor: None, instance: None }];
    assert!(matches!(LeaseSpec { gpus, ..spec() }.check(), Err(BadSpec::Gpu(_))));
}

proptest! {
    #[test]
    fn any_home_is_answered(home: String) {
        let _ = LeaseSpec { home: home.into(), ..spec() }.check();
    }
}
