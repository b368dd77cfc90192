//! What a node gone bad may send. The gateway answers with a goodbye or not at all, counts it, and goes on for the others.
use futures_util::{SinkExt as _, StreamExt as _};
use gristmill::agent::dial::Socket;
use gristmill::wire::node::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use super::mill::*;

/// Everything that comes until the connection ends.
async fn rest(socket: &mut Socket) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            said.push(text.to_string());
        }
    }
    said
}

#[tokio::test]
async fn hostile_frames_end_their_own_connection_alone() {
    let house = House::open(true).await;
    let machine = house.machine().await;
    let not_text = Frame::from_payload(
        FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() },
        vec![0xff, 0xfe, 0x80].into(),
    );
    let wrong = [
        r#"{"say":"hello"}"#.to_owned(),
        r#"{"say":"hello","protocol":"one"}"#.to_owned(),
        r#"{"say":"heartbeat","epoch":1,"clock":0}"#.to_owned(),
        r#"{"say":"take_over","node":"nd_00000000000000000000000001"}"#.to_owned(),
        "[".repeat(100_000),
        "null".to_owned(),
        "x".repeat(MESSAGE_LIMIT + 1),
    ];
    let frames = wrong.into_iter().map(|text| Message::Text(text.into()));
    let odd = [Message::Binary(vec![0; 100].into()), Message::Frame(not_text)];
    for (number, frame) in frames.chain(odd).enumerate() {
        let before = house.fleet.mill.hub.malformed();
        let mut socket = machine.server.web_socket(machine.tls(), "/link", MESSAGE_LIMIT).await.unwrap();
        // The gateway may hang up before it has taken everything.
        let _ = socket.send(frame).await;
        let said = rest(&mut socket).await;
        assert!(said.iter().all(|text| text.contains("goodbye")), "frame {number}: {said:?}");
        until("a count", || async { (house.fleet.mill.hub.malformed() > before).then_some(()) }).await;
    }
    // It still answers, over the same certificate too.
    let mut socket = machine.server.web_socket(machine.tls(), "/link", MESSAGE_LIMIT).await.unwrap();
    let hello = FromAgent::Hello {
        protocol: PROTOCOL,
        version: String::new(),
        boot: String::new(),
        clock: gristmill::clock::now(),
        simulated: true,
        observed: Box::new(machine.observed()),
    };
    socket.send(Message::Text(serde_json::to_string(&hello).unwrap().into())).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Text(text))) if text.contains("welcome")));
}

#[tokio::test]
async fn an_incredible_observation_is_refused_with_a_reason() {
    let house = House::open(true).await;
    let machine = house.machine().await;
    let mut observed = machine.observed();
    observed.gpus = vec![observed.gpus[0].clone(); 130];
    let hello = FromAgent::Hello {
        protocol: PROTOCOL,
        version: String::new(),
        boot: String::new(),
        clock: gristmill::clock::now(),
        simulated: true,
        observed: Box::new(observed),
    };
    let mut socket = machine.server.web_socket(machine.tls(), "/link", MESSAGE_LIMIT).await.unwrap();
    socket.send(Message::Text(serde_json::to_string(&hello).unwrap().into())).await.unwrap();
    let said = rest(&mut socket).await.concat();
    assert!(said.contains("128 GPUs"), "{said}");
    assert_eq!(house.nodes()[0].gpus.len(), 2);
}

#[tokio::test]
async fn streams_that_nobody_asked_for_do_not_exist() {
    let house = House::open(true).await;
    let machine = house.machine().await;
    for path in ["/stream/st_00000000000000000000000001", "/stream/../link", "/stream/x", "/", "/join"] {
        let answer = machine.server.web_socket(machine.tls(), path, 1000).await.map(drop);
        assert!(answer.is_err(), "{path}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_tls_and_half_a_join_change_nothing() {
    let house = House::open(true).await;
    let mut socket = tokio::net::TcpStream::connect(house.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let machine = house.machine().await;
    let tls = gristmill::agent::identity::tls(&machine.root, None).unwrap();
    for body in [serde_json::json!({}), serde_json::json!({"token": "x".repeat(1 << 20)}), serde_json::json!([[[]]])] {
        let answer = machine.server.post::<JoinAnswer>(tls.clone(), "/join", &body).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    assert_eq!(house.nodes().len(), 1);
}
