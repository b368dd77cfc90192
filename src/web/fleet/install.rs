//! What a machine needs to become a node: the one line to paste, the script that it fetches, and this program itself. Open to
//! anybody who came through the front door, because it holds no secret. It refuses tokens in addresses: the line hands its
//! token over by a pipe, where neither history of requests nor list of processes shows it.
use askama::Template;
use rocket::http::{ContentType, Header};
use rocket::response::Responder;
use rocket::tokio::fs::File;
use rocket::{State, get};

use crate::app::error::Answer;
use crate::app::fleet::doors::{self, Doors, Front};
use crate::app::fleet::program;
use crate::app::mill::Mill;
use crate::base::secret::Secret;
use crate::domain::people::installation::Installation;
use crate::store::people::INSTALLATION;
use crate::store::read::Read as _;
use crate::web::error::PageError;
use crate::web::guard::Visit;

/// GPUs that a machine offers to a simulated mill when its line says no other number.
const SIMULATED_GPUS: u32 = 4;

/// The line to paste. `printf` is built into every shell, so the token never stands in the list of processes.
pub fn line(mill: &Mill, token: &Secret) -> Answer<String> {
    let Doors { front, .. } = mill.doors();
    let simulated = mill.store.read()?.get::<Installation>(&INSTALLATION)?.is_some_and(|mill| mill.simulated());
    Ok(written(front, &mill.public_url, &doors::fingerprint(mill)?, simulated, token.expose()))
}

fn written(front: Front, url: &str, fingerprint: &str, simulated: bool, token: &str) -> String {
    let more = if simulated { format!(" --simulated-gpus {SIMULATED_GPUS}") } else { String::new() };
    let run = format!("sh install.sh --pin {fingerprint}{more}");
    let fetch = match front {
        // The root comes over a connection that proves nothing, and counts only when it has the fingerprint of this line.
        Front::Own => format!(
            "curl -fsSko ca.pem {url}/ca.pem && \
             {{ sed /-----/d ca.pem | base64 -d | sha256sum | grep -q ^{fingerprint} || \
             {{ echo \"This is not your mill: its root has another fingerprint. Nothing was installed.\" >&2; exit 1; }}; }} && \
             curl -fsS --cacert ca.pem -o install.sh {url}/install.sh"
        ),
        Front::Plain | Front::Public => format!("curl -fsSo install.sh {url}/install.sh"),
    };
    format!("printf '%s\\n' '{token}' | sh -c 'cd \"$(mktemp -d)\" && {fetch} && {run}'")
}

#[derive(Template)]
#[template(path = "fleet/install.sh", escape = "none")]
struct Script<'a> {
    url: &'a str,
    gateway: &'a str,
    /// Whether curl is to be told to trust the mill's own root.
    own: bool,
    version: &'a str,
    architecture: &'a str,
    sha256: &'a str,
    bytes: u64,
    glibc: String,
}

/// The script, made for this very server and program.
#[derive(Responder)]
pub struct Sent<T> {
    inner: T,
    content_type: ContentType,
    length: Header<'static>,
}

#[get("/install.sh")]
pub async fn script(_visit: Visit, mill: &State<Mill>) -> Result<Sent<String>, PageError> {
    let (program, doors) = (mill.program.program().await?, mill.doors());
    let script = Script {
        url: &mill.public_url,
        gateway: &doors.gateway,
        own: doors.front == Front::Own,
        version: program.version,
        architecture: program.architecture,
        sha256: &program.sha256,
        bytes: program.bytes,
        glibc: program.glibc.map_or_else(|| "0.0".to_owned(), |glibc| glibc.to_string()),
    };
    let inner = script.render().map_err(|error| crate::app::error::AppError::outside("writing the script", error))?;
    let length = Header::new("content-length", inner.len().to_string());
    Ok(Sent { inner, content_type: ContentType::new("text", "plain").with_params(("charset", "utf-8")), length })
}

/// This program, as it runs.
#[get("/install/gristmill")]
pub async fn binary(_visit: Visit, mill: &State<Mill>) -> Result<Sent<File>, PageError> {
    let length = Header::new("content-length", mill.program.program().await?.bytes.to_string());
    Ok(Sent { inner: File::from_std(program::open()?), content_type: ContentType::Binary, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_pins_and_hides() {
        let line = written(Front::Own, "https://mill.lab", "abcd", true, "secret");
        assert!(line.starts_with("printf '%s\\n' 'secret' | sh -c '"), "{line}");
        assert_eq!(line.matches("secret").count(), 1, "the token is said once, to a builtin");
        assert!(line.contains("grep -q ^abcd") && line.contains("--cacert ca.pem"));
        assert!(line.ends_with("sh install.sh --pin abcd --simulated-gpus 4'"));
        assert_eq!(line.matches('\'').count(), 6, "nothing ends the quotes early");
        let plain = written(Front::Plain, "http://127.0.0.1:8080", "abcd", false, "secret");
        assert!(!plain.contains("-k") && plain.contains("curl -fsSo install.sh http://127.0.0.1:8080/install.sh"));
    }
}
