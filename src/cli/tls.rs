//! Whom the command line trusts: this machine's authorities, or for one mill exactly the authority that was pinned. It
//! refuses to trust what it merely fetched: a fetched authority counts only with the fingerprint that the person gave.
use reqwest::{Certificate, ClientBuilder};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::failure::Failure;
use crate::base::secret::{hex, sha256};

/// Longest certificate accepted, in bytes.
const PEM_LIMIT: usize = 64 * 1024;

/// A client builder with the right trust for `url`.
pub fn builder(url: &str, ca: Option<&str>) -> Result<ClientBuilder, Failure> {
    let agent = concat!("gristmill/", env!("CARGO_PKG_VERSION"));
    let builder = reqwest::Client::builder().user_agent(agent).connect_timeout(std::time::Duration::from_secs(10));
    let builder = if is_local(url) { builder.no_proxy() } else { builder };
    // A redirect could lead the token elsewhere; the API has none.
    let builder = builder.redirect(reqwest::redirect::Policy::none());
    if url.starts_with("http://") {
        // No authority is needed, and none may be missing.
        return Ok(builder.tls_certs_only([]));
    }
    match ca {
        None => Ok(builder),
        Some(pem) => {
            let certificate = Certificate::from_pem(pem.as_bytes())
                .map_err(|why| Failure::file("the certificate authority", &why))?;
            Ok(builder.tls_certs_only([certificate]))
        }
    }
}

/// Whether the address is this very machine: then no proxy lies between.
fn is_local(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    ["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local))
}

/// Reads a certificate from PEM text and answers its SHA-256 fingerprint.
pub fn fingerprint(pem: &str) -> Result<String, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "It holds no certificate (PEM)".to_owned())?;
    Ok(hex(&sha256(&der)))
}

/// Fetches the mill's own authority. Whoever answers may be an impostor: only the fingerprint decides.
pub async fn fetch_authority(url: &str) -> Option<String> {
    let builder = builder("http://", None).ok()?;
    let client = builder.tls_danger_accept_invalid_certs(true).build().ok()?;
    let answer = client.get(format!("{url}/ca.pem")).send().await.ok()?;
    if !answer.status().is_success() || answer.content_length().is_some_and(|length| length > PEM_LIMIT as u64) {
        return None;
    }
    let pem = answer.text().await.ok().filter(|pem| pem.len() <= PEM_LIMIT)?;
    fingerprint(&pem).is_ok().then_some(pem)
}

/// The authority with exactly this fingerprint, fetched from the mill.
pub async fn pinned(url: &str, given: &str) -> Result<String, Failure> {
    let wanted: String = given.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_lowercase();
    if wanted.len() != 64 {
        return Err(Failure::Usage {
            what: "That is no SHA-256 fingerprint.".to_owned(),
            why: "It has 64 hexadecimal digits, with or without colons.".to_owned(),
            next: "Copy it again from the server's log or settings; nothing was sent.".to_owned(),
        });
    }
    let pem = fetch_authority(url).await.ok_or_else(|| Failure::Unreachable {
        url: url.to_owned(),
        why: "Its certificate authority could not be fetched from /ca.pem.".to_owned(),
    })?;
    match fingerprint(&pem) {
        Ok(found) if found == wanted => Ok(pem),
        found => Err(Failure::Untrusted { url: url.to_owned(), fingerprint: found.ok() }),
    }
}

/// Whether a request failed because the other side could not prove who it is.
pub fn is_distrust(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return matches!(tls, rustls::Error::InvalidCertificate(_));
    }
    // What an I/O error wraps is not its source but what it wraps.
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(within) => is_distrust(within),
        None => error.source().is_some_and(is_distrust),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_local_is_known() {
        for (url, local) in [
            ("http://127.0.0.1:8080", true),
            ("http://localhost:1", true),
            ("https://[::1]:2", true),
            ("https://mill.lab", false),
            ("https://mill.lab/localhost", false),
        ] {
            assert_eq!(is_local(url), local, "{url}");
        }
    }

    #[test]
    fn distrust_is_found_however_deep_it_lies() {
        let distrust = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = std::io::Error::other(std::io::Error::new(std::io::ErrorKind::InvalidData, distrust()));
        assert!(is_distrust(&distrust()) && is_distrust(&wrapped));
        assert!(!is_distrust(&std::io::Error::from(std::io::ErrorKind::ConnectionRefused)));
        assert!(!is_distrust(&rustls::Error::DecryptError));
    }

    #[test]
    fn a_fingerprint_is_of_the_certificate_not_of_its_wrapping() {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["mill.lab".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pem = made.pem();
        assert_eq!(fingerprint(&pem).unwrap(), hex(&sha256(made.der())));
        assert_eq!(fingerprint(&format!("words before\n{pem}")).unwrap(), fingerprint(&pem).unwrap());
        assert!(fingerprint("no certificate").is_err());
    }
}
