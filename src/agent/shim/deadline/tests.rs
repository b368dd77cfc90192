//! The end of a lease on the boot clock, whatever the time of day does.
use super::*;
use crate::base::window::Instant;

const MINUTE: i64 = 60_000;

fn deadline(generation: u64, boot_ms: i64) -> Deadline {
    Deadline { generation, end: Instant::from_millis(boot_ms), boot_ms }
}

fn course(end_ms: i64, now_ms: i64) -> Course {
    let (deadline, grace_ms, warnings) = (deadline(1, end_ms), 30_000, vec![60, 15, 5]);
    Course { deadline, grace_ms, warnings, handled_ms: now_ms, kill_ms: None }
}

#[test]
fn everything_comes_in_its_order() {
    let mut course = course(100 * MINUTE, 0);
    let (mut now, mut seen) = (0, Vec::new());
    while now < 100 * MINUTE {
        now = course.next_ms();
        let due = course.due(now);
        if due == Some(Due::Terminate) {
            course.terminated(now);
        }
        seen.push((now, due.unwrap()));
    }
    let warn = |minutes: u32| (MINUTE * (100 - i64::from(minutes)), Due::Warn { minutes });
    let end = [(100 * MINUTE - 30_000, Due::Terminate), (100 * MINUTE, Due::Kill)];
    assert_eq!(seen, [&[warn(60), warn(15), warn(5)][..], &end].concat());
}

#[test]
fn a_machine_that_slept_past_all_of_it_kills_at_once() {
    assert_eq!(course(100 * MINUTE, 0).due(200 * MINUTE), Some(Due::Kill));
    let mut late = course(100 * MINUTE, 99 * MINUTE);
    assert_eq!(late.next_ms(), 100 * MINUTE - 30_000);
    assert_eq!(late.due(99 * MINUTE + 1), None);
}

#[test]
fn deadlines_move_by_generation() {
    let mut course = course(100 * MINUTE, 0);
    assert_eq!(course.change(deadline(1, 5)), Err(Late::Older(1)));
    assert_eq!(course.change(deadline(3, 200 * MINUTE)), Ok(()));
    assert_eq!(course.change(deadline(2, 50 * MINUTE)), Err(Late::Older(3)));
    assert_eq!(course.due(141 * MINUTE), Some(Due::Warn { minutes: 60 }));
    course.terminated(150 * MINUTE);
    assert_eq!(course.next_ms(), 150 * MINUTE + 30_000);
    assert_eq!(course.change(deadline(4, 300 * MINUTE)), Err(Late::Ending));
    assert_eq!(course.change(deadline(4, 150 * MINUTE + 1)), Ok(()));
    assert_eq!(course.due(150 * MINUTE + 1), Some(Due::Kill));
}
