//! What the mill wants of this node, kept on disk so that a restart without the mill goes on with it, and the offset between
//! the mill's clock and this machine's. It refuses to believe the time of day while the boot clock still knows better.
use serde::{Deserialize, Serialize};

use super::boot;
use super::converge::Offset;
use super::place::{Place, PlaceError};
use crate::base::window::Instant;
use crate::clock;
use crate::wire::node::DesiredLease;

const FILE: &str = "desired.json";

/// The desired state in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    pub generation: u64,
    pub leases: Vec<DesiredLease>,
    pub clock: Option<Measured>,
}

/// A comparison of clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The boot that the offset belongs to.
    boot_id: String,
    /// The mill's clock minus the boot clock, milliseconds.
    offset_ms: i64,
    /// The mill's clock minus this machine's time of day, milliseconds; survives a reboot.
    skew_ms: i64,
}

impl Measured {
    /// The mill says that it is this late now.
    pub fn now(mill: Instant) -> Self {
        let offset_ms = Offset::between(mill, boot::boot_ms()).0;
        Self { boot_id: boot::boot_id(), offset_ms, skew_ms: mill.since(clock::now()).as_millis() }
    }
}

impl Measured {
    /// The offset as it was measured; good for the boot in which it was.
    pub const fn offset(&self) -> Offset {
        Offset(self.offset_ms)
    }
}

impl Orders {
    /// What was in force last; nothing on a new node. A damaged file is reported and dropped: the mill will send another.
    pub fn load(place: &Place) -> Result<Self, PlaceError> {
        match place.read_json(FILE) {
            Err(PlaceError::Damaged { path, source }) => {
                tracing::error!(?path, %source, "the desired state on file is damaged; leases go on, and the mill is asked");
                Ok(Self::default())
            }
            other => Ok(other?.unwrap_or_default()),
        }
    }

    pub fn keep(&self, place: &Place) -> Result<(), PlaceError> {
        place.write_json(FILE, self)
    }

    /// The mill's clock against the boot clock, as well as this machine can know it now.
    pub fn offset(&self) -> Offset {
        match &self.clock {
            Some(measured) if measured.boot_id == boot::boot_id() => Offset(measured.offset_ms),
            measured => {
                let skew = measured.as_ref().map_or(0, |measured| measured.skew_ms);
                let mill = Instant::from_millis(clock::now().as_millis().saturating_add(skew));
                Offset::between(mill, boot::boot_ms())
            }
        }
    }
}
