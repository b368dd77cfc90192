//! Running a command on booked GPUs and following its output. It refuses to leave a booking behind unsaid: whoever
//! interrupts gives it back, and whoever insists is told its id.
use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use futures_util::StreamExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::RunArgs;
use super::client::{Client, segment};
use super::events::Events;
use super::failure::Failure;
use super::output::{Output, Voice, amount};
use crate::wire::api::Problem;
use crate::wire::api::bookings::{BookRequest, BookingView, LogChunk, LogEnd};

/// 128 + SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;
/// How long the mill may take to hear of an end that is known here already.
const HEARD: Duration = Duration::from_secs(10);
/// Between two looks at a booking.
const LOOK: Duration = Duration::from_millis(500);
/// A finished command is given this long to be known as over.
const SETTLES: Duration = Duration::from_secs(20);
/// How often a stream is taken up again before its loss counts.
const ATTEMPTS: u32 = 20;

/// What `run --json` and `logs --json` say.
#[derive(serde::Serialize)]
struct Done {
    booking: BookingView,
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

pub async fn run(client: &Client, args: RunArgs, out: &Output) -> Result<u8, Failure> {
    let request = BookRequest {
        gpus: args.gpus,
        model: args.model,
        duration_seconds: args.duration.as_seconds(),
        at: None,
        by: None,
        team: args.team.or_else(|| client.team.clone()),
        title: args.title,
        command: Some(args.command),
    };
    let mut interrupts = Interrupts::new()?;
    let booking: BookingView = client.post("bookings", &request).await?;
    let id = booking.id.to_string();
    out.progress(&format!(
        "Booked {id}: {} × {} for at most {} credits.",
        booking.gpus,
        booking.model,
        amount(&booking.price)
    ));
    // One document on standard output leaves only standard error for the command's own words.
    let sink = if out.voice == Voice::Json { Sink::Stderr } else { Sink::Stdout };
    let mut job = Job { client, id: segment(&id), offset: 0, said: String::new(), out, sink };
    let exit = tokio::select! {
        exit = job.finish() => exit?,
        () = interrupts.next() => {
            out.progress("Interrupted: giving the booking back. Interrupt again to leave at once.");
            job.give_back().await?;
            tokio::select! {
                exit = job.finish() => drop(exit),
                () = interrupts.next() => out.progress(&format!("Left. See how it ends: gristmill show {id}")),
            }
            return Ok(INTERRUPTED);
        }
    };
    if out.voice == Voice::Json {
        let booking = job.over().await?;
        out.json(&Done { booking, exit_code: Some(exit), output: None });
    } else {
        // The next command may want the same GPU, which is free once the mill has heard of this end. The exit code is known
        // already: a mill that is slow or gone does not hold it up.
        let _ = tokio::time::timeout(HEARD, job.over()).await;
    }
    Ok(u8::try_from(exit & 0xff).unwrap_or(u8::MAX))
}

pub async fn logs(client: &Client, id: &str, follow: bool, out: &Output) -> Result<(), Failure> {
    let mut job = Job { client, id: segment(id), offset: 0, said: String::new(), out, sink: Sink::Stdout };
    if out.voice == Voice::Json {
        job.sink = Sink::Kept(Vec::new());
    }
    if follow {
        job.follow_to_end().await?;
    } else {
        let answer = client.open(&format!("bookings/{}/log", job.id)).await?;
        let mut body = answer.bytes_stream();
        while let Some(piece) = body.next().await {
            job.sink.take(out, &piece.map_err(|error| client.unreachable(&error))?);
        }
    }
    if let Sink::Kept(bytes) = &job.sink {
        let booking = job.look().await?;
        let output = Some(String::from_utf8_lossy(bytes).into_owned());
        out.json(&Done { exit_code: booking.exit_code, booking, output });
    }
    Ok(())
}

/// Where a command's output goes.
enum Sink {
    Stdout,
    Stderr,
    Kept(Vec<u8>),
}

impl Sink {
    fn take(&mut self, out: &Output, bytes: &[u8]) {
        match self {
            Self::Stdout => out.bytes(bytes),
            // Nobody is left to tell where standard error is closed.
            Self::Stderr => drop(std::io::stderr().write_all(bytes)),
            Self::Kept(kept) => kept.extend_from_slice(bytes),
        }
    }
}

/// One command on its way, and how far its output has been shown.
struct Job<'a> {
    client: &'a Client,
    id: String,
    offset: u64,
    said: String,
    out: &'a Output,
    sink: Sink,
}

impl Job<'_> {
    /// A mill that is out of reach comes back: what runs goes on meanwhile, so this waits for it.
    async fn look(&self) -> Result<BookingView, Failure> {
        let path = format!("bookings/{}", self.id);
        for attempt in 0..ATTEMPTS {
            match self.client.get(&path).await {
                Err(Failure::Unreachable { .. }) if attempt == 0 => {
                    self.out.progress("The mill is out of reach; the command goes on. Waiting for the mill…");
                }
                Err(Failure::Unreachable { .. }) => tokio::time::sleep(LOOK).await,
                answer => return answer,
            }
        }
        self.client.get(&path).await
    }

    fn say(&mut self, booking: &BookingView) {
        let gist = gist(booking);
        if gist != self.said {
            self.said = gist;
            self.out.progress(&format!("{}: {}", booking.state, booking.explanation));
        }
    }

    /// Waits for the start, follows the output, answers the exit code.
    async fn finish(&mut self) -> Result<i32, Failure> {
        loop {
            let booking = self.look().await?;
            if matches!(booking.state.as_str(), "active" | "ending") || is_over(&booking) {
                break;
            }
            self.say(&booking);
            tokio::time::sleep(LOOK).await;
        }
        let exit = self.follow_to_end().await?;
        match exit {
            Some(exit) => {
                // Its GPUs are free for what comes next when the mill knows the end as well, which takes it a moment.
                let _ = tokio::time::timeout(SETTLES, self.over()).await;
                Ok(exit)
            }
            None => {
                let booking = self.over().await?;
                booking.exit_code.ok_or_else(|| not_run(&booking))
            }
        }
    }

    /// Waits until the booking is over and settled.
    async fn over(&self) -> Result<BookingView, Failure> {
        loop {
            let booking = self.look().await?;
            if is_over(&booking) {
                return Ok(booking);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Shows the output from where it was left to its end, over as many connections as it takes. `None` when the booking is
    /// over and its node tells no exit code.
    async fn follow_to_end(&mut self) -> Result<Option<i32>, Failure> {
        let mut attempts = 0;
        loop {
            let before = self.offset;
            let lost = match self.follow().await {
                Ok(Some(end)) => return Ok(end.exit_code),
                Ok(None) => None,
                Err(Failure::Refused { status, problem }) if !matches!(status, 404 | 409 | 502 | 503) => {
                    return Err(Failure::Refused { status, problem });
                }
                Err(failure @ Failure::NotSignedIn { .. }) => return Err(failure),
                Err(failure) => Some(failure),
            };
            let booking = self.look().await?;
            if is_over(&booking) && (booking.allowed.iter().all(|may| may != "logs") || attempts > 3) {
                return Ok(booking.exit_code);
            }
            self.say(&booking);
            attempts = if self.offset > before || !is_over(&booking) { 0 } else { attempts + 1 };
            if attempts > ATTEMPTS {
                return lost.map_or(Ok(None), Err);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One connection's worth; `None` when it broke off.
    async fn follow(&mut self) -> Result<Option<LogEnd>, Failure> {
        let answer = self.client.open(&format!("bookings/{}/log/follow?from={}", self.id, self.offset)).await?;
        let mut body = answer.bytes_stream();
        let mut events = Events::default();
        let strange = |what: &str| self.client.strange(format!("Its log stream holds {what}."));
        let (bad_event, bad_data) = (strange("what is no event"), strange("an event that cannot be read"));
        while let Some(Ok(piece)) = body.next().await {
            let Ok(whole) = events.feed(&piece) else { return Err(bad_event) };
            for event in whole {
                match event.name.as_str() {
                    "log" => match read_chunk(&event.data) {
                        Some((offset, bytes)) => self.show(offset, &bytes),
                        None => return Err(bad_data),
                    },
                    "end" => return serde_json::from_str(&event.data).map(Some).map_err(|_| bad_data),
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// Shows what was not shown yet.
    fn show(&mut self, offset: u64, bytes: &[u8]) {
        let known = usize::try_from(self.offset.saturating_sub(offset)).unwrap_or(usize::MAX);
        if let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) {
            self.sink.take(self.out, fresh);
            self.offset = offset + bytes.len() as u64;
        }
    }

    /// Cancels what has not begun, releases what runs.
    async fn give_back(&self) -> Result<(), Failure> {
        let nothing = serde_json::json!({});
        let mut last = None;
        for how in ["release", "cancel"] {
            match self.client.post::<_, BookingView>(&format!("bookings/{}/{how}", self.id), &nothing).await {
                Ok(_) => return Ok(()),
                Err(failure) => last = Some(failure),
            }
        }
        // It may have ended by itself meanwhile.
        match self.look().await? {
            booking if is_over(&booking) || booking.state == "ending" => Ok(()),
            _ => last.map_or(Ok(()), Err),
        }
    }
}

fn is_over(booking: &BookingView) -> bool {
    matches!(booking.state.as_str(), "ended" | "cancelled" | "failed")
}

/// What is said of a booking without its countdown, which alone is no news.
fn gist(booking: &BookingView) -> String {
    let counts = |word: &&str| {
        let bare = word.trim_end_matches(['.', ',']);
        bare.starts_with(|c: char| c.is_ascii_digit()) || ["d", "h", "min", "s"].contains(&bare)
    };
    let words: Vec<&str> = booking.explanation.split_whitespace().filter(|word| !counts(word)).collect();
    format!("{} {} {}", booking.state, booking.start, words.join(" "))
}

fn read_chunk(data: &str) -> Option<(u64, Vec<u8>)> {
    let chunk: LogChunk = serde_json::from_str(data).ok()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(chunk.bytes).ok()?;
    Some((chunk.offset, bytes))
}

fn not_run(booking: &BookingView) -> Failure {
    let problem = Problem {
        code: "no_exit_code".to_owned(),
        what: format!("The command of {} left no exit code; the booking is {}.", booking.id, booking.state),
        why: booking.explanation.clone(),
        next: format!("See what is known: gristmill show {}", booking.id),
        field: None,
        offer: None,
    };
    Failure::Refused { status: 409, problem: Box::new(problem) }
}

/// Ctrl-C and a polite kill.
struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|why| Failure::terminal(&why));
        Ok(Self { int: listen(SignalKind::interrupt())?, term: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_output_is_shown_once() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::to("http://127.0.0.1:1", None).unwrap();
        let out = Output::new(&super::super::Globals { json: true, quiet: false });
        let mut job = Job {
            client: &client,
            id: String::new(),
            offset: 0,
            said: String::new(),
            out: &out,
            sink: Sink::Kept(vec![]),
        };
        for (offset, bytes) in [(0, "hel"), (0, "hello"), (2, "llo"), (5, " you")] {
            job.show(offset, bytes.as_bytes());
        }
        assert!(matches!(&job.sink, Sink::Kept(kept) if kept == b"hello you"));
    }

    #[test]
    fn chunks_are_read() {
        assert_eq!(read_chunk(r#"{"offset":7,"bytes":"aGk="}"#), Some((7, b"hi".to_vec())));
        assert_eq!(read_chunk(r#"{"offset":7,"bytes":"*"}"#), None);
    }
}
