//! The process of one check: reads its order from standard input, does the check, writes lines to standard output and ends. It
//! may panic, hang or be killed at any moment; its parent makes a result of that too. It refuses to outlive its parent.
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use super::device::{Device, DeviceError};
use super::simulator::Simulator;
use super::{Found, perform};
use crate::agent::gpu::cuda;
use crate::base::check::{CheckReport, CheckedGpu, Verdict};
use crate::clock;
use crate::wire::check::{CHILD_PROTOCOL, ChildOrder, FromChild, OrderedGpu, SimulatedFault};

/// The word that chooses this role.
pub const ROLE: &str = "gpu-check";
/// Longest order, in bytes.
const LONGEST_ORDER: u64 = 1 << 20;
/// Ended without a report because the order could not be read.
pub const NO_ORDER: u8 = 3;

/// Does what standard input says.
pub fn run() -> ExitCode {
    // Whoever ordered it is gone: nobody would stop it before a tenant comes.
    let kill = Some(rustix::process::Signal::KILL);
    if let Err(error) = rustix::process::set_parent_process_death_signal(kill) {
        eprintln!("a check that could outlive its agent is not started: {error}");
        return ExitCode::from(NO_ORDER);
    }
    let mut text = String::new();
    let read = std::io::stdin().take(LONGEST_ORDER).read_to_string(&mut text);
    let order: ChildOrder = match read.map_err(|error| error.to_string()).and_then(|_| parse(&text)) {
        Ok(order) => order,
        Err(why) => {
            eprintln!("the order of a check cannot be read: {why}");
            return ExitCode::from(NO_ORDER);
        }
    };
    let garbage = matches!(&order.gpu, OrderedGpu::Simulated(gpu) if gpu.faults.contains(&SimulatedFault::Garbage));
    if garbage {
        tell_raw("{]} this is no line of the protocol");
        return ExitCode::SUCCESS;
    }
    tell(&FromChild::Began { protocol: CHILD_PROTOCOL, program: env!("CARGO_PKG_VERSION").to_owned() });
    tell(&FromChild::Report(Box::new(report(&order))));
    ExitCode::SUCCESS
}

fn parse(text: &str) -> Result<ChildOrder, String> {
    let order: ChildOrder = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if order.protocol == CHILD_PROTOCOL {
        Ok(order)
    } else {
        Err(format!("it is of version {}, this program speaks {CHILD_PROTOCOL}", order.protocol))
    }
}

fn report(order: &ChildOrder) -> CheckReport {
    let began = clock::now();
    let unopened =
        CheckedGpu { uuid: order.gpu.uuid().to_owned(), model: order.gpu.model().to_owned(), ..CheckedGpu::default() };
    let (gpu, verdict, found) = match open(order) {
        Ok(mut device) => {
            let mut say = |done, of, doing: &str| tell(&FromChild::Progress { done, of, doing: doing.to_owned() });
            let (verdict, found) = perform(device.as_mut(), &order.order, order.plant, &mut say);
            (device.gpu().clone(), verdict, found)
        }
        Err(error) => (unopened, Verdict::from(error), Found::default()),
    };
    CheckReport {
        check: order.order.check,
        gpu,
        verdict,
        began,
        took_ms: u64::try_from(clock::now().since(began).as_millis()).unwrap_or(0),
        figures: found.figures,
        mismatches: found.mismatches,
        notes: found.notes,
        answer: found.answer,
        seed: order.order.seed,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        simulated: matches!(order.gpu, OrderedGpu::Simulated(_)),
    }
}

fn open(order: &ChildOrder) -> Result<Box<dyn Device>, DeviceError> {
    match &order.gpu {
        OrderedGpu::Simulated(gpu) => Ok(Box::new(Simulator::new(gpu, true))),
        OrderedGpu::Real { uuid, others, .. } => Ok(Box::new(cuda::Gpu::open(uuid, others, order.order.check)?)),
    }
}

fn tell(line: &FromChild) {
    // A line always has a text: no map in it has keys that are none.
    if let Ok(text) = serde_json::to_string(line) {
        tell_raw(&text);
    }
}

/// Nobody may be listening any more, which ends this process soon.
fn tell_raw(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
