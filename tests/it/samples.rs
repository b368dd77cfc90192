//! Readings on their way from an agent to the people who look at them: from a real agent over the real gateway, and from a
//! machine that lies.
use futures_util::{SinkExt as _, StreamExt as _};
use gristmill::agent::dial::Socket;
use gristmill::app::fleet::samples::{self, Telemetry};
use gristmill::base::ids::{LeaseId, UnitId};
use gristmill::base::telemetry::{GpuProcess, GpuReading, MOST_PROCESSES, RemappedRows};
use gristmill::base::window::{Instant, Span};
use gristmill::clock;
use gristmill::store::samples::{FILE, Samples};
use gristmill::wire::node::*;
use tokio_tungstenite::tungstenite::Message;

use crate::fleet::mill::{Agent, House, Machine, folder, until};

fn units(house: &House) -> Vec<(UnitId, String)> {
    house.nodes()[0].gpus.iter().map(|gpu| (gpu.id, gpu.uuid.clone())).collect()
}

fn telemetry(house: &House) -> &Telemetry {
    &house.fleet.mill.telemetry
}

/// A connection that was welcomed, and its epoch.
async fn connected(machine: &Machine) -> (Socket, u64) {
    let mut socket = machine.server.web_socket(machine.tls(), "/link", MESSAGE_LIMIT).await.unwrap();
    let hello = FromAgent::Hello {
        protocol: PROTOCOL,
        version: String::new(),
        boot: String::new(),
        clock: clock::now(),
        simulated: true,
        observed: Box::new(machine.observed()),
    };
    say(&mut socket, &hello).await;
    loop {
        let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("no welcome came") };
        if let Ok(ToAgent::Welcome { epoch, .. }) = serde_json::from_str(&text) {
            return (socket, epoch);
        }
    }
}

async fn say(socket: &mut Socket, message: &FromAgent) {
    socket.send(Message::Text(serde_json::to_string(message).unwrap().into())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_agents_readings_arrive_and_are_kept() {
    let house = House::open(true).await;
    let dir = folder("kept");
    std::fs::create_dir_all(&dir).unwrap();
    telemetry(&house).keep_in(Samples::open(&dir.join(FILE), 1 << 24));
    let token = house.token().await;
    let _agent = Agent::start(&house, &folder("agent"), Some(&token));
    house.connected().await;
    let (unit, uuid) = units(&house)[0].clone();
    let (_, read) = until("a reading", || async { telemetry(&house).latest(unit, clock::now()) }).await;
    assert_eq!((read.uuid, read.utilisation), (uuid, Some(0)), "nothing runs there");
    assert!(read.temperature.unwrap() > 15 && read.power_milliwatts.unwrap() > 50_000);
    let mill = &house.fleet.mill;
    let history = samples::history(mill, &[unit], Span::from_hours(1), clock::now()).unwrap().remove(0);
    assert_eq!(history.step, Span::from_seconds(10));
    let read: Vec<_> = history.points.iter().filter(|point| !point.is_empty()).collect();
    assert!(!read.is_empty() && read[0].temperature.is_some(), "it is shown before it is written");
    assert!(history.points.iter().any(|point| point.is_empty()), "and before the agent came there is a gap");
    // Much later, it is no longer what the GPU reads.
    let later = clock::now().plus(Span::from_minutes(2));
    assert_eq!(telemetry(&house).latest(unit, later), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_true_is_missing_and_what_is_not_its_own_does_not_exist() {
    let house = House::open(true).await;
    let (liar, other) = (house.machine().await, house.machine().await);
    let victim = units_of(&house, &other);
    let own = units_of(&house, &liar);
    let (mut socket, epoch) = connected(&liar).await;
    let lies = GpuReading {
        uuid: own[0].1.clone(),
        utilisation: Some(101),
        memory_activity: Some(55),
        memory_used_bytes: Some(u64::MAX),
        temperature: Some(4_000_000_000),
        power_milliwatts: Some(u64::MAX),
        energy_millijoules: Some(u64::MAX),
        remapped: Some(RemappedRows { corrected: u32::MAX, ..RemappedRows::default() }),
        last_xid: Some(u64::MAX),
        processes: Some(vec![
            GpuProcess {
                pid: 1,
                user: Some("\u{1b}[31mroot\u{7}\n".to_owned()),
                name: Some("x".repeat(1000)),
                lease: Some(LeaseId::from_u128(7)),
                memory_bytes: Some(u64::MAX),
                ..GpuProcess::default()
            };
            MOST_PROCESSES
        ]),
        ..GpuReading::default()
    };
    let stolen = GpuReading { uuid: victim[0].1.clone(), utilisation: Some(99), ..GpuReading::default() };
    let unknown = GpuReading { uuid: "GPU-made-up".to_owned(), utilisation: Some(99), ..GpuReading::default() };
    // Nothing of another epoch counts.
    let late = FromAgent::Samples {
        epoch: epoch + 1,
        clock: clock::now(),
        gpus: vec![stolen.clone()],
        xids: Vec::new(),
        kernel_log: None,
    };
    say(&mut socket, &late).await;
    let gpus = vec![lies, stolen, unknown];
    say(
        &mut socket,
        &FromAgent::Samples { epoch, clock: Instant::from_millis(i64::MAX), gpus, xids: Vec::new(), kernel_log: None },
    )
    .await;
    let (at, read) = until("a reading", || async { telemetry(&house).latest(own[0].0, clock::now()) }).await;
    assert!(at <= clock::now(), "the mill's clock counts, not the node's");
    let empty = GpuReading { uuid: own[0].1.clone(), memory_activity: Some(55), ..GpuReading::default() };
    let processes = read.processes.clone().unwrap();
    assert_eq!(GpuReading { processes: None, ..read }, empty);
    assert_eq!(processes.len(), MOST_PROCESSES);
    let first = &processes[0];
    assert_eq!((first.lease, first.memory_bytes), (None, None));
    assert!(first.user.as_deref().is_some_and(|user| user.ends_with("root") || user.contains("root")));
    assert!(!first.user.as_deref().unwrap().chars().any(char::is_control) && first.name.as_ref().unwrap().len() == 64);
    assert_eq!(telemetry(&house).latest(victim[0].0, clock::now()), None);
}

fn units_of(house: &House, machine: &Machine) -> Vec<(UnitId, String)> {
    let uuids: Vec<String> = machine.observed().gpus.into_iter().map(|gpu| gpu.uuid).collect();
    let gpus = house.nodes().into_iter().flat_map(|node| node.gpus);
    gpus.filter(|gpu| uuids.contains(&gpu.uuid)).map(|gpu| (gpu.id, gpu.uuid)).collect()
}

#[tokio::test]
async fn who_talks_too_often_is_not_listened_to() {
    let house = House::open(true).await;
    let machine = house.machine().await;
    let own = units_of(&house, &machine);
    let node = house.nodes()[0].id;
    let mill = &house.fleet.mill;
    let now = clock::now();
    let read =
        |percent| vec![GpuReading { uuid: own[0].1.clone(), utilisation: Some(percent), ..GpuReading::default() }];
    let latest = |at| telemetry(&house).latest(own[0].0, at).unwrap().1.utilisation;
    samples::take(mill, node, read(1), now).unwrap();
    let soon = now.plus(Span::from_seconds(1));
    samples::take(mill, node, read(2), soon).unwrap();
    assert_eq!(latest(soon), Some(1));
    let next = now.plus(Span::from_seconds(10));
    samples::take(mill, node, read(3), next).unwrap();
    assert_eq!(latest(next), Some(3));
}
