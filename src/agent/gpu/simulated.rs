//! GPUs on paper, for evaluation, tests and load: always the same ones for the same node. It refuses to look real: every
//! UUID begins with `SIM-`.
use ring::digest::{SHA256, digest};

use crate::base::hardware::ObservedGpu;

/// Memory of an H200 as sold: 141 GB.
const MEMORY_BYTES: u64 = 141_000_000_000;

/// `count` GPUs, derived from the seed and their index alone.
pub fn gpus(seed: &str, count: u32) -> Vec<ObservedGpu> {
    (0..count).map(|index| gpu(seed, index)).collect()
}

fn gpu(seed: &str, index: u32) -> ObservedGpu {
    let hash = digest(&SHA256, format!("simulated gpu {index} of {seed}").as_bytes());
    let hex: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let uuid = format!("SIM-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    ObservedGpu { uuid, model: "H200".to_owned(), index, memory_bytes: MEMORY_BYTES, ..ObservedGpu::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_node_has_the_same_gpus_and_no_two_nodes_share_one() {
        let (here, there) = (gpus("a", 4), gpus("b", 4));
        assert_eq!(here, gpus("a", 4));
        let mut all: Vec<&str> = here.iter().chain(&there).map(|gpu| gpu.uuid.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8);
        assert!(all.iter().all(|uuid| uuid.starts_with("SIM-") && uuid.len() == 40));
    }
}
