//! A mail relay for tests: takes every mail over real SMTP and keeps it, and refuses or hangs up where a test says so.
//! It knows EHLO, HELO, AUTH PLAIN, MAIL, RCPT, DATA, RSET, NOOP and QUIT; it has no TLS.
#![allow(dead_code)]
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One mail as it came in.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    /// Headers and body, lines ending in `\n`, dots unstuffed.
    pub data: String,
}

impl Received {
    /// The unfolded value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.data.split("\n\n").next()?.replace("\n ", " ").replace("\n\t", " ");
        let found = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase())))?;
        Some(found.split_once(':')?.1.trim().to_owned())
    }

    /// The body of the part with this content type, decoded.
    pub fn part(&self, kind: &str) -> String {
        let (_, rest) = self.data.split_once(&format!("Content-Type: {kind}")).expect("a part of this kind");
        let (head, body) = rest.split_once("\n\n").expect("a body");
        let body = body.split("\n--").next().unwrap_or_default();
        let bytes = if head.contains("base64") {
            let engine = base64::engine::general_purpose::STANDARD;
            engine.decode(body.replace('\n', "")).expect("base64")
        } else if head.contains("quoted-printable") {
            quoted_printable(body)
        } else {
            body.as_bytes().to_vec()
        };
        String::from_utf8(bytes).expect("UTF-8").replace("\r\n", "\n")
    }
}

fn quoted_printable(body: &str) -> Vec<u8> {
    let body = body.replace("=\n", "");
    let mut parts = body.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).expect("two hexadecimal digits"));
        bytes.extend(rest.as_bytes());
    }
    bytes
}

/// What goes wrong, once, at the next command of its kind.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The command that begins with this word is answered with this line, such as `550 5.1.1 no such user`. The word `.`
    /// stands for the end of the data: the mail is not kept.
    Answer(&'static str, &'static str),
    /// The mail is kept, but the connection ends before the answer.
    HangUpAfterKeeping,
}

#[derive(Default)]
struct Kept {
    mails: Vec<Received>,
    faults: VecDeque<Fault>,
    logins: Vec<String>,
}

/// The relay; it ends with the test's runtime.
pub struct Sink {
    pub address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl Sink {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sink = Self { address: listener.local_addr().expect("an address"), kept: Arc::default() };
        let kept = Arc::clone(&sink.kept);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                // A client that breaks off is not the relay's trouble.
                tokio::spawn(async move { drop(talk(stream, &kept).await) });
            }
        });
        sink
    }

    pub fn mails(&self) -> Vec<Received> {
        self.kept.lock().unwrap().mails.clone()
    }

    /// User and password of every AUTH PLAIN, as `user:password`.
    pub fn logins(&self) -> Vec<String> {
        self.kept.lock().unwrap().logins.clone()
    }

    pub fn fail_next(&self, fault: Fault) {
        self.kept.lock().unwrap().faults.push_back(fault);
    }
}

async fn talk(stream: TcpStream, kept: &Mutex<Kept>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink ESMTP\r\n").await?;
    let mut mail = Received::default();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        if let Some(answer) = fault(kept, &verb) {
            stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
            continue;
        }
        let answer = match verb.as_str() {
            "EHLO" => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN".to_owned(),
            "AUTH" => login(kept, line),
            "MAIL" => {
                mail = Received { from: path(line), ..Received::default() };
                "250 ok".to_owned()
            }
            "RCPT" => {
                mail.to.push(path(line));
                "250 ok".to_owned()
            }
            "DATA" => {
                stream.write_all(b"354 go on, end with a dot\r\n").await?;
                mail.data = data(&mut stream).await?;
                match fault(kept, ".") {
                    Some(answer) => answer,
                    None if keep(kept, std::mem::take(&mut mail)) => "250 kept".to_owned(),
                    None => return Ok(()),
                }
            }
            "HELO" | "RSET" | "NOOP" => "250 ok".to_owned(),
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 5.5.1 not here".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

/// The injected answer to this command, if it is the next fault.
fn fault(kept: &Mutex<Kept>, verb: &str) -> Option<String> {
    let mut kept = kept.lock().unwrap();
    let Some(Fault::Answer(word, answer)) = kept.faults.front().cloned() else { return None };
    (word == verb).then(|| kept.faults.pop_front()).map(|_| answer.to_owned())
}

/// Keeps the mail; whether it may be acknowledged.
fn keep(kept: &Mutex<Kept>, mail: Received) -> bool {
    let mut kept = kept.lock().unwrap();
    kept.mails.push(mail);
    let hang_up = matches!(kept.faults.front(), Some(Fault::HangUpAfterKeeping));
    if hang_up {
        kept.faults.pop_front();
    }
    !hang_up
}

fn login(kept: &Mutex<Kept>, line: &str) -> String {
    let said = line.split(' ').nth(2).unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD.decode(said).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim_start_matches('\0').replace('\0', ":");
    kept.lock().unwrap().logins.push(text);
    "235 2.7.0 welcome".to_owned()
}

fn path(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}

async fn data(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut data = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line == "." {
            return Ok(data);
        }
        data.push_str(line.strip_prefix('.').unwrap_or(line));
        data.push('\n');
    }
}
