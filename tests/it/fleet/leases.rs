//! Leases over the whole way: the mill wants, the node does, the end holds without either.
use std::path::{Path, PathBuf};

use gristmill::agent::{archive, lease};
use gristmill::base::hardware::Share;
use gristmill::base::ids::LeaseId;
use gristmill::base::window::{Instant, Span};
use gristmill::clock;
use gristmill::wire::frame::{Decoder, Frame};
use gristmill::wire::lease::{EndCause, ExitKind, Phase};
use gristmill::wire::node::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::mill::*;

/// Runs until it is stopped.
const ENDLESS: &str = "echo up; while :; do sleep 0.1; done";

fn want(number: u128, start: Instant, seconds: i64, workload: DesiredWorkload) -> DesiredLease {
    DesiredLease {
        lease: LeaseId::from_u128(number),
        attempt: 1,
        revision: 1,
        start,
        end: start.plus(Span::from_seconds(seconds)),
        grace: Span::from_seconds(1),
        run: true,
        gpus: Vec::new(),
        share: Share::default(),
        workload,
        member: DesiredMember { home: "mb_1".to_owned(), name: "Ada Lovelace".to_owned(), uid: 100_321 },
        title: "test".to_owned(),
    }
}

fn batch(script: &str) -> DesiredWorkload {
    DesiredWorkload::Batch { command: ["sh", "-c", script].map(str::to_owned).into() }
}

fn dir(agent: &Path, want: &DesiredLease) -> PathBuf {
    agent.join("leases").join(archive::dir_name(want.lease, want.attempt))
}

async fn phase(dir: &Path, what: &str, is: impl Fn(&Phase) -> bool) -> Phase {
    until(what, || async { lease::inspect(dir).ok().map(|seen| seen.state.phase).filter(|phase| is(phase)) }).await
}

fn is_ready(fact: &LeaseFact) -> bool {
    if let FactState::Failed { why } = &fact.state {
        panic!("the lease did not start (bubblewrap and user namespaces are needed here): {why}");
    }
    matches!(fact.state, FactState::Ready { .. })
}

#[tokio::test]
async fn the_end_holds_without_server_and_agent() {
    let mut house = House::open(true).await;
    let data = folder("agent");
    let agent = Agent::start(&house, &data, Some(&house.token().await));
    house.connected().await;
    let wanted = want(1, clock::now(), 12, batch(ENDLESS));
    house.want(vec![wanted.clone()]).await;
    house.told("a ready lease", is_ready).await;
    agent.kill();
    house.stop().await;
    let over = phase(&dir(&data, &wanted), "the end", |phase| matches!(phase, Phase::Ended { .. })).await;
    assert!(matches!(over, Phase::Ended { cause: EndCause::Deadline, .. }), "{over:?}");
    // Both come back, and the mill hears how it ended.
    house.wishes.told.lock().unwrap().clear();
    house.start().await;
    let _agent = Agent::start(&house, &data, None);
    let fact = house.told("the end in the books", |fact| matches!(fact.state, FactState::Ended { .. })).await;
    let FactState::Ended { elapsed, cause, .. } = fact.state else { panic!("{fact:?}") };
    assert_eq!(cause, FactCause::TimeUp);
    assert!(elapsed > Span::ZERO && elapsed <= Span::from_seconds(12), "{elapsed:?}");
    // Once nobody wants it any more, nothing but its log is left.
    house.want(Vec::new()).await;
    until("a clean node", || async { (!dir(&data, &wanted).exists()).then_some(()) }).await;
    assert_eq!(archive::newest(&data.join("logs"), wanted.lease).unwrap(), Some(1));
}

#[tokio::test]
async fn scratch_is_gone_although_agent_and_shim_were_killed() {
    let mut house = House::open(true).await;
    let data = folder("agent");
    let agent = Agent::start(&house, &data, Some(&house.token().await));
    house.connected().await;
    let mut wanted =
        want(6, clock::now(), 600, batch("echo secret > $GRISTMILL_SCRATCH/left; while :; do sleep 0.1; done"));
    wanted.share.scratch_bytes = 64 << 20;
    house.want(vec![wanted.clone()]).await;
    house.told("a ready lease", is_ready).await;
    let dir = dir(&data, &wanted);
    let seen = lease::inspect(&dir).unwrap();
    assert_eq!(dir.join("scratch.img").exists(), seen.state.enforcement.scratch.unwrap().enforced);
    house.stop().await;
    agent.kill();
    let shim = rustix::process::Pid::from_raw(i32::try_from(seen.state.shim.pid).unwrap()).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    // Without a mill, which might not come back for days, the next agent tidies up.
    let _agent = Agent::start(&house, &data, None);
    until("no scratch", || async {
        let left = ["scratch", "scratch.img"].iter().any(|name| dir.join(name).exists());
        (!left && dir.exists()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_granted_lease_starts_at_its_time_while_the_server_is_away() {
    let mut house = House::open(true).await;
    let data = folder("agent");
    let agent = Agent::start(&house, &data, Some(&house.token().await));
    house.connected().await;
    let start = clock::now().plus(Span::from_seconds(6));
    let wanted = want(2, start, 60, batch(ENDLESS));
    house.want(vec![wanted.clone()]).await;
    let waiting = house.told("a lease on file", |fact| fact.state == FactState::Waiting).await;
    assert_eq!(waiting.revision, 1);
    house.stop().await;
    agent.kill();
    // An agent that starts without its mill goes on with what is on file.
    let _agent = Agent::start(&house, &data, None);
    let running = phase(&dir(&data, &wanted), "a running lease", |phase| matches!(phase, Phase::Running { .. })).await;
    let Phase::Running { since, .. } = running else { panic!("{running:?}") };
    assert!(since >= start, "it started before its time");
    house.start().await;
    house.connected().await;
    house.told("a ready lease", is_ready).await;
    house.want(vec![DesiredLease { run: false, revision: 2, ..wanted }]).await;
    let fact = house.told("the stop", |fact| matches!(fact.state, FactState::Ended { .. })).await;
    assert_eq!(fact.revision, 2);
    assert!(matches!(fact.state, FactState::Ended { cause: FactCause::Stopped, .. }), "{fact:?}");
}

#[tokio::test]
async fn an_extension_counts_when_the_node_has_it() {
    let house = House::open(true).await;
    let data = folder("agent");
    let _agent = Agent::start(&house, &data, Some(&house.token().await));
    house.connected().await;
    let wanted = want(3, clock::now(), 30, batch(ENDLESS));
    house.want(vec![wanted.clone()]).await;
    house.told("a ready lease", is_ready).await;
    let end = wanted.end.plus(Span::from_seconds(600));
    house.want(vec![DesiredLease { end, revision: 2, ..wanted.clone() }]).await;
    house.told("the new end in force", |fact| fact.revision == 2).await;
    assert_eq!(lease::inspect(&dir(&data, &wanted)).unwrap().state.deadline.end, end);
    house.want(Vec::new()).await;
    until("a clean node", || async { (!dir(&data, &wanted).exists()).then_some(()) }).await;
}

async fn frame(stream: &mut DuplexStream, decoder: &mut Decoder) -> Option<Frame> {
    let mut buffer = vec![0; 4096];
    loop {
        if let Some(frame) = decoder.next_frame().unwrap() {
            return Some(frame);
        }
        match stream.read(&mut buffer).await.unwrap() {
            0 => return None,
            length => decoder.feed(&buffer[..length]),
        }
    }
}

/// A log as its follower gets it, and how it ended.
async fn log(house: &House, lease: LeaseId, follow: bool) -> (String, Option<Frame>) {
    let node = house.connected().await.id;
    let kind = StreamKind::Log { from: 0, follow };
    let mut stream = house.fleet.mill.hub.open_stream(node, lease, kind).await.unwrap();
    let (mut decoder, mut text) = (Decoder::default(), Vec::new());
    loop {
        match frame(&mut stream, &mut decoder).await {
            Some(Frame::Log { bytes, .. }) => text.extend(bytes),
            last => return (String::from_utf8(text).unwrap(), last),
        }
    }
}

#[tokio::test]
async fn a_log_is_followed_live_and_read_afterwards() {
    let house = House::open(true).await;
    let data = folder("agent");
    let _agent = Agent::start(&house, &data, Some(&house.token().await));
    let node = house.connected().await.id;
    let wanted = want(4, clock::now(), 120, batch("echo one; sleep 1; echo two; exit 3"));
    house.want(vec![wanted.clone()]).await;
    house.told("a lease that runs", is_ready).await;
    let whole = ("one\ntwo\n".to_owned(), Some(Frame::LogEnd(ExitKind::Code(3))));
    assert_eq!(log(&house, wanted.lease, true).await, whole);
    let fact = house.told("its end", |fact| matches!(fact.state, FactState::Ended { .. })).await;
    assert!(matches!(fact.state, FactState::Ended { code: Some(3), cause: FactCause::Finished, .. }), "{fact:?}");
    assert_eq!(log(&house, wanted.lease, false).await, whole);
    house.want(Vec::new()).await;
    until("a clean node", || async { (!dir(&data, &wanted).exists()).then_some(()) }).await;
    assert_eq!(log(&house, wanted.lease, false).await, whole, "it is kept when the lease is gone");
    let terminal = StreamKind::Terminal { tab: 1, cols: 80, rows: 24 };
    let refused = house.fleet.mill.hub.open_stream(node, wanted.lease, terminal).await;
    assert!(refused.unwrap_err().to_string().contains("not on the node"));
}

#[tokio::test]
async fn a_terminal_reaches_into_the_lease_and_is_found_again() {
    let house = House::open(true).await;
    let data = folder("agent");
    let agent = Agent::start(&house, &data, Some(&house.token().await));
    let node = house.connected().await.id;
    let wanted = want(5, clock::now(), 120, DesiredWorkload::Workspace);
    house.want(vec![wanted.clone()]).await;
    house.told("a ready workspace", is_ready).await;
    let kind = StreamKind::Terminal { tab: 1, cols: 80, rows: 24 };
    let mut stream = house.fleet.mill.hub.open_stream(node, wanted.lease, kind.clone()).await.unwrap();
    let mut decoder = Decoder::default();
    assert!(matches!(frame(&mut stream, &mut decoder).await, Some(Frame::Attached(a)) if a.fresh));
    let typed = Frame::Input(b"echo gr''ist; mark=kept\n".to_vec()).encode();
    stream.write_all(&typed).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("grist") {
        match frame(&mut stream, &mut decoder).await {
            Some(Frame::Output(bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} after {seen}"),
        }
    }
    // What only the agent may say to a shim ends the stream and nothing else.
    stream.write_all(&Frame::Stop { reason: "mischief".to_owned() }.encode()).await.unwrap();
    while frame(&mut stream, &mut decoder).await.is_some() {}
    agent.kill();
    let _agent = Agent::start(&house, &data, None);
    let mut again = until("the terminal again", || async {
        house.fleet.mill.hub.open_stream(node, wanted.lease, kind.clone()).await.ok()
    })
    .await;
    let mut decoder = Decoder::default();
    assert!(
        matches!(frame(&mut again, &mut decoder).await, Some(Frame::Attached(a)) if !a.fresh),
        "the shell lives on"
    );
    again.write_all(&Frame::Input(b"echo $mark-${#mark}\n".to_vec()).encode()).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("kept-4") {
        match frame(&mut again, &mut decoder).await {
            Some(Frame::Output(bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} after {seen}"),
        }
    }
    house.want(Vec::new()).await;
    until("a clean node", || async { (!dir(&data, &wanted).exists()).then_some(()) }).await;
}
