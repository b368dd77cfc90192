//! The control connection as a WebSocket: text frames in, text frames out, and nothing decided here. It refuses messages
//! beyond the limit and binary ones, and lets the link say goodbye before it closes.
use std::time::Duration;

use rocket::futures::stream::{SplitSink, SplitStream};
use rocket::futures::{SinkExt as _, StreamExt as _};
use rocket::{Shutdown, State, get};
use rocket_ws::{Config, Message, WebSocket, stream::DuplexStream};
use tokio::sync::mpsc;

use super::guard::NodeKey;
use crate::app::fleet::Fleet;
use crate::app::fleet::link::{BUFFER, Heard, serve};
use crate::wire::node::{FromAgent, MESSAGE_LIMIT, ToAgent};

/// How long a reader that does not read may hold the link.
const SEND_WAIT: Duration = Duration::from_secs(10);
/// How long a closing socket is waited for.
const CLOSE_WAIT: Duration = Duration::from_millis(200);

fn limits() -> Config {
    Config {
        max_message_size: Some(MESSAGE_LIMIT),
        max_frame_size: Some(MESSAGE_LIMIT),
        // Each message is written at once, so that 10,000 links do not keep buffers.
        write_buffer_size: 0,
        ..Config::default()
    }
}

#[get("/link")]
pub fn link(key: NodeKey, socket: WebSocket, fleet: &State<Fleet>, shutdown: Shutdown) -> rocket_ws::Channel<'static> {
    let fleet = fleet.inner().clone();
    socket.config(limits()).channel(move |socket| {
        Box::pin(async move {
            carry(key, socket, fleet, shutdown).await;
            Ok(())
        })
    })
}

/// Carries messages until either side ends or the mill stops.
async fn carry(key: NodeKey, socket: DuplexStream, fleet: Fleet, shutdown: Shutdown) {
    let (hear, heard) = mpsc::channel(BUFFER);
    let (say, said) = mpsc::channel(BUFFER);
    let (mut write, read) = socket.split();
    let link = tokio::spawn(serve(fleet, key.node, key.credential, heard, say));
    tokio::select! {
        biased;
        // The hub forgets the link when it hears the end of `heard`; a stop does not wait for that.
        () = shutdown => {}
        () = send_all(&mut write, said) => {}
        () = receive_all(read, hear) => {}
    }
    // The other side may be gone already; it need not answer.
    let _ = tokio::time::timeout(CLOSE_WAIT, write.close()).await;
    drop(link);
}

/// Ends when the link has said everything.
async fn send_all(socket: &mut SplitSink<DuplexStream, Message>, mut said: mpsc::Receiver<Box<ToAgent>>) {
    while let Some(message) = said.recv().await {
        let text = serde_json::to_string(&message).expect("messages are plain data and always serialise");
        match tokio::time::timeout(SEND_WAIT, socket.send(Message::Text(text))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Never ends by itself: after the last message the link still has its goodbye to say.
async fn receive_all(mut socket: SplitStream<DuplexStream>, hear: mpsc::Sender<Box<Heard>>) {
    while let Some(heard) = next(&mut socket).await {
        let last = matches!(heard, Heard::Malformed(_));
        if hear.send(Box::new(heard)).await.is_err() || last {
            break;
        }
    }
    drop(hear);
    std::future::pending().await
}

/// The next message; `None` when the socket is over.
async fn next(socket: &mut SplitStream<DuplexStream>) -> Option<Heard> {
    use rocket_ws::result::Error;
    loop {
        return match socket.next().await? {
            Ok(Message::Text(text)) => Some(match serde_json::from_str::<FromAgent>(&text) {
                Ok(say) => Heard::Say(say),
                Err(error) => Heard::Malformed(format!("not a message of the node protocol: {error}")),
            }),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Binary(_)) => Some(Heard::Malformed("control messages are text".to_owned())),
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_)) => None,
            Err(error) => Some(Heard::Malformed(error.to_string())),
        };
    }
}
