//! Older and newer agents: what they are told, what the mill offers, what becomes of it.
use gristmill::agent::identity;
use gristmill::app::fleet::upgrade;
use gristmill::base::secret::hex;
use gristmill::wire::api::fleet::AgentView;
use gristmill::wire::node::*;

use super::membership::*;
use super::mill::*;

fn hello_as(machine: &Machine, protocol: u32, version: &str) -> FromAgent {
    let FromAgent::Hello { boot, clock, simulated, observed, .. } = hello(machine) else { panic!("a hello is one") };
    FromAgent::Hello { protocol, version: version.to_owned(), boot, clock, simulated, observed }
}

fn agent(house: &House) -> AgentView {
    house.nodes()[0].agent.clone().unwrap()
}

#[tokio::test]
async fn an_older_agent_is_offered_the_program_when_an_admin_asks() {
    let house = House::open(true).await;
    let (machine, mill) = (house.machine().await, house.fleet.mill.clone());
    let node = machine.membership.node;
    assert_eq!(code(upgrade::ask(&mill, &admin(), node, false).await), "never_connected");
    let mut socket = link(&machine).await.unwrap();
    say(&mut socket, &hello_as(&machine, PROTOCOL, "0.0.1")).await;
    let Some(ToAgent::Welcome { epoch, .. }) = hear(&mut socket).await else { panic!("no welcome") };
    assert_eq!((agent(&house).version.as_str(), agent(&house).state.as_str()), ("0.0.1", "other"));
    upgrade::ask(&mill, &admin(), node, false).await.unwrap();
    let (version, wanted) = loop {
        match hear(&mut socket).await {
            Some(ToAgent::Upgrade { version, sha256 }) => break (version, sha256),
            Some(_) => {}
            None => panic!("no offer"),
        }
    };
    assert_eq!((version.as_str(), agent(&house).state.as_str()), (upgrade::VERSION, "upgrading"));
    // The program comes over the node's own connection, whole, and to nobody without a certificate.
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let fetched = machine.server.download(machine.tls(), "/program", u64::MAX, |piece| {
        digest.update(piece);
        true
    });
    fetched.await.unwrap();
    assert_eq!(hex(digest.finish().as_ref()), wanted);
    let bare = identity::tls(&machine.root, None).unwrap();
    assert_eq!(refused(machine.server.download(bare, "/program", u64::MAX, |_| true).await), "unknown_certificate");
    let why = "it does not start\u{1b}[2J here".to_owned();
    say(&mut socket, &FromAgent::UpgradeFailed { epoch, version, why }).await;
    let failed =
        until("a failed upgrade", || async { Some(agent(&house)).filter(|agent| agent.state == "failed") }).await;
    assert!(failed.note.unwrap().contains("it does not start[2J here"));
    // Somebody pastes the line there: it comes back as it should be.
    drop(socket);
    let mut socket = link(&machine).await.unwrap();
    say(&mut socket, &hello_as(&machine, PROTOCOL, upgrade::VERSION)).await;
    assert!(matches!(hear(&mut socket).await, Some(ToAgent::Welcome { .. })));
    assert_eq!(agent(&house).state, "same");
    assert_eq!(code(upgrade::ask(&mill, &admin(), node, false).await), "same_version");
}

#[tokio::test]
async fn agents_of_another_protocol_are_told_what_to_do_and_take_the_offer() {
    let house = House::open(true).await;
    let (machine, mill) = (house.machine().await, house.fleet.mill.clone());
    let node = machine.membership.node;
    for (protocol, version) in [(PROTOCOL - 1, "0.0.1"), (PROTOCOL + 1, "9.0.0")] {
        let mut socket = link(&machine).await.unwrap();
        say(&mut socket, &hello_as(&machine, protocol, version)).await;
        match hear(&mut socket).await {
            Some(ToAgent::Goodbye { why }) => assert!(why.contains("An admin can upgrade it"), "{why}"),
            other => panic!("no goodbye but {other:?}"),
        }
        assert_eq!((agent(&house).version.as_str(), agent(&house).state.as_str()), (version, "other_protocol"));
    }
    upgrade::ask(&mill, &admin(), node, false).await.unwrap();
    // It is offered a few times; a node that always comes back as it was is given up.
    for _ in 0..3 {
        let mut socket = link(&machine).await.unwrap();
        say(&mut socket, &hello_as(&machine, PROTOCOL + 1, "9.0.0")).await;
        assert!(matches!(hear(&mut socket).await, Some(ToAgent::Upgrade { .. })));
        assert!(matches!(hear(&mut socket).await, Some(ToAgent::Goodbye { .. })));
    }
    let mut socket = link(&machine).await.unwrap();
    say(&mut socket, &hello_as(&machine, PROTOCOL + 1, "9.0.0")).await;
    assert!(matches!(hear(&mut socket).await, Some(ToAgent::Goodbye { .. })));
    assert_eq!(agent(&house).state, "failed");
}
