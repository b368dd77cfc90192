//! The things in the test's mill that take many rows: a node with GPUs, and documents about delivered work. It refuses to
//! go around the ledger: what was delivered is held and settled as ever.
use std::collections::HashMap;

use gristmill::agent::gpu::simulated;
use gristmill::app::fleet::pools;
use gristmill::app::fleet::unbooked::{Said, heard, users};
use gristmill::app::ids;
use gristmill::app::mill::Mill;
use gristmill::app::money::hold::{self, Delivered, Reserve};
use gristmill::app::money::{Occasion, invoices, price};
use gristmill::base::credits::Credits;
use gristmill::base::hardware::{ObservedNode, Share};
use gristmill::base::ids::*;
use gristmill::base::secret::SecretHash;
use gristmill::base::telemetry::{GpuProcess, GpuReading};
use gristmill::base::window::{Span, Window};
use gristmill::clock;
use gristmill::domain::bookings::booking::*;
use gristmill::domain::event::Cause;
use gristmill::domain::fleet::hardware::first_units;
use gristmill::domain::fleet::node::{Node, NodeContact, NodeState, Unit};
use gristmill::domain::fleet::unbooked::Use;
use gristmill::domain::money::period::{self, Period};
use gristmill::domain::people::installation::Mode;
use gristmill::domain::people::rights::Actor;
use gristmill::store::bookings::put_booking;
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command, Order, Read};
use gristmill::wire::api::money::DraftRequest;
use gristmill::wire::api::pools::PoolChange;
use gristmill::wire::api::unbooked::UnixUserRequest;

/// A connected node with four simulated GPUs, admitted or waiting for it.
pub async fn node(mill: &Mill, pool: PoolId, name: &str, admitted: bool) -> NodeId {
    let now = clock::now();
    let key = SecretHash::of(name.as_bytes());
    let node = Node {
        id: NodeId::from_u128(ids::fresh()),
        name: name.parse().unwrap(),
        pool,
        owner: None,
        key,
        certificate_serial: "1".into(),
        certificate_expires: now.plus(Span::from_days(1)),
        certificate_next: None,
        state: if admitted { NodeState::Admitted { since: now } } else { NodeState::Pending },
        duty: gristmill::domain::fleet::duty::Duty::Open,
        observed: ObservedNode {
            hostname: name.into(),
            cpus: 32,
            memory_bytes: 256 << 30,
            disk_bytes: 1 << 40,
            gpus: simulated::gpus(name, 4),
            ..ObservedNode::default()
        },
        epoch: 1,
        generation: 1,
        joined: now,
        local: false,
    };
    let id = node.id;
    let units = first_units(&node, &mut || UnitId::from_u128(ids::fresh()), now);
    let decide = move |_: &gristmill::store::View<'_>, now| {
        let mut changes = Changes::new();
        changes.put(&node).index(Table::NodesByKey, key.as_bytes(), &id).index(
            Table::NodesByName,
            &node.name.key(),
            &id,
        );
        changes.put(&NodeContact {
            node: id,
            epoch: 1,
            connected: true,
            last: now,
            skew_ms: 0,
            unattested_since: None,
        });
        for unit in &units {
            changes.put(unit).index(Table::UnitsByNode, &(unit.node, unit.id), &unit.id);
        }
        Ok((changes, ()))
    };
    mill.store.write(Command::new(Cause::Operator), decide).await.unwrap();
    id
}

/// One issued document and one draft of a team, each about an hour that was delivered.
pub async fn documents(mill: &Mill, team: TeamId, member: &Actor, admin: &Actor) -> (DocumentId, DocumentId) {
    let end = clock::now().minus(Span::from_hours(1));
    let window = Window::lasting(end.minus(Span::from_minutes(30)), Span::from_minutes(30)).unwrap();
    let month = Period::of(window.start(), &period::zone("UTC")).to_string();
    let request = || DraftRequest { team: team.to_string(), period: month.clone() };
    deliver(mill, team, member.member, window).await;
    let issued = invoices::draft(mill, admin, request(), None).await.unwrap().id;
    invoices::issue(mill, admin, issued, None).await.unwrap();
    deliver(mill, team, member.member, window).await;
    let draft = invoices::draft(mill, admin, request(), None).await.unwrap().id;
    (issued, draft)
}

async fn deliver(mill: &Mill, team: TeamId, member: MemberId, window: Window) {
    let id = BookingId::from_u128(ids::fresh());
    let decide = move |view: &gristmill::store::View<'_>, now| {
        let mut changes = Changes::new();
        let rate = price::pin(view, "H200")?;
        let ask = Ask {
            model: None,
            gpus: 1,
            shape: AskShape::OneNode,
            when: When::At { window },
            workload: Workload::Workspace,
            title: "done".into(),
        };
        let mut occasion = Occasion { now, cause: Cause::Mill, ids: &mut ids::fresh };
        let zone = period::zone("UTC");
        let reserve = Reserve { booking: id, team, window, gpus: 1, pin: &rate, zone: &zone, mode: Mode::Showback };
        hold::place(view, &mut changes, reserve, &mut occasion)?;
        let delivered = [Delivered { window, gpus: 1, owner: None, lease: None }];
        let cost = hold::settle(view, &mut changes, id, &delivered, &mut occasion)?;
        let booking = Booking {
            id,
            team,
            member,
            ask,
            window,
            share: Share::default(),
            held: Credits::ZERO,
            rate,
            leases: Vec::new(),
            attempt: 1,
            state: BookingState::Ended { at: now, cause: EndCause::TimeUp, exit: None, cost },
            created: now,
            warned: Vec::new(),
            due: None,
        };
        put_booking(&mut changes, None, &booking);
        Ok((changes, ()))
    };
    mill.store.write(Command::new(Cause::Mill), decide).await.unwrap();
}

/// A process of Mo's on the node's last GPU without a booking: two readings, billed, over.
pub async fn unbooked(mill: &Mill, pool: PoolId, node: NodeId, ada: &Actor) -> UseId {
    let bills = PoolChange { unbooked: Some("bill".into()), why: "for the tests".into(), ..PoolChange::default() };
    pools::change(mill, ada, pool, bills).await.unwrap();
    let named = UnixUserRequest { user: "1001".into(), member: "mo@lab.example".into(), team: None, pool: None };
    users::set(mill, ada, &named).await.unwrap();
    let units: Vec<Unit> =
        mill.store.read().unwrap().list_via(Table::UnitsByNode, &node.to_bytes(), Order::Ascending, 9).unwrap();
    let unit = units.iter().max_by_key(|unit| unit.index).unwrap().id;
    let process = GpuProcess { pid: 4711, uid: Some(1001), started: Some(7), ..GpuProcess::default() };
    let now = clock::now();
    for (second, there) in [(0, true), (10, true), (20, false), (30, false)] {
        let processes = Some(if there { vec![process.clone()] } else { Vec::new() });
        let reading = GpuReading { processes, ..GpuReading::default() };
        let at = now.plus(Span::from_seconds(second));
        let said = Said { node, boot: "b".into(), clock: at, skew_ms: 0 };
        heard(mill, said, &HashMap::from([(unit, reading)]), at).await.unwrap();
    }
    let uses: Vec<Use> = mill.store.read().unwrap().list(&[], Order::Ascending, 9).unwrap();
    uses[0].id
}
