//! Gristmill: an organisation's own GPU servers as its private cloud. This page is the map; each room's own file says why
//! it exists and what it refuses to do.
//!
//! Four areas, the same four on every floor: **people**, **fleet**, **bookings**, **money**. Whoever knows the area and the
//! floor knows the file.
//!
//! ```text
//!                  people      fleet        bookings      money
//!   web/      pages and JSON API, guards; knows HTTP, knows no database            (Rocket, askama)
//!   app/      one function per intent: read, decide, write, then tell               (tokio)
//!   store/    redb: tables, records, the one writer, migrations, backup             (redb)
//!   domain/   the rules, pure: no I/O, no clock, no randomness, no async
//!   base/     ids, credits, windows, hardware facts: the shared vocabulary
//!   wire/     what crosses a process boundary: node protocol, leases, frames, API types
//!   agent/    the hands on a node: converge to the desired state, one shim per lease
//!   cli/      speaks the HTTP API like any other client
//!   edge/     the front door: TLS, timeouts, limits; the only public listener
//!   launch/   one file per role: the only place that names every floor
//! ```
//!
//! Imports run downward only: web → app → store → domain → base; `wire` knows `base` alone; `agent` and `cli` know `wire`,
//! `base`, the clock and configuration. A test reads the `use` lines and holds this.
//!
//! # How a request flows
//!
//! The front door (`edge`) takes the connection and hands it to Rocket on loopback with the client's address and a secret
//! made at each start. A handler (`web`) is a guard, a form or a JSON body, one call into `app`, and a page. An intent
//! (`app`) searches on a snapshot and states `decide(&View, now) -> Result<(Changes, Answer), Reject>`, a function that can
//! be run again. The one writer (`store`) takes all waiting intents, runs each against a view that includes the batch so
//! far, commits once, and then answers all: *group commit*. What happened is in the same transaction as typed events;
//! audit, outbox, live pages and nodes' orders are cursors over them, and effects start only after the commit.
//!
//! # How a booking becomes a shell
//!
//! `app::bookings` places it and holds its price in one transaction. When its time comes, the node's *desired state* holds
//! its lease; the gateway (`web::gateway`, a second Rocket instance with mutual TLS) sends the whole desired state with a
//! generation to the agent, which dialled in and was given an *epoch*. The agent (`agent::converge`, pure) starts one
//! *shim* per lease: a process in a session of its own that owns sandbox, terminals, log, exit code and deadline, so that
//! neither server nor agent is needed to end it. Facts travel back; `domain::bookings` turns them into states and
//! `app::money` into postings.
//!
//! # Where this departs from the floor plan it started from
//!
//! * `app` may use `wire`: the API's types are what intents answer and the node protocol is what they order, so that pages,
//!   JSON API and command line cannot drift apart. `wire` stays a leaf.
//! * Sentences of refusals live beside their area's rules (`domain/*/refusal.rs`), each implementing
//!   `domain::notice::Reason`; one file for all of them would have outgrown its size at once.
//! * Tables have byte keys (`store::record::Key`) instead of typed ones: one generic path for views, overlays, backup and
//!   verification. The order of the bytes is the order of the keys, and a test holds it.
//! * A MIG instance is booked by a model word of its own (`H200 1g.18gb`) and not by a shape: price, search and pages have
//!   to tell instances apart by that word anyway, and one word cannot contradict itself.
//! * The calendar is drawn by the server: lanes of inline SVG whose positions are percentages, exact for any window, allowed
//!   under the strict content policy, readable without JavaScript. 155 lines of script add dragging. A calendar library
//!   needed a 128 KB client, rendered nothing on the server and did no zone conversion.
pub mod agent;
pub mod app;
pub mod base;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod edge;
pub mod launch;
pub mod store;
pub mod web;
pub mod wire;
