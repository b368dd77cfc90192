//! What a document says before and around its lines: mark, title, parties, period, and on every page who, which and
//! "page x of y". It refuses to let an overlong name push the lines off the first page: it is cut visibly.
use super::face::Weight;
use super::flow::{BODY, Colour, Flow, HEIGHT, LEADING, LEFT, MEASURE, Op, RIGHT, SMALL, SMALL_LEADING, STRONG, Style};
use super::{Paper, Party, figure};

const TITLE: Style = Style { weight: Weight::Strong, size: 22.0, ink: Colour::Ink };
const ISSUER: Style = Style { weight: Weight::Strong, size: 13.0, ink: Colour::Ink };
const NUMBER: Style = Style { weight: Weight::Mono, size: 10.5, ink: Colour::Ink };
const TAG: Style = Style { weight: Weight::Strong, size: 10.0, ink: Colour::Rust };
const GUTTER: f32 = 20.0;
/// Where the running head of later pages stands.
const RUNNING: f32 = 60.0;
const FOOT: f32 = HEIGHT - 46.0;

/// Everything above the lines of the first page.
pub(super) fn first_page(flow: &mut Flow<'_>, paper: &Paper) {
    flow.push(Op::Mark { x: LEFT, y: 40.0, size: 28.0 });
    issuer(flow, &paper.issuer.name);
    let after_title = title(flow, paper);
    let after_answer = answer(flow, paper);
    flow.y = after_title.max(after_answer) + 28.0;
    parties(flow, paper);
    facts(flow, paper);
    for reference in &paper.references {
        let text = format!("{}: {}", reference.label, reference.text);
        for line in flow.face(BODY).wrap_within(&text, BODY.size, MEASURE, 2) {
            flow.y += LEADING;
            flow.text(LEFT, flow.y, BODY, line);
        }
    }
    if !paper.references.is_empty() {
        flow.y += 6.0;
    }
    flow.y += 18.0;
}

/// Who issues, beside the mark; a long name in two smaller lines.
fn issuer(flow: &mut Flow<'_>, name: &str) {
    let (x, room) = (LEFT + 38.0, MEASURE * 0.64);
    if flow.face(ISSUER).width(name, ISSUER.size) <= room {
        flow.text(x, 58.5, ISSUER, super::face::tidy(name).replace('\n', " "));
        return;
    }
    let style = Style { size: 10.5, ..ISSUER };
    for (index, line) in flow.face(style).wrap_within(name, style.size, room, 2).into_iter().enumerate() {
        flow.text(x, 51.0 + 13.5 * index as f32, style, line);
    }
}

/// The kind of document and its number, on the left. Returns the height used.
fn title(flow: &mut Flow<'_>, paper: &Paper) -> f32 {
    let mut y = 132.0;
    flow.text(LEFT, y, TITLE, paper.kind.title());
    let number = paper.number.as_deref().unwrap_or("Draft, not yet numbered");
    y += 4.0;
    for line in flow.face(NUMBER).wrap_within(number, NUMBER.size, MEASURE * 0.5, 3) {
        y += 14.0;
        flow.text(LEFT, y, NUMBER, line);
    }
    y
}

/// The number a person came for, the largest on the page, with when it is due. Returns the height used.
fn answer(flow: &mut Flow<'_>, paper: &Paper) -> f32 {
    let amount = format!("{} {}", figure(paper.outstanding, paper.decimals), paper.currency);
    let room = MEASURE * 0.5 - GUTTER;
    let full = flow.face(TITLE).width(&amount, TITLE.size);
    let style = Style { size: TITLE.size * (room / full.max(room)).max(0.4), ..TITLE };
    let amount = flow.face(style).shortened(&amount, style.size, room);
    flow.text_to(RIGHT, 132.0, style, &amount);
    let mut y = 136.0;
    for line in flow.face(SMALL).wrap_within(&outstanding(paper), 9.0, room, 2) {
        y += 14.0;
        flow.text_to(RIGHT, y, Style { size: 9.0, ..SMALL }, &line);
    }
    y
}

/// Names the outstanding amount, with its date.
pub(super) fn outstanding(paper: &Paper) -> String {
    let name = paper.kind.outstanding();
    match &paper.due {
        Some(due) if !paper.outstanding.is_zero() => format!("{name}, due {due}"),
        _ => name.to_owned(),
    }
}

fn parties(flow: &mut Flow<'_>, paper: &Paper) {
    let width = (MEASURE - GUTTER) / 2.0;
    let top = flow.y;
    let left = party(flow, (LEFT, top, width), "To", &paper.recipient);
    let right = party(flow, (LEFT + width + GUTTER, top, width), "From", &paper.issuer);
    flow.y = left.max(right) + 16.0;
}

fn party(flow: &mut Flow<'_>, (x, top, width): (f32, f32, f32), role: &str, party: &Party) -> f32 {
    let mut y = top;
    flow.text(x, y, SMALL, role);
    y += 3.0;
    for line in flow.face(STRONG).wrap_within(&party.name, STRONG.size, width, 4) {
        y += LEADING;
        flow.text(x, y, STRONG, line);
    }
    let address = party.address.join("\n");
    for line in flow.face(BODY).wrap_within(&address, BODY.size, width, 8) {
        y += LEADING;
        flow.text(x, y, BODY, line);
    }
    let centre = party.cost_centre.as_ref().map(|centre| format!("Cost centre {centre}")).unwrap_or_default();
    for line in flow.face(BODY).wrap_within(&centre, BODY.size, width, 2) {
        y += LEADING;
        flow.text(x, y, BODY, line);
    }
    y
}

/// The strip of facts between two rules: number, period, dates, currency.
fn facts(flow: &mut Flow<'_>, paper: &Paper) {
    let draft = || "Draft".to_owned();
    let none = || "–".to_owned();
    let facts = [
        (0.24, "Number", paper.number.clone().unwrap_or_else(draft)),
        (0.25, "Period", paper.period.clone()),
        (0.20, "Issued", paper.issued.clone().unwrap_or_else(draft)),
        (0.20, "Due", paper.due.clone().unwrap_or_else(none)),
        (0.11, "Currency", paper.currency.clone()),
    ];
    flow.rule(LEFT, RIGHT, flow.y, 0.6, Colour::Stone);
    let top = flow.y + 13.0;
    let (mut x, mut end) = (LEFT, top);
    for (share, name, value) in facts {
        flow.text(x, top, SMALL, name);
        let mut y = top + 1.0;
        for line in flow.face(BODY).wrap_within(&value, BODY.size, MEASURE * share - 8.0, 4) {
            y += LEADING;
            flow.text(x, y, BODY, line);
        }
        x += MEASURE * share;
        end = end.max(y);
    }
    flow.y = end + 9.0;
    flow.rule(LEFT, RIGHT, flow.y, 0.6, Colour::Stone);
}

/// Heads and feet, once the number of pages is known.
pub(super) fn every_page(flow: &mut Flow<'_>, paper: &Paper) {
    let faces = flow.faces;
    let mut pages = std::mem::take(flow.pages_mut());
    let count = pages.len();
    for (index, page) in pages.iter_mut().enumerate() {
        let mut frame = Flow::new(faces);
        tags(&mut frame, paper, if index == 0 { 52.0 } else { RUNNING });
        if index > 0 {
            running_head(&mut frame, paper);
        }
        foot(&mut frame, paper, index + 1, count);
        page.extend(frame.into_pages().into_iter().flatten());
    }
    *flow.pages_mut() = pages;
}

/// What the document is not: final, or real.
fn tags(frame: &mut Flow<'_>, paper: &Paper, y: f32) {
    let words = match (paper.simulated, paper.number.is_none()) {
        (true, true) => "SPECIMEN · DRAFT",
        (true, false) => "SPECIMEN",
        (false, true) => "DRAFT",
        (false, false) => return,
    };
    frame.text_to(RIGHT, y, TAG, words);
    if paper.simulated {
        frame.text_to(RIGHT, y + 11.0, SMALL, "simulated, nothing to pay");
    }
}

fn running_head(frame: &mut Flow<'_>, paper: &Paper) {
    frame.push(Op::Mark { x: LEFT, y: RUNNING - 12.0, size: 16.0 });
    let number = paper.number.as_deref().unwrap_or("(draft)");
    let text = format!("{} {number} · {} to {}", paper.kind.title(), paper.issuer.name, paper.recipient.name);
    let text = frame.face(SMALL).shortened(&text, SMALL.size, MEASURE - 150.0);
    frame.text(LEFT + 24.0, RUNNING - 1.0, SMALL, text);
    frame.rule(LEFT, RIGHT, RUNNING + 16.0, 0.6, Colour::Stone);
}

fn foot(frame: &mut Flow<'_>, paper: &Paper, page: usize, count: usize) {
    frame.rule(LEFT, RIGHT, FOOT - 14.0, 0.6, Colour::Stone);
    frame.text_to(RIGHT, FOOT, SMALL, &format!("Page {page} of {count}"));
    let mut y = FOOT;
    for line in frame.face(SMALL).wrap_within(&paper.footer, 7.5, MEASURE - 90.0, 2) {
        frame.text(LEFT, y, Style { size: 7.5, ..SMALL }, line);
        y += SMALL_LEADING;
    }
}
