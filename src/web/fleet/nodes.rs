//! The nodes: which there are, whether they are there, what they can do and what they lack. Admins admit and revoke. It
//! refuses to call a node free that nobody has heard of.
use askama::Template;
use rocket::response::Redirect;
use rocket::{State, get, post};

use super::gpu;
use crate::app::error::{Answer, AppError};
use crate::app::fleet::unbooked::show as unbooked;
use crate::app::fleet::{brake, manage, show, upgrade as upgrades};
use crate::app::mill::Mill;
use crate::base::ids::NodeId;
use crate::base::window::Instant;
use crate::domain::fleet::roll::Entry;
use crate::domain::notice::Common;
use crate::web::error::{PageError, status};
use crate::web::form::{Again, Posted};
use crate::web::format::{self, Zone};
use crate::web::guard::{Admin, SignedIn};
use crate::web::page::{Flash, Html, Page, Place};
use crate::web::shelf::{Pages, Shelf};
use crate::web::site::{self, Frame};
use crate::wire::api::fleet::{GpuView, NodeView};

/// Nodes on one page of the list.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "fleet/nodes.html")]
pub struct NodesPage {
    page: Page,
    answer: String,
    beneath: String,
    rows: Vec<Row>,
    /// Only those that need somebody.
    needs: bool,
    /// Label, address, and whether it is this one.
    tabs: Option<Vec<(String, String, bool)>>,
    pages: Option<Pages>,
    admin: bool,
    /// Processes on GPUs without a booking; told to admins.
    outside: usize,
    /// Said while the brake against mass loss is on.
    brake: Option<String>,
}

pub struct Row {
    href: String,
    name: String,
    local: bool,
    state: String,
    tone: &'static str,
    note: String,
    gpus: String,
    free: String,
    pool: String,
    contact: String,
}

#[derive(Template)]
#[template(path = "fleet/node.html")]
pub struct NodePage {
    page: Page,
    id: String,
    name: String,
    headline: String,
    note: String,
    state: String,
    tone: &'static str,
    facts: Vec<(&'static str, String)>,
    gpus: Vec<GpuRow>,
    readings: gpu::NodeReadings,
    abilities: Vec<Ability>,
    /// What the sandboxes of its present leases could not enforce.
    lacking: Vec<String>,
    may_admit: Option<&'static str>,
    may_revoke: bool,
    /// Whether the reader looks after nodes.
    may_care: bool,
    maintenance: Vec<(String, String)>,
    /// Processes on its GPUs without a booking.
    outside: Vec<Outside>,
    /// What is to be said of its program, and what a press would do about it.
    agent: Option<AgentNote>,
}

/// A process on a GPU without a booking.
pub struct Outside {
    pub gpus: Vec<(String, u32)>,
    pub user: String,
    pub pid: u32,
    pub since: String,
    pub note: String,
}

/// What everybody may know of them.
pub(super) fn outside(mill: &Mill, node: NodeId, zone: &Zone, now: Instant) -> Answer<Vec<Outside>> {
    let seen = unbooked::of_node(&mill.store.read()?, node, now)?;
    let row = |one: unbooked::Glimpse| Outside {
        gpus: one.units.iter().map(|(unit, index)| (format!("/gpus/{unit}"), *index)).collect(),
        user: one.user,
        pid: one.pid,
        since: zone.moment(one.since, now),
        note: one.note,
    };
    Ok(seen.into_iter().map(row).collect())
}

/// The node's program, where it is not the mill's own.
pub struct AgentNote {
    said: String,
    needs: bool,
    press: Option<&'static str>,
}

fn agent_note(node: &NodeView, admin: bool) -> Option<AgentNote> {
    let agent = node.agent.as_ref().filter(|_| !show::is_gone(node))?;
    let said = agent.note.clone()?;
    let press = match agent.state.as_str() {
        _ if !admin || node.local => None,
        "failed" => Some("Try the upgrade again"),
        "upgrading" => None,
        _ => Some("Upgrade its agent"),
    };
    Some(AgentNote { said, needs: agent.state != "upgrading" && agent.state != "other", press })
}

pub struct GpuRow {
    page: String,
    name: String,
    model: String,
    memory: String,
    uuid: String,
    state: String,
    tone: &'static str,
    note: String,
    href: Option<String>,
    until: String,
}

/// Something the sandbox can do here, or what follows where it cannot.
pub struct Ability {
    name: &'static str,
    there: bool,
    said: String,
}

/// The state in a word and a colour: what is admitted and away needs somebody.
fn state(node: &NodeView) -> (String, &'static str) {
    match (node.state.as_str(), node.connected) {
        ("admitted", true) if node.duty != "open" => (node.duty.clone(), "wheat"),
        ("admitted", true) if node.state_note.is_some() => ("needs you".to_owned(), "rust"),
        ("admitted", true) => ("connected".to_owned(), "moss"),
        ("admitted", false) => ("away".to_owned(), "rust"),
        ("pending", _) => ("waits to be admitted".to_owned(), "wheat"),
        ("closed", _) => ("closed".to_owned(), "rust"),
        (other, _) => (other.to_owned(), ""),
    }
}

/// All units but those that others stand in for.
fn booked(gpus: &[GpuView]) -> impl Iterator<Item = &GpuView> {
    gpus.iter().filter(|gpu| gpu.state != "replaced")
}

fn models(gpus: &[GpuView]) -> String {
    let mut models: Vec<(&str, usize)> = Vec::new();
    for gpu in booked(gpus) {
        match models.iter_mut().find(|(model, _)| *model == gpu.model) {
            Some((_, count)) => *count += 1,
            None => models.push((&gpu.model, 1)),
        }
    }
    if models.is_empty() {
        return "no GPU".to_owned();
    }
    models.iter().map(|(model, count)| format!("{count} × {model}")).collect::<Vec<_>>().join(", ")
}

fn free(gpus: &[GpuView]) -> usize {
    gpus.iter().filter(|gpu| gpu.state == "free").count()
}

/// `3 s ago`, in steps that do not make a page flicker.
fn contact(node: &NodeView, now: Instant) -> String {
    match node.last_contact {
        None => "never".to_owned(),
        Some(_) if node.connected => "now".to_owned(),
        Some(at) => format::relative(at.0, now),
    }
}

/// All nodes, or with `which=needs` those that need somebody.
#[get("/nodes?<which>&<page>")]
pub fn list(
    who: SignedIn,
    mill: &State<Mill>,
    which: Option<&str>,
    page: Option<usize>,
) -> Result<Html<NodesPage>, PageError> {
    let asked = page;
    let Frame { page, now, .. } = site::frame(mill, &who, Place::Nodes, "Nodes")?;
    let (numbers, known) = (show::numbers(mill, now)?, mill.store.read()?.roll().counted().known);
    let (_, troubled) = show::troubled(mill, 0)?;
    let needs = which == Some("needs");
    let (all, base) = if needs { (troubled, "/nodes?which=needs") } else { (known, "/nodes") };
    let shelf = Shelf::of(asked, all, ROWS);
    let wanted = |node: &Entry| !needs || show::trouble(mill, node).is_some();
    let nodes = show::some(mill, &who.who.actor, wanted, (shelf.skip(), ROWS), now)?;
    Ok(Html(NodesPage {
        page,
        answer: match (numbers.nodes, numbers.there) {
            (0, _) => "No node has joined yet".to_owned(),
            (1, 1) => "The node is there".to_owned(),
            (1, _) => "The node is not there".to_owned(),
            (all, there) if all == there => format!("All {all} nodes are there"),
            (all, there) => format!("{there} of {all} nodes are there"),
        },
        beneath: match numbers.gpus {
            0 => String::new(),
            units if numbers.instances > 0 => {
                format!("{} of {units} GPUs and instances are free now.", numbers.free)
            }
            gpus => format!("{} of {} are free now.", numbers.free, format::count(gpus, "GPU")),
        },
        // Where one page holds all, everybody sees at once who needs somebody.
        tabs: (known > ROWS && (needs || troubled > 0)).then(|| {
            let tab = |said: String, href: &str, on: bool| (said, href.to_owned(), on);
            vec![tab("All".into(), "/nodes", !needs), tab(format!("In need: {troubled}"), "/nodes?which=needs", needs)]
        }),
        needs,
        pages: shelf.pages(base, "node"),
        rows: nodes.iter().map(|node| row(node, now)).collect(),
        brake: brake::engaged(&mill.store.read()?)?.map(|brake| {
            format!(
                "{} of {} nodes were lost within five minutes, {}.",
                brake.lost,
                brake.nodes,
                format::relative(brake.since, now)
            )
        }),
        outside: if who.who.actor.admin { unbooked::open(&mill.store.read()?)? } else { 0 },
        admin: who.who.actor.admin,
    }))
}

fn row(node: &NodeView, now: Instant) -> Row {
    let (state, tone) = state(node);
    Row {
        href: format!("/nodes/{}", node.id),
        name: node.name.clone(),
        local: node.local,
        state,
        tone,
        note: node.state_note.clone().or_else(|| node.agent.as_ref()?.note.clone()).unwrap_or_default(),
        gpus: models(&node.gpus),
        free: free(&node.gpus).to_string(),
        pool: node.owner.as_ref().map_or_else(|| node.pool.clone(), |owner| format!("{}, of {owner}", node.pool)),
        contact: contact(node, now),
    }
}

fn draw(mill: &Mill, who: &SignedIn, id: NodeId) -> Result<NodePage, PageError> {
    let node = show::node(mill, &who.who.actor, id, crate::clock::now())?;
    let Frame { page, zone, now, .. } = site::frame(mill, who, Place::Nodes, &node.name)?;
    let admin = who.who.actor.admin;
    let (state, tone) = state(&node);
    let headline = match (node.state.as_str(), node.connected) {
        ("admitted", _) if node.duty == "draining" => format!("{} runs empty", node.name),
        ("admitted", _) if node.duty == "cordoned" => format!("{} takes no new bookings", node.name),
        ("admitted", true) => {
            let all = booked(&node.gpus).count();
            let cut = node.gpus.iter().any(|gpu| gpu.eighths.is_some());
            let all = if cut { format!("{all} GPUs and instances") } else { format::count(all, "GPU") };
            format!("{} of {all} free on {}", free(&node.gpus), node.name)
        }
        ("admitted", false) => format!("{} is away", node.name),
        ("pending", _) => format!("{} waits to be admitted", node.name),
        ("closed", _) => format!("{} takes no new bookings", node.name),
        (gone, _) => format!("{} is {gone}", node.name),
    };
    Ok(NodePage {
        page,
        id: node.id.to_string(),
        headline,
        note: node.state_note.clone().unwrap_or_default(),
        state,
        tone,
        facts: facts(&node, &zone, now),
        gpus: node.gpus.iter().map(|gpu| gpu_row(gpu, &zone, now)).collect(),
        readings: gpu::for_node(mill, &who.who.actor, &node, &zone, now)?,
        abilities: abilities(&node),
        lacking: node.lacking.clone(),
        may_admit: match node.state.as_str() {
            "pending" if admin => Some("Admit it"),
            "closed" if admin => Some("Accept what it reports"),
            _ => None,
        },
        may_revoke: admin && !show::is_gone(&node),
        may_care: admin && !show::is_gone(&node),
        maintenance: node
            .maintenance
            .iter()
            .map(|one| {
                (
                    format!("{} to {}", zone.moment(one.start.0, now), zone.end(one.start.0, one.end.0, now)),
                    one.why.clone(),
                )
            })
            .collect(),
        outside: outside(mill, node.id, &zone, now)?,
        agent: agent_note(&node, admin),
        name: node.name,
    })
}

fn gpu_row(gpu: &GpuView, zone: &Zone, now: Instant) -> GpuRow {
    GpuRow {
        page: format!("/gpus/{}", gpu.id),
        name: gpu.name.clone(),
        model: gpu.model.clone(),
        memory: format::bytes(gpu.memory_bytes),
        uuid: gpu.uuid.clone(),
        state: gpu.state.replace('_', " "),
        tone: gpu::state_tone(&gpu.state),
        note: gpu.state_note.clone().unwrap_or_default(),
        href: gpu.booking.map(|id| format!("/bookings/{id}")),
        until: gpu.until.map(|at| zone.moment(at.0, now)).unwrap_or_default(),
    }
}

fn facts(node: &NodeView, zone: &Zone, now: Instant) -> Vec<(&'static str, String)> {
    let seen = &node.observed;
    let mut facts = vec![("Last contact", contact(node, now))];
    if let Some(at) = node.last_contact.filter(|_| !node.connected) {
        facts.push(("That was", zone.moment(at.0, now)));
    }
    facts.extend([
        ("Host name", seen.hostname.clone()),
        ("Pool", node.pool.clone()),
        ("Owner", node.owner.clone().unwrap_or_else(|| "the organisation".to_owned())),
        ("CPUs", seen.cpus.to_string()),
        ("Memory", format::bytes(seen.memory_bytes)),
        ("Scratch", format::bytes(seen.disk_bytes)),
        ("Kernel", seen.kernel.clone()),
    ]);
    let driver = match (&seen.driver, node.simulated) {
        (Some(version), _) => version.clone(),
        (None, true) => "none: its GPUs are simulated".to_owned(),
        (None, false) => "none".to_owned(),
    };
    facts.push(("NVIDIA driver", driver));
    if let Some(agent) = &node.agent {
        facts.push(("Agent", agent.version.clone()));
        if agent.doubles > 0 {
            facts.push((
                "Turned away",
                format!(
                    "{} with its key",
                    format::count(usize::try_from(agent.doubles).unwrap_or(usize::MAX), "machine")
                ),
            ));
        }
    }
    if node.local {
        facts.push(("Runs", "on the server’s own machine".to_owned()));
    }
    facts.push(("Id", node.id.to_string()));
    facts
}

fn abilities(node: &NodeView) -> Vec<Ability> {
    let sandbox = &node.observed.sandbox;
    let ability = |name, there, with: &str, without: &str| Ability {
        name,
        there,
        said: if there { with } else { without }.to_owned(),
    };
    let problem = sandbox.problem.as_deref().unwrap_or_default();
    vec![
        ability("Workloads", sandbox.problem.is_none(), "run in a sandbox of their own", problem),
        ability(
            "Network",
            sandbox.network,
            "outbound, apart from the host’s",
            "workloads have none: install slirp4netns or passt on the node",
        ),
        ability(
            "CPU share",
            sandbox.cpu,
            "enforced",
            "not enforced: the node’s user may not use the cpu controller of cgroups",
        ),
        ability(
            "Memory share",
            sandbox.memory,
            "enforced",
            "not enforced: the node’s user may not use the memory controller of cgroups",
        ),
        ability(
            "Scratch share",
            sandbox.scratch,
            "enforced, and removed at the end",
            "measured: who uses far more than the share is ended. It is enforced where the agent runs as root and has \
             mkfs.ext4 and loop devices",
        ),
    ]
}

pub(super) fn id(text: &str) -> Result<NodeId, Common> {
    text.parse().map_err(|_| Common::NotFound { what: "node" })
}

#[get("/nodes/<given>")]
pub fn page(who: SignedIn, mill: &State<Mill>, given: &str) -> Result<Html<NodePage>, PageError> {
    draw(mill, &who, id(given)?).map(Html)
}

fn outcome(mill: &Mill, who: &Admin, id: NodeId, changed: Answer<()>) -> Result<Redirect, Again<NodePage>> {
    match changed {
        Ok(()) => Ok(Redirect::to(format!("/nodes/{id}"))),
        Err(AppError::Refused(why)) => {
            let mut page = draw(mill, &who.0, id).map_err(Again::Page)?;
            page.page.flash = Some(Flash::refused(&why.reason().sentence()));
            Err(Again::shown(status(why.reason().kind()), page))
        }
        Err(other) => Err(other.into()),
    }
}

#[post("/nodes/<given>/admit", data = "<_posted>")]
pub async fn admit(who: Admin, mill: &State<Mill>, given: &str, _posted: Posted) -> Result<Redirect, Again<NodePage>> {
    let id = id(given)?;
    let changed = manage::admit(mill, &who.0.who.actor, id).await;
    outcome(mill, &who, id, changed)
}

#[post("/nodes/<given>/revoke", data = "<_posted>")]
pub async fn revoke(who: Admin, mill: &State<Mill>, given: &str, _posted: Posted) -> Result<Redirect, Again<NodePage>> {
    let id = id(given)?;
    let changed = manage::revoke(mill, &who.0.who.actor, id).await;
    outcome(mill, &who, id, changed)
}

#[post("/nodes/<given>/upgrade", data = "<_posted>")]
pub async fn upgrade(
    who: Admin,
    mill: &State<Mill>,
    given: &str,
    _posted: Posted,
) -> Result<Redirect, Again<NodePage>> {
    let id = id(given)?;
    let changed = upgrades::ask(mill, &who.0.who.actor, id, false).await;
    outcome(mill, &who, id, changed)
}
