//! Measuring what a workload has written.
use super::*;

const MIB: u64 = 1 << 20;

fn reading(mebibytes: u64) -> Reading {
    Reading { used: mebibytes * MIB, disk_nearly_full: false, pause: PAUSE }
}

fn is_warning(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Warn(_))
}

#[test]
fn a_word_early_and_once() {
    let mut gauge = Gauge::new(100 * MIB);
    assert_eq!(gauge.judge(reading(79), 0), Verdict::Fine);
    assert!(is_warning(&gauge.judge(reading(85), 1)));
    for used in [90, 75, 85, 100] {
        assert_eq!(gauge.judge(reading(used), 2), Verdict::Fine, "{used}");
    }
    assert_eq!(gauge.judge(reading(10), 3), Verdict::Fine);
    assert!(is_warning(&gauge.judge(reading(80), 4)));
}

#[test]
fn time_to_tidy_up() {
    let mut gauge = Gauge::new(100 * MIB);
    assert!(is_warning(&gauge.judge(reading(120), 0)));
    assert_eq!(gauge.judge(reading(130), PATIENCE_MS - 1), Verdict::Fine);
    assert_eq!(gauge.judge(reading(60), PATIENCE_MS), Verdict::Fine);
    // Tidied up, the time begins anew.
    assert!(is_warning(&gauge.judge(reading(101), 2 * PATIENCE_MS)));
    let end = gauge.judge(reading(101), 3 * PATIENCE_MS);
    assert_eq!(end, Verdict::End("scratch held 101.0 MiB, more than its share of 100.0 MiB".to_owned()));
}

#[test]
fn what_endangers_neighbours_ends_at_once() {
    assert!(matches!(Gauge::new(100 * MIB).judge(reading(200), 0), Verdict::End(_)));
    let full = |mebibytes| Reading { disk_nearly_full: true, ..reading(mebibytes) };
    assert!(matches!(Gauge::new(100 * MIB).judge(full(101), 0), Verdict::End(_)));
    // Whoever keeps to the share is not ended for what others did.
    assert_eq!(Gauge::new(100 * MIB).judge(full(50), 0), Verdict::Fine);
}

#[test]
fn links_count_once_and_are_not_followed() {
    let dir = std::env::temp_dir().join(format!("gristmill-measure-{}", std::process::id()));
    fs::create_dir_all(dir.join("below")).unwrap();
    fs::write(dir.join("file"), vec![1; 1 << 20]).unwrap();
    fs::hard_link(dir.join("file"), dir.join("below/again")).unwrap();
    std::os::unix::fs::symlink("/usr", dir.join("link")).unwrap();
    let reading = read(&dir);
    assert!((MIB..MIB + MIB / 2).contains(&reading.used), "{reading:?}");
    assert!(reading.pause >= PAUSE);
    fs::remove_dir_all(dir).unwrap();
}
