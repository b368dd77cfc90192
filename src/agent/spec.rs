//! From what the mill wants to what a shim needs. It refuses to let a member's chosen name reach a path or an account as it
//! was typed.
use std::collections::BTreeMap;
use std::path::Path;

use super::gpu::nvml::Driver;
use super::lease::{self, LeaseError};
use crate::base::hardware::UnitShape;
use crate::wire::lease::*;
use crate::wire::node::{DesiredLease, DesiredWorkload};

/// The spec of a lease whose homes lie in `homes`.
pub fn of(want: &DesiredLease, deadline: Deadline, homes: &Path, simulated: bool) -> Result<LeaseSpec, LeaseError> {
    let kind = match &want.workload {
        DesiredWorkload::Workspace => LeaseKind::Workspace { shell: None },
        DesiredWorkload::Batch { command } => LeaseKind::Batch { command: command.clone() },
    };
    let spec = LeaseSpec {
        lease: want.lease,
        attempt: want.attempt,
        kind,
        env: BTreeMap::from([("GRISTMILL_LEASE".to_owned(), want.lease.to_string())]),
        gpus: want
            .gpus
            .iter()
            .map(|gpu| LeasedGpu { uuid: gpu.uuid.clone(), minor: gpu.minor, instance: None })
            .collect(),
        simulated,
        share: want.share,
        home: lease::home_for(homes, &want.member.home)?,
        member: MemberAccount { name: account(&want.member.name), uid: want.member.uid, gid: want.member.uid },
        deadline,
        grace_seconds: u32::try_from(want.grace.as_seconds()).unwrap_or(0),
        warnings: DEFAULT_WARNINGS.to_vec(),
        log_cap: DEFAULT_LOG_CAP,
    };
    spec.check()?;
    Ok(spec)
}

/// The same with each GPU's device file as it is numbered now, and an instance's place on its GPU: restarts and MIG renumber
/// them, and only the UUID stays. What the driver does not find is not started; on-paper GPUs are not looked for.
pub fn found(mut spec: LeaseSpec) -> Result<LeaseSpec, LeaseError> {
    if spec.simulated {
        return Ok(spec);
    }
    for gpu in &mut spec.gpus {
        let seen = Driver::of_this_machine().find(&gpu.uuid)?;
        // One in MIG mode is told while it has no instances; nothing can compute on it.
        let usable = seen.filter(|seen| seen.shape != UnitShape::Gpu || seen.mig != Some(true));
        let seen = usable.ok_or_else(|| LeaseError::NoGpu(gpu.uuid.clone()))?;
        gpu.minor = seen.minor;
        gpu.instance = match seen.shape {
            UnitShape::Gpu => None,
            UnitShape::Mig { place, .. } => place,
        };
    }
    Ok(spec)
}

/// An account's name made of a person's: `Ada Lovelace` becomes `ada`.
fn account(name: &str) -> String {
    let first = name.split(['@', ' ', '.']).next().unwrap_or_default().to_lowercase();
    let plain: String = first.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit()).take(32).collect();
    let usable = plain.starts_with(|c: char| c.is_ascii_lowercase()) && !matches!(plain.as_str(), "root" | "nobody");
    if usable { plain } else { "member".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::account;

    #[test]
    fn accounts_are_plain() {
        for (name, made) in [
            ("Ada Lovelace", "ada"),
            ("ada@lab.example", "ada"),
            ("Łukasz", "ukasz"),
            ("明", "member"),
            ("root", "member"),
            ("7of9", "member"),
            ("", "member"),
        ] {
            assert_eq!(account(name), made);
        }
    }
}
