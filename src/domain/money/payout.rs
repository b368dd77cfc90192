//! How the price of delivered time is shared between operator and owner. It refuses shares that do not sum to the whole.
use crate::base::credits::{AmountError, Credits};

/// The operator's fee on time that other owners' nodes deliver, in basis points: five percent.
pub const OPERATOR_FEE_BPS: u32 = 500;

/// The two parts of a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    pub fee: Credits,
    pub owner: Credits,
}

/// The fee is rounded down to a micro-credit; the owner gets all the rest.
pub fn split(cost: Credits, fee_bps: u32) -> Result<Split, AmountError> {
    let fee = cost.share_floor(fee_bps);
    Ok(Split { fee, owner: cost.checked_sub(fee)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_table() {
        for (cost, bps, fee, owner) in [
            ("20.00", 500, "1.00", "19.00"),
            ("0.000019", 500, "0.00", "0.000019"),
            ("0.000021", 500, "0.000001", "0.00002"),
            ("10.00", 0, "0.00", "10.00"),
            ("10.00", 10_000, "10.00", "0.00"),
        ] {
            let split = split(cost.parse().unwrap(), bps).unwrap();
            assert_eq!(
                (split.fee.to_string().as_str(), split.owner.to_string().as_str()),
                (fee, owner),
                "{cost} at {bps}"
            );
        }
    }
}
