//! Frames of the stream between a person's terminal and a lease's shim: one byte of kind, four bytes of length (big
//! endian), the payload. The same bytes travel over a unix socket, an agent's stream and a WebSocket (there: one frame per
//! binary message), so this file does no I/O. It refuses long payloads before it stores them.
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::lease::{Deadline, ExitKind, LeaseState};

/// Most bytes in one payload. Whoever has more sends several frames.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Bytes before the payload.
pub const HEADER: usize = 5;

/// A terminal's size in characters; programs get it through SIGWINCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    pub cols: u16,
    pub rows: u16,
}

/// Which terminal a client wants to see; it is opened if it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    pub tab: u16,
    pub size: Size,
}

/// The answer to [`Attach`]; what follows as [`Frame::Output`] begins with the end of the earlier output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attached {
    pub tab: u16,
    /// Whether a new shell was started for it.
    pub fresh: bool,
}

/// One open terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TabInfo {
    pub tab: u16,
    pub size: Size,
    /// How many clients see it now.
    pub clients: u32,
}

/// One message, in either direction. A connection begins with a request and serves that one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Client: show me this terminal. Then [`Frame::Input`] and [`Frame::Resize`] go one way, [`Frame::Output`] the other.
    Attach(Attach),
    /// Client: bytes typed.
    Input(Vec<u8>),
    Resize(Size),
    /// Client: the log from this byte on; with `live` also what comes, to the end.
    Follow {
        from: u64,
        live: bool,
    },
    Status,
    ListTabs,
    CloseTab {
        tab: u16,
    },
    /// Agent only: a changed deadline.
    SetEnd(Deadline),
    /// Agent only: end the workload now; the reason is for people.
    Stop {
        reason: String,
    },
    Attached(Attached),
    /// Bytes for the terminal.
    Output(Vec<u8>),
    /// Bytes of the log and where in it they stand.
    Log {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// Nothing more will be written to the log.
    LogEnd(ExitKind),
    StatusIs(Box<LeaseState>),
    Tabs(Vec<TabInfo>),
    /// The shell of the attached terminal is gone.
    TabClosed {
        tab: u16,
    },
    /// The request was carried out.
    Done,
    /// The request was not carried out; why, and the next step.
    Refused {
        why: String,
    },
}

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    #[error("a frame of {0} bytes is too long; at most {MAX_PAYLOAD} are allowed")]
    TooLong(usize),
    #[error("there is no frame of kind {0}")]
    UnknownKind(u8),
    #[error("the payload of a frame of kind {kind} cannot be read")]
    Payload {
        kind: u8,
        #[source]
        cause: Option<serde_json::Error>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tab {
    tab: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    from: u64,
    live: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    text: String,
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("frames hold only text keys and plain values")
}

fn read<T: DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<T, BadFrame> {
    serde_json::from_slice(payload).map_err(|cause| BadFrame::Payload { kind, cause: Some(cause) })
}

impl Frame {
    /// Whether a person's stream may carry this to the shim; deadline and stop come from the agent alone.
    pub fn is_from_person(&self) -> bool {
        matches!(
            self,
            Self::Attach(_)
                | Self::Input(_)
                | Self::Resize(_)
                | Self::Follow { .. }
                | Self::ListTabs
                | Self::CloseTab { .. }
        )
    }

    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Attach(attach) => (1, json(attach)),
            Self::Input(bytes) => (2, bytes.clone()),
            Self::Resize(size) => (3, json(size)),
            Self::Follow { from, live } => (4, json(&From { from: *from, live: *live })),
            Self::Status => (5, Vec::new()),
            Self::ListTabs => (6, Vec::new()),
            Self::CloseTab { tab } => (7, json(&Tab { tab: *tab })),
            Self::SetEnd(deadline) => (8, json(deadline)),
            Self::Stop { reason } => (9, json(&Words { text: reason.clone() })),
            Self::Attached(attached) => (65, json(attached)),
            Self::Output(bytes) => (66, bytes.clone()),
            Self::Log { offset, bytes } => (67, [&offset.to_be_bytes()[..], bytes].concat()),
            Self::LogEnd(exit) => (68, json(exit)),
            Self::StatusIs(state) => (69, json(state)),
            Self::Tabs(tabs) => (70, json(tabs)),
            Self::TabClosed { tab } => (71, json(&Tab { tab: *tab })),
            Self::Done => (72, Vec::new()),
            Self::Refused { why } => (73, json(&Words { text: why.clone() })),
        }
    }

    /// The frame's bytes. A payload beyond [`MAX_PAYLOAD`] is a mistake of the sender and becomes [`Frame::Refused`].
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload) = self.parts();
        if payload.len() > MAX_PAYLOAD {
            return Self::Refused { why: "the answer is too long for one frame".to_owned() }.encode();
        }
        let length = u32::try_from(payload.len()).expect("at most MAX_PAYLOAD");
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.push(kind);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, BadFrame> {
        Ok(match kind {
            1 => Self::Attach(read(kind, payload)?),
            2 => Self::Input(payload.to_vec()),
            3 => Self::Resize(read(kind, payload)?),
            4 => {
                let From { from, live } = read(kind, payload)?;
                Self::Follow { from, live }
            }
            5 => Self::Status,
            6 => Self::ListTabs,
            7 => Self::CloseTab { tab: read::<Tab>(kind, payload)?.tab },
            8 => Self::SetEnd(read(kind, payload)?),
            9 => Self::Stop { reason: read::<Words>(kind, payload)?.text },
            65 => Self::Attached(read(kind, payload)?),
            66 => Self::Output(payload.to_vec()),
            67 => {
                let (offset, bytes) =
                    payload.split_first_chunk::<8>().ok_or(BadFrame::Payload { kind, cause: None })?;
                Self::Log { offset: u64::from_be_bytes(*offset), bytes: bytes.to_vec() }
            }
            68 => Self::LogEnd(read(kind, payload)?),
            69 => Self::StatusIs(read(kind, payload)?),
            70 => Self::Tabs(read(kind, payload)?),
            71 => Self::TabClosed { tab: read::<Tab>(kind, payload)?.tab },
            72 => Self::Done,
            73 => Self::Refused { why: read::<Words>(kind, payload)?.text },
            unknown => return Err(BadFrame::UnknownKind(unknown)),
        })
    }
}

/// Cuts a stream of bytes into frames, however the bytes arrive. After an error the stream has no meaning any more and
/// must be closed.
#[derive(Debug, Default)]
pub struct Decoder {
    waiting: Vec<u8>,
    /// How many of the waiting bytes were frames that are handed out: they are removed together, since a thousand small
    /// frames in one piece would else be moved a thousand times.
    taken: usize,
}

impl Decoder {
    /// Takes bytes as they came. Never holds more than what is given plus one frame.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.waiting.drain(..std::mem::take(&mut self.taken));
        self.waiting.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, BadFrame> {
        let waiting = self.waiting.get(self.taken..).unwrap_or_default();
        let Some((header, rest)) = waiting.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [kind, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_PAYLOAD {
            return Err(BadFrame::TooLong(length));
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = Frame::decode(kind, payload)?;
        self.taken += HEADER + length;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_frame() -> impl Strategy<Value = Frame> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            (any::<u16>(), any::<u16>(), any::<u16>())
                .prop_map(|(tab, cols, rows)| Frame::Attach(Attach { tab, size: Size { cols, rows } })),
            bytes.clone().prop_map(Frame::Input),
            bytes.clone().prop_map(Frame::Output),
            (any::<u64>(), bytes).prop_map(|(offset, bytes)| Frame::Log { offset, bytes }),
            (any::<u64>(), any::<bool>()).prop_map(|(from, live)| Frame::Follow { from, live }),
            any::<i32>().prop_map(|code| Frame::LogEnd(ExitKind::Code(code))),
            any::<String>().prop_map(|reason| Frame::Stop { reason }),
            any::<String>().prop_map(|why| Frame::Refused { why }),
            Just(Frame::Status),
            Just(Frame::Done),
        ]
    }

    proptest! {
        #[test]
        fn frames_return_however_they_are_cut(frames in proptest::collection::vec(some_frame(), 0..8), cut in 1usize..50) {
            let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                decoder.feed(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }

    #[test]
    fn handed_out_frames_are_not_kept() {
        let mut decoder = Decoder::default();
        for _ in 0..1000 {
            decoder.feed(&Frame::Input(vec![7; 1000]).encode());
            assert!(decoder.next_frame().unwrap().is_some() && decoder.next_frame().unwrap().is_none());
        }
        assert!(decoder.waiting.capacity() < 8192);
    }

    #[test]
    fn a_long_payload_is_refused_by_its_header() {
        let mut decoder = Decoder::default();
        decoder.feed(&[2, 0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(decoder.next_frame(), Err(BadFrame::TooLong(_))));
        let huge = Frame::Output(vec![0; MAX_PAYLOAD + 1]).encode();
        assert_eq!(huge[0], 73);
    }
}
