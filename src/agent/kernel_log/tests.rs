//! The kernel’s log as it comes, with lines that are none of ours.
use super::*;

fn record(micros: u64, code: u32) -> String {
    format!("4,1,{micros},-;NVRM: Xid (PCI:0000:05:00): {code}, x\n")
}

fn up_micros() -> u64 {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(up.tv_sec).unwrap() * 1_000_000
}

#[test]
fn records_are_kept_with_their_time_and_no_more_than_a_few() {
    let log = KernelLog::default();
    let begun = clock::now();
    log.take("6,1,1,-;usb 1-1: new device", begun);
    log.take("12,1,1,-;NVRM: Xid (PCI:0000:05:00): 79, x", begun);
    assert!(log.written().is_empty());
    let up = up_micros();
    for code in 0..100 {
        log.take(&record(up, 1 + code), begun);
    }
    let written = log.written();
    assert_eq!((written.len(), written[0].line.code), (MOST_XIDS, 37));
    let apart = written[0].at.since(begun).as_millis().abs();
    assert!(apart < 60_000, "{apart} ms from now");
}

#[test]
fn what_was_written_long_before_the_start_is_another_agents() {
    let log = KernelLog::default();
    let up = up_micros();
    let begun = clock::now();
    log.take(&record(up, 79), begun.plus(BEFORE_START).plus(Span::from_seconds(60)));
    assert!(log.written().is_empty());
    log.take(&record(up, 79), begun.plus(Span::from_minutes(5)));
    assert_eq!(log.written().len(), 1);
}

#[test]
fn a_log_that_cannot_be_read_says_why() {
    let log = Arc::<KernelLog>::default();
    log.clone().start(Path::new("/nonexistent/kmsg"));
    assert!(log.problem().unwrap().contains("No such file"));
    assert!(log.written().is_empty());
}
