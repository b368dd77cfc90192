//! What is known of a fixture, as text: the facts that every later program must read from it, and no more. It names fields
//! one by one, because a record may gain fields without the old ones changing.
use std::fmt::Write as _;

use gristmill::base::secret::{hex, sha256};
use gristmill::domain::bookings::booking::Booking;
use gristmill::domain::bookings::lease::Lease;
use gristmill::domain::event::Recorded;
use gristmill::domain::fleet::node::{JoinToken, Node, Pool, Unit};
use gristmill::domain::money::account::AccountRow;
use gristmill::domain::money::hold::Hold;
use gristmill::domain::money::invoice::Document;
use gristmill::domain::money::rate::Rate;
use gristmill::domain::money::transfer::{LedgerHead, Link, Transfer};
use gristmill::domain::people::installation::Installation;
use gristmill::domain::people::member::{ApiToken, Invitation, Member, Membership, Notice, Session, Team};
use gristmill::store::money::LEDGER_HEAD;
use gristmill::store::people::{INSTALLATION, OutboxMail};
use gristmill::store::record::Record;
use gristmill::store::tables::Table;
use gristmill::store::{Order, Read as _, Snapshot};

struct Facts<'a> {
    view: &'a Snapshot,
    text: String,
}

impl Facts<'_> {
    fn each<R: Record>(&mut self, what: &str, line: impl Fn(&R) -> String) {
        for record in self.view.list::<R>(&[], Order::Ascending, usize::MAX).unwrap() {
            let _ = writeln!(self.text, "{what}: {}", line(&record));
        }
    }
}

pub fn of(view: &Snapshot) -> String {
    let mut facts = Facts { view, text: String::new() };
    people(&mut facts);
    fleet(&mut facts);
    bookings(&mut facts);
    money(&mut facts);
    facts.each("event", |event: &Recorded| format!("{} {} {:?}", event.seq, event.at.as_millis(), event.cause));
    facts.text
}

fn people(facts: &mut Facts<'_>) {
    let installed: Installation = facts.view.must(&INSTALLATION).unwrap();
    let Installation { organisation, currency, time_zone, mode, reality, .. } = installed;
    let _ = writeln!(facts.text, "installation: {organisation} {currency} {time_zone} {mode:?} {reality:?}");
    facts.each("member", |m: &Member| {
        format!("{} {} {} admin={} uid={} {}", m.id, m.email, m.name, m.admin, m.uid, &m.password[..10])
    });
    facts.each("team", |t: &Team| format!("{} {} {:?}", t.id, t.name, t.cost_centre));
    facts.each("membership", |m: &Membership| format!("{} {} {:?}", m.team, m.member, m.role));
    facts.each("invitation", |i: &Invitation| format!("{} {} {:?} {:?}", i.id, i.email, i.role, i.state));
    facts.each("session", |s: &Session| format!("{} {} {}", s.id, s.member, s.expires.as_millis()));
    facts.each("token", |t: &ApiToken| format!("{} {} {}", t.id, t.member, t.expires.as_millis()));
    facts.each("notice", |n: &Notice| format!("{} {} {} / {}", n.id, n.member, n.subject, n.text));
    facts.each("mail", |m: &OutboxMail| format!("{} {} attempts={}", m.id, m.to, m.attempts));
}

fn fleet(facts: &mut Facts<'_>) {
    facts.each("pool", |p: &Pool| format!("{} {} longest={}", p.id, p.name, p.policy.longest.as_seconds()));
    facts.each("node", |n: &Node| {
        format!("{} {} {} {:?} epoch={} {} cpus={}", n.id, n.name, n.pool, n.state, n.epoch, n.local, n.observed.cpus)
    });
    facts.each("unit", |u: &Unit| {
        format!("{} {} {} {:?} {} {} {:?}", u.id, u.node, u.model, u.shape, u.index, u.memory_bytes, u.service)
    });
    facts.each("join token", |t: &JoinToken| format!("{} local={} used={:?}", t.pool, t.local, t.used));
}

fn bookings(facts: &mut Facts<'_>) {
    facts.each("booking", |b: &Booking| {
        let (ask, window) = (&b.ask, b.window);
        format!(
            "{} {} “{}” {} GPUs {:?} {window:?} held={} {:?} due={:?}",
            b.id, b.team, ask.title, ask.gpus, ask.workload, b.held, b.state, b.due
        )
    });
    facts.each("lease", |l: &Lease| {
        format!("{} {} {} {:?} {:?} {:?}", l.id, l.booking, l.node, l.units, l.window, l.state)
    });
    let _ = writeln!(facts.text, "calendar: {} slots", facts.view.calendar().len());
}

fn money(facts: &mut Facts<'_>) {
    facts.each("rate", |r: &Rate| format!("{} version {}: {}", r.model, r.version, r.per_gpu_hour));
    facts.each("account", |a: &AccountRow| {
        format!("{} {} posted={} held={}", a.account, a.sequence, a.posted(), a.held())
    });
    facts.each("hold", |h: &Hold| format!("{} {} {} of {}", h.id, h.booking, h.outstanding(), h.amount()));
    // The bytes of a transfer are what the chain hashes: not a single one may ever change.
    facts.each("transfer", |t: &Transfer| {
        format!("{} {} {:?} {} {}", t.sequence, t.id, t.kind, t.amount, hex(&sha256(&t.encode())))
    });
    facts.each("link", |l: &Link| format!("{} {} {}", l.sequence, l.transfer, hex(&l.hash)));
    let head: LedgerHead = facts.view.must(&LEDGER_HEAD).unwrap();
    let _ = writeln!(facts.text, "chain: {} {}", head.sequence, hex(&head.hash));
    facts.each("document", |d: &Document| {
        let issue = d.issue().map(|issue| format!("{} {}", issue.number, issue.pdf_sha256));
        format!(
            "{} {} {} lines total={} due={} {issue:?} {:?}",
            d.id,
            d.team,
            d.lines.len(),
            d.total,
            d.due,
            d.settled_at()
        )
    });
    let mut papers = Vec::new();
    let paper = |_: &[u8], pdf: &[u8]| {
        papers.push(hex(&sha256(pdf)));
        Ok(())
    };
    facts.view.scan(Table::Papers, paper).unwrap();
    let _ = writeln!(facts.text, "papers: {papers:?}");
}
