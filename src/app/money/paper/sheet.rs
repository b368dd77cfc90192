//! Ink on paper: turns the marks of the laid-out pages into PDF. It refuses to move anything and to know what a mark means.
use krilla::color::rgb;
use krilla::configure::{Archival, ConfigurationBuilder};
use krilla::geom::{Path, PathBuilder, Point, Rect, Transform};
use krilla::metadata::{DateTime, Metadata};
use krilla::page::PageSettings;
use krilla::paint::{Fill, Stroke};
use krilla::surface::Surface;
use krilla::{Document, SerializeSettings};

use super::face::{Faces, Weight, tidy};
use super::flow::{Colour, HEIGHT, Op, WIDTH};
use super::{Paper, PaperError};
use crate::base::window::Instant;

/// Longest title or author written into the file's own description, in characters.
const LABEL_LIMIT: usize = 200;

pub(super) fn print(faces: &Faces, pages: &[Vec<Op>], paper: &Paper) -> Result<Vec<u8>, PaperError> {
    let failed = |cause: String| PaperError::Pdf { cause };
    let archival = ConfigurationBuilder::new().with_archival_validator(Archival::A3_U);
    let configuration = archival.finish().map_err(|cause| failed(format!("{cause:?}")))?;
    let settings = SerializeSettings { configuration, ..SerializeSettings::default() };
    let mut document = Document::new_with(settings);
    document.set_metadata(described(paper));
    for page in pages {
        let size = PageSettings::from_wh(WIDTH, HEIGHT).ok_or_else(|| failed("no such page size".to_owned()))?;
        let mut sheet = document.start_page_with(size);
        let mut surface = sheet.surface();
        if let Some(word) = watermark(paper) {
            stamp(&mut surface, faces, word);
        }
        for op in page {
            draw(&mut surface, faces, op);
        }
        surface.finish();
        sheet.finish();
    }
    document.finish().map_err(|cause| failed(format!("{cause:?}")))
}

/// The word across every page, if any; a simulated installation's outweighs a draft's.
pub(super) const fn watermark(paper: &Paper) -> Option<&'static str> {
    match (paper.simulated, &paper.number) {
        (true, _) => Some("SPECIMEN"),
        (false, None) => Some("DRAFT"),
        (false, Some(_)) => None,
    }
}

fn described(paper: &Paper) -> Metadata {
    let label = |text: &str| -> String {
        let text = tidy(text).replace('\n', " ");
        text.chars().filter(|c| u32::from(*c) & 0xfffe != 0xfffe).take(LABEL_LIMIT).collect()
    };
    let number = paper.number.as_deref().unwrap_or("(draft)");
    let specimen = if paper.simulated { "SPECIMEN " } else { "" };
    Metadata::new()
        .title(label(&format!("{specimen}{} {number}", paper.kind.title())))
        .authors(vec![label(&paper.issuer.name)])
        .description(label(&format!("{} for {}, {}", paper.kind.title(), paper.recipient.name, paper.period)))
        .language(label(&paper.language))
        .creator("Gristmill".to_owned())
        .producer("Gristmill".to_owned())
        .creation_date(date(paper.as_of))
}

fn date(at: Instant) -> DateTime {
    let stamp = jiff::Timestamp::from_second(at.as_seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let utc = stamp.to_zoned(jiff::tz::TimeZone::UTC);
    let part = |value: i8| u8::try_from(value).unwrap_or_default();
    DateTime::new(u16::try_from(utc.year()).unwrap_or_default())
        .month(part(utc.month()))
        .day(part(utc.day()))
        .hour(part(utc.hour()))
        .minute(part(utc.minute()))
        .second(part(utc.second()))
        .utc_offset_hour(0)
}

fn colour(ink: Colour) -> rgb::Color {
    match ink {
        Colour::Ink => rgb::Color::new(0x22, 0x1d, 0x15),
        Colour::Quiet => rgb::Color::new(0x5d, 0x55, 0x46),
        Colour::Stone => rgb::Color::new(0xb9, 0xae, 0x97),
        Colour::Hair => rgb::Color::new(0xd9, 0xd0, 0xbe),
        Colour::Rust => rgb::Color::new(0xa3, 0x36, 0x18),
        Colour::Flour => rgb::Color::new(0xf2, 0xed, 0xe1),
    }
}

fn fill(surface: &mut Surface<'_>, ink: Colour) {
    surface.set_stroke(None);
    surface.set_fill(Some(Fill { paint: colour(ink).into(), ..Fill::default() }));
}

fn stroke(surface: &mut Surface<'_>, ink: Colour, width: f32) {
    surface.set_fill(None);
    surface.set_stroke(Some(Stroke { paint: colour(ink).into(), width, ..Stroke::default() }));
}

fn draw(surface: &mut Surface<'_>, faces: &Faces, op: &Op) {
    match op {
        Op::Text { x, y, style, text } => {
            let face = faces.of(style.weight);
            let (text, glyphs) = face.glyphs(text);
            if glyphs.is_empty() {
                return;
            }
            fill(surface, style.ink);
            surface.draw_glyphs(Point::from_xy(*x, *y), &glyphs, face.font.clone(), &text, style.size, false);
        }
        Op::Rule { from, to, y, thick, ink } => {
            stroke(surface, *ink, *thick);
            path(surface, |line| {
                line.move_to(*from, *y);
                line.line_to(*to, *y);
            });
        }
        Op::Panel { x, y, width, height, ink } => {
            let Some(area) = Rect::from_xywh(*x, *y, *width, *height) else { return };
            fill(surface, *ink);
            path(surface, |panel| panel.push_rect(area));
        }
        Op::Mark { x, y, size } => millstone(surface, *x, *y, *size),
    }
}

fn path(surface: &mut Surface<'_>, trace: impl FnOnce(&mut PathBuilder)) {
    let mut builder = PathBuilder::new();
    trace(&mut builder);
    let path: Option<Path> = builder.finish();
    if let Some(path) = path {
        surface.draw_path(&path);
    }
}

/// The mark: a millstone, its eye and six furrows, on a grid of 26 units as in the console.
fn millstone(surface: &mut Surface<'_>, x: f32, y: f32, size: f32) {
    const FURROWS: [(f32, f32, f32, f32); 6] = [
        (13.0, 10.0, 13.0, 1.6),
        (15.6, 11.5, 22.9, 7.3),
        (15.6, 14.5, 22.9, 18.7),
        (13.0, 16.0, 13.0, 24.4),
        (10.4, 14.5, 3.1, 18.7),
        (10.4, 11.5, 3.1, 7.3),
    ];
    let unit = size / 26.0;
    surface.push_transform(&Transform::from_row(unit, 0.0, 0.0, unit, x, y));
    stroke(surface, Colour::Ink, 1.6);
    for radius in [11.5, 3.0] {
        path(surface, |round| circle(round, 13.0, 13.0, radius));
    }
    for (from_x, from_y, to_x, to_y) in FURROWS {
        path(surface, |furrow| {
            furrow.move_to(from_x, from_y);
            furrow.line_to(to_x, to_y);
        });
    }
    surface.pop();
}

fn circle(round: &mut PathBuilder, x: f32, y: f32, r: f32) {
    // The usual quarter-circle Bézier, off by less than 0.03 % of the radius.
    let k = 0.552_285 * r;
    round.move_to(x + r, y);
    round.cubic_to(x + r, y + k, x + k, y + r, x, y + r);
    round.cubic_to(x - k, y + r, x - r, y + k, x - r, y);
    round.cubic_to(x - r, y - k, x - k, y - r, x, y - r);
    round.cubic_to(x + k, y - r, x + r, y - k, x + r, y);
    round.close();
}

/// The word across the page, as outlines under the text: seen and printed, but not mixed into the text that is extracted.
fn stamp(surface: &mut Surface<'_>, faces: &Faces, word: &str) {
    let face = faces.of(Weight::Strong);
    let size = 560.0 / face.width(word, 1.0).max(1.0);
    let (text, glyphs) = face.glyphs(word);
    surface.push_transform(&Transform::from_rotate_at(-54.0, WIDTH / 2.0, HEIGHT / 2.0));
    fill(surface, Colour::Flour);
    let at = Point::from_xy((WIDTH - 560.0) / 2.0, HEIGHT / 2.0 + size * 0.35);
    surface.draw_glyphs(at, &glyphs, face.font.clone(), &text, size, true);
    surface.pop();
}
