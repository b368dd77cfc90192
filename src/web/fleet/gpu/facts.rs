//! What a GPU's page says of it in words: what it is, as its node describes it, and what was read of it last. It refuses to
//! show what was not read as zero: that is a dash.
use crate::base::hardware::{ObservedGpu, UnitShape};
use crate::base::telemetry::GpuReading;
use crate::web::format;
use crate::wire::api::fleet::{GpuView, NodeView};

/// A figure of now; `key` is what the script finds it by.
pub struct Fact {
    pub key: &'static str,
    pub term: &'static str,
    pub value: String,
}

fn seen<'a>(node: &'a NodeView, gpu: &GpuView) -> Option<&'a ObservedGpu> {
    node.observed.gpus.iter().find(|seen| seen.uuid == gpu.uuid)
}

pub fn percent(permille: u32) -> f64 {
    f64::from(permille) / 10.0
}

/// Everything that was read, in words; what was not is a dash.
pub fn facts(reading: Option<&GpuReading>, memory_bytes: u64) -> Vec<Fact> {
    let empty = GpuReading::default();
    let read = reading.unwrap_or(&empty);
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let fact = |key, term, value: Option<String>| Fact { key, term, value: or_dash(value) };
    let degrees = |value: Option<u32>| value.map(|value| format!("{value} °C"));
    let count = |value: Option<u64>| value.map(|value| value.to_string());
    let clocks = match (read.sm_clock_mhz, read.memory_clock_mhz) {
        (None, None) => None,
        (chip, memory) => Some(format!(
            "{} chip, {} memory",
            or_dash(chip.map(|clock| format!("{clock} MHz"))),
            or_dash(memory.map(|clock| format!("{clock} MHz")))
        )),
    };
    let errors = match (read.ecc_corrected, read.ecc_uncorrected) {
        (None, None) => None,
        (corrected, fatal) => Some(format!("{} corrected, {} not", or_dash(count(corrected)), or_dash(count(fatal)))),
    };
    let rows = read.remapped.map(|rows| {
        let state = match (rows.failed, rows.pending) {
            (true, _) => ", and one failed",
            (false, true) => ", one waits for a reset",
            (false, false) => "",
        };
        format!("{}{state}", rows.corrected + rows.uncorrected)
    });
    let used = read.memory_used_bytes.map(|used| format!("{} of {}", format::bytes(used), format::bytes(memory_bytes)));
    vec![
        fact("utilisation", "Utilisation", read.utilisation.map(|percent| format!("{percent} %"))),
        fact("memory", "Memory in use", used),
        fact("temperature", "Chip", degrees(read.temperature)),
        fact("memory_temperature", "Memory", degrees(read.memory_temperature)),
        fact("power", "Power", read.power_milliwatts.map(|milliwatts| format!("{} W", (milliwatts + 500) / 1000))),
        fact("energy", "Energy", read.energy_millijoules.map(energy)),
        fact("clocks", "Clocks", clocks),
        fact("held_back", "Held back by", read.throttle_reasons.map(held_back)),
        fact("ecc", "Memory errors", errors),
        fact("rows", "Remapped rows", rows),
        fact("replays", "PCIe replays", count(read.pcie_replays)),
        fact("pcie", "PCIe traffic", both_ways(read.activity.pcie_sent, read.activity.pcie_received)),
        fact("nvlink", "NVLink traffic", both_ways(read.activity.nvlink_sent, read.activity.nvlink_received)),
        fact("tensor", "Tensor cores", read.activity.tensor.map(|share| format!("{:.0} %", percent(share)))),
        fact(
            "xid",
            "Last Xid",
            reading.map(|read| read.last_xid.map_or("none heard".to_owned(), |xid| xid.to_string())),
        ),
    ]
}

/// `1.2 GB/s out, 0.4 GB/s in`.
fn both_ways(sent: Option<u64>, received: Option<u64>) -> Option<String> {
    let rate = |bytes: u64| format!("{:.1} GB/s", bytes as f64 / 1e9);
    Some(format!("{} out, {} in", rate(sent?), rate(received?)))
}

/// `12.4 kWh`; NVML counts mJ.
fn energy(millijoules: u64) -> String {
    let watt_hours = millijoules as f64 / 3_600_000.0;
    if watt_hours < 1000.0 { format!("{watt_hours:.0} Wh") } else { format!("{:.1} kWh", watt_hours / 1000.0) }
}

/// NVML's bits of `nvmlClocksEventReasons` in words.
fn held_back(bits: u64) -> String {
    const WORDS: [(u64, &str); 9] = [
        (0x1, "nothing, it is idle"),
        (0x2, "clocks that were set"),
        (0x4, "its power limit"),
        (0x8, "a hardware slowdown"),
        (0x10, "clocks in step with others"),
        (0x20, "heat, by the driver"),
        (0x40, "heat, by the hardware"),
        (0x80, "the power supply"),
        (0x100, "display clocks"),
    ];
    let known: Vec<&str> = WORDS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect();
    match (bits, known.is_empty()) {
        (0, _) => "nothing".to_owned(),
        (_, true) => "a reason that is not known here".to_owned(),
        _ => known.join(", "),
    }
}

/// What it is, as its node describes it.
pub fn about(gpu: &GpuView, node: &NodeView) -> Vec<(&'static str, String)> {
    let mut about = vec![("Model", gpu.model.clone()), ("Memory", format::bytes(gpu.memory_bytes))];
    let Some(seen) = seen(node, gpu) else {
        about.push(("UUID", gpu.uuid.clone()));
        return about;
    };
    let mut given = |term, value: Option<String>| about.extend(value.map(|value| (term, value)));
    if let UnitShape::Mig { parent_uuid, profile, place, .. } = &seen.shape {
        given("Instance", Some(format!("{profile} of {parent_uuid}")));
        given(
            "Part",
            gpu.eighths.map(|eighths| format!("{eighths}/8 of its GPU, in price and in its share of the node")),
        );
        given(
            "Numbers",
            place.map(|at| format!("GPU instance {}, compute instance {}", at.gpu_instance, at.compute_instance)),
        );
    }
    given("MIG", seen.mig.map(|on| if on { "on" } else { "off" }.to_owned()));
    given("Compute", seen.compute_capability.map(|(major, minor)| format!("capability {major}.{minor}")));
    given(
        "PCIe",
        seen.pcie.map(|link| {
            let most = format!("generation {} × {}", link.max_generation, link.max_width);
            match (link.generation, link.width) {
                (Some(generation), Some(width)) if (generation, width) != (link.max_generation, link.max_width) => {
                    format!("{most}; last seen at {generation} × {width}")
                }
                _ => most,
            }
        }),
    );
    let peers = seen.nvlink_peers.len();
    given(
        "NVLink",
        match (seen.nvswitch, peers) {
            (true, _) => Some("to a switch that joins the node’s GPUs".to_owned()),
            (false, 0) => None,
            (false, peers) => Some(format!("to {} directly", format::count(peers, "GPU"))),
        },
    );
    given("NUMA node", seen.numa_node.map(|node| node.to_string()));
    given("PCI bus", seen.pci_bus.clone());
    given("Serial", seen.serial.clone());
    given("VBIOS", seen.vbios.clone());
    given("Driver", node.observed.driver.clone());
    given("UUID", Some(gpu.uuid.clone()));
    about
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_is_a_dash_and_never_zero() {
        let none = facts(None, 1);
        assert!(none.iter().all(|fact| fact.value == "–"));
        let read =
            GpuReading { utilisation: Some(0), energy_millijoules: Some(7_200_000_000), ..GpuReading::default() };
        let some = facts(Some(&read), 1);
        let value = |key| some.iter().find(|fact| fact.key == key).unwrap().value.as_str();
        assert_eq!((value("utilisation"), value("power"), value("energy")), ("0 %", "–", "2.0 kWh"));
        assert_eq!((value("xid"), value("held_back")), ("none heard", "–"));
    }

    #[test]
    fn reasons_are_words() {
        assert_eq!(held_back(0), "nothing");
        assert_eq!(held_back(0x44), "its power limit, heat, by the hardware");
        assert_eq!(held_back(1 << 40), "a reason that is not known here");
    }
}
