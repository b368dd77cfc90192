//! Whether a bandwidth is what it should be: beside the fleet's median of the same model where there are enough peers, else
//! beside a floor. Pure, so that server and node judge alike. It refuses floors that nobody has measured or derived.
use serde::{Deserialize, Serialize};

use crate::base::hardware::PcieLink;

/// So many peers of the same model make a median.
pub const ENOUGH_PEERS: usize = 5;
/// What may be missing to the median: 5 % (SuperBench's).
const OF_MEDIAN: f64 = 0.95;
/// Of what a link could carry, a copy reaches at least so much.
const OF_HOST_LINK: f64 = 0.80;
/// Of what NVLinks could carry.
const OF_NVLINK: f64 = 0.85;
/// GB/s of one NVLink of the fourth generation in one direction.
const NVLINK4: f64 = 26.56;
/// Copies within a GPU, read and written counted: 90 % of what was measured on the model. One model was.
const DEVICE_FLOORS: &[(&str, f64)] = &[("H200", 3870.0)];

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    DeviceToDevice,
    HostToDevice,
    DeviceToHost,
    Peer,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::DeviceToDevice, Self::HostToDevice, Self::DeviceToHost, Self::Peer];

    /// The figure's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeviceToDevice => "device_to_device",
            Self::HostToDevice => "host_to_device",
            Self::DeviceToHost => "device_to_host",
            Self::Peer => "peer",
        }
    }
}

/// What a measured bandwidth is held against, in GB/s.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "bar")]
pub enum Bar {
    /// The median of so many peers, less 5 %.
    Fleet {
        at_least: f64,
        peers: usize,
    },
    Floor {
        at_least: f64,
    },
    /// There is nothing to compare with: the figure stands alone.
    Nothing,
}

/// What is known of a GPU that bears on its bandwidth.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    pub model: &'a str,
    pub link: Option<PcieLink>,
    /// NVLinks of the fourth generation between the two; 0 where copies go over the host.
    pub nvlinks: u32,
}

impl Bar {
    /// `peers`: the same figure of other GPUs of the model.
    pub fn of(way: Way, about: About<'_>, peers: &[f64]) -> Self {
        if let Some(median) = median(peers).filter(|_| peers.len() >= ENOUGH_PEERS) {
            return Self::Fleet { at_least: median * OF_MEDIAN, peers: peers.len() };
        }
        match floor(way, about) {
            Some(at_least) => Self::Floor { at_least },
            None => Self::Nothing,
        }
    }

    /// Whether the figure is good enough. What is not a number is not.
    pub fn holds(self, measured: f64) -> bool {
        match self {
            Self::Fleet { at_least, .. } | Self::Floor { at_least } => measured >= at_least,
            Self::Nothing => true,
        }
    }
}

fn floor(way: Way, about: About<'_>) -> Option<f64> {
    match way {
        Way::DeviceToDevice => DEVICE_FLOORS.iter().find(|(model, _)| *model == about.model).map(|(_, floor)| *floor),
        Way::HostToDevice | Way::DeviceToHost => Some(lanes(about.link?)? * OF_HOST_LINK),
        Way::Peer => (about.nvlinks > 0).then(|| f64::from(about.nvlinks) * NVLINK4 * OF_NVLINK),
    }
}

/// GB/s in one direction of what was negotiated; what it could reach where nothing was.
fn lanes(link: PcieLink) -> Option<f64> {
    let width = f64::from(link.width.unwrap_or(link.max_width));
    // Transfers in a second times the share of data: 8b/10b up to the second generation, 128b/130b up to the fifth.
    let lane = match link.generation.unwrap_or(link.max_generation) {
        1 => 0.25,
        2 => 0.5,
        3 => 8.0 * 128.0 / 130.0 / 8.0,
        4 => 16.0 * 128.0 / 130.0 / 8.0,
        5 => 32.0 * 128.0 / 130.0 / 8.0,
        _ => return None,
    };
    Some(width * lane)
}

/// The middle of finite numbers.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests;
