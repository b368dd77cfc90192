//! Signing in, the mill at a glance, inviting.
use std::io::Read as _;

use super::args::{InviteArgs, LoginArgs};
use super::client::Client;
use super::failure::Failure;
use super::home::{self, Remembered};
use super::output::Output;
use super::tls;
use super::zone::Zone;
use crate::base::secret::Secret;
use crate::wire::api::people::{InvitationView, InviteRequest, LoginAnswer, LoginRequest, MemberView, StatusAnswer};

/// What `login --json` says; never the token.
#[derive(serde::Serialize)]
struct SignedIn {
    url: String,
    expires: crate::wire::api::Moment,
    member: MemberView,
}

pub async fn login(args: LoginArgs, out: &Output) -> Result<(), Failure> {
    let ca = match (&args.ca, &args.ca_fingerprint) {
        (Some(file), _) => {
            let pem = std::fs::read_to_string(file).map_err(|why| Failure::file(file, &why))?;
            tls::fingerprint(&pem).map_err(|why| Failure::file(file, &why))?;
            Some(pem)
        }
        (None, Some(fingerprint)) => Some(tls::pinned(args.url.trim().trim_end_matches('/'), fingerprint).await?),
        (None, None) => None,
    };
    let client = Client::to(&args.url, ca.clone())?;
    let directory = home::directory()?;
    let request = LoginRequest { email: args.email, password: password()?, label: crate::config::hostname() };
    let answer: LoginAnswer = client.post("login", &request).await?;
    let remembered = Remembered { url: client.url().to_owned(), token: Secret::new(answer.token), ca, team: args.team };
    home::save(&directory, &remembered)?;
    let done = SignedIn { url: remembered.url, expires: answer.expires, member: answer.member };
    out.answer(&done, &[done.member.id.to_string()], || {
        out.line(&format!("Signed in to {} as {} until {}.", done.url, done.member.email, done.expires));
    });
    Ok(())
}

/// The first line of standard input.
fn password() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(4096).read_to_string(&mut text);
    read.map_err(|why| Failure::file("standard input", &why))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(Failure::Usage {
            what: "There was no password.".to_owned(),
            why: "Standard input was empty.".to_owned(),
            next: "Pipe it in: gristmill login … --password-stdin < password-file".to_owned(),
        }),
    }
}

pub async fn status(client: &Client, out: &Output) -> Result<(), Failure> {
    let status: StatusAnswer = client.get("status").await?;
    out.answer(&status, &[], || {
        let zone = Zone::named(&status.time_zone);
        let simulated = if status.simulated { " (simulated)" } else { "" };
        let teams: Vec<String> =
            status.member.teams.iter().map(|team| format!("{} ({})", team.name, team.role)).collect();
        let admin = if status.member.admin { ", admin" } else { "" };
        let broken = match status.gpus_out_of_service {
            0 => String::new(),
            count => format!(", {count} out of service"),
        };
        out.facts(&[
            ("mill", format!("{}{simulated} at {}", status.organisation, client.url())),
            ("GPUs", format!("{} free of {}{broken}", status.gpus_free_now, status.gpus)),
            ("nodes", format!("{} connected of {}", status.nodes_connected, status.nodes)),
            ("time", zone.exact(status.now)),
            ("money", format!("{}, credits of 1 {}", status.mode, status.currency)),
            ("you", format!("{} <{}>{admin}", status.member.name, status.member.email)),
            ("teams", teams.join(", ")),
            ("version", status.version.clone()),
            ("writes", if status.writable { String::new() } else { "refused at the moment: ask an admin".to_owned() }),
        ]);
    });
    Ok(())
}

pub async fn invite(client: &Client, args: InviteArgs, out: &Output) -> Result<(), Failure> {
    let team = team(client, args.team).await?;
    let request = InviteRequest { email: args.email, team, role: args.role };
    let made: InvitationView = client.post("invitations", &request).await?;
    let link = made.link.clone().unwrap_or_default();
    out.answer(&made, std::slice::from_ref(&link), || {
        out.line(&link);
        let mailed = if made.mailed { "It was mailed as well" } else { "Pass it on yourself" };
        out.progress(&format!(
            "For {} alone, works once, until {}. {mailed}; it is not shown again.",
            made.email, made.expires
        ));
    });
    Ok(())
}

/// The team that was named, else the one remembered at login, else the only one there is.
pub async fn team(client: &Client, given: Option<String>) -> Result<String, Failure> {
    if let Some(team) = given.or_else(|| client.team.clone()) {
        return Ok(team);
    }
    let status: StatusAnswer = client.get("status").await?;
    match status.member.teams.as_slice() {
        [only] => Ok(only.team.to_string()),
        teams => Err(Failure::Usage {
            what: "It is not clear which team is meant.".to_owned(),
            why: match teams.len() {
                0 => "You are in no team.".to_owned(),
                count => format!("You are in {count}: {}.", names(teams)),
            },
            next: "Name it with --team.".to_owned(),
        }),
    }
}

fn names(teams: &[crate::wire::api::people::TeamRole]) -> String {
    teams.iter().map(|team| team.name.as_str()).collect::<Vec<_>>().join(", ")
}
