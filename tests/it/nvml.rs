//! The real driver path without a GPU: the very wrapper that runs on a node loads a library that the test compiles, and that
//! library says what a scenario file says. Nothing here pretends to be an agent's own code.
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant as Monotonic};

use gristmill::agent::gpu::nvml::{Driver, Patience};
use gristmill::agent::gpu::{GpuProblem, LIBRARY_ENV};
use gristmill::base::hardware::{MigPlace, ObservedGpu, PcieLink, Portion, UnitShape};
use gristmill::base::telemetry::{Activity, GpuReading, RemappedRows};

use crate::fleet::mill::folder;

/// Long enough for a busy machine; what hangs is waited for this long once.
const PATIENCE: Patience = Patience { look: Duration::from_secs(20), read: Duration::from_secs(20) };
/// For calls that are known to hang.
const SHORT: Patience = Patience { look: Duration::from_millis(700), read: Duration::from_millis(700) };

/// A library of its own for one test, with its scenario beside it.
pub struct Stub {
    pub library: PathBuf,
    scenario: String,
}

impl Stub {
    pub fn build(flags: &[&str]) -> Self {
        let dir = folder("nvml");
        std::fs::create_dir_all(&dir).unwrap();
        let library = dir.join("libnvidia-ml.so.1");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/nvml/stub.c");
        let mut command = Command::new("cc");
        // Each library has its own name, or the loader would take a second one for the first.
        let name = format!("-Wl,-soname,{}", library.display());
        command.args(["-shared", "-fPIC", "-O1", "-w", &name]).args(flags).arg("-o").arg(&library).arg(source);
        assert!(command.status().expect("a C compiler is there").success());
        let mut stub = Self { library, scenario: String::new() };
        stub.say("driver 570.86.15");
        stub
    }

    /// Adds lines; a later line about the same thing counts.
    pub fn say(&mut self, lines: &str) {
        writeln!(self.scenario, "{lines}").unwrap();
        let path = PathBuf::from(format!("{}.scenario", self.library.display()));
        let draft = path.with_extension("new");
        std::fs::write(&draft, &self.scenario).unwrap();
        std::fs::rename(&draft, &path).unwrap();
    }

    /// A whole, healthy GPU.
    pub fn gpu(&mut self, index: u32) {
        let lines = [
            format!("uuid GPU-{index}"),
            "name NVIDIA H200".to_owned(),
            format!("bus 00000000:{:02X}:00.0", 0x1b + index),
            format!("serial 16500{index}"),
            "vbios 96.00.B1.00.01".to_owned(),
            format!("minor {index}"),
            "memory_total 150754820096".to_owned(),
            "memory_used 624951296".to_owned(),
            "mig 0".to_owned(),
            "capability 9.0".to_owned(),
            "utilisation 37".to_owned(),
            "memory_activity 12".to_owned(),
            "temperature 41".to_owned(),
            "power 123456".to_owned(),
            "energy 987654321012".to_owned(),
        ];
        let lines: Vec<String> = lines.iter().map(|line| format!("gpu{index}.{line}")).collect();
        self.say(&format!("gpus {}\n{}", index + 1, lines.join("\n")));
    }

    fn driver(&self, patience: Patience) -> Arc<Driver> {
        Driver::new(self.library.as_os_str(), patience)
    }
}

fn uuids(gpus: &[ObservedGpu]) -> Vec<&str> {
    gpus.iter().map(|gpu| gpu.uuid.as_str()).collect()
}

/// A reading with nothing in it.
fn silent(uuid: &str) -> GpuReading {
    GpuReading { uuid: uuid.to_owned(), ..GpuReading::default() }
}

#[test]
fn a_whole_gpu_with_everything_it_says() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    stub.gpu(1);
    stub.say(
        "gpu0.pcie_max_generation 5\ngpu0.pcie_max_width 16\ngpu0.pcie_generation 1\ngpu0.pcie_width 8\ngpu0.numa 1",
    );
    stub.say("gpu0.link0 gpu 00000000:1C:00.0\ngpu0.link1 off\ngpu0.link2 gpu 00000000:1C:00.0\ngpu1.link0 switch 00000000:05:00.0");
    let driver = stub.driver(PATIENCE);
    let seen = driver.look().unwrap();
    assert_eq!(seen.driver.as_deref(), Some("570.86.15"));
    let (first, second) = (&seen.gpus[0], &seen.gpus[1]);
    assert_eq!((first.model.as_str(), first.memory_bytes, first.minor), ("H200", 150_754_820_096, Some(0)));
    assert_eq!((first.serial.as_deref(), first.vbios.as_deref()), (Some("165000"), Some("96.00.B1.00.01")));
    assert_eq!((first.mig, first.numa_node, first.compute_capability), (Some(false), Some(1), Some((9, 0))));
    let link = PcieLink { max_generation: 5, max_width: 16, generation: Some(1), width: Some(8) };
    assert_eq!((first.pcie, second.pcie), (Some(link), None));
    assert_eq!((first.nvlink_peers.as_slice(), first.nvswitch), (&["GPU-1".to_owned()][..], false));
    assert_eq!((second.nvlink_peers.len(), second.nvswitch), (0, true));
}

#[test]
fn readings_are_in_the_units_they_are_named_after() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    stub.say("gpu0.field82 52\ngpu0.field142 3\ngpu0.field143 1\ngpu0.field144 1\ngpu0.field145 0");
    stub.say("gpu0.sm_clock 1980\ngpu0.memory_clock 3201\ngpu0.throttle 0x24\ngpu0.ecc_corrected 7\ngpu0.ecc_uncorrected 0\ngpu0.replays 5");
    stub.say(&format!("gpu0.processes {}:1073741824 4000000000:1", std::process::id()));
    let driver = stub.driver(PATIENCE);
    let gpus = driver.look().unwrap().gpus;
    let read = driver.read(&gpus).remove(0);
    assert_eq!((read.utilisation, read.memory_activity), (Some(37), Some(12)));
    assert_eq!((read.memory_used_bytes, read.memory_free_bytes), (Some(624_951_296), Some(150_129_868_800)));
    assert_eq!((read.temperature, read.memory_temperature), (Some(41), Some(52)));
    assert_eq!((read.power_milliwatts, read.energy_millijoules), (Some(123_456), Some(987_654_321_012)));
    assert_eq!((read.sm_clock_mhz, read.memory_clock_mhz, read.throttle_reasons), (Some(1980), Some(3201), Some(0x24)));
    assert_eq!((read.ecc_corrected, read.ecc_uncorrected, read.pcie_replays), (Some(7), Some(0), Some(5)));
    let rows = RemappedRows { corrected: 3, uncorrected: 1, pending: true, failed: false };
    assert_eq!((read.remapped, read.last_xid), (Some(rows), None));
    let processes = read.processes.unwrap();
    assert_eq!((processes.len(), processes[0].pid), (2, std::process::id()));
    assert_eq!(processes[0].memory_bytes, Some(1_073_741_824));
}

/// Longer than the profiler needs between two looks.
const BETWEEN: Duration = Duration::from_millis(120);

#[test]
fn what_a_gpu_did_between_two_looks_is_told_with_the_second() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    stub.gpu(1);
    stub.say("gpu0.profiler 1\ngpu0.metric1 99.96\ngpu0.metric2 87.5\ngpu0.metric5 61.24\ngpu0.metric10 0");
    stub.say("gpu0.metric20 3\ngpu0.metric21 12.5\ngpu0.metric60 nan\ngpu0.metric61 error 3");
    stub.say("gpu0.link0.sent 7\ngpu0.link0.received 1\ngpu0.link3.sent 1\ngpu0.link3.received 1");
    let driver = stub.driver(PATIENCE);
    let gpus = driver.look().unwrap().gpus;
    let first = driver.read(&gpus);
    assert_eq!(first[0].activity, Activity::default(), "one look is no stretch of time");
    assert_eq!((first[0].nvlink_sent_bytes, first[0].nvlink_received_bytes), (Some(8 * 1024), Some(2 * 1024)));
    stub.say("gpu0.link3.sent 1048577");
    std::thread::sleep(BETWEEN);
    let second = driver.read(&gpus);
    let Activity { nvlink_sent, nvlink_received, .. } = second[0].activity;
    let profiled = Activity {
        graphics: Some(1000),
        sm: Some(875),
        tensor: Some(612),
        dram: Some(0),
        pcie_sent: Some(3 << 20),
        pcie_received: Some(25 << 19),
        nvlink_sent,
        nvlink_received,
    };
    assert_eq!(second[0].activity, profiled);
    // The profiler did not say, the counters did: a GiB since the look before, which was longer ago than the pause.
    assert!(nvlink_sent.is_some_and(|rate| rate > 0 && rate <= (1 << 30) * 1000 / 120), "{nvlink_sent:?}");
    assert_eq!(nvlink_received, Some(0));
    assert_eq!((second[1].activity, second[1].nvlink_sent_bytes), (Activity::default(), None), "the other has neither");
    // Samples are given back: the stub refuses more than a few.
    for _ in 0..40 {
        driver.read(&gpus);
    }
    std::thread::sleep(BETWEEN);
    assert_eq!(driver.read(&gpus)[0].activity.sm, Some(875));
}

#[test]
fn a_profiler_that_fails_costs_its_own_figures_alone() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    stub.say("gpu0.profiler error 999");
    let driver = stub.driver(PATIENCE);
    let gpus = driver.look().unwrap().gpus;
    driver.read(&gpus);
    std::thread::sleep(BETWEEN);
    let read = driver.read(&gpus).remove(0);
    assert_eq!((read.activity, read.power_milliwatts), (Activity::default(), Some(123_456)));
}

#[test]
fn what_the_driver_does_not_say_stays_empty() {
    let mut stub = Stub::build(&[]);
    stub.say("gpus 1\ngpu0.uuid GPU-0\ngpu0.name Tesla T4\ngpu0.memory_total 16106127360");
    let driver = stub.driver(PATIENCE);
    let gpus = driver.look().unwrap().gpus;
    assert_eq!((gpus[0].model.as_str(), gpus[0].mig, gpus[0].pcie, gpus[0].numa_node), ("Tesla T4", None, None, None));
    let expected =
        GpuReading { memory_used_bytes: Some(0), memory_free_bytes: Some(16_106_127_360), ..silent("GPU-0") };
    assert_eq!(driver.read(&gpus), [expected]);
}

#[test]
fn mig_instances_are_units_of_their_own() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    stub.gpu(1);
    stub.say("gpu0.mig 1\ngpu0.mig_places 7\ngpu0.field82 52\ngpu0.processes 1:1");
    for (place, uuid) in [(0, "MIG-a"), (3, "MIG-b")] {
        stub.say(&format!("gpu0.mig{place}.uuid {uuid}\ngpu0.mig{place}.name NVIDIA H200 MIG 1g.18gb"));
        stub.say(&format!("gpu0.mig{place}.gpu_instance {}\ngpu0.mig{place}.compute_instance 0", 7 + place));
        stub.say(&format!("gpu0.mig{place}.memory_total 18874368000\ngpu0.mig{place}.memory_used {}", 1000 + place));
    }
    let driver = stub.driver(PATIENCE);
    let gpus = driver.look().unwrap().gpus;
    assert_eq!(uuids(&gpus), ["MIG-a", "MIG-b", "GPU-1"]);
    let shape = UnitShape::Mig {
        parent_uuid: "GPU-0".to_owned(),
        profile: "1g.18gb".to_owned(),
        parent_bytes: 150_754_820_096,
        place: Some(MigPlace { gpu_instance: 10, compute_instance: 0 }),
    };
    assert_eq!((gpus[1].shape.portion(gpus[1].memory_bytes), gpus[1].minor), (Portion::Eighths(1), Some(0)));
    assert_eq!((&gpus[1].shape, gpus[1].memory_bytes, gpus[1].index), (&shape, 18_874_368_000, 0));
    assert_eq!((gpus[0].mig, gpus[2].mig), (Some(true), Some(false)));
    let read = driver.read(&gpus);
    assert_eq!(
        (read[1].memory_used_bytes, read[1].temperature, read[1].memory_temperature),
        (Some(1003), Some(41), Some(52))
    );
    // The parent's power and use are no instance's own.
    assert_eq!((read[0].power_milliwatts, read[0].utilisation, read[0].energy_millijoules), (None, None, None));
    assert_eq!(read[0].processes, None, "who computes on the parent is not who computes here");
    assert_eq!(read[2].power_milliwatts, Some(123_456));
}

#[test]
fn a_gpu_is_not_taken_for_whole_when_nobody_says() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    let driver = stub.driver(PATIENCE);
    assert_eq!(driver.look().unwrap().gpus[0].mig, Some(false));
    // Not a driver without MIG, but one that fails just now.
    stub.say("gpu0.mig error 999");
    assert!(matches!(driver.look(), Err(GpuProblem::Driver(_))));
    // In MIG mode and without an instance it is told as it is, for the mill to take it out of service.
    stub.say("gpu0.mig 1\ngpu0.mig_places 7");
    let gpus = driver.look().unwrap().gpus;
    assert_eq!((uuids(&gpus), gpus[0].mig), (vec!["GPU-0"], Some(true)));
    stub.say("gpu0.mig3.uuid MIG-b\ngpu0.mig3.name NVIDIA H200 MIG 1g.18gb\ngpu0.mig3.memory_total 18874368000");
    assert_eq!(driver.find("GPU-0").unwrap(), None, "only its instances can be computed on");
    let found = driver.find("MIG-b").unwrap().unwrap();
    // A library that does not tell its numbers.
    assert!(matches!(found.shape, UnitShape::Mig { place: None, .. }));
}

#[test]
fn functions_that_an_old_library_lacks_cost_their_readings_alone() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    let whole = stub.driver(PATIENCE);
    let gpus = whole.look().unwrap().gpus;
    let mut old = Stub::build(&["-DOLD"]);
    old.gpu(0);
    let old = old.driver(PATIENCE);
    let read = old.read(&gpus).remove(0);
    assert_eq!((read.power_milliwatts, read.temperature), (Some(123_456), Some(41)));
    assert_eq!((read.memory_used_bytes, read.remapped, read.ecc_corrected), (None, None, None));
    // Without the memory's size there is no GPU to book, and the reason names the function.
    match old.look() {
        Err(problem @ GpuProblem::Driver(_)) => assert!(problem.to_string().contains("nvmlDeviceGetMemoryInfo_v2")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gpu_that_hangs_costs_its_own_readings_and_blocks_nobody() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    stub.gpu(1);
    let driver = stub.driver(SHORT);
    let gpus = driver.look().unwrap().gpus;
    stub.say("gpu0.power hang");
    let read = driver.read(&gpus);
    assert_eq!(read[0], silent("GPU-0"));
    assert_eq!(read[1].power_milliwatts, Some(123_456));
    let again = Monotonic::now();
    assert_eq!(driver.read(&gpus)[0], silent("GPU-0"));
    assert!(again.elapsed() < SHORT.read, "a stuck call is not waited for twice");
    // It is still there: a GPU that does not answer is not one that is gone.
    stub.say("gpu0.serial hang");
    assert_eq!(uuids(&driver.look().unwrap().gpus), ["GPU-0", "GPU-1"]);
}

#[test]
fn a_driver_that_hangs_from_the_start_is_a_named_problem() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    stub.say("init hang");
    let driver = stub.driver(SHORT);
    assert!(matches!(driver.look(), Err(GpuProblem::Hangs)));
    let unit = ObservedGpu { uuid: "GPU-0".to_owned(), ..ObservedGpu::default() };
    assert_eq!(driver.read(&[unit]), [silent("GPU-0")]);
}

#[test]
fn a_gpu_that_falls_off_the_bus_is_gone_and_the_others_stay() {
    const LOST: u32 = 15;
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    stub.gpu(1);
    let driver = stub.driver(PATIENCE);
    let gpus = driver.look().unwrap().gpus;
    assert_eq!(uuids(&gpus), ["GPU-0", "GPU-1"]);
    stub.say(&format!("gpu0.handle error {LOST}\ngpu0.memory_total error {LOST}"));
    assert_eq!(uuids(&driver.look().unwrap().gpus), ["GPU-1"]);
    let read = driver.read(&gpus);
    assert_eq!((&read[0], read[1].temperature), (&silent("GPU-0"), Some(41)));
    stub.say("gpu0.handle 0\ngpu0.memory_total 150754820096");
    assert_eq!(driver.look().unwrap().gpus.len(), 2, "and it comes back");
}

#[test]
fn the_last_xid_is_told_with_its_gpu_even_when_that_is_lost() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    stub.gpu(1);
    stub.gpu(2);
    // One that takes no part does not keep the others from it.
    stub.say("gpu2.deaf 1");
    let driver = stub.driver(PATIENCE);
    let gpus = driver.look().unwrap().gpus;
    // The first one says that the driver is listened to: a GPU that was lost before that has no name to be told by.
    stub.say("xid0 1 31");
    until("the first Xid", || driver.read(&gpus)[1].last_xid == Some(31));
    stub.say("gpu0.handle error 15\ngpu0.memory_total error 15\nxid1 0 79");
    until("the Xid of a lost GPU", || driver.read(&gpus)[0].last_xid == Some(79));
    let read = driver.read(&gpus);
    assert_eq!((read[1].last_xid, read[2].last_xid), (Some(31), None));
    assert_eq!(read[0], GpuReading { last_xid: Some(79), ..silent("GPU-0") });
}

/// Waits until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Monotonic::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "this never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_library_that_is_missing_or_refuses_is_named() {
    let nowhere = Driver::new(OsStr::new("/nowhere/libnvidia-ml.so.1"), PATIENCE);
    assert!(matches!(nowhere.look(), Err(GpuProblem::NoLibrary)));
    let mut stub = Stub::build(&[]);
    stub.say("init error 9");
    let driver = stub.driver(PATIENCE);
    assert!(matches!(driver.look(), Err(GpuProblem::NotLoaded)));
    // The module is loaded meanwhile.
    stub.gpu(0);
    stub.say("init 0");
    assert_eq!(driver.look().unwrap().gpus.len(), 1);
}

/// A whole agent's look at itself, in a process of its own, by the setting that names the library.
#[test]
fn an_agent_takes_the_library_that_it_is_told() {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    let dir = folder("told");
    std::fs::create_dir_all(&dir).unwrap();
    let mut command = Command::new(crate::fleet::mill::PROGRAM);
    command.args(["serve", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--no-local-node", "--data"]);
    let child = command.arg(&dir).env(LIBRARY_ENV, &stub.library).stdout(std::process::Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let link = lines.find_map(|line| line.unwrap().trim().strip_prefix("http").map(|rest| format!("http{rest}")));
    let page = get(&link.expect("the server names its setup page"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(page.contains("H200"), "the setup page shows what the library said");
}

/// One page over plain HTTP.
fn get(url: &str) -> String {
    use std::io::{Read as _, Write as _};
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut socket = std::net::TcpStream::connect(host).unwrap();
    write!(socket, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).unwrap();
    page
}
