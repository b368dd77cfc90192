//! Streams that agents dial: bytes between the socket and whoever asked for them. It refuses to look inside, and any
//! stream that this node was not asked for.
use rocket::futures::{SinkExt as _, StreamExt as _};
use rocket::http::Status;
use rocket::{Shutdown, State, get};
use rocket_ws::{Config, Message, WebSocket, stream::DuplexStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::guard::NodeKey;
use crate::app::fleet::Fleet;
use crate::app::fleet::overreach::{self, Reach};
use crate::wire::frame::{HEADER, MAX_PAYLOAD};

/// Most bytes in one message of a stream: one frame.
const CHUNK: usize = HEADER + MAX_PAYLOAD;

#[get("/stream/<id>")]
pub async fn stream(
    key: NodeKey,
    id: &str,
    socket: WebSocket,
    fleet: &State<Fleet>,
    shutdown: Shutdown,
) -> Result<rocket_ws::Channel<'static>, Status> {
    let id = id.parse().map_err(|_| Status::NotFound)?;
    if fleet.mill.hub.streams.is_anothers(key.node, id) {
        overreach::note(&fleet.mill, key.node, Reach::Stream).await;
    }
    let met = fleet.mill.hub.streams.meet(key.node, id).ok_or(Status::NotFound)?;
    let limits = Config {
        max_message_size: Some(CHUNK),
        max_frame_size: Some(CHUNK),
        write_buffer_size: 0,
        ..Config::default()
    };
    let (hub, node) = (fleet.mill.hub.clone(), key.node);
    Ok(socket.config(limits).channel(move |socket| {
        Box::pin(async move {
            tokio::select! {
                () = copy(socket, met) => {}
                () = hub.until_cut(node) => {}
                () = shutdown => {}
            }
            Ok(())
        })
    }))
}

/// Copies both ways until either end closes; each direction waits for its reader.
async fn copy(socket: DuplexStream, met: tokio::io::DuplexStream) {
    let (mut to_agent, mut from_agent) = socket.split();
    let (mut from_asker, mut to_asker) = tokio::io::split(met);
    let down = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(read) = from_asker.read(&mut buffer).await {
            if read == 0 || to_agent.send(Message::Binary(buffer[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let up = async {
        while let Some(Ok(message)) = from_agent.next().await {
            match message {
                Message::Binary(bytes) => {
                    if to_asker.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Text(_) | Message::Close(_) | Message::Frame(_) => break,
            }
        }
    };
    tokio::select! {
        () = down => {}
        () = up => {}
    }
}
