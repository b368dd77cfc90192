//! What follows the lines: the total ruled off as book-keepers do (one rule above, two below), what it was set off
//! against, what is left, and the closing texts. It refuses to compute: the sums were proved before anything was set.
use super::flow::{BODY, BOTTOM, Colour, Flow, LEADING, LEFT, MEASURE, Op, RIGHT, STRONG, Style, TOP};
use super::{Paper, PaperError, Row, figure, head, net};
use crate::base::credits::Credits;

/// The sums stand in the right part of the measure.
const FROM: f32 = LEFT + MEASURE * 0.44;
/// How far the ground of the answer reaches beyond its texts.
const INSET: f32 = 8.0;
const PITCH: f32 = LEADING + 4.0;
/// Between a label and its amount.
const GAP: f32 = 18.0;
const QUIET: Style = Style { ink: Colour::Quiet, ..BODY };
const ANSWER: Style = Style { size: 12.0, ..STRONG };

pub(super) fn sums(flow: &mut Flow<'_>, paper: &Paper) -> Result<(), PaperError> {
    let rows = paper.additions.len() + paper.set_off.len() + 4;
    let height = rows as f32 * PITCH + 34.0;
    if !flow.has_room(height) && height < BOTTOM - TOP {
        // The table left room for this line below its last row.
        flow.y += 2.0 - PITCH + LEADING;
        row(flow, paper, QUIET, "Carried forward", net(paper)?);
        flow.next_page();
        row(flow, paper, QUIET, "Brought forward", net(paper)?);
    }
    flow.y += 8.0;
    if !paper.additions.is_empty() {
        row(flow, paper, STRONG, "Sum of the lines", net(paper)?);
        each(flow, paper, &paper.additions);
    }
    flow.y += 5.0;
    flow.rule(FROM, RIGHT, flow.y, 0.8, Colour::Ink);
    row(flow, paper, STRONG, paper.kind.total(), paper.total);
    flow.y += 5.0;
    flow.rule(FROM, RIGHT, flow.y, 0.8, Colour::Ink);
    flow.rule(FROM, RIGHT, flow.y + 2.2, 0.8, Colour::Ink);
    flow.y += 4.0;
    each(flow, paper, &paper.set_off);
    answer(flow, paper);
    Ok(())
}

fn each(flow: &mut Flow<'_>, paper: &Paper, rows: &[Row]) {
    for item in rows {
        row(flow, paper, BODY, &item.label, item.amount);
    }
}

fn row(flow: &mut Flow<'_>, paper: &Paper, style: Style, label: &str, amount: Credits) {
    let amount = figure(amount, paper.decimals);
    let taken = flow.face(style).width(&amount, style.size) + GAP;
    let labels = flow.face(style).wrap_within(label, style.size, (RIGHT - FROM - taken).max(40.0), 3);
    if !flow.has_room(PITCH + labels.len().saturating_sub(1) as f32 * LEADING) {
        flow.next_page();
    }
    flow.y += PITCH;
    flow.text_to(RIGHT, flow.y, style, &amount);
    for (index, line) in labels.into_iter().enumerate() {
        flow.y += if index == 0 { 0.0 } else { LEADING };
        flow.text(FROM, flow.y, style, line);
    }
}

/// The amount that is left, on a ground of its own.
fn answer(flow: &mut Flow<'_>, paper: &Paper) {
    let amount = format!("{} {}", figure(paper.outstanding, paper.decimals), paper.currency);
    let amount = flow.face(ANSWER).shortened(&amount, ANSWER.size, RIGHT - FROM - 60.0);
    let taken = flow.face(ANSWER).width(&amount, ANSWER.size) + GAP;
    let label = head::outstanding(paper);
    let labels = flow.face(STRONG).wrap_within(&label, STRONG.size, (RIGHT - FROM - taken).max(40.0), 3);
    let height = 14.0 + labels.len().max(1) as f32 * LEADING;
    if !flow.has_room(height + 10.0) {
        flow.next_page();
    }
    flow.y += 10.0;
    let top = flow.y;
    let (from, to) = (FROM - INSET, RIGHT + INSET);
    flow.push(Op::Panel { x: from, y: top, width: to - from, height, ink: Colour::Flour });
    flow.rule(from, to, top, 0.8, Colour::Ink);
    let mut y = top + 7.0 + LEADING - 3.0;
    flow.text_to(RIGHT, y, ANSWER, &amount);
    for line in labels {
        flow.text(FROM, y, STRONG, line);
        y += LEADING;
    }
    flow.y = top + height;
}

/// How it is settled, then the notes.
pub(super) fn closing_texts(flow: &mut Flow<'_>, paper: &Paper) {
    let notes = paper.notes.iter().map(|note| ("", note));
    for (heading, text) in paper.settlement.iter().map(|text| ("Settlement", text)).chain(notes) {
        if text.trim().is_empty() {
            continue;
        }
        flow.y += 16.0;
        let needed = if heading.is_empty() { LEADING } else { 2.0 * LEADING };
        if !flow.has_room(needed) {
            flow.next_page();
        }
        if !heading.is_empty() {
            flow.y += LEADING;
            flow.text(LEFT, flow.y, STRONG, heading);
        }
        flow.paragraph(BODY, LEADING, text);
    }
}
