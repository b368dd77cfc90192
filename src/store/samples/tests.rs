//! The file of readings from outside: what goes in, what comes back, what it does when it is too full or broken.
use super::*;

/// A Sunday, on a full hour.
const NOON: i64 = 1_795_539_600;

fn at(seconds: i64) -> Instant {
    Instant::from_seconds(NOON + seconds)
}

fn unit(number: u128) -> UnitId {
    UnitId::from_u128(number)
}

fn used(percent: u8) -> Point {
    Point { utilisation: Some(percent), ..Point::default() }
}

/// A busy GPU's reading: every figure moves, as on a real one.
fn busy(seconds: i64) -> Point {
    let wave =
        |salt: i64, range: i64| (seconds / 10 * 7919 + salt * 104_729).wrapping_mul(2_654_435_761) / 65_536 % range;
    Point {
        utilisation: Some(90 + wave(1, 9).unsigned_abs() as u8),
        memory_activity: Some(40 + wave(2, 7).unsigned_abs() as u8),
        temperature: Some(60 + wave(3, 3).unsigned_abs() as u8),
        memory_temperature: Some(70 + wave(4, 3).unsigned_abs() as u8),
        watts: Some(640 + wave(5, 40).unsigned_abs() as u16),
        sm_mhz: Some(1900 + 15 * wave(6, 5).unsigned_abs() as u16),
        memory_mib: Some(100_000),
        sm: Some(80 + wave(7, 9).unsigned_abs() as u8),
        tensor: Some(50 + wave(8, 9).unsigned_abs() as u8),
        dram: Some(40 + wave(9, 9).unsigned_abs() as u8),
        nvlink_mb: Some(180_000 + 100 * wave(10, 200).unsigned_abs() as u32),
    }
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("gristmill-samples-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

const ROOM: u64 = 1280 << 20;

#[test]
fn moments_become_minutes_and_hours_and_gaps_stay() {
    let dir = folder("rollup");
    let samples = Samples::open(&dir.join(FILE), ROOM);
    // The first minute is written in two batches, as it happens.
    for (seconds, percent) in [(0, 10), (10, 20)] {
        samples.add(unit(1), at(seconds), used(percent));
    }
    samples.write();
    for (seconds, percent) in [(20, 30), (130, 90), (3600, 50)] {
        samples.add(unit(1), at(seconds), used(percent));
    }
    samples.add(unit(2), at(0), Point { temperature: Some(55), ..Point::default() });
    samples.write();
    let series = |tier| {
        let found = samples.series(unit(1), tier, at(0), at(7200)).unwrap();
        found.iter().map(|(when, point)| (when.as_seconds() - NOON, point.utilisation.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(series(Tier::Fine), [(0, 10), (10, 20), (20, 30), (130, 90), (3600, 50)]);
    assert_eq!(series(Tier::Minute), [(0, 20), (120, 90), (3600, 50)]);
    // The mean of minutes that have a reading, not of an hour that was mostly silent.
    assert_eq!(series(Tier::Hour), [(0, 55), (3600, 50)]);
    let other = samples.series(unit(2), Tier::Fine, at(0), at(60)).unwrap();
    assert_eq!((other.len(), other[0].1.temperature, other[0].1.utilisation), (1, Some(55), None));
    assert!(samples.series(unit(3), Tier::Hour, at(-86_400), at(86_400)).unwrap().is_empty());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_waits_is_shown_and_what_was_written_outlives_the_handle() {
    let dir = folder("reopen");
    let samples = Samples::open(&dir.join(FILE), ROOM);
    samples.add(unit(1), at(0), used(7));
    assert_eq!(samples.series(unit(1), Tier::Fine, at(0), at(10)).unwrap(), [(at(0), used(7))]);
    samples.stop();
    drop(samples);
    let again = Samples::open(&dir.join(FILE), ROOM);
    assert_eq!(again.series(unit(1), Tier::Minute, at(0), at(60)).unwrap(), [(at(0), used(7))]);
    assert!(again.kept().bytes > 0 && again.kept().trouble.is_none());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_is_too_old_goes_by_tier() {
    let dir = folder("old");
    let samples = Samples::open(&dir.join(FILE), ROOM);
    samples.add(unit(1), at(0), used(1));
    samples.write();
    let day = 86_400;
    let there = |tier| !samples.series(unit(1), tier, at(-60), at(3600)).unwrap().is_empty();
    samples.add(unit(1), at(2 * day), used(2));
    samples.write();
    assert_eq!(Tier::ALL.map(there), [false, true, true]);
    samples.add(unit(1), at(40 * day), used(2));
    samples.write();
    assert_eq!(Tier::ALL.map(there), [false, false, true]);
    samples.add(unit(1), at(440 * day), used(2));
    samples.write();
    assert_eq!(Tier::ALL.map(there), [false, false, false]);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_small_file_keeps_less_says_so_and_stays_small() {
    let dir = folder("cap");
    let path = dir.join(FILE);
    let cap = 3 << 20;
    let samples = Samples::open(&path, cap);
    assert_eq!(samples.kept().retention.fine, Span::from_hours(24));
    // Fourteen hours of forty GPUs that read something else each time, which does not pack.
    let mut state = 1_u64;
    let mut any = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    for half_hour in 0..28 {
        for seconds in (0..1800).step_by(10) {
            let seconds = half_hour * 1800 + seconds;
            for gpu in 0..40 {
                let wild = Point {
                    memory_mib: Some(any() & 0x00ff_ffff),
                    watts: Some(any() as u16 / 2),
                    sm_mhz: Some(any() as u16 / 2),
                    memory_activity: Some(any() as u8 / 2),
                    ..busy(seconds)
                };
                samples.add(unit(gpu), at(seconds), wild);
            }
        }
        samples.write();
    }
    let kept = samples.kept();
    assert!(kept.shortened && kept.retention.fine < Span::from_hours(24), "{kept:?}");
    assert_eq!(kept.retention.hour, Span::from_days(396), "the finest gives way first");
    let length = std::fs::metadata(&path).unwrap().len();
    assert!(length <= cap, "the file takes {length} bytes of {cap}");
    assert_eq!(samples.series(unit(3), Tier::Minute, at(0), at(14 * 3600)).unwrap().len(), 14 * 60);
    assert!(samples.tier_for(Span::from_hours(20)) > Tier::Fine);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_thousand_gpus_fit_whole_into_the_usual_limit() {
    let dir = folder("thousand");
    let samples = Samples::open(&dir.join(FILE), ROOM);
    // Two hours of ten busy GPUs; the rest is arithmetic: a chunk of any tier holds as many moments and packs as well.
    for seconds in (0..7200).step_by(10) {
        (0..10).for_each(|gpu| samples.add(unit(gpu), at(seconds), busy(seconds + gpu as i64 * 977)));
        if seconds % 3000 == 0 {
            samples.write();
        }
    }
    samples.write();
    let per_chunk = samples.kept().bytes / 20;
    let chunks = 24 + 31 * 4 + 396 / 15 + 3;
    assert!(per_chunk > 500, "{per_chunk} bytes: busy GPUs are not that dull, the test measures nothing");
    let whole = per_chunk * chunks * 1000;
    assert!(whole < ROOM / 4, "1,000 GPUs need {whole} bytes");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_one_begins() {
    for (name, bytes) in [
        ("text", b"this is no database, and never was one".repeat(200)),
        ("zeros", vec![0; 16_384]),
        ("empty", Vec::new()),
    ] {
        let dir = folder(name);
        let path = dir.join(FILE);
        std::fs::write(&path, &bytes).unwrap();
        let samples = Samples::open(&path, ROOM);
        assert_eq!(samples.kept().trouble, None, "{name}");
        samples.add(unit(1), at(0), used(3));
        samples.write();
        assert_eq!(samples.series(unit(1), Tier::Hour, at(0), at(3600)).unwrap().len(), 1, "{name}");
        // The engine takes an empty file for a new one, and so it is.
        if !bytes.is_empty() {
            assert_eq!(std::fs::read(path.with_extension("redb.damaged")).unwrap(), bytes, "{name}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_file_broken_in_the_middle_never_stops_anything() {
    let dir = folder("broken");
    let path = dir.join(FILE);
    let samples = Samples::open(&path, ROOM);
    for seconds in (0..7200).step_by(10) {
        (0..20).for_each(|gpu| samples.add(unit(gpu), at(seconds), busy(seconds)));
        if seconds % 3000 == 0 {
            samples.write();
        }
    }
    samples.stop();
    drop(samples);
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[4096..length / 2].iter_mut().for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&path, bytes).unwrap();
    let samples = Samples::open(&path, ROOM);
    for round in 0..3 {
        samples.add(unit(1), at(7200 + round * 10), used(3));
        samples.write();
    }
    assert_eq!(samples.kept().trouble, None);
    let fresh = samples.series(unit(1), Tier::Fine, at(7200), at(7300)).unwrap();
    assert!(!fresh.is_empty(), "what came after the damage is kept");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn without_a_place_nothing_is_kept_and_nothing_fails() {
    let samples = Samples::open(Path::new("/nowhere/at/all/samples.redb"), ROOM);
    assert!(samples.kept().trouble.is_some());
    samples.add(unit(1), at(0), used(3));
    samples.write();
    assert!(samples.series(unit(1), Tier::Fine, at(0), at(60)).unwrap().is_empty());
    let dir = folder("locked");
    let first = Samples::open(&dir.join(FILE), ROOM);
    let second = Samples::open(&dir.join(FILE), ROOM);
    assert!(first.kept().trouble.is_none() && second.kept().trouble.is_some(), "a second server sets nothing aside");
    assert!(!dir.join("samples.redb.damaged").exists());
    std::fs::remove_dir_all(dir).unwrap();
}
