//! A statement as PDF: one font, of which only the letters that are used are embedded; tables, and nothing else.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, TextRenderingMode, UnicodeCmap};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};
use subsetter::GlyphRemapper;
use ttf_parser::{Face, GlyphId};

use super::html::Paper;
use super::sheet::{Row, Sheet};
use crate::error::{Error, Result};

/// DejaVu Sans Condensed: Latin, Greek and Cyrillic. What it has not is drawn as a box.
const FONT: &[u8] = include_bytes!("font/DejaVuSansCondensed.ttf");

const MARGIN: f32 = 45.0;
const SIZE: f32 = 8.5;
const SMALL: f32 = 7.0;
const LEADING: f32 = 1.35;
/// Right edges of the columns hours, credits and amount, from the right margin.
const COLUMNS: [f32; 3] = [150.0, 70.0, 0.0];
/// Where the text of a line begins, from the left margin.
const TEXT: f32 = 26.0;

/// The letters of a document, as they come.
struct Letters {
    face: Face<'static>,
    remapper: GlyphRemapper,
    /// New glyph: its letter and width.
    used: BTreeMap<u16, (char, f32)>,
}

impl Letters {
    fn glyph(&self, c: char) -> GlyphId {
        self.face.glyph_index(c).unwrap_or(GlyphId(0))
    }

    /// In thousandths of the size.
    fn advance(&self, glyph: GlyphId) -> f32 {
        let units = f32::from(self.face.units_per_em());
        f32::from(self.face.glyph_hor_advance(glyph).unwrap_or(0)) * 1000.0 / units
    }

    fn width(&self, text: &str, size: f32) -> f32 {
        let all: f32 = text.chars().map(|c| self.advance(self.glyph(c))).sum();
        all * size / 1000.0
    }

    fn encode(&mut self, text: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() * 2);
        for c in text.chars() {
            let glyph = self.glyph(c);
            let id = self.remapper.remap(glyph.0);
            let width = self.advance(glyph);
            self.used.entry(id).or_insert((c, width));
            out.extend(id.to_be_bytes());
        }
        out
    }

    /// A text in lines of a width, broken at spaces, or where a word is too long for one.
    fn wrapped(&self, text: &str, size: f32, width: f32) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = String::new();
        for word in text.split(' ') {
            let longer = match line.is_empty() {
                true => word.to_owned(),
                false => format!("{line} {word}"),
            };
            if self.width(&longer, size) <= width {
                line = longer;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for c in word.chars() {
                line.push(c);
                if self.width(&line, size) > width && line.chars().count() > 1 {
                    line.pop();
                    lines.push(std::mem::replace(&mut line, c.to_string()));
                }
            }
        }
        lines.push(line);
        lines
    }
}

struct Page {
    content: Content,
    /// Where the next line stands, from below.
    y: f32,
}

struct Setter {
    letters: Letters,
    size: (f32, f32),
    pages: Vec<Page>,
    columns: [String; 5],
    in_table: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Weight {
    Plain,
    Bold,
}

impl Setter {
    fn page(&mut self) -> &mut Page {
        if self.pages.is_empty() {
            self.turn();
        }
        let last = self.pages.len() - 1;
        &mut self.pages[last]
    }

    /// Begins a page.
    fn turn(&mut self) {
        self.pages.push(Page {
            content: Content::new(),
            y: self.size.1 - MARGIN,
        });
        if self.in_table {
            self.column_heads();
        }
    }

    /// Makes sure that so much fits below.
    fn room(&mut self, height: f32) {
        if self.page().y - height < MARGIN + 20.0 {
            self.turn();
        }
    }

    fn down(&mut self, height: f32) {
        self.page().y -= height;
    }

    fn text(&mut self, x: f32, text: &str, size: f32, weight: Weight) {
        let bytes = self.letters.encode(text);
        let page = self.page();
        let y = page.y - size;
        let content = &mut page.content;
        content.begin_text();
        if weight == Weight::Bold {
            content.set_text_rendering_mode(TextRenderingMode::FillStroke);
            content.set_line_width(size / 28.0);
        } else {
            content.set_text_rendering_mode(TextRenderingMode::Fill);
        }
        content
            .set_font(Name(b"F"), size)
            .next_line(x, y)
            .show(Str(&bytes))
            .end_text();
    }

    /// Up to its right edge.
    fn right(&mut self, edge: f32, text: &str, size: f32, weight: Weight) {
        let x = edge - self.letters.width(text, size);
        self.text(x, text, size, weight);
    }

    fn rule(&mut self, width: f32) {
        let (left, right) = (MARGIN, self.size.0 - MARGIN);
        let page = self.page();
        let y = page.y;
        let content = &mut page.content;
        content.set_line_width(width);
        content.move_to(left, y).line_to(right, y).stroke();
    }

    fn column_heads(&mut self) {
        let right = self.size.0 - MARGIN;
        let columns = self.columns.clone();
        self.text(MARGIN, &columns[0], SIZE, Weight::Bold);
        self.text(MARGIN + TEXT, &columns[1], SIZE, Weight::Bold);
        for (column, edge) in columns[2..].iter().zip(COLUMNS) {
            self.right(right - edge, column, SIZE, Weight::Bold);
        }
        self.down(SIZE * LEADING + 2.0);
        self.rule(0.8);
        self.down(3.0);
    }

    /// Lines below each other; returns how high they are.
    fn block(&mut self, x: f32, width: f32, lines: &[String], size: f32) {
        for line in lines {
            for part in self.letters.wrapped(line, size, width) {
                self.room(size * LEADING);
                self.text(x, &part, size, Weight::Plain);
                self.down(size * LEADING);
            }
        }
    }
}

/// The document.
///
/// # Errors
/// Never for the font that is built in.
pub fn document(sheet: &Sheet, paper: Paper) -> Result<Vec<u8>> {
    let size = match paper {
        Paper::A4 => (595.28, 841.89),
        Paper::Letter => (612.0, 792.0),
    };
    let mut setter = Setter {
        letters: Letters {
            face: Face::parse(FONT, 0).map_err(Error::internal)?,
            remapper: GlyphRemapper::new(),
            used: BTreeMap::new(),
        },
        size,
        pages: Vec::new(),
        columns: sheet.columns.clone(),
        in_table: false,
    };
    set(&mut setter, sheet);
    numbers(&mut setter);
    write(setter, sheet)
}

fn set(setter: &mut Setter, sheet: &Sheet) {
    let (left, right) = (MARGIN, setter.size.0 - MARGIN);
    let middle = left + (right - left) * 0.55;
    let top = setter.page().y;
    setter.block(left, middle - left - 20.0, &sheet.head, SIZE);
    let after_head = setter.page().y;
    // Who sends much about themselves fills the first page with it: the facts then stand below.
    let beside = setter.pages.len() == 1;
    if beside {
        setter.page().y = top;
    }
    let x = if beside { middle } else { left };
    for (word, fact) in &sheet.facts {
        setter.text(x, word, SIZE, Weight::Plain);
        let facts = setter.letters.wrapped(fact, SIZE, right - x - 60.0);
        setter.block(x + 60.0, right - x - 60.0, &facts, SIZE);
    }
    let y = setter.page().y;
    setter.page().y = if beside { y.min(after_head) } else { y };
    setter.down(18.0);
    setter.room(90.0);
    setter.text(left, &sheet.title, 13.0, Weight::Bold);
    setter.down(13.0 * LEADING + 4.0);
    setter.block(left, right - left, &sheet.bill_to, SIZE);
    setter.down(14.0);
    setter.room(40.0);
    setter.column_heads();
    setter.in_table = true;
    for row in &sheet.rows {
        table_row(setter, row);
    }
    setter.in_table = false;
    setter.room(sheet.sums.len() as f32 * SIZE * 1.6 + 12.0);
    setter.down(3.0);
    setter.rule(0.8);
    setter.down(3.0);
    for (n, (word, sum)) in sheet.sums.iter().enumerate() {
        let weight = match n + 1 == sheet.sums.len() {
            true => Weight::Bold,
            false => Weight::Plain,
        };
        setter.right(right - 110.0, word, SIZE, weight);
        setter.right(right, sum, SIZE, weight);
        setter.down(SIZE * 1.5);
    }
    setter.down(12.0);
    setter.block(left, right - left, &sheet.foot, SIZE);
    setter.down(8.0);
    setter.room(sheet.notes.len() as f32 * SMALL * LEADING * 2.0);
    setter.block(left, right - left, &sheet.notes, SMALL);
}

fn table_row(setter: &mut Setter, row: &Row) {
    let right = setter.size.0 - MARGIN;
    match row {
        Row::Group(name) => {
            // Not alone at the end of a page.
            setter.room(SIZE * LEADING * 2.0 + 5.0);
            setter.down(4.0);
            let width = right - MARGIN;
            let names = setter.letters.wrapped(name, SIZE, width);
            for name in names {
                setter.text(MARGIN, &name, SIZE, Weight::Bold);
                setter.down(SIZE * LEADING);
            }
        }
        Row::Line {
            number,
            text,
            hours,
            credits,
            amount,
            ..
        } => {
            let width = right - COLUMNS[0] - 55.0 - MARGIN - TEXT;
            let parts = setter.letters.wrapped(text, SIZE, width);
            setter.room(parts.len() as f32 * SIZE * LEADING);
            setter.text(MARGIN, number, SIZE, Weight::Plain);
            for (value, edge) in [hours, credits, amount].into_iter().zip(COLUMNS) {
                setter.right(right - edge, value, SIZE, Weight::Plain);
            }
            for part in parts {
                setter.text(MARGIN + TEXT, &part, SIZE, Weight::Plain);
                setter.down(SIZE * LEADING);
            }
        }
    }
}

/// Which page of how many.
fn numbers(setter: &mut Setter) {
    let all = setter.pages.len();
    let right = setter.size.0 - MARGIN;
    for n in 0..all {
        let text = format!("{} / {all}", n + 1);
        let bytes = setter.letters.encode(&text);
        let x = right - setter.letters.width(&text, SMALL);
        let content = &mut setter.pages[n].content;
        content
            .begin_text()
            .set_text_rendering_mode(TextRenderingMode::Fill)
            .set_font(Name(b"F"), SMALL)
            .next_line(x, MARGIN - 14.0)
            .show(Str(&bytes))
            .end_text();
    }
}

fn packed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).map_err(Error::internal)?;
    packer.finish().map_err(Error::internal)
}

fn write(setter: Setter, sheet: &Sheet) -> Result<Vec<u8>> {
    let Setter {
        letters,
        size,
        pages,
        ..
    } = setter;
    let mut next = 0;
    let mut new = || {
        next += 1;
        Ref::new(next)
    };
    let (catalog, tree, info) = (new(), new(), new());
    let (font, cid, descriptor, cmap, file) = (new(), new(), new(), new(), new());
    let ids: Vec<(Ref, Ref)> = pages.iter().map(|_| (new(), new())).collect();
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(tree).lang(TextStr("en"));
    pdf.document_info(info)
        .title(TextStr(&sheet.title))
        .creator(TextStr(concat!("workspaced ", env!("CARGO_PKG_VERSION"))));
    let count = i32::try_from(ids.len()).map_err(Error::internal)?;
    pdf.pages(tree)
        .kids(ids.iter().map(|(page, _)| *page))
        .count(count);
    for ((id, content), page) in ids.into_iter().zip(pages) {
        let mut object = pdf.page(id);
        object.media_box(Rect::new(0.0, 0.0, size.0, size.1));
        object.parent(tree).contents(content);
        object.resources().fonts().pair(Name(b"F"), font);
        object.finish();
        let bytes = packed(&page.content.finish())?;
        pdf.stream(content, &bytes).filter(Filter::FlateDecode);
    }
    let name = Name(b"AAAAAA+DejaVuSansCondensed");
    let system = SystemInfo {
        registry: Str(b"Adobe"),
        ordering: Str(b"Identity"),
        supplement: 0,
    };
    pdf.type0_font(font)
        .base_font(name)
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(cid)
        .to_unicode(cmap);
    let widths = (0..=letters.used.keys().next_back().copied().unwrap_or(0))
        .map(|id| letters.used.get(&id).map_or(0.0, |(_, width)| *width));
    let mut object = pdf.cid_font(cid);
    object
        .subtype(CidFontType::Type2)
        .base_font(name)
        .system_info(system)
        .font_descriptor(descriptor)
        .default_width(0.0)
        .cid_to_gid_map_predefined(Name(b"Identity"));
    object.widths().consecutive(0, widths);
    object.finish();
    let face = &letters.face;
    let scale = 1000.0 / f32::from(face.units_per_em());
    let bounds = face.global_bounding_box();
    let edge = |value: i16| f32::from(value) * scale;
    pdf.font_descriptor(descriptor)
        .name(name)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(
            edge(bounds.x_min),
            edge(bounds.y_min),
            edge(bounds.x_max),
            edge(bounds.y_max),
        ))
        .italic_angle(0.0)
        .ascent(edge(face.ascender()))
        .descent(edge(face.descender()))
        .cap_height(edge(face.capital_height().unwrap_or(face.ascender())))
        .stem_v(80.0)
        .font_file2(file);
    let mut unicode = UnicodeCmap::<u16>::new(Name(b"Letters"), system);
    for (id, (c, _)) in &letters.used {
        unicode.pair(*id, *c);
    }
    pdf.cmap(cmap, &unicode.finish());
    let subset = subsetter::subset(FONT, 0, &letters.remapper).map_err(|e| {
        Error::internal(format!(
            "the font of statements could not be cut down: {e:?}"
        ))
    })?;
    let length = i32::try_from(subset.len()).map_err(Error::internal)?;
    let bytes = packed(&subset)?;
    let mut stream = pdf.stream(file, &bytes);
    stream.filter(Filter::FlateDecode);
    stream.pair(Name(b"Length1"), length);
    stream.finish();
    Ok(pdf.finish())
}
