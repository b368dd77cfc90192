//! Lines as drivers print them, lines that only look like theirs, and noise.
use proptest::prelude::*;

use super::*;

fn nvlink_of(text: &str) -> (u32, String, Severity, Option<i32>, Option<u32>, Option<u32>) {
    let read = line(text).unwrap_or_else(|| panic!("{text}"));
    let Detail::NvLink { unit, severity, link, sub_code, status } = read.detail else { panic!("{text}") };
    (read.code, unit, severity, link, sub_code, status)
}

#[test]
fn plain_xids_are_read_with_bus_number_process_and_words() {
    let off =
        line("NVRM: Xid (PCI:0000:05:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.").unwrap();
    assert_eq!((off.bus.as_str(), off.code, off.pid), ("0000:05:00", 79, None));
    assert!(off.text.ends_with("GPU has fallen off the bus."));
    let tenant =
        line("NVRM: Xid (PCI:0000:CB:00): 13, pid=2139, name=train, Graphics SM Warp Exception on (GPC 7, TPC 7)");
    let tenant = tenant.unwrap();
    assert_eq!((tenant.bus.as_str(), tenant.code, tenant.pid), ("0000:cb:00", 13, Some(2139)));
    let old = line("NVRM: Xid (0000:03:00): 14, Channel 00000001").unwrap();
    assert_eq!((old.bus.as_str(), old.code, old.text.as_str()), ("0000:03:00", 14, "Channel 00000001"));
    let slice = line("NVRM: Xid (PCI:0000:3D:00 GPU-I:05): 45, pid=7, name=a, Ch 00000001").unwrap();
    assert_eq!((slice.bus.as_str(), slice.code), ("0000:3d:00", 45));
    assert_eq!(line("NVRM: Xid (PCI:0000:3d:00): 63").map(|read| read.code), Some(63), "without words");
}

#[test]
fn nvlink_errors_carry_unit_severity_link_and_sub_code() {
    use Severity::{Fatal, Nonfatal};
    let at = "NVRM: Xid (PCI:0018:01:00): ";
    for (said, read) in [
        (
            "144, SAW_MVB Nonfatal XC0 i0 Link 0 (0x00000001 0x00000008 0x00000000 0x00000000 0x00000000 0x00000000)",
            (144, "SAW_MVB", Nonfatal, Some(0), Some(0), Some(8)),
        ),
        (
            "145, RLW_RXPIPE Nonfatal XC0 i0 Link 13 (0x0409a0c2 0x00000008 0x00000001 0x00000000)",
            (145, "RLW_RXPIPE", Nonfatal, Some(13), Some(0), Some(8)),
        ),
        (
            "146, TLW_RX/TLW_RX_PIPE0 Fatal XC0 i0 Link 00 (0x0000000a 0x00000004)",
            (146, "TLW_RX/TLW_RX_PIPE0", Fatal, Some(0), Some(0), Some(4)),
        ),
        (
            "147, TREX Nonfatal XC0 i0 Link 00 (0x0000000e 0x00000001)",
            (147, "TREX", Nonfatal, Some(0), Some(0), Some(1)),
        ),
        (
            "148, NVLPW_CTRL/NVLPW Non-fatal XC0 i0 Link 00 (0x0000000f 0x80000000)",
            (148, "NVLPW_CTRL/NVLPW", Nonfatal, Some(0), Some(0), Some(0x8000_0000)),
        ),
        (
            "149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x026001c6 0x00000000)",
            (149, "NETIR_LINK_EVT", Fatal, Some(0), Some(38), Some(0)),
        ),
        ("149, NETIR Fatal XC0 i0 Link -1 (0x000fe406 0x00000000)", (149, "NETIR", Fatal, Some(-1), Some(0), Some(0))),
        ("150, MSE_WATCHDOG Fatal XC0 i0", (150, "MSE_WATCHDOG", Fatal, None, None, None)),
    ] {
        let (code, unit, severity, link, sub_code, status) = nvlink_of(&format!("{at}{said}"));
        assert_eq!((code, unit.as_str(), severity, link, sub_code, status), read, "{said}");
    }
    // Words that are not understood leave the number.
    let odd = line(&format!("{at}145, something new")).unwrap();
    assert_eq!((odd.code, odd.detail), (145, Detail::Plain));
}

#[test]
fn the_recovery_action_is_what_it_changed_to() {
    let read = |text: &str| line(&format!("NVRM: Xid (PCI:0000:19:00): 154, {text}")).unwrap().detail;
    let changed = |action| Detail::Recovery { action };
    assert_eq!(
        read("GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"),
        changed(Recovery::Reset)
    );
    assert_eq!(
        read("GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)"),
        changed(Recovery::None)
    );
    let reboot = "GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)";
    assert_eq!(read(reboot), changed(Recovery::Reboot));
    assert_eq!(read("GPU recovery action changed from 0x0 (None) to 0x9 (Unheard Of)"), Detail::Plain);
    let named = read("pid=7, name=x, GPU recovery action changed from 0x0 to 0x2");
    assert_eq!(named, Detail::Plain, "a program's name is no word of the driver");
}

#[test]
fn what_programs_write_is_not_the_drivers_word() {
    for not in [
        "",
        "NVRM: Xid",
        "usb 1-1: NVRM: Xid (PCI:0000:05:00): 79, GPU has fallen off the bus.",
        // The 15 letters a program may be called, as the kernel tells of its end.
        "NVRM: Xid (PCI:[1234]: segfault at 0 ip 0 sp 0 error 4 in x",
        "NVRM: Xid (0:0)[1234]: segfault at 0",
        "NVRM: Xid (PCI:0000:05:00): , no number",
        "NVRM: Xid (PCI:0000:05:00): 0, nothing",
        "NVRM: Xid (PCI:0000:05:00): 99999999999, far too many",
        "NVRM: Xid (PCI:0000:05:00): 79 GPU",
        "NVRM: Xid (PCI:zzzz:05:00): 79, x",
        "NVRM: Xid (PCI:05:00): 79, x",
    ] {
        assert_eq!(line(not), None, "{not}");
    }
    let record = kernel_record("4,812,1234567,-;NVRM: Xid (PCI:0000:05:00): 79, x\n SUBSYSTEM=pci").unwrap();
    assert_eq!((record.sequence, record.micros), (812, 1_234_567));
    assert_eq!(line(record.message).map(|read| read.code), Some(79));
    assert_eq!(kernel_record("12,813,1234568,-;NVRM: Xid (PCI:0000:05:00): 79, x"), None, "written by a program");
    for not in ["", ";", "x,1,2,-;y", "4,1;y", "4,1,z,-;y"] {
        assert_eq!(kernel_record(not), None, "{not}");
    }
}

#[test]
fn one_occurrence_is_told_by_two_sources() {
    let fact = |code, at, told| XidFact {
        uuid: "GPU-1".to_owned(),
        code,
        at: Instant::from_seconds(at),
        told,
        pid: None,
        detail: Detail::Plain,
        text: String::new(),
    };
    assert!(fact(79, 100, Told::Kernel).is_same(&fact(79, 104, Told::Driver)));
    assert!(!fact(79, 100, Told::Kernel).is_same(&fact(79, 106, Told::Driver)));
    assert!(!fact(79, 100, Told::Kernel).is_same(&fact(48, 100, Told::Driver)));
}

proptest! {
    #[test]
    fn no_line_is_too_strange_to_look_at(text in ".{0,300}") {
        let _ = kernel_record(&text);
        let _ = line(&text);
        let long = format!("NVRM: Xid (PCI:0000:05:00): 145, {text}");
        if let Some(read) = line(&long) {
            prop_assert!(read.text.chars().count() <= LONGEST_TEXT);
            prop_assert!(!read.text.chars().any(char::is_control));
        }
    }

    #[test]
    fn lines_with_parts_of_ours_in_any_order_never_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "NVRM: Xid (", "PCI:", "0000:05:00", ")", ": ", "79", "154", "149", ", ", "pid=", "'<unknown>'", "name=",
                "NETIR_LINK_EVT", " Fatal ", "Link ", "-1", "(0x", "ffffffff", "é", "\u{0}", " to 0x", "4",
            ]),
            0..20,
        ),
    ) {
        let _ = line(&parts.concat());
    }

    #[test]
    fn a_number_is_read_as_it_stands(code in 1u32..10_000, bus in "[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}", pid in any::<u32>()) {
        let read = line(&format!("NVRM: Xid (PCI:{bus}): {code}, pid={pid}, name=x, y")).unwrap();
        prop_assert_eq!((read.code, read.pid, read.bus), (code, Some(pid), bus));
    }
}
