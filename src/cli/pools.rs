//! Pools: which there are, what holds in one, and changing it; and GPUs used outside bookings. It refuses a change without
//! a reason; the mill would.
use super::args::{PoolSetArgs, PoolVerb, UnbookedVerb, UnixUserVerb};
use super::client::{Client, segment};
use super::failure::Failure;
use super::output::{Output, Table, amount};
use crate::base::text::spoken;
use crate::base::window::Span;
use crate::wire::api::fleet::PoolView;
use crate::wire::api::pools::{PolicyView, PoolChange, PoolChanged, PoolDetail, PoolRequest};
use crate::wire::api::unbooked::{UnixUserNamed, UnixUserRequest, UnixUserView, UseView, VoidAnswer, VoidRequest};

pub async fn carry_out(client: &Client, verb: PoolVerb, out: &Output) -> Result<(), Failure> {
    match verb {
        PoolVerb::List => list(client, out).await,
        PoolVerb::Show { pool } => {
            let pool: PoolDetail = client.get(&format!("pools/{}", segment(&pool))).await?;
            out.answer(&pool, &[pool.id.to_string()], || shown(&pool, out));
            Ok(())
        }
        PoolVerb::Make { name, auto_admit } => {
            let pool: PoolDetail = client.post("pools", &PoolRequest { name, auto_admit }).await?;
            out.answer(&pool, &[pool.id.to_string()], || out.line(&format!("The pool {} is made.", pool.name)));
            Ok(())
        }
        PoolVerb::Rename { pool, name, why } => {
            let change = PoolChange { name: Some(name), why, ..PoolChange::default() };
            set(client, &pool, change, out).await
        }
        PoolVerb::Set(args) => {
            let pool = args.pool.clone();
            set(client, &pool, wish(args), out).await
        }
    }
}

fn wish(args: PoolSetArgs) -> PoolChange {
    let seconds = |span: Option<Span>| span.map(Span::as_seconds);
    PoolChange {
        name: None,
        auto_admit: args.auto_admit,
        turnaround_seconds: args.turnaround.map(|length| length.0.as_seconds()),
        grace_seconds: seconds(args.grace),
        longest_seconds: seconds(args.longest),
        horizon_seconds: seconds(args.ahead),
        unbooked: args.unbooked,
        unbooked_after_seconds: seconds(args.after),
        unbooked_clear: args.clear,
        unbooked_system: args.system,
        unbooked_most_a_day: args.most_a_day,
        why: args.why.unwrap_or_default(),
        revision: None,
        preview: args.preview,
    }
}

async fn set(client: &Client, pool: &str, change: PoolChange, out: &Output) -> Result<(), Failure> {
    let said: PoolChanged = client.post(&format!("pools/{}", segment(pool)), &change).await?;
    out.answer(&said, &[said.id.to_string()], || {
        if said.changes.is_empty() {
            out.line(&format!("{} is like that already.", said.name));
        }
        said.changes.iter().for_each(|line| out.line(line));
        said.follows.iter().for_each(|line| out.progress(line));
        if !said.done {
            out.progress("Nothing was changed yet: leave --preview out, and say --why.");
        }
    });
    Ok(())
}

async fn list(client: &Client, out: &Output) -> Result<(), Failure> {
    let pools: Vec<PoolView> = client.get("pools").await?;
    let ids: Vec<String> = pools.iter().map(|pool| pool.id.to_string()).collect();
    let mut table = Table::new(&["id", "name", ">nodes", "admits by itself"]);
    for pool in &pools {
        let admits = if pool.auto_admit { "yes" } else { "no" }.to_owned();
        table.row(vec![pool.id.to_string(), pool.name.clone(), pool.nodes.to_string(), admits]);
    }
    out.answer(&pools, &ids, || out.table(&table, "There is no pool yet."));
    Ok(())
}

fn shown(pool: &PoolDetail, out: &Output) {
    out.facts(&facts(pool));
    let mut table = Table::new(&["model", ">GPUs", ">free", ">per GPU and hour"]);
    for row in &pool.models {
        table.row(vec![row.model.clone(), row.gpus.to_string(), row.free_now.to_string(), amount(&row.rate)]);
    }
    out.table(&table, "No GPU is in it yet.");
    if pool.now.is_empty() {
        return;
    }
    let mut table = Table::new(&["team", "booking", "node", ">GPUs", "until"]);
    for user in &pool.now {
        let booking = user.title.clone().unwrap_or_default();
        let (node, until) = (user.node_name.clone(), user.until.to_string());
        table.row(vec![user.team.clone(), booking, node, user.gpus.to_string(), until]);
    }
    out.table(&table, "");
}

fn facts(pool: &PoolDetail) -> Vec<(&'static str, String)> {
    let PolicyView { auto_admit, unbooked, unbooked_after_seconds, .. } = &pool.policy;
    let length = |seconds: i64| spoken(Span::from_seconds(seconds));
    let yes = |on: bool| if on { "yes" } else { "no" }.to_owned();
    let outside = match (unbooked.as_str(), unbooked_after_seconds) {
        ("end", Some(after)) => format!("ended after {}", length(*after)),
        ("bill", _) => format!("billed, at most {} a day and person", amount(&pool.policy.unbooked_most_a_day)),
        _ => "told of".to_owned(),
    };
    vec![
        ("Pool", format!("{} ({})", pool.name, pool.id)),
        ("Nodes", pool.nodes.len().to_string()),
        ("Admits by itself", yes(*auto_admit)),
        ("Turnaround", length(pool.policy.turnaround_seconds)),
        ("Grace", length(pool.policy.grace_seconds)),
        ("Longest booking", length(pool.policy.longest_seconds)),
        ("Bookable ahead", length(pool.policy.horizon_seconds)),
        ("Use outside bookings", outside),
        ("Cleared before bookings", yes(pool.policy.unbooked_clear)),
        ("System processes too", yes(pool.policy.unbooked_system)),
    ]
}

pub async fn unbooked(client: &Client, verb: UnbookedVerb, out: &Output) -> Result<(), Failure> {
    match verb {
        UnbookedVerb::List => {
            let uses: Vec<UseView> = client.get("unbooked").await?;
            let ids: Vec<String> = uses.iter().map(|one| one.id.to_string()).collect();
            let mut table = Table::new(&["id", "node", "GPUs", "user", "member", ">process", "state", ">billed"]);
            for one in &uses {
                let gpus: Vec<String> = one.gpus.iter().map(|gpu| gpu.index.to_string()).collect();
                table.row(vec![
                    one.id.to_string(),
                    one.node_name.clone(),
                    gpus.join(" "),
                    one.user.clone().or(one.uid.map(|uid| uid.to_string())).unwrap_or_default(),
                    one.member_name.clone().unwrap_or_default(),
                    one.pid.to_string(),
                    one.state.clone(),
                    amount(&one.billed),
                ]);
            }
            out.answer(&uses, &ids, || out.table(&table, "Every process on a GPU has a booking."));
        }
        UnbookedVerb::Void { id, why } => {
            let path = format!("unbooked/{}/void", segment(&id));
            let given: VoidAnswer = client.post(&path, &VoidRequest { why }).await?;
            out.answer(&given, &[], || out.line(&format!("{} credits were given back.", amount(&given.given_back))));
        }
    }
    Ok(())
}

pub async fn unix_users(client: &Client, verb: UnixUserVerb, out: &Output) -> Result<(), Failure> {
    match verb {
        UnixUserVerb::List => {
            let users: Vec<UnixUserView> = client.get("unix-users").await?;
            let names: Vec<String> = users.iter().map(|user| user.user.clone()).collect();
            let mut table = Table::new(&["user", "pool", "member", "team"]);
            for user in &users {
                let pool = user.pool.clone().unwrap_or_else(|| "every pool".to_owned());
                table.row(vec![user.user.clone(), pool, user.member_name.clone(), user.team_name.clone()]);
            }
            out.answer(&users, &names, || out.table(&table, "No Unix user is named yet."));
        }
        UnixUserVerb::Set { user, member, team, pool } => {
            let request = UnixUserRequest { user, member, team, pool };
            let named: UnixUserView = client.post("unix-users", &request).await?;
            out.answer(&named, std::slice::from_ref(&named.user), || {
                out.line(&format!("{} is {}; {} pays.", named.user, named.member_name, named.team_name));
            });
        }
        UnixUserVerb::Remove { user, pool } => {
            let request = UnixUserNamed { user: user.clone(), pool };
            let done: serde_json::Value = client.post("unix-users/remove", &request).await?;
            out.answer(&done, &[], || out.line(&format!("{user} is nobody's now.")));
        }
    }
    Ok(())
}
