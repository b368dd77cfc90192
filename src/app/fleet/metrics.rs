//! The mill and its GPUs in figures for a monitoring system: the mill's own under `gristmill_`, the GPUs' under the names and
//! labels of NVIDIA's dcgm-exporter, so that its dashboards work. It refuses to fill gaps: what was not read is left out,
//! never zero.
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::show;
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::hardware::UnitShape;
use crate::base::telemetry::GpuReading;
use crate::base::window::Instant;
use crate::domain::bookings::booking::Booking;
use crate::domain::people::rights::Actor;
use crate::store::open::FILE;
use crate::store::read::{Order, Read};
use crate::store::tables::Table;
use crate::store::{Readiness, events};
use crate::wire::api::fleet::{GpuView, NodeView};

/// The text form that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Form {
    /// What the answer's content type says.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a figure is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Only grows too, under a foreign name that does not say so: OpenMetrics would refuse it as a counter.
    Untyped,
}

type Labels = Vec<(&'static str, String)>;

struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    samples: Vec<(Labels, f64)>,
}

impl Family {
    const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, help, samples: Vec::new() }
    }

    fn one(name: &'static str, kind: Kind, help: &'static str, value: f64) -> Self {
        Self { samples: vec![(Vec::new(), value)], ..Self::new(name, kind, help) }
    }

    fn add(&mut self, labels: Labels, value: f64) {
        self.samples.push((labels, value));
    }

    fn write(&self, form: Form, out: &mut String) {
        if self.samples.is_empty() {
            return;
        }
        let name = match (form, self.kind) {
            (Form::OpenMetrics, Kind::Counter) => self.name.trim_end_matches("_total"),
            _ => self.name,
        };
        let kind = match (self.kind, form) {
            (Kind::Gauge, _) => "gauge",
            (Kind::Counter, _) => "counter",
            (Kind::Untyped, Form::Prometheus) => "untyped",
            (Kind::Untyped, Form::OpenMetrics) => "unknown",
        };
        // Writing to a text cannot fail.
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", self.help);
        for (labels, value) in &self.samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(out, "{}{braces} {value}", self.name);
        }
    }
}

/// A label's value as both forms want it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Everything, as text. `host_label` names the label of a GPU's machine: dcgm-exporter up to 4.8.2 calls it `Hostname`,
/// later ones `hostname`.
pub fn text(mill: &Mill, who: &Actor, form: Form, host_label: &'static str, now: Instant) -> Answer<String> {
    let nodes = show::nodes(mill, who, now)?;
    let mut families = of_the_mill(mill, &nodes)?;
    families.extend(of_gpus(mill, &nodes, host_label, now));
    let mut out = String::new();
    families.iter().for_each(|family| family.write(form, &mut out));
    if form == Form::OpenMetrics {
        out.push_str("# EOF\n");
    }
    Ok(out)
}

fn of_the_mill(mill: &Mill, nodes: &[NodeView]) -> Answer<Vec<Family>> {
    use Kind::{Counter, Gauge};
    let view = mill.store.read()?;
    let mut build = Family::new("gristmill_build_info", Gauge, "The program that runs.");
    build.add(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0);
    let live: Vec<Booking> = view.list_via(Table::LiveBookings, &[], Order::Ascending, usize::MAX)?;
    let mut bookings = Family::new("gristmill_bookings", Gauge, "Bookings that are not over, by state.");
    // All states, also those with none: a state that comes and goes would look like one that was not read.
    let mut states: BTreeMap<&str, u64> = ["booked", "starting", "active", "ending"].map(|state| (state, 0)).into();
    live.iter().for_each(|booking| *states.entry(booking.state.word()).or_default() += 1);
    states.into_iter().for_each(|(state, count)| bookings.add(vec![("state", state.to_owned())], count as f64));
    let known = || nodes.iter().filter(|node| node.state != "revoked");
    let mut machines = Family::new("gristmill_nodes", Gauge, "Nodes by state, and whether they are connected.");
    let mut counted: BTreeMap<(&str, bool), u64> = BTreeMap::new();
    known().for_each(|node| *counted.entry((node.state.as_str(), node.connected)).or_default() += 1);
    for ((state, connected), count) in counted {
        machines.add(vec![("state", state.to_owned()), ("connected", connected.to_string())], count as f64);
    }
    let mut gpus = Family::new("gristmill_gpus", Gauge, "Bookable GPUs and MIG instances by state.");
    let mut counted: BTreeMap<&str, u64> =
        ["free", "leased", "unknown", "out_of_service"].map(|state| (state, 0)).into();
    let booked = known().flat_map(|node| &node.gpus).filter(|gpu| gpu.state != "replaced");
    booked.for_each(|gpu| *counted.entry(gpu.state.as_str()).or_default() += 1);
    counted.into_iter().for_each(|(state, count)| gpus.add(vec![("state", state.to_owned())], count as f64));
    let ready = f64::from(u8::from(mill.store.readiness() == Readiness::Ready));
    let mut families = vec![
        build,
        bookings,
        machines,
        gpus,
        Family::one("gristmill_store_ready", Gauge, "Whether writes are taken.", ready),
        Family::one("gristmill_commits_total", Counter, "Commits since the start.", mill.store.commits() as f64),
        Family::one("gristmill_events_total", Counter, "Events ever recorded.", events::last_event(&view)? as f64),
        Family::one(
            "gristmill_malformed_messages_total",
            Counter,
            "Messages from nodes that were not of the protocol, since the start.",
            mill.hub.malformed() as f64,
        ),
    ];
    if let Ok(file) = std::fs::metadata(mill.data.join(FILE)) {
        families.push(Family::one("gristmill_database_bytes", Gauge, "Size of the database.", file.len() as f64));
    }
    if let Some(kept) = mill.telemetry.kept().filter(|kept| kept.trouble.is_none()) {
        let shortened = f64::from(u8::from(kept.shortened));
        families.extend([
            Family::one("gristmill_readings_bytes", Gauge, "Readings of GPUs that are kept.", kept.bytes as f64),
            Family::one("gristmill_readings_shortened", Gauge, "Whether less is kept than usual.", shortened),
        ]);
    }
    if let Some(bytes) = resident_bytes() {
        let help = "Memory of the server's process.";
        families.push(Family::one("process_resident_memory_bytes", Gauge, help, bytes as f64));
    }
    Ok(families)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// One of dcgm-exporter's families: what it is called, and where its value comes from.
struct Field {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&GpuReading) -> Option<f64>,
}

const MIB: f64 = 1_048_576.0;

fn ratio(permille: u32) -> f64 {
    f64::from(permille) / 1000.0
}

const fn field(name: &'static str, kind: Kind, help: &'static str, value: fn(&GpuReading) -> Option<f64>) -> Field {
    Field { name, kind, help, value }
}

/// In the order, with the names, and in the units of dcgm-exporter's default list, and of what else it can be told to export.
const FIELDS: [Field; 28] = [
    field("DCGM_FI_DEV_SM_CLOCK", Kind::Gauge, "SM clock frequency (in MHz).", |r| r.sm_clock_mhz.map(f64::from)),
    field("DCGM_FI_DEV_MEM_CLOCK", Kind::Gauge, "Memory clock frequency (in MHz).", |r| {
        r.memory_clock_mhz.map(f64::from)
    }),
    field("DCGM_FI_DEV_MEMORY_TEMP", Kind::Gauge, "Memory temperature (in C).", |r| {
        r.memory_temperature.map(f64::from)
    }),
    field("DCGM_FI_DEV_GPU_TEMP", Kind::Gauge, "GPU temperature (in C).", |r| r.temperature.map(f64::from)),
    field("DCGM_FI_DEV_POWER_USAGE", Kind::Gauge, "Power draw (in W).", |r| {
        r.power_milliwatts.map(|milliwatts| milliwatts as f64 / 1000.0)
    }),
    field("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", Kind::Untyped, "Total energy consumption since boot (in mJ).", |r| {
        r.energy_millijoules.map(|energy| energy as f64)
    }),
    field("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", Kind::Untyped, "Total number of PCIe retries.", |r| {
        r.pcie_replays.map(|count| count as f64)
    }),
    field("DCGM_FI_DEV_GPU_UTIL", Kind::Gauge, "GPU utilization (in %).", |r| r.utilisation.map(f64::from)),
    field("DCGM_FI_DEV_MEM_COPY_UTIL", Kind::Gauge, "Memory utilization (in %).", |r| r.memory_activity.map(f64::from)),
    field("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", Kind::Gauge, "Reasons of clock throttling, as bits.", |r| {
        r.throttle_reasons.map(|bits| bits as f64)
    }),
    field("DCGM_FI_DEV_FB_FREE", Kind::Gauge, "Framebuffer memory free (in MiB).", |r| {
        r.memory_free_bytes.map(|bytes| (bytes as f64 / MIB).round())
    }),
    field("DCGM_FI_DEV_FB_USED", Kind::Gauge, "Framebuffer memory used (in MiB).", |r| {
        r.memory_used_bytes.map(|bytes| (bytes as f64 / MIB).round())
    }),
    field("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", Kind::Untyped, "Corrected ECC errors since the driver was loaded.", |r| {
        r.ecc_corrected.map(|count| count as f64)
    }),
    field("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", Kind::Untyped, "Uncorrected ECC errors since the driver was loaded.", |r| {
        r.ecc_uncorrected.map(|count| count as f64)
    }),
    field("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", Kind::Untyped, "Rows remapped for uncorrectable errors.", |r| {
        r.remapped.map(|rows| f64::from(rows.uncorrected))
    }),
    field("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", Kind::Untyped, "Rows remapped for correctable errors.", |r| {
        r.remapped.map(|rows| f64::from(rows.corrected))
    }),
    field("DCGM_FI_DEV_ROW_REMAP_FAILURE", Kind::Gauge, "Whether remapping of rows has failed.", |r| {
        r.remapped.map(|rows| f64::from(u8::from(rows.failed)))
    }),
    field("DCGM_FI_DEV_ROW_REMAP_PENDING", Kind::Gauge, "Whether a remapping waits for a reset.", |r| {
        r.remapped.map(|rows| f64::from(u8::from(rows.pending)))
    }),
    field("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", Kind::Untyped, "NVLink bandwidth over all lanes (in MB/s).", |r| {
        r.activity.nvlink().map(|bytes| bytes as f64 / 1e6)
    }),
    field("DCGM_FI_PROF_GR_ENGINE_ACTIVE", Kind::Gauge, "Ratio of time the graphics engine is active.", |r| {
        r.activity.graphics.map(ratio)
    }),
    field("DCGM_FI_PROF_SM_ACTIVE", Kind::Gauge, "The ratio of cycles an SM has at least 1 warp assigned.", |r| {
        r.activity.sm.map(ratio)
    }),
    field("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", Kind::Gauge, "Ratio of cycles the tensor pipe is active.", |r| {
        r.activity.tensor.map(ratio)
    }),
    field("DCGM_FI_PROF_DRAM_ACTIVE", Kind::Gauge, "Ratio of cycles the device memory interface is active.", |r| {
        r.activity.dram.map(ratio)
    }),
    field("DCGM_FI_PROF_PCIE_TX_BYTES", Kind::Gauge, "Bytes sent over PCIe, in a second.", |r| {
        r.activity.pcie_sent.map(|bytes| bytes as f64)
    }),
    field("DCGM_FI_PROF_PCIE_RX_BYTES", Kind::Gauge, "Bytes received over PCIe, in a second.", |r| {
        r.activity.pcie_received.map(|bytes| bytes as f64)
    }),
    field("DCGM_FI_PROF_NVLINK_TX_BYTES", Kind::Gauge, "Bytes sent over NVLink, in a second.", |r| {
        r.activity.nvlink_sent.map(|bytes| bytes as f64)
    }),
    field("DCGM_FI_PROF_NVLINK_RX_BYTES", Kind::Gauge, "Bytes received over NVLink, in a second.", |r| {
        r.activity.nvlink_received.map(|bytes| bytes as f64)
    }),
    field(XID, Kind::Gauge, "Value of the last XID error encountered.", |r| r.last_xid.map(|xid| xid as f64)),
];

const XID: &str = "DCGM_FI_DEV_XID_ERRORS";

fn of_gpus(mill: &Mill, nodes: &[NodeView], host_label: &'static str, now: Instant) -> Vec<Family> {
    let mut read = Vec::new();
    for node in nodes.iter().filter(|node| node.state != "revoked") {
        for gpu in &node.gpus {
            if let Some((_, reading)) = mill.telemetry.latest(gpu.id, now) {
                read.push((labels(node, gpu, host_label), reading));
            }
        }
    }
    let families = FIELDS.iter().map(|field| {
        let mut family = Family::new(field.name, field.kind, field.help);
        for (labels, reading) in &read {
            let Some(value) = (field.value)(reading) else { continue };
            let mut labels = labels.clone();
            if field.name == XID {
                labels.push(("err_code", value.to_string()));
                labels.push(("err_msg", format!("Xid {value}")));
            }
            family.add(labels, value);
        }
        family
    });
    families.collect()
}

fn labels(node: &NodeView, gpu: &GpuView, host_label: &'static str) -> Labels {
    let seen = node.observed.gpus.iter().find(|seen| seen.uuid == gpu.uuid);
    let mut labels = vec![("gpu", gpu.index.to_string()), ("UUID", gpu.uuid.clone())];
    let mut given = |label, value: Option<String>| labels.extend(value.map(|value| (label, value)));
    given("pci_bus_id", seen.and_then(|seen| seen.pci_bus.clone()));
    given("device", seen.and_then(|seen| seen.minor).map(|minor| format!("nvidia{minor}")));
    // An instance is told by its GPU's model and two labels of its own, as dcgm-exporter does.
    given("modelName", Some(seen.map_or_else(|| gpu.model.clone(), |seen| seen.model.clone())));
    if let Some(UnitShape::Mig { profile, place, .. }) = seen.map(|seen| &seen.shape) {
        given("GPU_I_PROFILE", Some(profile.clone()));
        given("GPU_I_ID", place.map(|place| place.gpu_instance.to_string()));
    }
    given(host_label, Some(node.observed.hostname.clone()));
    given("DCGM_FI_DRIVER_VERSION", node.observed.driver.clone());
    given("hpc_job", gpu.booking.map(|booking| booking.to_string()));
    given("simulated", node.simulated.then(|| "true".to_owned()));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_counters_their_own_way_and_leave_out_what_is_empty() {
        let counter = Family::one("x_total", Kind::Counter, "Many.", 3.0);
        let mut foreign = Family::new("Y", Kind::Untyped, "Odd.");
        foreign.add(vec![("a", "say \"hi\"\\\n".to_owned())], 0.5);
        let nothing = Family::new("z", Kind::Gauge, "None.");
        let write = |form| {
            let mut out = String::new();
            [&counter, &foreign, &nothing].iter().for_each(|family| family.write(form, &mut out));
            out
        };
        assert_eq!(
            write(Form::Prometheus),
            "# HELP x_total Many.\n# TYPE x_total counter\nx_total 3\n\
             # HELP Y Odd.\n# TYPE Y untyped\nY{a=\"say \\\"hi\\\"\\\\\\n\"} 0.5\n"
        );
        let open = write(Form::OpenMetrics);
        assert!(open.starts_with("# HELP x Many.\n# TYPE x counter\nx_total 3\n") && open.contains("# TYPE Y unknown"));
    }

    #[test]
    fn readings_stand_in_the_units_that_dashboards_expect() {
        let reading = GpuReading {
            power_milliwatts: Some(123_456),
            memory_used_bytes: Some(624_951_296),
            utilisation: Some(0),
            ..GpuReading::default()
        };
        let values: BTreeMap<&str, f64> =
            FIELDS.iter().filter_map(|field| Some((field.name, (field.value)(&reading)?))).collect();
        let expected =
            [("DCGM_FI_DEV_FB_USED", 596.0), ("DCGM_FI_DEV_GPU_UTIL", 0.0), ("DCGM_FI_DEV_POWER_USAGE", 123.456)];
        assert_eq!(values, expected.into(), "a reading of zero is told, one that is missing is not");
    }
}
