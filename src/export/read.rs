//! Reading a capsule from somebody's hands: bounded, line by line, and nothing in it is believed. The
//! file is read twice: first all of it is checked, of which only numbers are kept; then [`Lines`] hands out
//! the lines to be written. What is checked holds together in itself; whether there is a place for it, the
//! import finds out.

use std::io::{self, BufRead, BufReader, Read};

use data_encoding::HEXLOWER;
use flate2::bufread::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(super) use super::parts::{Checked, Up};

use super::checks::invalid;
use super::format::{FORMAT, Head, Line, OLDEST};
use super::parts::Parts;
use super::write::Digested;
use super::{MAX_LINE, MAX_LINES, MAX_TEXT};
use crate::error::{Error, Result};
use crate::http::Source;

/// How far the clock that exported may be ahead of ours, milliseconds.
const SKEW_MS: i64 = 5 * 60_000;

fn damaged(text: impl std::fmt::Display) -> Error {
    Error::bad_request(
        "CAPSULE_DAMAGED",
        format!("the file is damaged or incomplete ({text}); export it again"),
    )
}

/// The bytes of a capsule, unpacked.
enum Input<'a> {
    Plain(Box<dyn BufRead + 'a>),
    Gzip(BufReader<GzDecoder<Box<dyn BufRead + 'a>>>),
}

impl<'a> Input<'a> {
    fn new(mut bytes: Box<dyn BufRead + 'a>) -> io::Result<Self> {
        Ok(if bytes.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            Input::Gzip(BufReader::new(GzDecoder::new(bytes)))
        } else {
            Input::Plain(bytes)
        })
    }

    /// At most `most` bytes up to a line end and with it; how many.
    fn line(&mut self, most: u64, line: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Input::Plain(input) => input.take(most).read_until(b'\n', line),
            Input::Gzip(input) => input.take(most).read_until(b'\n', line),
        }
    }

    /// Whether anything follows what was compressed.
    fn has_more(self) -> io::Result<bool> {
        Ok(match self {
            Input::Plain(_) => false,
            Input::Gzip(input) => !input.into_inner().into_inner().fill_buf()?.is_empty(),
        })
    }
}

/// The lines of a capsule, compressed or not.
pub(super) struct Lines<'a> {
    input: Input<'a>,
    line: Vec<u8>,
    /// How many there were.
    number: usize,
    text: usize,
}

impl<'a> Lines<'a> {
    /// From the beginning.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn new(file: &'a mut Source) -> Result<Self> {
        Ok(Lines {
            input: file.rewound().and_then(Input::new).map_err(damaged)?,
            line: Vec::new(),
            number: 0,
            text: 0,
        })
    }

    /// The next line with its end, if there is one.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        let most = MAX_LINE + 1;
        let length = self
            .input
            .line(most as u64, &mut self.line)
            .map_err(damaged)?;
        match length {
            0 => return Ok(None),
            _ if self.line.last() == Some(&b'\n') => {}
            _ if length == most => {
                return Err(damaged(format!("a line is longer than {MAX_LINE} bytes")));
            }
            _ => return Err(damaged("its last line is cut")),
        }
        self.number += 1;
        self.text += length;
        if self.number > MAX_LINES || self.text > MAX_TEXT {
            let most = MAX_TEXT >> 20;
            return Err(invalid(
                self.number,
                format!("a capsule has at most {MAX_LINES} lines and {most} MiB of text"),
            ));
        }
        Ok(Some(&self.line))
    }

    /// The next line after the head, of a file that has been checked.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn parsed(&mut self) -> Result<Option<(Line, usize)>> {
        if self.number == 0 {
            self.next()?;
        }
        let number = self.number + 1;
        let Some(line) = self.next()? else {
            return Ok(None);
        };
        let length = line.len();
        let line = serde_json::from_slice(line).map_err(|e| invalid(number, e))?;
        Ok(Some((line, length)))
    }

    fn has_more(mut self) -> Result<bool> {
        Ok(self.next()?.is_some() || self.input.has_more().map_err(damaged)?)
    }
}

/// Reads and checks a capsule, compressed or not.
///
/// # Errors
/// 400 `CAPSULE_DAMAGED`, 422 `CAPSULE_TOO_NEW`, `CAPSULE_INVALID`.
pub(super) fn check(file: &mut Source, now: i64) -> Result<Checked> {
    let mut lines = Lines::new(file)?;
    let mut hash = Sha256::new();
    let first = lines.next()?.ok_or_else(|| damaged("it is empty"))?;
    let head = head(first, now)?;
    hash.update(first);
    let mut parts = Parts::default();
    loop {
        let number = lines.number + 1;
        let line = lines
            .next()?
            .ok_or_else(|| damaged("its last line is missing"))?;
        let parsed: Line = serde_json::from_slice(line).map_err(|e| invalid(number, e))?;
        if let Line::End(end) = parsed {
            if end.sha256 != HEXLOWER.encode(&hash.finalize()) {
                return Err(damaged("its checksum is another one"));
            }
            if lines.has_more()? {
                return Err(damaged("there is more after its last line"));
            }
            return parts.finish(head, end, number);
        }
        hash.update(line);
        parts
            .take(parsed, head.exported_at)
            .map_err(|text| invalid(number, text))?;
    }
}

/// What [`Contents::digest`](super::write::Contents::digest) would be of a capsule that has been checked.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn digest(file: &mut Source) -> Result<[u8; 32]> {
    let mut lines = Lines::new(file)?;
    let mut digest = Digested::default();
    while let Some((line, _)) = lines.parsed()? {
        if !matches!(line, Line::End(_)) {
            digest.line(line)?;
        }
    }
    Ok(digest.finish())
}

fn head(line: &[u8], now: i64) -> Result<Head> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|_| damaged("its first line is not that of a workspace capsule"))?;
    let format = value["capsule"]["format"].as_u64();
    if let Some(newer) = format.filter(|format| *format > u64::from(FORMAT)) {
        return Err(Error::field(
            "capsule",
            format!(
                "has the format {newer}, and this server reads up to {FORMAT}; upgrade workspaced"
            ),
        )
        .with_code("CAPSULE_TOO_NEW"));
    }
    let Ok(Line::Capsule(head)) = serde_json::from_value(value) else {
        return Err(damaged("its first line is not that of a workspace capsule"));
    };
    if !(OLDEST..=FORMAT).contains(&head.format) {
        return Err(invalid(1, "there is no such format"));
    }
    if !(0..=now.saturating_add(SKEW_MS)).contains(&head.exported_at) {
        return Err(invalid(
            1,
            "exported_at is ahead of this server's clock; set the clocks right",
        ));
    }
    Ok(head)
}
