//! The built-in table line by line, and tables that are refused.
use proptest::prelude::*;

use super::*;
use crate::base::window::Instant;
use crate::base::xid::{Told, line};

fn fact(code: u32, detail: Detail) -> XidFact {
    let (uuid, at, told) = ("GPU-1".to_owned(), Instant::from_seconds(0), Told::Kernel);
    XidFact { uuid, code, at, told, pid: None, detail, text: String::new() }
}

fn of(code: u32) -> (Rule, String) {
    let (table, fact) = (Table::built_in(), fact(code, Detail::Plain));
    let (rule, name) = table.rule(&fact);
    (rule.clone(), name)
}

/// By the kernel's own line.
fn by_line(said: &str) -> (Action, String) {
    let read = line(&format!("NVRM: Xid (PCI:0000:05:00): {said}")).unwrap();
    let table = Table::built_in();
    let fact = fact(read.code, read.detail);
    let (rule, name) = table.rule(&fact);
    (rule.action, name)
}

#[test]
fn every_xid_that_we_know_has_its_line() {
    use Action::*;
    for (code, action, tenant, ends) in [
        (13, Probe, true, false),
        (31, Probe, true, false),
        (43, Log, true, false),
        (45, Log, true, false),
        (48, Deep, false, false),
        (61, Suspect, false, false),
        (62, Reset, false, false),
        (63, Boundary, false, false),
        (64, Review, false, false),
        (68, Probe, true, false),
        (74, Links, false, false),
        (79, Reboot, false, true),
        (92, Suspect, false, false),
        (94, Check, false, true),
        (95, Deep, false, true),
        (109, Probe, true, false),
        (119, Reset, false, true),
        (120, Reset, false, true),
        (140, Deep, false, true),
        (143, Deep, false, true),
        (154, Suspect, false, false),
        (156, Reset, false, false),
        (158, Reset, false, true),
    ] {
        let (rule, name) = of(code);
        assert_eq!((rule.action, rule.tenant, rule.ends_lease), (action, tenant, ends), "{code}");
        assert_eq!(name, code.to_string());
    }
    for code in 144..=150 {
        // The driver's event alone does not say how bad it is.
        assert_eq!(of(code).0.action, Suspect, "{code}");
    }
    assert_eq!(of(119).0.action(true), Reboot, "the second time");
    assert_eq!(of(79).0.action(true), Reboot);
    let (others, name) = of(1234);
    assert_eq!((others.action, name.as_str()), (Suspect, "default"));
    // What a tenant causes never takes a GPU out by itself.
    let table = Table::built_in();
    assert!(table.all().all(|(_, rule)| !rule.tenant || !rule.action.is_hard()));
}

#[test]
fn sub_codes_and_severity_decide_where_the_line_has_them() {
    for (said, action, name) in [
        ("144, SAW_MVB Nonfatal XC0 i0 Link 00 (0x00000001 0x00000008)", Action::Log, "144.nonfatal"),
        ("144, SAW_MVB Fatal XC0 i0 Link 00 (0x00000001 0x00000002)", Action::Reset, "144.fatal"),
        ("145, RLW_REMAP Nonfatal XC0 i0 Link 05 (0x00000004 0x00000001)", Action::Suspect, "145.RLW_REMAP.nonfatal"),
        ("145, RLW_RXPIPE Nonfatal XC0 i0 Link 13 (0x0409a0c2 0x00000008)", Action::Log, "145.nonfatal"),
        ("146, TLW_TX/TLW_TX_PIPE1 Fatal XC0 i0 Link 00 (0x0000000d 0x00000004)", Action::Reset, "146.fatal"),
        ("147, TREX Nonfatal XC0 i0 Link 00 (0x0000000e 0x00000001)", Action::Log, "147.nonfatal"),
        ("148, NVLPW_CTRL/NVLPW Nonfatal XC0 i0 Link 00 (0x0000000f 0x80000000)", Action::Log, "148.nonfatal"),
        ("149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x025001c6 0x00000000)", Action::Links, "149.37"),
        ("149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x026001c6 0x00000000)", Action::Log, "149.38"),
        ("149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x004001c6 0x00000000)", Action::Reset, "149.fatal"),
        ("150, MSE_WATCHDOG Fatal XC0 i0 Link 00 (0x00000000 0x00000000)", Action::Reset, "150.fatal"),
        ("154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", Action::Reset, "154.reset"),
        (
            "154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)",
            Action::Reboot,
            "154.reboot",
        ),
        ("154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)", Action::Log, "154.none"),
        ("154, GPU recovery action changed from 0x0 (None) to 0x3 (Drain P2P)", Action::Links, "154.drain_peers"),
        (
            "154, GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)",
            Action::Reset,
            "154.drain_and_reset",
        ),
    ] {
        assert_eq!(by_line(said), (action, name.to_owned()), "{said}");
    }
}

#[test]
fn an_installation_replaces_single_lines() {
    let own = "# ours\n[13]\nsays = \"x\" # why\naction = \"suspect\"\ntenant = false # no\n\n[default]\nsays = \"y\"\naction = \"log\"\n";
    let table = Table::with(own).unwrap();
    assert_eq!(table.rule(&fact(13, Detail::Plain)).0.action, Action::Suspect);
    assert_eq!(table.rule(&fact(1234, Detail::Plain)).0.action, Action::Log);
    assert_eq!(table.rule(&fact(79, Detail::Plain)).0.action, Action::Reboot, "the rest stays");
    assert_eq!(Table::with("").unwrap(), Table::built_in());
}

#[test]
fn a_refused_table_names_its_line() {
    for (text, line, about) in [
        ("says = \"x\"", 1, "before the first section"),
        ("[79\n", 1, "does not end"),
        ("[x]", 1, "names no Xid"),
        ("[079]", 1, "names no Xid"),
        ("[1.2.3.4]", 1, "names no Xid"),
        ("[79] x", 1, "behind the section"),
        ("\n[79]\nsays = x", 3, "quotes"),
        ("[79]\nsays = \"x", 2, "does not end with a quote"),
        ("[79]\nsays = \"x\" y", 2, "behind the text"),
        ("[79]\nsays = \"x\"\naction = \"explode\"", 3, "no action explode"),
        ("[79]\ntenant = yes", 2, "neither true nor false"),
        ("[79]\ncolour = \"red\"", 2, "there is no colour"),
        ("[79]\nwhat", 2, "no key = value"),
        ("[79]\nsays = \"x\"\nsays = \"y\"", 3, "twice"),
        ("[79]\nsays = \"x\"\naction = \"log\"\n[79]", 4, "already"),
    ] {
        match Table::with(text) {
            Err(BadTable::Line { line: at, what }) => {
                assert!(at == line && what.contains(about), "{text}: {at} {what}")
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let lacks = Table::with("\n[79]\nsays = \"x\"").unwrap_err();
    assert_eq!(lacks.to_string(), "the section [79], which begins on line 2, has no action");
    assert_eq!(Table::with(&"#".repeat(LARGEST + 1)), Err(BadTable::Large));
}

proptest! {
    #[test]
    fn no_table_is_too_strange_to_refuse(text in "(\\[[a-z0-9.]{0,8}\\]?|says ?= ?\"?[a-z]{0,4}\"?|#.{0,5}|.{0,20}|\n){0,20}") {
        let _ = Table::with(&text);
    }
}
