//! Slows guessing of passwords, per account and per address, without ever locking anybody out for good. It refuses to
//! persist: a restart forgives, and the hash's cost still bounds the rate.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use crate::base::window::{Instant, Span};
use crate::domain::people::refusal::PeopleRefusal;

/// Failures that cost nothing yet.
const FREE: u32 = 5;
/// Failures from one address (a campus behind one NAT shares it).
const FREE_PER_ADDRESS: u32 = 50;
/// The wait doubles from one second up to this.
const LONGEST_WAIT_SECONDS: i64 = 300;
/// Forgotten after this.
const MEMORY: Span = Span::from_hours(1);
/// Bounds the table against floods of made-up accounts.
const CAPACITY: usize = 100_000;

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Failed sign-ins of the last hour.
#[derive(Default)]
pub struct Throttle {
    failures: Mutex<HashMap<String, Failures>>,
}

impl Throttle {
    /// Refuses while a wait is running for the account or the address.
    pub fn check(&self, account: &str, address: Option<IpAddr>, now: Instant) -> Result<(), PeopleRefusal> {
        let table = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let wait = keys(account, address)
            .filter_map(|(key, free)| table.get(&key).map(|failures| remaining(*failures, free, now)))
            .max()
            .unwrap_or(0);
        if wait > 0 { Err(PeopleRefusal::TooManyAttempts { wait_seconds: wait }) } else { Ok(()) }
    }

    pub fn failed(&self, account: &str, address: Option<IpAddr>, now: Instant) {
        let mut table = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if table.len() >= CAPACITY {
            table.retain(|_, failures| now.since(failures.last) < MEMORY);
        }
        for (key, _) in keys(account, address) {
            let entry = table.entry(key).or_insert(Failures { count: 0, last: now });
            let fresh = now.since(entry.last) >= MEMORY;
            *entry = Failures { count: if fresh { 1 } else { entry.count.saturating_add(1) }, last: now };
        }
    }

    pub fn succeeded(&self, account: &str) {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&format!("a:{account}"));
    }
}

fn keys(account: &str, address: Option<IpAddr>) -> impl Iterator<Item = (String, u32)> {
    let account = Some((format!("a:{account}"), FREE));
    account.into_iter().chain(address.map(|ip| (format!("i:{ip}"), FREE_PER_ADDRESS)))
}

fn remaining(failures: Failures, free: u32, now: Instant) -> i64 {
    let over = failures.count.saturating_sub(free);
    if over == 0 {
        return 0;
    }
    let wait = (1_i64 << (over - 1).min(16)).min(LONGEST_WAIT_SECONDS);
    (wait - now.since(failures.last).as_seconds()).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let throttle = Throttle::default();
        let start = Instant::from_seconds(1_000_000);
        for _ in 0..FREE {
            throttle.failed("ada@x", None, start);
        }
        assert_eq!(throttle.check("ada@x", None, start), Ok(()));
        for _ in 0..20 {
            throttle.failed("ada@x", None, start);
        }
        assert_eq!(
            throttle.check("ada@x", None, start),
            Err(PeopleRefusal::TooManyAttempts { wait_seconds: LONGEST_WAIT_SECONDS })
        );
        assert_eq!(throttle.check("bob@x", None, start), Ok(()));
        assert_eq!(throttle.check("ada@x", None, start.plus(Span::from_seconds(LONGEST_WAIT_SECONDS))), Ok(()));
        throttle.succeeded("ada@x");
        assert_eq!(throttle.check("ada@x", None, start), Ok(()));
    }

    #[test]
    fn an_address_is_slowed_over_many_accounts() {
        let throttle = Throttle::default();
        let (now, address) = (Instant::from_seconds(5), Some(IpAddr::from([192, 0, 2, 7])));
        for n in 0..=FREE_PER_ADDRESS {
            throttle.failed(&format!("{n}@x"), address, now);
        }
        assert!(throttle.check("new@x", address, now).is_err());
        assert!(throttle.check("new@x", Some(IpAddr::from([192, 0, 2, 8])), now).is_ok());
    }
}
