//! Bookings: list, look at, quote, book, change.
use super::args::{AskArgs, ListArgs};
use super::client::{Client, segment};
use super::failure::Failure;
use super::output::{Output, Table, Voice, amount};
use super::zone::Zone;
use crate::base::text::spoken;
use crate::base::window::Span;
use crate::wire::api::bookings::{BookRequest, BookingView, ExtendRequest, QuoteView};

/// Reads what was asked for; needs the mill's zone where a time is given.
async fn request(client: &Client, args: AskArgs) -> Result<BookRequest, Failure> {
    let zone = match (&args.at, &args.by) {
        (None, None) => None,
        _ => Some(client.zone().await?),
    };
    let read = |flag, text: &Option<String>| match (text, &zone) {
        (Some(text), Some(zone)) => zone.read(flag, text).map(Some),
        _ => Ok(None),
    };
    Ok(BookRequest {
        gpus: args.gpus,
        at: read("--at", &args.at)?,
        by: read("--by", &args.by)?,
        model: args.model,
        duration_seconds: args.duration.as_seconds(),
        team: args.team.or_else(|| client.team.clone()),
        title: args.title,
        command: None,
    })
}

pub async fn quote(client: &Client, args: AskArgs, out: &Output) -> Result<(), Failure> {
    let quote: QuoteView = client.post("quotes", &request(client, args).await?).await?;
    if out.voice != Voice::Table {
        out.answer(&quote, &[], || {});
        return Ok(());
    }
    let zone = client.zone().await?;
    let mut facts = vec![
        ("GPUs", format!("{} × {} on {}", quote.gpus, quote.model, quote.node_name)),
        ("start", zone.exact(quote.start)),
        ("end", zone.exact(quote.end)),
        ("lasts", spoken(Span::from_seconds(quote.duration_seconds))),
        ("comes with", share(&quote.share)),
    ];
    facts.extend(quote.lines.iter().map(|line| ("", format!("{:>12}  {}", line.amount.decimal, line.text))));
    facts.push(("price", format!("{} credits at most, of {}", amount(&quote.price), quote.team_name)));
    facts.push(("balance", format!("{}, then {}", amount(&quote.balance), amount(&quote.balance_after))));
    out.facts(&facts);
    Ok(())
}

fn share(share: &crate::base::hardware::Share) -> String {
    let cpus = share.cpu_millis as f64 / 1000.0;
    let word = if share.cpu_millis == 1000 { "CPU" } else { "CPUs" };
    format!("{cpus} {word}, {} GB of memory", share.memory_bytes / 1_000_000_000)
}

pub async fn book(client: &Client, args: AskArgs, out: &Output) -> Result<(), Failure> {
    let booking: BookingView = client.post("bookings", &request(client, args).await?).await?;
    let id = booking.id.to_string();
    out.answer(&booking, std::slice::from_ref(&id), || {
        // The id alone, so that a shell can take it; the rest goes beside it.
        out.line(&id);
        out.progress(&format!(
            "Booked {} × {} from {} to {} for at most {} credits of {}.",
            booking.gpus,
            booking.model,
            booking.start,
            booking.end,
            amount(&booking.price),
            booking.team_name
        ));
    });
    Ok(())
}

pub async fn list(client: &Client, args: ListArgs, out: &Output) -> Result<(), Failure> {
    let mut query = Vec::new();
    if args.all {
        query.push("all=true".to_owned());
    }
    if let Some(state) = &args.state {
        query.push(format!("state={}", segment(state)));
    }
    let path = if query.is_empty() { "bookings".to_owned() } else { format!("bookings?{}", query.join("&")) };
    let bookings: Vec<BookingView> = client.get(&path).await?;
    let ids: Vec<String> = bookings.iter().map(|booking| booking.id.to_string()).collect();
    if out.voice != Voice::Table {
        out.answer(&bookings, &ids, || {});
        return Ok(());
    }
    let zone = client.zone().await?;
    let mut table = Table::new(&["id", "state", "start", "end", ">GPUs", "model", "team", "title"]);
    for (booking, id) in bookings.iter().zip(&ids) {
        table.row(vec![
            id.clone(),
            booking.state.clone(),
            zone.minute(booking.start),
            zone.minute(booking.end),
            booking.gpus.to_string(),
            booking.model.clone(),
            booking.team_name.clone(),
            booking.title.clone(),
        ]);
    }
    out.table(&table, "No bookings. Make one: gristmill book --gpus 1 --for 1h");
    if !bookings.is_empty() {
        out.progress(&format!("Times in {}.", zone.name()));
    }
    Ok(())
}

pub async fn show(client: &Client, id: &str, out: &Output) -> Result<(), Failure> {
    let booking: BookingView = client.get(&format!("bookings/{}", segment(id))).await?;
    if out.voice != Voice::Table {
        out.answer(&booking, &[booking.id.to_string()], || {});
        return Ok(());
    }
    let zone = client.zone().await?;
    out.facts(&facts(&booking, &zone));
    Ok(())
}

fn facts<'a>(booking: &'a BookingView, zone: &Zone) -> Vec<(&'a str, String)> {
    let cost = booking.cost.as_ref().map(|cost| format!("{} credits", amount(cost)));
    let mut facts = vec![
        ("booking", booking.id.to_string()),
        ("title", booking.title.clone()),
        ("state", booking.state.clone()),
        ("", booking.explanation.clone()),
        ("GPUs", format!("{} × {}", booking.gpus, booking.model)),
        ("start", zone.exact(booking.start)),
        ("end", zone.exact(booking.end)),
        ("workload", booking.workload.clone()),
        ("command", booking.command.as_ref().map(|command| command.join(" ")).unwrap_or_default()),
        ("exit code", booking.exit_code.map(|code| code.to_string()).unwrap_or_default()),
        ("team", booking.team_name.clone()),
        ("by", booking.member_name.clone()),
        ("price", format!("{} credits at most", amount(&booking.price))),
        ("cost", cost.unwrap_or_default()),
        ("comes with", share(&booking.share)),
    ];
    for lease in &booking.leases {
        facts.push(("on", format!("{}, {} ({})", lease.node_name, lease.gpu_names.join(", "), lease.state)));
        facts.extend(lease.lacking.iter().map(|lack| ("without", lack.clone())));
    }
    facts.push(("you may", booking.allowed.join(", ")));
    facts
}

pub async fn extend(client: &Client, id: &str, by: Span, out: &Output) -> Result<(), Failure> {
    let request = ExtendRequest { by_seconds: by.as_seconds() };
    let booking: BookingView = client.post(&format!("bookings/{}/extend", segment(id)), &request).await?;
    changed(&booking, &format!("Lasts until {}.", booking.end), out);
    Ok(())
}

/// Releases or cancels.
pub async fn give_back(client: &Client, id: &str, how: &str, out: &Output) -> Result<(), Failure> {
    let nothing = serde_json::json!({});
    let booking: BookingView = client.post(&format!("bookings/{}/{how}", segment(id)), &nothing).await?;
    changed(&booking, &booking.explanation, out);
    Ok(())
}

fn changed(booking: &BookingView, said: &str, out: &Output) {
    let id = booking.id.to_string();
    out.answer(booking, std::slice::from_ref(&id), || out.line(&format!("{id} is {}. {said}", booking.state)));
}
