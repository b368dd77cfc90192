//! Joining, identity, epochs: who is a node and who is not.
use futures_util::{SinkExt as _, StreamExt as _};
use gristmill::agent::dial::{DialError, Server, Socket};
use gristmill::agent::identity::{self, Membership};
use gristmill::agent::join::{self, JoinError};
use gristmill::app::fleet::{manage, tokens};
use gristmill::app::trust::{NODE_LASTS, Root};
use gristmill::base::ids::NodeId;
use gristmill::base::preflight::{Finding, Subject};
use gristmill::base::secret::Secret;
use gristmill::base::window::{Instant, Span};
use gristmill::clock;
use gristmill::domain::event::Cause;
use gristmill::domain::fleet::node::JoinToken;
use gristmill::store::{Changes, Command};
use gristmill::wire::api::fleet::JoinTokenRequest;
use gristmill::wire::node::*;
use tokio_tungstenite::tungstenite::Message;

use super::mill::*;

/// The code of the mill's refusal.
pub fn refused<T>(answer: Result<T, DialError>) -> String {
    match answer {
        Err(DialError::Refused(problem)) => problem.code,
        Err(other) => other.to_string(),
        Ok(_) => "no refusal".to_owned(),
    }
}

pub fn join_refused<T>(answer: Result<T, JoinError>) -> String {
    match answer {
        Err(JoinError::Dial(error)) => refused::<T>(Err(error)),
        Err(other) => other.to_string(),
        Ok(_) => "no refusal".to_owned(),
    }
}

pub async fn link(machine: &Machine) -> Result<Socket, DialError> {
    machine.server.web_socket(machine.tls(), "/link", MESSAGE_LIMIT).await
}

pub async fn say(socket: &mut Socket, message: &FromAgent) {
    socket.send(Message::Text(serde_json::to_string(message).unwrap().into())).await.unwrap();
}

pub async fn hear(socket: &mut Socket) -> Option<ToAgent> {
    match socket.next().await? {
        Ok(Message::Text(text)) => Some(serde_json::from_str(&text).unwrap()),
        _ => None,
    }
}

pub fn hello(machine: &Machine) -> FromAgent {
    FromAgent::Hello {
        protocol: PROTOCOL,
        version: "test".to_owned(),
        boot: String::new(),
        clock: clock::now(),
        simulated: true,
        observed: Box::new(machine.observed()),
    }
}

/// A connection that was welcomed, and its epoch.
pub async fn welcomed(machine: &Machine) -> (Socket, u64) {
    let mut socket = link(machine).await.unwrap();
    say(&mut socket, &hello(machine)).await;
    match hear(&mut socket).await {
        Some(ToAgent::Welcome { epoch, node, .. }) if node == machine.membership.node => (socket, epoch),
        other => panic!("no welcome but {other:?}"),
    }
}

#[tokio::test]
async fn a_token_lets_one_machine_in_and_the_same_key_may_ask_again() {
    let house = House::open(false).await;
    let token = house.token().await;
    let machine = Machine::join(&house, token.clone()).await.unwrap();
    let nodes = house.nodes();
    assert_eq!((nodes.len(), nodes[0].state.as_str(), nodes[0].gpus.len()), (1, "pending", 2));
    assert!(nodes[0].gpus.iter().all(|gpu| gpu.state == "out_of_service"), "nothing is offered before admission");
    assert_eq!(join_refused(Machine::join(&house, token.clone()).await), "join_token_spent");
    assert_eq!(join_refused(Machine::join(&house, Secret::new("made up")).await), "join_token_spent");
    let again = join::Newcomer { token, observed: machine.observed(), simulated_gpus: Some(2) };
    let again = join::join(&machine.place, &machine.server, &machine.root, &machine.key, again).await.unwrap();
    assert_eq!(again.node, machine.membership.node);
    manage::admit(&house.fleet.mill, &admin(), again.node).await.unwrap();
    assert_eq!(code(manage::admit(&house.fleet.mill, &admin(), again.node).await), "node_not_waiting");
    let nodes = house.nodes();
    assert_eq!((nodes.len(), nodes[0].state.as_str()), (1, "admitted"));
}

/// A token as an older day left it.
async fn expired(house: &House) -> Secret {
    let token = Secret::new("made yesterday");
    let hash = token.hash();
    let write = move |_: &gristmill::store::View<'_>, now: Instant| {
        let mut changes = Changes::new();
        let expires = now.minus(Span::from_hours(1));
        changes.put(&JoinToken {
            token: hash,
            pool: POOL,
            owner: None,
            name: None,
            local: false,
            admit: false,
            expires,
            used: None,
            seen: None,
        });
        Ok((changes, ()))
    };
    house.fleet.mill.store.write(Command::new(Cause::Mill), write).await.unwrap();
    token
}

#[tokio::test]
async fn a_machine_that_comes_is_seen_on_its_way() {
    let house = House::open(false).await;
    let mill = &house.fleet.mill;
    let request = JoinTokenRequest { name: Some("machine".to_owned()), ..JoinTokenRequest::default() };
    let (made, token) = tokens::make_named(mill, &admin(), &request).await.unwrap();
    assert!(made.token.is_none() && made.command.is_none(), "the shown row holds no secret");
    let state = || tokens::show(mill, &admin(), made.id, clock::now()).unwrap().state;
    assert_eq!(state(), "waiting");
    let place = gristmill::agent::place::Place::take(&folder("machine")).unwrap();
    let root = join::pin_root(&place, &house.server(), Some(&house.pin())).await.unwrap();
    let arrive = |token: Secret, findings: Vec<Finding>| {
        let (server, root) = (house.server(), root.clone());
        async move { join::arrive(&server, &root, &token, "machine-host", findings).await }
    };
    let facts = arrive(token.clone(), Vec::new()).await.unwrap();
    assert!(facts.simulated && facts.protocol == PROTOCOL);
    assert_eq!(state(), "contacted");
    arrive(token.clone(), vec![Finding::stops(Subject::Disk, "It is full.", "Make room.")]).await.unwrap();
    assert_eq!(state(), "stopped");
    // Starting over forgets nothing before the machine has looked again.
    arrive(token.clone(), Vec::new()).await.unwrap();
    assert_eq!(state(), "stopped");
    arrive(token.clone(), vec![Finding::good(Subject::Disk, "plenty")]).await.unwrap();
    assert_eq!(state(), "checked");
    let loud = vec![Finding::good(Subject::Disk, "x".repeat(5000))];
    assert_eq!(join_refused(arrive(token.clone(), loud).await), "bad_field");
    assert_eq!(join_refused(arrive(Secret::new("made up"), Vec::new()).await), "join_token_spent");
    assert_eq!(join_refused(arrive(expired(&house).await, Vec::new()).await), "join_token_spent");
    // Somebody took the wished name meanwhile: the machine joins, and says under which name.
    let other = house.machine().await;
    assert_eq!(house.nodes()[0].name, "machine");
    let machine = Machine::join(&house, token).await.unwrap();
    assert_eq!(state(), "pending");
    let shown = tokens::show(mill, &admin(), made.id, clock::now()).unwrap();
    assert_eq!(shown.node.map(|node| (node.id, node.name)), Some((machine.membership.node, "machine-2".to_owned())));
    manage::admit(mill, &admin(), machine.membership.node).await.unwrap();
    assert_eq!(state(), "admitted");
    assert_eq!(code(tokens::make_named(mill, &admin(), &request).await), "name_taken");
    tokens::set_admission(mill, &admin(), POOL, true).await.unwrap();
    let third = house.machine().await;
    let pending: Vec<_> = house.nodes().iter().map(|node| node.state == "pending").collect();
    assert_eq!(pending, [true, false, false], "{} waits, {} does not", other.membership.node, third.membership.node);
}

#[tokio::test]
async fn an_expired_token_lets_nobody_in() {
    let house = House::open(true).await;
    let token = expired(&house).await;
    match Machine::join(&house, token).await {
        Err(JoinError::Dial(DialError::Refused(problem))) => {
            assert!(problem.why.contains("expired") && problem.next.contains("Make a new one"), "{problem:?}");
        }
        other => panic!("{:?}", other.map(|machine| machine.membership)),
    }
    assert!(house.nodes().is_empty());
}

#[tokio::test]
async fn real_machines_do_not_join_a_simulated_mill() {
    let house = House::open(true).await;
    let machine = house.machine().await;
    let token = house.token().await;
    let real = join::Newcomer { token, observed: machine.observed(), simulated_gpus: None };
    let answer = join::join(&machine.place, &machine.server, &machine.root, &machine.key, real).await;
    assert_eq!(join_refused(answer), "wrong_reality");
}

#[tokio::test]
async fn a_mill_with_another_root_is_not_trusted() {
    let house = House::open(true).await;
    let token = house.token().await;
    let wrong = "00".repeat(32);
    let (content, said) = Agent::start_with(&house, &folder("agent"), Some(&token), &wrong).ended().await;
    assert!(!content && said.contains("is not the one given"), "{said}");
    assert!(house.nodes().is_empty(), "the token was not sent");
    // The other way round: a root on file that is not the server's.
    let other = Root::make("other", 1, clock::now()).unwrap();
    let tls = identity::tls(other.certificate_pem(), None).unwrap();
    let answer = house.server().post::<JoinAnswer>(tls, "/join", &RenewRequest { csr_pem: String::new() }).await;
    assert!(matches!(answer, Err(DialError::Connect(..))), "{answer:?}");
}

#[tokio::test]
async fn certificates_of_others_and_of_the_past_are_refused() {
    let house = House::open(true).await;
    let mut machine = house.machine().await;
    // Without any certificate, and with one of another authority.
    let bare = identity::tls(&machine.root, None).unwrap();
    let socket = machine.server.web_socket(bare, "/link", 1000).await.map(drop);
    assert_eq!(refused(socket), "unknown_certificate");
    let other = Root::make("other", 1, clock::now()).unwrap();
    let csr = machine.key.request().unwrap();
    let forged = other.node_certificate(&csr, machine.membership.node, 5, NODE_LASTS, clock::now()).unwrap();
    assert!(renewing(&machine, &forged.chain_pem).await.is_err(), "another authority's certificate was taken");
    // One that the mill's root signed and the books do not know: stolen root, or a lost update.
    let unknown =
        house.fleet.root.node_certificate(&csr, machine.membership.node, 5, NODE_LASTS, clock::now()).unwrap();
    assert_eq!(refused(renewing(&machine, &unknown.chain_pem).await), "unknown_certificate");
    // A renewed one is good at once, the one before until then.
    let before = machine.membership.clone();
    machine.membership =
        join::renew(&machine.place, &machine.server, machine.tls(), &machine.key, Some(2)).await.unwrap();
    assert_ne!(before.certificate_pem, machine.membership.certificate_pem);
    // The answer might have been lost: until a newer one is seen the old one can ask again, and what it gets counts.
    let lost = machine.membership.clone();
    let again = renewing(&machine, &before.certificate_pem).await.unwrap();
    machine.membership.certificate_pem = again.certificate_pem;
    let (_socket, _) = welcomed(&machine).await;
    for void in [before, lost] {
        assert_eq!(refused(renewing(&machine, &void.certificate_pem).await), "unknown_certificate");
    }
}

/// Asks for a renewal with this certificate.
async fn renewing(machine: &Machine, chain_pem: &str) -> Result<JoinAnswer, DialError> {
    let membership = Membership { certificate_pem: chain_pem.to_owned(), ..machine.membership.clone() };
    let tls = identity::tls(&machine.root, Some((&machine.key, &membership))).unwrap();
    let server: Server = machine.server.clone();
    server.post(tls, "/renew", &RenewRequest { csr_pem: machine.key.request().unwrap() }).await
}

#[tokio::test]
async fn a_revoked_node_is_cut_off_for_good() {
    let house = House::open(true).await;
    let machine = house.machine().await;
    let (mut socket, _) = welcomed(&machine).await;
    assert_eq!(house.connected().await.id, machine.membership.node);
    manage::revoke(&house.fleet.mill, &admin(), machine.membership.node).await.unwrap();
    loop {
        match hear(&mut socket).await {
            Some(ToAgent::Desired { .. }) => {}
            Some(ToAgent::Goodbye { why }) => break assert!(why.contains("revoked"), "{why}"),
            other => panic!("no goodbye but {other:?}"),
        }
    }
    assert_eq!(refused(link(&machine).await.map(drop)), "unknown_certificate");
    let back = join::Newcomer { token: house.token().await, observed: machine.observed(), simulated_gpus: Some(2) };
    let back = join::join(&machine.place, &machine.server, &machine.root, &machine.key, back).await;
    assert_eq!(join_refused(back), "node_revoked");
}

#[tokio::test]
async fn a_newer_connection_fences_the_older() {
    let house = House::open(true).await;
    let machine = house.machine().await;
    let (mut first, one) = welcomed(&machine).await;
    let (mut second, two) = welcomed(&machine).await;
    assert!(two > one);
    loop {
        match hear(&mut first).await {
            Some(ToAgent::Desired { generation, .. }) => assert!(generation >> 20 == one),
            // It is silent, and so it is taken for dead.
            Some(ToAgent::StillThere { .. }) => {}
            Some(ToAgent::Goodbye { why }) => break assert!(why.contains("newer connection"), "{why}"),
            other => panic!("no goodbye but {other:?}"),
        }
    }
    // A report of the older epoch over the newer connection is dropped, one of its own is heard.
    let report = |epoch, lease| FromAgent::Leases {
        epoch,
        generation: 0,
        leases: vec![LeaseFact {
            lease: gristmill::base::ids::LeaseId::from_u128(lease),
            attempt: 1,
            revision: 1,
            state: FactState::Preparing,
            lacking: Vec::new(),
        }],
    };
    say(&mut second, &report(one, 1)).await;
    say(&mut second, &report(two, 2)).await;
    let heard = house.told("a report", |_| true).await;
    assert_eq!(heard.lease.as_u128(), 2);
    assert_eq!(house.wishes.told.lock().unwrap().len(), 1);
    assert!(house.connected().await.connected, "the end of the first did not take the second along");
}

#[tokio::test]
async fn changed_hardware_is_judged_on_connection() {
    let house = House::open(true).await;
    let machine = house.machine().await;
    let report = |uuid: Option<&str>| {
        let mut observed = machine.observed();
        observed.gpus.truncate(1);
        if let Some(uuid) = uuid {
            observed.gpus[0].uuid = uuid.to_owned();
        }
        observed
    };
    let (mut socket, epoch) = welcomed(&machine).await;
    say(&mut socket, &FromAgent::Observed { epoch, observed: Box::new(report(None)) }).await;
    let house = &house;
    let state = |wanted: &'static str| {
        until("a judged node", move || async move { house.nodes().pop().filter(|node| node.state == wanted) })
    };
    until("a GPU out of service", || async {
        house.nodes()[0].gpus.iter().any(|gpu| gpu.state == "out_of_service").then_some(())
    })
    .await;
    assert_eq!(state("admitted").await.gpus.len(), 2);
    say(&mut socket, &FromAgent::Observed { epoch, observed: Box::new(report(Some("SIM-new"))) }).await;
    assert!(state("closed").await.state_note.unwrap().contains("SIM-new"));
    say(&mut socket, &FromAgent::Observed { epoch, observed: Box::new(machine.observed()) }).await;
    assert!(state("admitted").await.gpus.iter().all(|gpu| gpu.state == "free"));
}

#[tokio::test]
async fn an_agent_keeps_its_identity_through_kills_and_restarts_of_both_sides() {
    let mut house = House::open(true).await;
    let data = folder("agent");
    let agent = Agent::start(&house, &data, Some(&house.token().await));
    let first: NodeId = house.connected().await.id;
    let (content, said) = Agent::start(&house, &data, None).ended().await;
    assert!(!content && said.contains("another agent works"), "{said}");
    agent.kill();
    until("the loss of the connection", || async { (!house.nodes()[0].connected).then_some(()) }).await;
    let _agent = Agent::start(&house, &data, None);
    assert_eq!(house.connected().await.id, first);
    house.stop().await;
    house.start().await;
    assert_eq!(house.connected().await.id, first);
    assert_eq!(house.nodes().len(), 1);
}
