//! The earliest slot in a fleet that is nearly full: how long the search takes, by size of the request.
//! `cargo bench --bench slots -- [--json] [--gpus N] [--days N] [--searches N]`.
//!
//! Beside it stands the least that any exact search must do where nothing is found early: reading every busy window of the
//! fleet once, which is measured in the same run on the same calendar.
use std::hint::black_box;
use std::time::{Duration, Instant as Stopwatch};

use gristmill::base::hardware::Portion;
use gristmill::base::ids::{LeaseId, NodeId, UnitId};
use gristmill::base::window::{Instant, Span, Window};
use gristmill::domain::bookings::calendar::Calendar;
use gristmill::domain::bookings::search::{Group, Want, earliest};

/// GPUs of a node.
const PER_NODE: u32 = 8;
/// Percent of the time that is booked.
const BOOKED: u64 = 95;

struct Settings {
    json: bool,
    gpus: u32,
    days: i64,
    searches: u32,
}

fn settings() -> Settings {
    let mut settings = Settings { json: false, gpus: 1000, days: 7, searches: 2000 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<u32>().ok()).expect("a number follows");
        match argument.as_str() {
            "--json" => settings.json = true,
            "--gpus" => settings.gpus = number(),
            "--days" => settings.days = number().into(),
            "--searches" => settings.searches = number(),
            // Cargo adds this one.
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    settings
}

/// A small generator with a fixed seed: every run meets the same fleet.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }
}

/// Every GPU booked for its share of the time: bookings of 15 minutes to 12 hours, with gaps between them.
fn fleet(settings: &Settings, dice: &mut Dice) -> (Vec<Group>, Calendar) {
    let mut calendar = Calendar::new();
    let horizon = settings.days * 86_400;
    let mut groups = Vec::new();
    let mut lease = 0;
    for node in 0..settings.gpus.div_ceil(PER_NODE) {
        let units: Vec<UnitId> =
            (0..PER_NODE).map(|place| UnitId::from_u128(u128::from(node * PER_NODE + place + 1) << 64)).collect();
        for &unit in &units {
            let mut at = 0;
            while at < horizon {
                let busy = 900 + dice.below(11 * 3600 + 2700);
                let idle = dice.below(busy * 2 * (100 - BOOKED) / BOOKED);
                let start = at + i64::try_from(idle).expect("small");
                let length = i64::try_from(busy).expect("small");
                lease += 1;
                let window = Window::lasting(Instant::from_seconds(start), Span::from_seconds(length)).expect("busy");
                calendar.occupy(unit, window, LeaseId::from_u128(lease)).expect("one after the other");
                at = start + length;
            }
        }
        groups.push(Group {
            node: NodeId::from_u128(node.into()),
            model: "H200".to_owned(),
            portion: Portion::Whole,
            memory_bytes: 141 << 30,
            units,
            turnaround: Span::from_seconds(60),
            lead: Span::ZERO,
        });
    }
    (groups, calendar)
}

fn want(gpus: u32, dice: &mut Dice, days: i64) -> Want {
    Want {
        gpus,
        model: None,
        duration: Span::from_seconds(i64::try_from(900 + dice.below(8 * 3600)).expect("small")),
        now: Instant::from_seconds(0),
        not_before: Instant::from_seconds(i64::try_from(dice.below(3600)).expect("small")),
        latest_start: Instant::from_seconds((days + 28) * 86_400),
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted[place].as_secs_f64() * 1e6
}

struct Report {
    json: bool,
}

impl Report {
    fn say(&self, figure: &str, value: f64, unit: &str) {
        if self.json {
            println!("{{\"bench\":\"slots\",\"figure\":\"{figure}\",\"value\":{value:.1},\"unit\":\"{unit}\"}}");
        } else {
            println!("{figure:<44} {value:>12.1} {unit}");
        }
    }
}

fn main() {
    let settings = settings();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let (groups, calendar) = fleet(&settings, &mut dice);
    let report = Report { json: settings.json };
    report.say("GPUs", f64::from(settings.gpus), "GPUs");
    report.say("busy windows on file", calendar.len() as f64, "windows");
    let mut reading = Vec::new();
    for _ in 0..settings.searches.min(200) {
        let watch = Stopwatch::now();
        let busy: i64 = groups
            .iter()
            .flat_map(|group| &group.units)
            .flat_map(|&unit| calendar.lane(unit))
            .map(|slot| slot.window.span().as_millis())
            .sum();
        black_box(busy);
        reading.push(watch.elapsed());
    }
    reading.sort_unstable();
    report.say("reading every busy window once, p99", percentile(&reading, 99), "us");
    for gpus in [1, 2, 4, 8] {
        let mut times = Vec::new();
        let mut waits = 0.0;
        for _ in 0..settings.searches {
            let want = want(gpus, &mut dice, settings.days);
            let watch = Stopwatch::now();
            let found = black_box(earliest(&groups, &calendar, black_box(&want)));
            times.push(watch.elapsed());
            let start = found.expect("a fleet is free after its last booking").window.start();
            waits += start.since(want.not_before).as_seconds() as f64 / 3600.0;
        }
        times.sort_unstable();
        report.say(&format!("earliest slot of {gpus}, p50"), percentile(&times, 50), "us");
        report.say(&format!("earliest slot of {gpus}, p90"), percentile(&times, 90), "us");
        report.say(&format!("earliest slot of {gpus}, p99"), percentile(&times, 99), "us");
        report.say(&format!("earliest slot of {gpus}, mean wait found"), waits / f64::from(settings.searches), "h");
    }
}
