//! Which addresses are this machine's own, as its kernel delivers them: the local tables of both protocols, so that ranges
//! and addresses of any device are seen alike. It refuses guesses from names or interfaces.
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Flags of /proc/net/ipv6_route (linux/ipv6_route.h): delivered to this machine itself.
const LOCAL: u32 = 0x8000_0000;
const ANYCAST: u32 = 0x0010_0000;

/// An address, or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Net {
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Everything that this machine takes as its own, broadcasts included, its loopback left out.
pub fn own() -> io::Result<BTreeSet<Net>> {
    let mut own = v4(&fs::read_to_string("/proc/net/fib_trie")?);
    // A kernel without the newer protocol has no such file, and no such addresses.
    own.extend(v6(&fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default()));
    Ok(own)
}

/// From the kernel's drawing of its trie: a leaf names an address, the lines below it what it is.
fn v4(trie: &str) -> BTreeSet<Net> {
    let mut leaf = None;
    let mut own = BTreeSet::new();
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if let (Some(rest), Some(address)) = (line.strip_prefix('/'), leaf) {
            let mut words = rest.split_whitespace();
            let prefix = words.next().and_then(|prefix| prefix.parse().ok());
            let (Some(prefix), Some("LOCAL" | "BROADCAST")) = (prefix, words.last()) else { continue };
            if !address.is_loopback() && prefix > 0 {
                own.insert(Net { address: address.into(), prefix });
            }
        }
    }
    own
}

fn v6(routes: &str) -> BTreeSet<Net> {
    let own = routes.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = Ipv6Addr::from(u128::from_str_radix(words.next()?, 16).ok()?);
        let prefix = u8::from_str_radix(words.next()?, 16).ok()?;
        let flags = u32::from_str_radix(words.nth(6)?, 16).ok()?;
        let counts = !address.is_loopback() && prefix > 0 && flags & (LOCAL | ANYCAST) != 0;
        counts.then_some(Net { address: address.into(), prefix })
    });
    own.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 127.0.0.0\n        \
        /8 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n     +-- 192.0.2.0/30 2 0 2\n        |-- 192.0.2.0\n           \
        /24 link UNICAST\n        |-- 192.0.2.2\n           /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n     \
        |-- 198.51.100.0\n        /24 host LOCAL\n        /24 link UNICAST\n";

    #[test]
    fn local_addresses_and_ranges_are_found() {
        let found: Vec<String> = v4(TRIE).iter().map(Net::to_string).collect();
        assert_eq!(found, ["192.0.2.2/32", "192.0.2.255/32", "198.51.100.0/24"]);
        assert!(v4("").is_empty());
    }

    #[test]
    fn local_routes_of_the_newer_protocol() {
        let zero = "0".repeat(32);
        let line = |address: &str, prefix: &str, flags: &str| {
            format!("{address} {prefix} {zero} 00 {zero} 00000000 00000004 00000000 {flags}     eth0\n")
        };
        let routes = [
            line("00000000000000000000000000000001", "80", "80200001"),
            line("fd000000000000000000000000000000", "40", "00000001"),
            line("fd000000000000000000000000000002", "80", "80200001"),
            line("fe8000000000000000fc00fffe000001", "80", "80200001"),
            line(&zero, "00", "00200200"),
        ]
        .concat();
        let found: Vec<String> = v6(&routes).iter().map(Net::to_string).collect();
        assert_eq!(found, ["fd00::2/128", "fe80::fc:ff:fe00:1/128"]);
        assert!(v6("nonsense\n").is_empty());
    }

    #[test]
    fn this_machine_can_be_read() {
        assert!(own().unwrap().iter().all(|net| !net.address.is_loopback()));
    }
}
