//! Which host names are ours, and what they lead to. A request for a foreign name is refused, because a browser that was
//! lured here by a forged name would otherwise take our answers for that name's. It refuses wildcards and redirects to
//! names it does not know.
use std::collections::BTreeSet;
use std::net::IpAddr;

use hyper::Request;
use hyper::header::HOST;
use hyper::http::uri::Authority;

use super::EdgeError;

/// What a host name leads to. Workload traffic under a wildcard host becomes a second kind here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The console and its API, on loopback.
    Console,
}

/// Why a request leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// No host, several hosts, or something that is no host.
    BadHost,
    /// A proper host that is not ours.
    Foreign { host: String },
}

/// A request's host as the client wrote it, and the target it leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) authority: Authority,
    pub(super) target: Target,
}

/// The names that lead somewhere.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    names: BTreeSet<String>,
}

impl Routes {
    pub(super) fn new(hosts: &[String]) -> Result<Self, EdgeError> {
        let names = hosts.iter().map(|text| configured_name(text)).collect::<Result<_, _>>()?;
        Ok(Self { names })
    }

    /// One of the public names, to tell a lost visitor.
    pub(super) fn public_name(&self) -> Option<&str> {
        self.names.first().map(String::as_str)
    }

    /// Where a request leads that arrived at `local`, the address the client connected to. That address itself is always
    /// ours: a name can be forged to point here, an address cannot.
    pub(super) fn find<B>(&self, request: &Request<B>, local: IpAddr) -> Result<Route, NoRoute> {
        let authority = stated_authority(request).ok_or(NoRoute::BadHost)?;
        let name = plain_name(&authority);
        let local = local.to_canonical();
        let by_address = name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical() == local);
        let by_loopback = local.is_loopback()
            && (name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()));
        if by_address || by_loopback || self.names.contains(&name) {
            Ok(Route { authority, target: Target::Console })
        } else {
            Err(NoRoute::Foreign { host: name })
        }
    }
}

/// The one host a request names. Several, or a header that contradicts the request line, are refused: two readers of such
/// a request could disagree about whose it is.
fn stated_authority<B>(request: &Request<B>) -> Option<Authority> {
    let mut headers = request.headers().get_all(HOST).iter();
    let from_header = match headers.next() {
        Some(value) => Some(value.to_str().ok()?.parse::<Authority>().ok()?),
        None => None,
    };
    if headers.next().is_some() {
        return None;
    }
    let authority = match (request.uri().authority().cloned(), from_header) {
        (Some(line), Some(header)) if line != header => return None,
        (line, header) => line.or(header)?,
    };
    let proper = !authority.host().is_empty() && !authority.as_str().contains('@');
    proper.then_some(authority)
}

/// Lower case, without port, brackets or the final dot of a fully qualified name.
fn plain_name(authority: &Authority) -> String {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// A name from the settings: `mill.example`, `mill.example:8443`, `::1` or `https://mill.example/`.
fn configured_name(text: &str) -> Result<String, EdgeError> {
    let bad = || EdgeError::BadHost { text: text.to_owned() };
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default().trim();
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let authority: Authority = host.parse().map_err(|_| bad())?;
    let name = plain_name(&authority);
    let letters = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if name.is_empty() || authority.as_str().contains('@') || !name.chars().all(letters) {
        return Err(bad());
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
