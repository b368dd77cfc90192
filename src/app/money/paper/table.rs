//! The lines with quantity, rate and amount, over as many pages as they need: the head is repeated, the sum so far carried
//! forward. It refuses to cut a line in two unless the line alone is taller than half a page.
use super::flow::{BODY, BOTTOM, Colour, Flow, LEADING, LEFT, RIGHT, SMALL, SMALL_LEADING, STRONG, Style, TOP};
use super::{Line, Paper, PaperError, figure, plus};
use crate::base::credits::Credits;

const GAP: f32 = 14.0;
const PADDING: f32 = 5.0;
/// Kept free at the end of a page for what is carried forward.
const CARRY: f32 = 22.0;

/// Right edges of the figures and the width of each column, fitted to what stands in them.
struct Columns {
    description: f32,
    quantity: (f32, f32),
    unit: (f32, f32),
    rate: (f32, f32),
    amount: f32,
}

/// What the table knows while it is set.
struct Table<'p> {
    paper: &'p Paper,
    columns: Columns,
    sum: Credits,
    on_this_page: bool,
}

/// One row as visual lines: which texts stand on each, and how far below the one before.
struct Visual {
    height: f32,
    texts: Vec<(f32, Style, String, bool)>,
}

pub(super) fn lines(flow: &mut Flow<'_>, paper: &Paper) -> Result<(), PaperError> {
    let columns = columns(flow, paper);
    let mut table = Table { paper, columns, sum: Credits::ZERO, on_this_page: false };
    table.head(flow);
    let titled = paper.groups.iter().filter(|group| group.title.is_some()).count();
    for group in &paper.groups {
        if let Some(title) = &group.title {
            table.title(flow, title);
        }
        for line in &group.lines {
            table.line(flow, line)?;
        }
        if group.title.is_some() && (titled > 1 || paper.groups.len() > 1) {
            let subtotal = plus(Credits::ZERO, group.lines.iter().map(|line| line.amount))?;
            table.summary(flow, "Subtotal", subtotal);
        }
    }
    if paper.groups.iter().all(|group| group.lines.is_empty()) {
        flow.y += LEADING + PADDING;
        flow.text(LEFT, flow.y, SMALL, "Nothing was delivered in this period.");
        flow.y += PADDING;
    }
    Ok(())
}

fn columns(flow: &Flow<'_>, paper: &Paper) -> Columns {
    let lines = || paper.groups.iter().flat_map(|group| &group.lines);
    let width = |text: &str| flow.face(BODY).width(text, BODY.size);
    let widest = |texts: &mut dyn Iterator<Item = f32>, least: f32, most: f32| texts.fold(least, f32::max).min(most);
    let amounts = lines().map(|line| line.amount).chain([paper.total]);
    let amount = widest(&mut amounts.map(|amount| width(&figure(amount, paper.decimals))), 72.0, 150.0);
    let rate = widest(&mut lines().map(|line| width(&line.rate)), 46.0, 84.0);
    let unit = widest(&mut lines().map(|line| width(&line.unit)), 22.0, 60.0);
    let quantity = widest(&mut lines().map(|line| width(&line.quantity)), 46.0, 84.0);
    let rate_right = RIGHT - amount - GAP;
    let unit_left = rate_right - rate - GAP - unit;
    let quantity_right = unit_left - 5.0;
    let description = quantity_right - quantity - GAP - LEFT;
    // A hundredth of slack, so that a text is never too wide for the column that was fitted to it.
    let fitted = |width: f32| width + 0.01;
    Columns {
        description,
        quantity: (quantity_right, fitted(quantity)),
        unit: (unit_left, fitted(unit)),
        rate: (rate_right, fitted(rate)),
        amount: fitted(amount),
    }
}

impl Table<'_> {
    fn head(&mut self, flow: &mut Flow<'_>) {
        flow.y += SMALL_LEADING;
        let y = flow.y;
        flow.text(LEFT, y, SMALL, "Description");
        flow.text_to(self.columns.quantity.0, y, SMALL, "Quantity");
        flow.text(self.columns.unit.0, y, SMALL, "Unit");
        flow.text_to(self.columns.rate.0, y, SMALL, "Rate");
        flow.text_to(RIGHT, y, SMALL, &format!("Amount, {}", self.paper.currency));
        flow.y += 5.0;
        flow.rule(LEFT, RIGHT, flow.y, 0.8, Colour::Ink);
    }

    /// Ends the page with the sum so far and begins the next one with it.
    fn carry(&mut self, flow: &mut Flow<'_>) {
        if self.on_this_page {
            self.carried(flow, "Carried forward");
        }
        flow.next_page();
        self.head(flow);
        if self.on_this_page {
            self.carried(flow, "Brought forward");
            flow.y += PADDING;
            flow.rule(LEFT, RIGHT, flow.y, 0.5, Colour::Hair);
        }
        self.on_this_page = false;
    }

    fn carried(&self, flow: &mut Flow<'_>, label: &str) {
        flow.y += LEADING + 2.0;
        let quiet = Style { ink: Colour::Quiet, ..BODY };
        flow.text(LEFT, flow.y, quiet, label);
        flow.text_to(RIGHT, flow.y, quiet, &figure(self.sum, self.paper.decimals));
    }

    fn room(&self, flow: &Flow<'_>, height: f32) -> bool {
        flow.has_room(height + CARRY)
    }

    fn title(&mut self, flow: &mut Flow<'_>, title: &str) {
        let lines = flow.face(STRONG).wrap_within(title, STRONG.size, self.columns.description, 3);
        // A title stays with the first of its lines.
        if !self.room(flow, (lines.len() as f32 + 2.0) * LEADING + 4.0 * PADDING) {
            self.carry(flow);
        }
        flow.y += PADDING;
        for line in lines {
            flow.y += LEADING;
            flow.text(LEFT, flow.y, STRONG, line);
        }
        flow.y += PADDING;
        flow.rule(LEFT, RIGHT, flow.y, 0.5, Colour::Hair);
    }

    fn summary(&mut self, flow: &mut Flow<'_>, label: &str, amount: Credits) {
        if !self.room(flow, LEADING + 2.0 * PADDING) {
            self.carry(flow);
        }
        flow.y += LEADING + 2.0;
        flow.text(LEFT, flow.y, STRONG, label);
        flow.text_to(RIGHT, flow.y, STRONG, &figure(amount, self.paper.decimals));
        flow.y += PADDING + 2.0;
        flow.rule(LEFT, RIGHT, flow.y, 0.4, Colour::Ink);
    }

    fn line(&mut self, flow: &mut Flow<'_>, line: &Line) -> Result<(), PaperError> {
        let visuals = self.visuals(flow, line);
        let height = visuals.iter().map(|visual| visual.height).sum::<f32>() + 2.0 * PADDING;
        if !self.room(flow, height) && height <= (BOTTOM - TOP) / 2.0 {
            self.carry(flow);
        }
        flow.y += PADDING - 2.0;
        for (index, visual) in visuals.into_iter().enumerate() {
            if !self.room(flow, visual.height + PADDING) {
                self.carry(flow);
            }
            if index == 0 {
                self.sum = self.sum.checked_add(line.amount)?;
            }
            self.on_this_page = true;
            flow.y += visual.height;
            for (x, style, text, ends_there) in visual.texts {
                if ends_there {
                    flow.text_to(x, flow.y, style, &text);
                } else {
                    flow.text(x, flow.y, style, text);
                }
            }
        }
        flow.y += PADDING;
        flow.rule(LEFT, RIGHT, flow.y, 0.5, Colour::Hair);
        Ok(())
    }

    fn visuals(&self, flow: &Flow<'_>, line: &Line) -> Vec<Visual> {
        let columns = &self.columns;
        let face = flow.face(BODY);
        let mut visuals: Vec<Visual> = Vec::new();
        let texts =
            face.wrap(&line.description, BODY.size, columns.description).into_iter().map(|text| (BODY, LEADING, text));
        let details = flow.face(SMALL).wrap(&line.detail, SMALL.size, columns.description);
        let details = details.into_iter().map(|text| (SMALL, SMALL_LEADING, text));
        for (style, height, text) in texts.chain(details) {
            visuals.push(Visual { height, texts: vec![(LEFT, style, text, false)] });
        }
        let amount = figure(line.amount, self.paper.decimals);
        let quiet = Style { ink: Colour::Quiet, ..BODY };
        let cells = [
            (columns.quantity.0, BODY, face.wrap(&line.quantity, BODY.size, columns.quantity.1), true),
            (columns.unit.0, quiet, face.wrap(&line.unit, BODY.size, columns.unit.1), false),
            (columns.rate.0, BODY, face.wrap(&line.rate, BODY.size, columns.rate.1), true),
            (RIGHT, BODY, face.wrap(&amount, BODY.size, columns.amount), true),
        ];
        for (x, style, texts, ends_there) in cells {
            for (index, text) in texts.into_iter().enumerate() {
                if visuals.len() <= index {
                    visuals.push(Visual { height: LEADING, texts: Vec::new() });
                }
                visuals[index].texts.push((x, style, text, ends_there));
            }
        }
        visuals
    }
}
