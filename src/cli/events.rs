//! Reads a stream of server-sent events, however its bytes arrive. No I/O. It refuses an event that never ends.

/// One event: its name and its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

/// More bytes than this without an event are not the mill's.
const LIMIT: usize = 1024 * 1024;

/// The stream made no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonsense;

/// Cuts bytes into events. Comments (signs of life) are dropped.
#[derive(Debug, Default)]
pub struct Events {
    waiting: Vec<u8>,
    name: String,
    data: String,
}

impl Events {
    /// Takes bytes as they came and answers the events that are whole by now.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Nonsense> {
        self.waiting.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.waiting.drain(..=end).collect();
            let line = String::from_utf8(line).map_err(|_| Nonsense)?;
            if let Some(event) = self.line(line.trim_end_matches(['\r', '\n'])) {
                events.push(event);
            }
        }
        if self.waiting.len() + self.data.len() > LIMIT { Err(Nonsense) } else { Ok(events) }
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = Event { name: std::mem::take(&mut self.name), data: std::mem::take(&mut self.data) };
            return (!event.name.is_empty() || !event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" if self.data.is_empty() => value.clone_into(&mut self.data),
            "data" => {
                self.data.push('\n');
                self.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str =
        ":\nevent:log\nid:5\ndata:{\"a\":1}\n\n: still here\n\nevent: end\r\ndata: x\r\ndata: y\r\n\r\n";

    proptest! {
        #[test]
        fn events_return_however_they_are_cut(cut in 1usize..20) {
            let mut events = Events::default();
            let mut seen = Vec::new();
            for piece in STREAM.as_bytes().chunks(cut) {
                seen.extend(events.feed(piece).unwrap());
            }
            let event = |name: &str, data: &str| Event { name: name.into(), data: data.into() };
            prop_assert_eq!(seen, [event("log", "{\"a\":1}"), event("end", "x\ny")]);
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Events::default().feed(&bytes);
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        assert_eq!(Events::default().feed(&vec![b'a'; LIMIT + 1]), Err(Nonsense));
    }
}
