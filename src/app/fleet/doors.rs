//! Where machines knock: the gateway's address as other machines dial it, and how the front door proves itself to a shell
//! with curl. Told once by whoever starts the server. It refuses to guess from a request.
use super::authority;
use crate::app::error::{Answer, AppError};
use crate::app::mill::Mill;
use crate::app::trust;
use crate::domain::notice::Common;

/// How curl can be sure of the front door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// No TLS: reachable on this machine alone.
    Plain,
    /// A certificate of the mill's own authority, which the install line pins.
    Own,
    /// A certificate that the machines trust already.
    Public,
}

/// The doors as they stand open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doors {
    /// Such as `https://mill.lab:8443`.
    pub gateway: String,
    /// The gateway listens on loopback: no other machine reaches it.
    pub gateway_is_local: bool,
    pub front: Front,
}

impl Doors {
    /// What the public address alone allows to say: before the server told, and in tests.
    fn supposed(public_url: &str) -> Self {
        let (scheme, rest) = public_url.split_once("://").unwrap_or(("http", public_url));
        let authority = rest.split('/').next().unwrap_or(rest);
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        };
        let front = if scheme == "https" { Front::Own } else { Front::Plain };
        Self { gateway: format!("https://{host}:8443"), gateway_is_local: false, front }
    }
}

impl Mill {
    pub fn doors(&self) -> Doors {
        self.told_doors.get().cloned().unwrap_or_else(|| Doors::supposed(&self.public_url))
    }
}

/// The fingerprint that machines pin.
pub fn fingerprint(mill: &Mill) -> Answer<String> {
    let pem = authority::root_certificate(&mill.store.read()?)?.ok_or(Common::NotFound { what: "certificate" })?;
    trust::pem_fingerprint(&pem).map_err(|error| AppError::outside("reading the mill's root", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_allows_to_say() {
        for (url, gateway, front) in [
            ("https://mill.example", "https://mill.example:8443", Front::Own),
            ("http://127.0.0.1:8080", "https://127.0.0.1:8443", Front::Plain),
            ("https://[::1]:9000", "https://[::1]:8443", Front::Own),
            ("https://[::1]", "https://[::1]:8443", Front::Own),
        ] {
            let doors = Doors::supposed(url);
            assert_eq!((doors.gateway.as_str(), doors.front), (gateway, front));
        }
    }
}
