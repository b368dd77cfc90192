//! Xids as the driver announces them: a thread that listens for as long as the library is open and keeps each GPU's last one,
//! and the last ones of all. It refuses to judge them; the number is told and the rules are the server's.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::event::EventData;
use nvml_wrapper::{Device, EventSet, Nvml};

use crate::base::window::Instant;
use crate::base::xid::MOST_XIDS;
use crate::clock;

/// How long one wait for an event lasts; then the thread looks whether it is still wanted.
const WAIT_MS: u32 = 2000;
/// Before listening is tried again where it was refused.
const PAUSE: Duration = Duration::from_secs(30);

/// An event, and when it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    pub uuid: String,
    pub number: u64,
    pub at: Instant,
}

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub last: BTreeMap<String, u64>,
    /// Of all GPUs, oldest first, at most [`MOST_XIDS`].
    pub recent: VecDeque<Announced>,
}

type Xids = Mutex<Heard>;

/// Listens until nobody else holds the library any more.
pub(super) fn listen(nvml: &Arc<Nvml>, xids: &Arc<Xids>) {
    let (nvml, xids) = (Arc::downgrade(nvml), Arc::clone(xids));
    let thread = std::thread::Builder::new().name("gpu-events".to_owned()).spawn(move || {
        while let Some(open) = wanted(&nvml) {
            let ended = hear(&open, &nvml, &xids);
            drop(open);
            match ended {
                Ok(()) => return,
                Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => {
                    tracing::info!("the driver tells no Xids; they are not heard of");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "Xids cannot be listened to just now; it is tried again");
                    std::thread::sleep(PAUSE);
                }
            }
        }
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread can be started that listens for Xids");
    }
}

/// The library, while somebody besides this thread holds it.
fn wanted(nvml: &Weak<Nvml>) -> Option<Arc<Nvml>> {
    nvml.upgrade().filter(|open| Arc::strong_count(open) > 1)
}

/// Hears events until the library is no longer wanted.
fn hear(nvml: &Nvml, held: &Weak<Nvml>, xids: &Xids) -> Result<(), NvmlError> {
    let devices = devices(nvml)?;
    let set = register(nvml, &devices)?;
    // One strong count is this thread's own.
    while held.strong_count() > 1 {
        match set.wait(WAIT_MS) {
            Ok(event) => note(&event, &devices, xids),
            Err(NvmlError::Timeout) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn devices(nvml: &Nvml) -> Result<Vec<(String, Device<'_>)>, NvmlError> {
    let all = (0..nvml.device_count()?).filter_map(|index| nvml.device_by_index(index).ok());
    Ok(all.filter_map(|device| Some((device.uuid().ok()?, device))).collect())
}

/// A set with all devices that take part. A refused registration eats the set, so it begins again without that one.
fn register<'a>(nvml: &'a Nvml, devices: &[(String, Device<'a>)]) -> Result<EventSet<'a>, NvmlError> {
    let mut willing: Vec<&(String, Device<'a>)> = devices.iter().collect();
    'again: loop {
        if willing.is_empty() {
            return Err(NvmlError::NotSupported);
        }
        let mut set = nvml.create_event_set()?;
        for (place, (_, device)) in willing.iter().enumerate() {
            match device.register_events(EventTypes::CRITICAL_XID_ERROR, set) {
                Ok(grown) => set = grown,
                Err(_) => {
                    willing.remove(place);
                    continue 'again;
                }
            }
        }
        return Ok(set);
    }
}

fn note(event: &EventData<'_>, devices: &[(String, Device<'_>)], xids: &Xids) {
    let number = match &event.event_data {
        Some(XidError::Value(number)) => *number,
        Some(XidError::Unknown) | None => return,
    };
    // A GPU with an Xid may not be able to say its name any more.
    let Some((uuid, _)) = devices.iter().find(|(_, device)| same(device, &event.device)) else { return };
    tracing::error!(gpu = uuid, xid = number, "the driver reports an Xid");
    let mut heard = xids.lock().unwrap_or_else(PoisonError::into_inner);
    heard.last.insert(uuid.clone(), number);
    if heard.recent.len() == MOST_XIDS {
        heard.recent.pop_front();
    }
    heard.recent.push_back(Announced { uuid: uuid.clone(), number, at: clock::now() });
}

/// Whether two handles are one device.
#[allow(unsafe_code)]
fn same(one: &Device<'_>, other: &Device<'_>) -> bool {
    // SAFETY: the handles are only compared as addresses; nothing is called with them.
    unsafe { one.handle() == other.handle() }
}
