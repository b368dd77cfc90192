//! The HTTP side: one request, one typed answer or one failure with its next step. Every change carries an idempotency key,
//! so that a request whose answer was lost can be sent again without happening twice. It refuses to follow redirects and to
//! send the token anywhere but to the mill it came from.
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::home::{self, Remembered};
use super::tls;
use super::zone::Zone;
use crate::base::secret::{Secret, hex};
use crate::wire::api::Problem;
use crate::wire::api::people::StatusAnswer;

/// How often a request is sent before the mill counts as out of reach, and the pauses between.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(800), Duration::from_secs(2)];
/// How long an answer may pause; a stream sends a sign of life more often.
const SILENCE: Duration = Duration::from_secs(60);

/// A connection to one mill, as one member.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<Secret>,
    ca: Option<String>,
    /// Used where a command needs a team and names none.
    pub team: Option<String>,
}

impl Client {
    /// As whoever logged in last.
    pub fn signed_in() -> Result<Self, Failure> {
        let remembered = home::load(&home::directory()?)?;
        let Some(Remembered { url, token, ca, team }) = remembered else {
            return Err(Failure::NotSignedIn { why: "No sign-in is kept on this machine.", url: None });
        };
        let mut client = Self::to(&url, ca)?;
        (client.token, client.team) = (Some(token), team);
        Ok(client)
    }

    /// As nobody yet.
    pub fn to(url: &str, ca: Option<String>) -> Result<Self, Failure> {
        let url = checked(url)?;
        let http = tls::builder(&url, ca.as_deref())?.read_timeout(SILENCE).build();
        let http = http.map_err(|why| Failure::Strange { url: url.clone(), why: format!("{why}.") })?;
        Ok(Self { http, url, token: None, ca, team: None })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The zone in which the mill's people live.
    pub async fn zone(&self) -> Result<Zone, Failure> {
        let status: StatusAnswer = self.get("status").await?;
        Ok(Zone::named(&status.time_zone))
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.open(path).await?;
        self.read(answer).await
    }

    /// A GET whose body is read by the caller.
    pub async fn open(&self, path: &str) -> Result<Response, Failure> {
        self.send(|| self.request(Method::GET, path)).await
    }

    /// A change, under a key of its own.
    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Failure> {
        let answer = self.post_open(path, body).await?;
        self.read(answer).await
    }

    /// A change whose answer is read by the caller.
    pub async fn post_open<B: Serialize>(&self, path: &str, body: &B) -> Result<Response, Failure> {
        let key = fresh_key();
        self.send(|| self.request(Method::POST, path).header("idempotency-key", &key).json(body)).await
    }

    /// A request that becomes a WebSocket; the answer is not yet judged.
    pub async fn upgrade(&self, path: &str, key: &str) -> Result<Response, Failure> {
        let http = tls::builder(&self.url, self.ca.as_deref())?.http1_only().build();
        let http = http.map_err(|why| Failure::Strange { url: self.url.clone(), why: format!("{why}.") })?;
        let request = http
            .get(format!("{}{path}", self.url))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", key);
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1/{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Sends until there is an answer, then judges it.
    async fn send(&self, make: impl Fn() -> RequestBuilder) -> Result<Response, Failure> {
        let mut pauses = PAUSES.iter();
        loop {
            match make().send().await {
                Ok(answer) => return self.judge(answer).await,
                Err(error) if tls::is_distrust(&error) => return Err(self.distrusted().await),
                Err(error) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(self.unreachable(&error)),
                },
            }
        }
    }

    async fn judge(&self, answer: Response) -> Result<Response, Failure> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) if status == StatusCode::UNAUTHORIZED && problem.code == "signed_out" => {
                Err(Failure::NotSignedIn { why: "The token has expired or was ended.", url: Some(self.url.clone()) })
            }
            Ok(problem) => Err(Failure::Refused { status: status.as_u16(), problem: Box::new(problem) }),
            Err(_) if status.is_redirection() && self.url.starts_with("http://") => {
                Err(self.strange("It speaks https there, and the address says http.".to_owned()))
            }
            Err(_) => Err(self.strange(format!("It answered {status}."))),
        }
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response) -> Result<T, Failure> {
        let bytes = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|why| self.strange(format!("Its answer cannot be read: {why}.")))
    }

    pub fn strange(&self, why: String) -> Failure {
        Failure::Strange { url: self.url.clone(), why }
    }

    pub fn unreachable(&self, error: &reqwest::Error) -> Failure {
        // The innermost cause says it in the fewest words: "Connection refused".
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let why = if error.is_timeout() { "It did not answer in time.".to_owned() } else { format!("{cause}.") };
        Failure::Unreachable { url: self.url.clone(), why }
    }

    async fn distrusted(&self) -> Failure {
        let offered = tls::fetch_authority(&self.url).await;
        let fingerprint = offered.and_then(|pem| tls::fingerprint(&pem).ok());
        Failure::Untrusted { url: self.url.clone(), fingerprint }
    }
}

/// An address without a trailing slash.
fn checked(url: &str) -> Result<String, Failure> {
    let trimmed = url.trim().trim_end_matches('/');
    let usable =
        ["http://", "https://"].iter().any(|scheme| trimmed.len() > scheme.len() && trimmed.starts_with(scheme));
    if usable && reqwest::Url::parse(trimmed).is_ok() {
        return Ok(trimmed.to_owned());
    }
    Err(Failure::Usage {
        what: format!("“{url}” is no address of a mill."),
        why: "An address looks like https://mill.lab or http://127.0.0.1:8080.".to_owned(),
        next: "Correct it and try again.".to_owned(),
    })
}

/// 128 random bits: a name for this one attempt.
pub fn fresh_key() -> String {
    hex(&random())
}

/// Random bytes.
///
/// # Panics
/// When the operating system gives no randomness: nothing safe can be done then.
pub fn random() -> [u8; 16] {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// A text as one segment of a path.
pub fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    // An empty segment would name another address.
    if out.is_empty() { "-".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("bk_01"), "bk_01");
        assert_eq!(segment("../a b?c#ü"), "%2E%2E%2Fa%20b%3Fc%23%C3%BC");
        assert_eq!(segment(""), "-");
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(checked("https://mill.lab/").unwrap(), "https://mill.lab");
        for bad in ["mill.lab", "ftp://mill", "http://", "", "https://[", "file:///etc/passwd"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
