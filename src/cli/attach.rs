//! A terminal in a booking, from this terminal: what is typed goes over a WebSocket to the lease's shell, the window's size
//! with it. Ctrl-] leaves; the shell stays and can be attached again. It refuses to leave this terminal in raw mode.
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::client::{Client, random, segment};
use super::failure::Failure;
use crate::base::text::without_control;
use crate::wire::api::Problem;
use crate::wire::api::bookings::TicketAnswer;

/// Ctrl-]
const LEAVE: u8 = 0x1d;
/// How often the other side is asked for a sign of life, and how long it may be silent.
const PING: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
/// Pauses before a lost connection is taken up again.
const PAUSES: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// What is said to a person who leaves.
const LEFT: &str = "Left; the shell goes on.";

type Socket = WebSocketStream<reqwest::Upgraded>;

/// How a connection ended.
enum Outcome {
    /// The person left.
    Left,
    /// The shell or the lease is over; why.
    Over(String),
    /// The connection broke; the shell goes on.
    Lost,
}

pub async fn attach(client: &Client, id: &str, tab: u16) -> Result<(), Failure> {
    let take = |kind| signal(kind).map_err(|why| Failure::terminal(&why));
    let window = take(SignalKind::window_change())?;
    let socket = connect(client, id, tab).await?;
    // Asked to end, by a closed window or another program, it leaves as if by the key: the terminal must not stay raw.
    let (mut terminate, mut hang_up) = (take(SignalKind::terminate())?, take(SignalKind::hangup())?);
    let raw = Raw::enter()?;
    raw.note(&format!("Attached to {id}. Leave with Ctrl-]"));
    let why = tokio::select! {
        why = carry(client, (id, tab), socket, window, &raw) => why?,
        _ = terminate.recv() => LEFT.to_owned(),
        _ = hang_up.recv() => LEFT.to_owned(),
    };
    raw.note(&why);
    Ok(())
}

/// Carries bytes both ways, over as many connections as it takes; answers why it ended.
async fn carry(
    client: &Client,
    (id, tab): (&str, u16),
    mut socket: Socket,
    mut window: Signal,
    raw: &Raw,
) -> Result<String, Failure> {
    let mut typed = typed();
    let mut pauses = PAUSES.iter();
    loop {
        match session(&mut socket, &mut typed, &mut window).await {
            Outcome::Left => return Ok(LEFT.to_owned()),
            Outcome::Over(why) => return Ok(why),
            Outcome::Lost => {
                raw.note("Connection lost; the shell goes on. Connecting again…");
                socket = again(client, id, tab, &mut pauses).await?;
            }
        }
    }
}

async fn again(client: &Client, id: &str, tab: u16, pauses: &mut std::slice::Iter<'_, u64>) -> Result<Socket, Failure> {
    loop {
        let pause = pauses.next();
        tokio::time::sleep(Duration::from_secs(*pause.unwrap_or(&0))).await;
        match connect(client, id, tab).await {
            Ok(socket) => return Ok(socket),
            Err(failure) if pause.is_none() || matches!(&failure, Failure::Refused { status: 400..=499, .. }) => {
                return Err(failure);
            }
            Err(_) => {}
        }
    }
}

/// Gets a one-use ticket and opens the socket it is for.
async fn connect(client: &Client, id: &str, tab: u16) -> Result<Socket, Failure> {
    let nothing = serde_json::json!({});
    let ticket: TicketAnswer = client.post(&format!("bookings/{}/terminal", segment(id)), &nothing).await?;
    let (cols, rows) = size();
    let joint = if ticket.path.contains('?') { '&' } else { '?' };
    let path = format!("{}{joint}tab={tab}&cols={cols}&rows={rows}", ticket.path);
    let key = base64::engine::general_purpose::STANDARD.encode(random());
    let answer = client.upgrade(&path, &key).await?;
    let status = answer.status();
    let accepted = answer.headers().get("sec-websocket-accept").and_then(|value| value.to_str().ok());
    if status != reqwest::StatusCode::SWITCHING_PROTOCOLS
        || accepted != Some(derive_accept_key(key.as_bytes()).as_str())
    {
        let text = answer.text().await.unwrap_or_default();
        return Err(match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => Failure::Refused { status: status.as_u16(), problem: Box::new(problem) },
            Err(_) => client.strange(format!("It opened no terminal: it answered {status}.")),
        });
    }
    let upgraded = answer.upgrade().await.map_err(|error| client.unreachable(&error))?;
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
}

/// Carries bytes both ways until something ends it.
async fn session(socket: &mut Socket, typed: &mut mpsc::Receiver<Vec<u8>>, window: &mut Signal) -> Outcome {
    let mut open_input = true;
    let mut ping = tokio::time::interval(PING);
    let mut heard = tokio::time::Instant::now();
    loop {
        let send = tokio::select! {
            bytes = typed.recv(), if open_input => match bytes {
                Some(bytes) => match bytes.iter().position(|byte| *byte == LEAVE) {
                    Some(_) => return Outcome::Left,
                    None => Message::binary(bytes),
                },
                None => { open_input = false; continue; }
            },
            _ = window.recv() => resize(),
            _ = ping.tick() => match heard.elapsed() < SILENCE {
                true => Message::Ping(Vec::new().into()),
                false => return Outcome::Lost,
            },
            came = socket.next() => match came {
                Some(Ok(message)) => match show(&message) {
                    Some(outcome) => return outcome,
                    None => { heard = tokio::time::Instant::now(); continue; }
                },
                _ => return Outcome::Lost,
            },
        };
        if socket.send(send).await.is_err() {
            return Outcome::Lost;
        }
    }
}

fn resize() -> Message {
    let (cols, rows) = size();
    Message::text(serde_json::json!({ "resize": { "cols": cols, "rows": rows } }).to_string())
}

/// Shows what came; answers when it was the last.
fn show(message: &Message) -> Option<Outcome> {
    match message {
        Message::Binary(bytes) => {
            let mut out = std::io::stdout().lock();
            match out.write_all(bytes).and_then(|()| out.flush()) {
                Ok(()) => None,
                Err(_) => Some(Outcome::Left),
            }
        }
        Message::Text(text) => {
            let said: serde_json::Value = serde_json::from_str(text.as_str()).unwrap_or_default();
            let words = |name: &str| said.get(name).and_then(|value| value.as_str()).map(str::to_owned);
            if said.get("closed").is_some() {
                return Some(Outcome::Over("This shell has ended.".to_owned()));
            }
            words("ended").or_else(|| words("refused")).map(Outcome::Over)
        }
        Message::Close(_) => Some(Outcome::Lost),
        _ => None,
    }
}

/// Columns and rows of this terminal; the classic size where there is none.
fn size() -> (u16, u16) {
    match tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => (80, 24),
    }
}

/// What is typed, read by a thread of its own: reading a terminal cannot be interrupted.
fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut input = std::io::stdin().lock();
        while let Ok(count @ 1..) = input.read(&mut buffer) {
            if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// This terminal in raw mode, until dropped. Where standard input is no terminal there is nothing to change.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Result<Self, Failure> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(&input).map_err(|why| Failure::terminal(&why))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&input, OptionalActions::Now, &raw).map_err(|why| Failure::terminal(&why))?;
        Ok(Self(Some(before)))
    }

    /// A line of the mill's own, between the shell's.
    fn note(&self, text: &str) {
        let text = without_control(text);
        let line = if self.0.is_some() { format!("\r\n[mill] {text}\r\n") } else { format!("[mill] {text}\n") };
        // Nobody is left to tell where standard error is closed.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Flush, so that what was typed for the shell does not reach the next program.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
        }
    }
}
