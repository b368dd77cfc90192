//! The typefaces inside the program and what only they know: how wide a text is and which of its characters can be drawn.
//! It refuses shaping (no ligatures, kerning or right-to-left): a character without a glyph becomes a visible mark.
use std::collections::HashMap;
use std::sync::OnceLock;

use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::instance::{LocationRef, Size};
use skrifa::{FontRef, MetadataProvider as _};

use super::PaperError;

const SANS: &[u8] = include_bytes!("../../../../static/vendor/ibm-plex-sans-1.1.0/ttf/IBMPlexSans-Regular.ttf");
const SANS_STRONG: &[u8] = include_bytes!("../../../../static/vendor/ibm-plex-sans-1.1.0/ttf/IBMPlexSans-SemiBold.ttf");
const MONO: &[u8] = include_bytes!("../../../../static/vendor/ibm-plex-mono-2.5.0/ttf/IBMPlexMono-Regular.ttf");

/// What stands for a character that a face cannot draw, best first.
const REPLACEMENTS: [char; 3] = ['\u{fffd}', '?', '.'];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Plain,
    Strong,
    Mono,
}

/// One face: its outlines for the PDF, its glyphs for the layout.
pub(super) struct Face {
    pub(super) font: Font,
    /// Glyph and advance, as a part of the type size, of every character that can be drawn.
    shapes: HashMap<char, (u32, f32)>,
    replacement: char,
}

pub(super) struct Faces {
    plain: Face,
    strong: Face,
    mono: Face,
}

impl Faces {
    /// The faces, read from the program once.
    pub(super) fn shared() -> Result<&'static Self, PaperError> {
        static FACES: OnceLock<Faces> = OnceLock::new();
        match FACES.get() {
            Some(faces) => Ok(faces),
            None => Self::load().map(|faces| FACES.get_or_init(|| faces)),
        }
    }

    fn load() -> Result<Self, PaperError> {
        Ok(Self {
            plain: Face::load("IBM Plex Sans", SANS)?,
            strong: Face::load("IBM Plex Sans SemiBold", SANS_STRONG)?,
            mono: Face::load("IBM Plex Mono", MONO)?,
        })
    }

    pub(super) const fn of(&self, weight: Weight) -> &Face {
        match weight {
            Weight::Plain => &self.plain,
            Weight::Strong => &self.strong,
            Weight::Mono => &self.mono,
        }
    }
}

impl Face {
    fn load(name: &'static str, bytes: &'static [u8]) -> Result<Self, PaperError> {
        let damaged = || PaperError::Face { name };
        let outline = FontRef::new(bytes).map_err(|_| damaged())?;
        let font = Font::new(bytes.into(), 0).ok_or_else(damaged)?;
        let metrics = outline.glyph_metrics(Size::unscaled(), LocationRef::default());
        let units_per_em = f32::from(outline.metrics(Size::unscaled(), LocationRef::default()).units_per_em).max(1.0);
        let known = outline.charmap().mappings().filter_map(|(code, glyph)| Some((char::from_u32(code)?, glyph)));
        let shapes: HashMap<char, (u32, f32)> = known
            .filter(|(letter, _)| !is_private(*letter))
            .map(|(letter, glyph)| {
                (letter, (glyph.to_u32(), metrics.advance_width(glyph).unwrap_or(0.0) / units_per_em))
            })
            .collect();
        let replacement = REPLACEMENTS.into_iter().find(|mark| shapes.contains_key(mark)).ok_or_else(damaged)?;
        Ok(Self { font, shapes, replacement })
    }

    /// The character as it is drawn, its glyph and its advance.
    fn shape(&self, letter: char) -> (char, u32, f32) {
        let drawn = if self.shapes.contains_key(&letter) { letter } else { self.replacement };
        let (glyph, advance) = self.shapes.get(&drawn).copied().unwrap_or_default();
        (drawn, glyph, advance)
    }

    /// Width in points at `size` points.
    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        let mut before = ' ';
        let mut rest = text.chars().peekable();
        let mut sum = 0.0;
        while let Some(letter) = rest.next() {
            let letter = as_minus(before, letter, rest.peek().copied());
            sum += self.shape(letter).2;
            before = letter;
        }
        sum * size
    }

    /// The text as it can be drawn, and its glyphs with advances as parts of the type size.
    pub(super) fn glyphs(&self, text: &str) -> (String, Vec<KrillaGlyph>) {
        let mut drawn = String::with_capacity(text.len());
        let mut glyphs = Vec::with_capacity(text.len());
        let mut rest = text.chars().peekable();
        let mut before = ' ';
        while let Some(letter) = rest.next() {
            let seen = as_minus(before, letter, rest.peek().copied());
            before = seen;
            let (shown, glyph, advance) = self.shape(seen);
            let start = drawn.len();
            // A real minus sign for the eye; the text stays a hyphen, which every other program reads as a number's sign.
            drawn.push(if seen == letter { shown } else { letter });
            let id = GlyphId::new(glyph);
            glyphs.push(KrillaGlyph::new(id, advance, 0.0, 0.0, 0.0, start..drawn.len(), None));
        }
        (drawn, glyphs)
    }

    /// Lines no wider than `width` points, broken at spaces, and inside a word only where the word alone is too wide. A line
    /// break in the text is kept. An empty text has no lines.
    pub(super) fn wrap(&self, text: &str, size: f32, width: f32) -> Vec<String> {
        let text = tidy(text);
        let mut lines = Vec::new();
        let space = self.width(" ", size);
        for paragraph in text.lines() {
            let mut line = String::new();
            let mut used = 0.0;
            for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
                let wide = self.width(word, size);
                if !line.is_empty() && used + space + wide <= width {
                    line.push(' ');
                    line.push_str(word);
                    used += space + wide;
                    continue;
                }
                if !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                line = if wide <= width { word.to_owned() } else { self.broken(word, size, width, &mut lines) };
                used = self.width(&line, size);
            }
            if !line.is_empty() {
                lines.push(line);
            }
        }
        lines
    }

    /// Puts all but the last piece of a word that is too wide into `lines` and returns that last piece. Breaks after a
    /// joining character when there is one in the second half of the piece, else anywhere; always at least one character.
    fn broken(&self, word: &str, size: f32, width: f32, lines: &mut Vec<String>) -> String {
        let mut piece = String::new();
        let mut used = 0.0;
        for letter in word.chars() {
            let advance = self.shape(letter).2 * size;
            if !piece.is_empty() && used + advance > width {
                let joint = piece.rfind(|c: char| "-_/.,:@+=&".contains(c)).filter(|&at| at * 2 >= piece.len());
                let rest = joint.map(|at| piece.split_off(at + 1)).unwrap_or_default();
                lines.push(std::mem::replace(&mut piece, rest));
                used = self.width(&piece, size);
            }
            piece.push(letter);
            used += advance;
        }
        piece
    }

    /// At most `limit` lines; what is cut off shows as an ellipsis.
    pub(super) fn wrap_within(&self, text: &str, size: f32, width: f32, limit: usize) -> Vec<String> {
        let mut lines = self.wrap(text, size, width);
        if lines.len() > limit {
            lines.truncate(limit);
            if let Some(last) = lines.last_mut() {
                *last = self.shortened(&format!("{last} …"), size, width);
            }
        }
        lines
    }

    /// One line, cut with an ellipsis where it is too wide.
    pub(super) fn shortened(&self, text: &str, size: f32, width: f32) -> String {
        let text = tidy(text).replace('\n', " ");
        if self.width(&text, size) <= width {
            return text;
        }
        let room = width - self.width("…", size);
        let mut used = 0.0;
        let fits = |letter: &char| {
            used += self.shape(*letter).2 * size;
            used <= room
        };
        let kept: String = text.trim_end_matches(['…', ' ']).chars().take_while(fits).collect();
        format!("{}…", kept.trim_end())
    }
}

/// A hyphen that begins a number is a minus.
fn as_minus(before: char, letter: char, after: Option<char>) -> char {
    let begins_number = letter == '-' && before == ' ' && after.is_some_and(|after| after.is_ascii_digit());
    if begins_number { '\u{2212}' } else { letter }
}

/// Text with one kind of space and no invisible controls; other control characters become visible marks.
pub(super) fn tidy(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars()
        .filter(|&letter| !is_invisible(letter))
        .map(|letter| match letter {
            '\n' => '\n',
            '\u{a0}' | '\u{202f}' | '\u{2007}' => '\u{a0}',
            _ if letter == '\t' || letter.is_whitespace() => ' ',
            _ if letter.is_control() => '\u{fffd}',
            _ => letter,
        })
        .collect()
}

/// Characters that only steer other characters: joiners, direction marks, variation selectors, soft hyphen.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// Private-use and non-characters: no reader of the document could know what they mean.
fn is_private(letter: char) -> bool {
    let code = u32::from(letter);
    matches!(code, 0xe000..=0xf8ff | 0xf_0000..) || code & 0xfffe == 0xfffe || letter.is_control()
}
