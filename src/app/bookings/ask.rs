//! From a request to an ask: reads and bounds what a person typed, and finds the team that pays. It refuses with the field
//! that is wrong, and to look at the calendar.
use jiff::tz::TimeZone;

use crate::base::ids::TeamId;
use crate::base::text;
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::booking::{Ask, AskShape, When, Workload};
use crate::domain::bookings::refusal::Why;
use crate::domain::bookings::say;
use crate::domain::notice::Common;
use crate::domain::people::member::Team;
use crate::domain::people::rights::Actor;
use crate::store::Reject;
use crate::store::read::Read;
use crate::wire::api::bookings::BookRequest;

/// Longest title, in characters.
const TITLE: usize = 120;
/// Longest command with its arguments, in bytes.
const COMMAND: usize = 64 * 1024;
/// A start that is this little past is the present: forms take a while to be sent.
const JUST_NOW: Span = Span::from_minutes(1);

/// What is asked for, and who pays.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub team: Team,
    pub ask: Ask,
}

pub fn read(
    view: &impl Read,
    actor: &Actor,
    request: &BookRequest,
    now: Instant,
    zone: &TimeZone,
) -> Result<Wanted, Reject> {
    let team = team(view, actor, request.team.as_deref())?;
    if request.gpus == 0 {
        return Err(Why::NoGpus.into_refusal(zone).into());
    }
    let when = when(request, now, zone)?;
    let workload = workload(request.command.as_deref())?;
    let model = request.model.as_deref().map(str::trim).filter(|model| !model.is_empty());
    let model = model.map(|model| text::line(model, 80)).transpose().map_err(|bad| bad_field("model", bad))?;
    // What does not fit in 32 bits is more than any fleet has; it is refused as such when it is planned.
    let gpus = u32::try_from(request.gpus).unwrap_or(u32::MAX);
    let title = match request.title.as_deref().map(str::trim).filter(|title| !title.is_empty()) {
        Some(title) => text::line(title, TITLE).map_err(|bad| bad_field("title", bad))?,
        None => default_title(&workload, gpus),
    };
    Ok(Wanted { team, ask: Ask { model, gpus, shape: AskShape::OneNode, when, workload, title } })
}

fn bad_field(field: &'static str, why: impl std::fmt::Display) -> Common {
    Common::BadField { field, why: why.to_string() }
}

fn default_title(workload: &Workload, gpus: u32) -> String {
    match workload {
        Workload::Batch { command } => {
            let line: String = text::without_control(&command.join(" ")).replace(['\n', '\t'], " ");
            line.chars().take(60).collect()
        }
        Workload::Workspace | Workload::Ray => format!("Workspace on {}", say::gpus(gpus.into())),
    }
}

fn when(request: &BookRequest, now: Instant, zone: &TimeZone) -> Result<When, Reject> {
    let duration = Span::from_seconds(request.duration_seconds);
    if request.duration_seconds <= 0 {
        return Err(Why::NoDuration.into_refusal(zone).into());
    }
    let deadline = request.by.map(|by| by.0);
    if deadline.is_some_and(|by| by <= now) {
        return Err(Why::Past { now }.into_refusal(zone).into());
    }
    let Some(at) = request.at else {
        return Ok(When::AsSoonAsPossible { duration, not_before: None, deadline });
    };
    let earliest = now.ceil_second();
    let start = at.0.ceil_second();
    if start < now.minus(JUST_NOW) {
        return Err(Why::Past { now }.into_refusal(zone).into());
    }
    let window = Window::lasting(start.max(earliest), duration).map_err(|_| Why::NoDuration.into_refusal(zone))?;
    if deadline.is_some_and(|by| window.end() > by) {
        let why = "It lies before the end that the start and the duration give";
        return Err(Common::BadField { field: "by", why: why.to_owned() }.into());
    }
    Ok(When::At { window })
}

fn workload(command: Option<&[String]>) -> Result<Workload, Reject> {
    let Some(command) = command else { return Ok(Workload::Workspace) };
    if command.first().is_none_or(|program| program.trim().is_empty()) {
        return Err(Why::EmptyCommand.into_refusal(&TimeZone::UTC).into());
    }
    if command.iter().any(|argument| argument.contains('\0')) {
        return Err(bad_field("command", "An argument contains a zero byte, which no program can be given").into());
    }
    if command.iter().map(|argument| argument.len() + 1).sum::<usize>() > COMMAND {
        return Err(bad_field("command", "It is longer than 64 KiB; put it into a file and name that").into());
    }
    Ok(Workload::Batch { command: command.to_vec() })
}

/// By id or by name whatever its case; without either, the actor's only team.
fn team(view: &impl Read, actor: &Actor, asked: Option<&str>) -> Result<Team, Reject> {
    let mut teams = Vec::new();
    for membership in &actor.memberships {
        teams.push(view.must::<Team>(&membership.team)?);
    }
    let asked = asked.map(str::trim).filter(|asked| !asked.is_empty());
    let found = match asked {
        None if teams.len() == 1 => teams.first(),
        None => None,
        Some(text) => match text.parse::<TeamId>() {
            Ok(id) => teams.iter().find(|team| team.id == id),
            Err(_) => teams.iter().find(|team| team.name.key() == text.to_lowercase()),
        },
    };
    match found {
        Some(team) => Ok(team.clone()),
        None => {
            let teams = teams.iter().map(|team| team.name.to_string()).collect();
            Err(Why::NoTeam { asked: asked.map(str::to_owned), teams }.into_refusal(&TimeZone::UTC).into())
        }
    }
}
