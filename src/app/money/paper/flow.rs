//! Where things stand on the pages: a list of marks per page and the height that is used up. It refuses to draw; `sheet`
//! does that once all pages, and so their count, are known.
use super::face::{Face, Faces, Weight};

/// A4 in points.
pub(super) const WIDTH: f32 = 595.28;
pub(super) const HEIGHT: f32 = 841.89;
/// 20 mm on both sides.
pub(super) const LEFT: f32 = 56.7;
pub(super) const RIGHT: f32 = WIDTH - LEFT;
pub(super) const MEASURE: f32 = RIGHT - LEFT;
/// First free height below the running head of a later page.
pub(super) const TOP: f32 = 92.0;
/// Nothing of the body stands below this.
pub(super) const BOTTOM: f32 = HEIGHT - 72.0;

/// The colours of the document, named as the console names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Ink,
    Quiet,
    Stone,
    /// Between rows.
    Hair,
    Rust,
    Flour,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) weight: Weight,
    pub(super) size: f32,
    pub(super) ink: Colour,
}

pub(super) const BODY: Style = Style { weight: Weight::Plain, size: 9.5, ink: Colour::Ink };
pub(super) const STRONG: Style = Style { weight: Weight::Strong, size: 9.5, ink: Colour::Ink };
pub(super) const SMALL: Style = Style { weight: Weight::Plain, size: 8.0, ink: Colour::Quiet };
/// Distance between baselines for [`BODY`] and [`STRONG`].
pub(super) const LEADING: f32 = 13.0;
/// Distance between baselines for [`SMALL`].
pub(super) const SMALL_LEADING: f32 = 11.0;

/// One mark on a page; heights count downward from the top edge, texts stand on theirs.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Text { x: f32, y: f32, style: Style, text: String },
    Rule { from: f32, to: f32, y: f32, thick: f32, ink: Colour },
    Panel { x: f32, y: f32, width: f32, height: f32, ink: Colour },
    Mark { x: f32, y: f32, size: f32 },
}

/// The pages so far, and how far down the last one is used.
pub(super) struct Flow<'a> {
    pub(super) faces: &'a Faces,
    pages: Vec<Vec<Op>>,
    pub(super) y: f32,
}

impl<'a> Flow<'a> {
    pub(super) fn new(faces: &'a Faces) -> Self {
        Self { faces, pages: vec![Vec::new()], y: TOP }
    }

    pub(super) fn into_pages(self) -> Vec<Vec<Op>> {
        self.pages
    }

    pub(super) fn pages_mut(&mut self) -> &mut Vec<Vec<Op>> {
        &mut self.pages
    }

    pub(super) fn next_page(&mut self) {
        self.pages.push(Vec::new());
        self.y = TOP;
    }

    pub(super) fn has_room(&self, height: f32) -> bool {
        self.y + height <= BOTTOM
    }

    pub(super) fn push(&mut self, op: Op) {
        if let Some(page) = self.pages.last_mut() {
            page.push(op);
        }
    }

    pub(super) fn face(&self, style: Style) -> &'a Face {
        self.faces.of(style.weight)
    }

    pub(super) fn text(&mut self, x: f32, y: f32, style: Style, text: impl Into<String>) {
        self.push(Op::Text { x, y, style, text: text.into() });
    }

    /// Text that ends at `right`.
    pub(super) fn text_to(&mut self, right: f32, y: f32, style: Style, text: &str) {
        let x = right - self.face(style).width(text, style.size);
        self.text(x, y, style, text);
    }

    pub(super) fn rule(&mut self, from: f32, to: f32, y: f32, thick: f32, ink: Colour) {
        self.push(Op::Rule { from, to, y, thick, ink });
    }

    /// A paragraph over the whole measure, flowing onto further pages.
    pub(super) fn paragraph(&mut self, style: Style, leading: f32, text: &str) {
        for line in self.face(style).wrap(text, style.size, MEASURE) {
            if !self.has_room(leading) {
                self.next_page();
            }
            self.y += leading;
            self.text(LEFT, self.y, style, line);
        }
    }
}
