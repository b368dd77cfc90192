//! Why a check failed, as a code that stays the same, with what to do. It refuses codes for what could not run: that is
//! unknown and has a reason instead.
use serde::{Deserialize, Serialize};

/// What the GPU did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A word of memory was not what was written to it.
    Memory,
    /// A matrix product differs from the exact one.
    Product,
    /// A processor disagrees with the others, or with what is known of its architecture.
    Dissent,
    /// Scalar arithmetic differs from the CPU's.
    Arithmetic,
    /// The probe's answer is wrong.
    Probe,
    /// Slower than its peers or its floor.
    Slow,
    /// It grew slower under load, or throttled for heat.
    Drift,
    /// Data of before were found after a wipe.
    Residue,
    /// The driver reported a fault of the device.
    Device,
    /// The GPU fell off the bus or its driver gave it up.
    Lost,
    /// It did not come to an end in its time.
    Hang,
    /// Its process was killed by a signal, or panicked.
    Died,
}

impl Code {
    pub const ALL: [Self; 12] = [
        Self::Memory,
        Self::Product,
        Self::Dissent,
        Self::Arithmetic,
        Self::Probe,
        Self::Slow,
        Self::Drift,
        Self::Residue,
        Self::Device,
        Self::Lost,
        Self::Hang,
        Self::Died,
    ];

    /// As it stands in tables and exports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Product => "product",
            Self::Dissent => "dissent",
            Self::Arithmetic => "arithmetic",
            Self::Probe => "probe",
            Self::Slow => "slow",
            Self::Drift => "drift",
            Self::Residue => "residue",
            Self::Device => "device",
            Self::Lost => "lost",
            Self::Hang => "hang",
            Self::Died => "died",
        }
    }

    /// The next step for a person.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Memory => {
                "Take the GPU out of service, look at its remapped rows, reset it and run the suite deep; if words differ \
                 again, have it replaced."
            }
            Self::Product | Self::Dissent | Self::Arithmetic | Self::Probe => {
                "Take the GPU out of service: it computes wrongly without saying so. Run the suite deep once more; if it \
                 fails again, have it replaced with this report as evidence."
            }
            Self::Slow => {
                "Look at the link's generation and width under load, at throttle reasons and at other work on the \
                 machine; then run the suite nightly again."
            }
            Self::Drift => "Look at temperature, fans, air flow and power limit, then run the suite nightly again.",
            Self::Residue => "Keep the GPU out of service and reset it before anybody else gets it.",
            Self::Device => "Look at the kernel's log for the Xid, reset the GPU and run the suite deep.",
            Self::Lost => {
                "Look at the kernel's log for the Xid and restart the machine; reseat the card if it is lost again."
            }
            Self::Hang => "Look at the kernel's log, reset the GPU or restart the machine, and run the suite deep.",
            Self::Died => "Read what the process said and the kernel's log; then run the check again.",
        }
    }

    /// Whether one occurrence is enough to act; what is only slow is judged by several.
    pub const fn hard(self) -> bool {
        !matches!(self, Self::Slow | Self::Drift | Self::Died)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_travels_under_its_name_and_has_a_remedy() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{}\"", code.name()));
            assert!(code.remedy().ends_with('.') && !code.remedy().contains("  "), "{}", code.remedy());
        }
    }
}
