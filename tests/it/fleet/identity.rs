//! Who a node is after its certificate: coming back with the key, a second machine with the same key, revocation that
//! outlasts everything.
use base64::Engine as _;
use gristmill::agent::dial::DialError;
use gristmill::agent::identity::{self, Membership, NodeKey};
use gristmill::agent::join;
use gristmill::agent::place::Place;
use gristmill::app::fleet::manage;
use gristmill::app::people::{notices, setup};
use gristmill::app::trust::NODE_LASTS;
use gristmill::base::ids::{LeaseId, MemberId};
use gristmill::base::window::Span;
use gristmill::clock;
use gristmill::domain::event::{Cause, Event};
use gristmill::domain::people::member::Member;
use gristmill::store::{Changes, Command};
use gristmill::wire::node::*;

use super::membership::*;
use super::mill::*;

/// The machine's certificate as it would be after forty days away.
fn outlived(house: &House, key: &NodeKey, known: &Membership) -> Membership {
    let made = clock::now().minus(Span::from_days(40));
    let csr = key.request().unwrap();
    let old = house.fleet.root.node_certificate(&csr, known.node, 99, NODE_LASTS, made).unwrap();
    Membership { certificate_pem: old.chain_pem, ..known.clone() }
}

async fn challenge(machine: &Machine) -> String {
    let tls = identity::tls(&machine.root, None).unwrap();
    machine.server.get::<Challenge>(tls, "/challenge").await.unwrap().nonce
}

async fn returning(machine: &Machine, key: &NodeKey, nonce: &str, signed: &[u8]) -> Result<JoinAnswer, DialError> {
    let signature = base64::engine::general_purpose::STANDARD.encode(key.sign(signed).unwrap());
    let request = ReturnRequest { csr_pem: key.request().unwrap(), nonce: nonce.to_owned(), signature };
    machine.server.post(identity::tls(&machine.root, None).unwrap(), "/return", &request).await
}

#[tokio::test]
async fn a_node_that_was_away_for_long_comes_back_with_its_key() {
    let house = House::open(true).await;
    let mut machine = house.machine().await;
    machine.membership = outlived(&house, &machine.key, &machine.membership);
    let error = link(&machine).await.map(drop).unwrap_err();
    assert!(error.is_about_certificate(), "{error:?}");
    // A signature over anything else, one of another key, and a number that is not the mill's bring nobody back.
    let nonce = challenge(&machine).await;
    let proof = return_proof(&nonce);
    assert_eq!(refused(returning(&machine, &machine.key, &nonce, b"something else").await), "bad_certificate_request");
    let stranger = Place::take(&folder("stranger")).unwrap();
    let stranger = NodeKey::open(&stranger).unwrap();
    assert_eq!(refused(returning(&machine, &stranger, &nonce, &proof).await), "unknown_key");
    let invented = "0".repeat(64);
    let answer = returning(&machine, &machine.key, &invented, &return_proof(&invented)).await;
    assert_eq!(refused(answer), "challenge_spent");
    // The right one does, once.
    let back = returning(&machine, &machine.key, &nonce, &proof).await.unwrap();
    assert_eq!(back.node, machine.membership.node);
    assert_eq!(refused(returning(&machine, &machine.key, &nonce, &proof).await), "challenge_spent");
    let again = challenge(&machine).await;
    let soon = returning(&machine, &machine.key, &again, &return_proof(&again)).await;
    assert_eq!(refused(soon), "too_many_returns");
    machine.membership.certificate_pem = back.certificate_pem;
    let (_socket, _) = welcomed(&machine).await;
    assert_eq!(house.nodes().len(), 1);
}

#[tokio::test]
async fn an_agent_comes_back_by_itself_when_its_certificate_has_ended() {
    let house = House::open(true).await;
    let data = folder("agent");
    let agent = Agent::start(&house, &data, Some(&house.token().await));
    let node = house.connected().await.id;
    agent.kill();
    until("the loss of the connection", || async { (!house.nodes()[0].connected).then_some(()) }).await;
    {
        let place = Place::take(&data).unwrap();
        let (key, known) = (NodeKey::open(&place).unwrap(), identity::membership(&place).unwrap().unwrap());
        identity::keep_membership(&place, &outlived(&house, &key, &known)).unwrap();
    }
    let _agent = Agent::start(&house, &data, None);
    assert_eq!(house.connected().await.id, node);
    assert_eq!(events(&house, |event| matches!(event, Event::NodeReturned { .. })), 1);
}

fn events(house: &House, is: impl Fn(&Event) -> bool) -> usize {
    let mut count = 0;
    let view = house.fleet.mill.store.read().unwrap();
    view.scan(gristmill::store::tables::Table::Events, |_, value| {
        let recorded = <gristmill::domain::event::Recorded as gristmill::store::record::Record>::decode(value)?;
        count += usize::from(is(&recorded.event));
        Ok(())
    })
    .unwrap();
    count
}

/// An admin who can be told something.
async fn somebody(house: &House) -> MemberId {
    let id = MemberId::from_u128(9);
    let member = Member {
        id,
        email: "ada@lab.example".parse().unwrap(),
        name: "Ada".parse().unwrap(),
        password: "-".into(),
        admin: true,
        disabled: false,
        uid: 20_000,
        created: clock::now(),
    };
    let write = move |_: &gristmill::store::View<'_>, _| {
        let mut changes = Changes::new();
        setup::put_member(&mut changes, &member);
        Ok((changes, ()))
    };
    house.fleet.mill.store.write(Command::new(Cause::Operator), write).await.unwrap();
    id
}

#[tokio::test]
async fn a_copied_machine_is_turned_away_while_the_first_is_there() {
    let house = House::open(true).await;
    let ada = somebody(&house).await;
    let (data, copy) = (folder("agent"), folder("copy"));
    let first = Agent::start(&house, &data, Some(&house.token().await));
    let node = house.connected().await.id;
    std::fs::create_dir_all(&copy).unwrap();
    for file in ["key.pem", "node.json", "root.pem"] {
        std::fs::copy(data.join(file), copy.join(file)).unwrap();
    }
    let epochs = || events(&house, |event| matches!(event, Event::NodeConnected { .. }));
    let second = Agent::start(&house, &copy, None);
    let hub = house.fleet.mill.hub.clone();
    until("three tries of the copy", || async { (hub.doubles.of(node) >= 3).then_some(()) }).await;
    assert!(house.nodes()[0].connected && epochs() == 1, "the first was not touched");
    assert_eq!(events(&house, |event| matches!(event, Event::NodeDoubled { .. })), 1, "told once an hour at most");
    let told = notices::list(&house.fleet.mill.store.read().unwrap(), ada).unwrap();
    assert!(told.len() == 1 && told[0].subject.contains("second machine"), "{told:?}");
    assert_eq!(house.nodes()[0].agent.as_ref().map(|agent| agent.doubles >= 3), Some(true));
    // Once the first is gone, whoever has the key is the node.
    first.kill();
    until("a second epoch", || async { (epochs() == 2).then_some(()) }).await;
    assert!(house.connected().await.connected);
    drop(second);
}

#[tokio::test]
async fn a_revoked_node_is_out_within_two_seconds_and_stays_out_over_a_restart() {
    let mut house = House::open(true).await;
    let machine = house.machine().await;
    let node = machine.membership.node;
    let (mut socket, _) = welcomed(&machine).await;
    // Something that it carries for a person: a log that is followed.
    let hub = house.fleet.mill.hub.clone();
    let asking = tokio::spawn(async move {
        hub.open_stream(node, LeaseId::from_u128(1), StreamKind::Log { from: 0, follow: true }).await
    });
    let stream = loop {
        match hear(&mut socket).await {
            Some(ToAgent::OpenStream { stream, .. }) => break stream,
            Some(_) => {}
            None => panic!("no order to dial"),
        }
    };
    let mut dialled = machine.server.web_socket(machine.tls(), &format!("/stream/{stream}"), 1000).await.unwrap();
    let _asked = asking.await.unwrap().unwrap();
    manage::revoke(&house.fleet.mill, &admin(), node).await.unwrap();
    let over = async {
        while hear(&mut socket).await.is_some() {}
        while hear(&mut dialled).await.is_some() {}
    };
    tokio::time::timeout(std::time::Duration::from_secs(2), over).await.expect("both are closed within two seconds");
    house.stop().await;
    house.start().await;
    assert_eq!(refused(link(&machine).await.map(drop)), "unknown_certificate");
    let nonce = challenge(&machine).await;
    assert_eq!(refused(returning(&machine, &machine.key, &nonce, &return_proof(&nonce)).await), "node_revoked");
    let place = Place::take(&folder("again")).unwrap();
    let answer = join::come_back(&place, &machine.server, &machine.root, &machine.key, Some(2)).await;
    assert_eq!(join_refused(answer), "too_many_returns");
    assert_eq!(house.nodes()[0].state, "revoked");
}

#[tokio::test]
async fn a_node_whose_clock_is_off_says_so_on_its_page() {
    let house = House::open(true).await;
    let machine = house.machine().await;
    let mut socket = link(&machine).await.unwrap();
    let FromAgent::Hello { protocol, version, boot, simulated, observed, clock } = hello(&machine) else { panic!() };
    let clock = clock.plus(Span::from_minutes(10));
    say(&mut socket, &FromAgent::Hello { protocol, version, boot, clock, simulated, observed }).await;
    assert!(matches!(hear(&mut socket).await, Some(ToAgent::Welcome { .. })));
    let node = house.connected().await;
    let note = node.state_note.unwrap();
    assert!(note.contains("clock is off by") && note.contains("no new leases"), "{note}");
}
