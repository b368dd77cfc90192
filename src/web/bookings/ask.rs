//! The booking form: what it holds, how it becomes a request, and the panel that answers with a price or a refusal. It
//! refuses to guess: what cannot be read is named at its field, and all that was typed stays.
use crate::base::credits::Credits;
use crate::base::text;
use crate::base::window::{Instant, Span};
use crate::domain::notice::{Common, Refusal, Sentence};
use crate::web::figure::{Figure, Money};
use crate::web::form::Posted;
use crate::web::format::{self, Zone};
use crate::web::page::Typed;
use crate::wire::api::Moment;
use crate::wire::api::bookings::{BookRequest, QuoteView, SlotOffer};

/// A press on an offered slot: the slot as JSON.
const TAKE: &str = "take";
/// The price that the person saw, in micro-credits.
pub const SEEN: &str = "seen";

/// The form as it is first shown.
pub fn fresh(model: &str, zone: &Zone, midnight: Option<Instant>, now: Instant) -> Typed {
    let quarter = Instant::from_seconds((now.as_seconds() / 900 + 1) * 900);
    let start = midnight.filter(|&day| day > now).map_or(quarter, |day| day.plus(Span::from_hours(9)));
    Typed::default()
        .with("model", model)
        .with("gpus", "1")
        .with("when", if midnight.is_some_and(|day| day > now) { "at" } else { "soon" })
        .with("at", zone.field(start))
        .with("for", "1h")
        .with("work", "workspace")
}

/// What was typed; a press on an offered slot replaces when and how much by the offer.
pub fn typed(posted: &Posted, zone: &Zone) -> Typed {
    let typed = posted.typed();
    let Some(offer) = posted.given(TAKE).and_then(|text| serde_json::from_str::<SlotOffer>(text).ok()) else {
        return typed;
    };
    let typed = typed
        .with("when", "at")
        .with("at", zone.field(offer.start.0))
        .with("for", written(offer.end.0.since(offer.start.0)))
        .with("gpus", offer.gpus.to_string());
    // Any model stays any model.
    if typed.value("model").is_empty() { typed } else { typed.with("model", offer.model) }
}

/// The request that the form makes.
pub fn request(typed: &Typed, zone: &Zone) -> Result<BookRequest, Common> {
    let bad = |field, why: &str| Common::BadField { field, why: why.to_owned() };
    let given = |field: &str| Some(typed.value(field).trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    let moment = |field: &'static str| -> Result<Moment, Common> {
        zone.read(typed.value(field)).map(Moment).ok_or_else(|| bad(field, "Choose a day and a time"))
    };
    let at_a_time = typed.is("when", "at");
    let command = match typed.value("work") {
        "batch" => {
            let line = given("command").ok_or_else(|| bad("command", "A batch runs a command: type one"))?;
            Some(vec!["sh".to_owned(), "-c".to_owned(), line])
        }
        _ => None,
    };
    let span = text::duration(typed.value("for")).map_err(|why| bad("for", &why.to_string()))?;
    Ok(BookRequest {
        gpus: typed.value("gpus").trim().parse().map_err(|_| bad("gpus", "It is a whole number"))?,
        model: given("model"),
        duration_seconds: span.as_seconds(),
        at: if at_a_time { Some(moment("at")?) } else { None },
        by: if !at_a_time && given("by").is_some() { Some(moment("by")?) } else { None },
        team: given("team"),
        title: given("title"),
        command,
    })
}

/// A length of time as the form takes it: `1h30m`.
fn written(span: Span) -> String {
    let seconds = span.as_seconds();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect()
}

/// What the form is answered with: a price, or why there is none.
#[derive(Default)]
pub struct Panel {
    pub priced: Option<Priced>,
    pub refused: Option<Sentence>,
    pub offers: Vec<Offered>,
}

pub struct Priced {
    pub when: String,
    pub lines: Vec<(String, Figure)>,
    pub price: Figure,
    pub team: String,
    pub after: String,
    pub overdrawn: bool,
    pub share: String,
    pub button: String,
    pub seen: i64,
}

/// A slot that would work, as a button.
pub struct Offered {
    pub what: String,
    pub when: String,
    pub value: String,
}

impl Panel {
    pub fn priced(quote: &QuoteView, (zone, money): (&Zone, &Money), now: Instant) -> Self {
        let (start, end) = (quote.start.0, quote.end.0);
        let soon = start.since(now).as_seconds() < 60;
        let from = if soon { "Now".to_owned() } else { zone.moment(start, now) };
        let amounts: Vec<Credits> = quote.lines.iter().map(|line| line.amount.credits()).collect();
        let column = money.sum(quote.price.credits(), &amounts);
        let priced = Priced {
            when: format!("{from} to {}, on {}", zone.end(start, end, now), quote.node_name),
            lines: quote.lines.iter().map(|line| (line.text.clone(), column.figure(line.amount.credits()))).collect(),
            price: column.figure(quote.price.credits()),
            team: quote.team_name.clone(),
            after: money.alone(quote.balance_after.credits()),
            overdrawn: quote.balance_after.credits() < Credits::ZERO,
            share: format::share(&quote.share),
            button: format!("Book {} × {}", quote.gpus, quote.model),
            seen: quote.price.micros,
        };
        Self { priced: Some(priced), ..Self::default() }
    }

    /// The refusal and the slots that it offers instead.
    pub fn refused(why: &Refusal, zone: &Zone, now: Instant) -> Self {
        let reason = why.reason();
        let offers = reason.offer().map(offers).unwrap_or_default();
        let offered = offers.into_iter().map(|offer| Offered {
            what: format!("{} × {}:", offer.gpus, offer.model),
            when: format!("{} to {}", zone.moment(offer.start.0, now), zone.end(offer.start.0, offer.end.0, now)),
            value: serde_json::to_string(&offer).unwrap_or_default(),
        });
        Self { priced: None, refused: Some(reason.sentence()), offers: offered.collect() }
    }
}

/// One slot or several.
fn offers(offer: serde_json::Value) -> Vec<SlotOffer> {
    let list = match offer {
        serde_json::Value::Array(list) => list,
        one => vec![one],
    };
    list.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        Zone::named("Europe/Berlin")
    }

    #[test]
    fn the_form_becomes_a_request() {
        let now = zone().read("2026-11-24T10:03").unwrap();
        let form = fresh("H200", &zone(), None, now);
        assert_eq!((form.value("at"), form.value("when")), ("2026-11-24T10:15", "soon"));
        let asked = request(&form, &zone()).unwrap();
        assert_eq!((asked.gpus, asked.duration_seconds, asked.at, asked.command), (1, 3600, None, None));
        let form = form.with("when", "at").with("work", "batch").with("command", "echo a b").with("for", "90m");
        let asked = request(&form, &zone()).unwrap();
        assert_eq!(asked.at.unwrap().to_string(), "2026-11-24T09:15:00Z");
        assert_eq!(asked.command.unwrap(), ["sh", "-c", "echo a b"]);
    }

    #[test]
    fn what_cannot_be_read_names_its_field() {
        let now = Instant::from_seconds(0);
        let form = || fresh("", &zone(), None, now).with("when", "at");
        for (field, value) in [("gpus", "two"), ("for", "soon"), ("at", "24.11."), ("gpus", "-1")] {
            let Err(Common::BadField { field: named, .. }) = request(&form().with(field, value), &zone()) else {
                panic!("{field} = {value} was taken")
            };
            assert_eq!(named, field);
        }
        assert!(request(&form().with("work", "batch"), &zone()).is_err());
    }

    #[test]
    fn lengths_are_written_as_they_are_read() {
        for text in ["1h30m", "45m", "26h", "10s"] {
            assert_eq!(written(text::duration(text).unwrap()), text);
        }
    }
}
