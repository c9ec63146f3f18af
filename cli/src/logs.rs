//! Logs: opens files and standard input, unpacks them, and hands on the records that are the agent's own.
//!
//! Decides what may be read and how much at a time; must not know what a record says, nor what a command does with it. How
//! logs wrap a record is [`lines`]' business, and how a line is signed is [`authenticity`]'s.

mod authenticity;
mod lines;
mod ranges;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

pub(crate) use authenticity::Review;

use crate::output::plural;

/// Longest line of a log in bytes. An event has at most 256 KiB; a page of events or an object of a delivery stream is
/// one line of some megabytes.
const MAX_LINE: u64 = 32 * 1024 * 1024;
/// The first bytes of gzip (RFC 1952) and of Zstandard (RFC 8878).
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reads logs one after the other; `-` is standard input. `authentic` gets each record that is the agent's, once.
///
/// # Errors
/// The text names the log that cannot be read, and says why.
pub(crate) fn read(
    logs: &[PathBuf],
    review: &mut Review,
    authentic: &mut dyn FnMut(&str),
) -> Result<(), String> {
    for log in logs {
        let name = log.display().to_string();
        let opened = if log == Path::new("-") { Ok(Box::new(io::stdin()) as _) } else { open(log) };
        opened
            .and_then(|input| unpacked(BufReader::new(input)))
            .and_then(|input| take_all(input, &name, review, authentic))
            .map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// The records that one line of a log holds, signed or not.
pub(crate) fn records_in(line: &str) -> Vec<String> {
    lines::records(line).into_iter().map(|found| found.text.into_owned()).collect()
}

/// What of the logs did not count, a line each.
pub(crate) fn left_out(review: &Review) -> Vec<String> {
    let (forged, unchecked) = review.left_out();
    let counts = [
        (forged, "left out, since the agent did not sign them (`ringfence review` lists them)"),
        (unchecked, "left out, since the log does not have the start of their environment"),
        (review.missing(), "missing between those that are there: what they tell is not known"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, why)| format!("{}: {why}", plural(count, "record"))).collect()
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(Box::new(File::open(path)?))
}

/// What is in a log, whether it is packed or not.
fn unpacked(mut input: BufReader<Box<dyn Read>>) -> io::Result<Box<dyn BufRead>> {
    let start = input.fill_buf()?;
    if start.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(input))));
    }
    if start.starts_with(&ZSTANDARD) {
        let unpacked = ruzstd::decoding::StreamingDecoder::new(input).map_err(io::Error::other)?;
        return Ok(Box::new(BufReader::new(unpacked)));
    }
    Ok(Box::new(input))
}

fn take_all(
    mut input: impl BufRead,
    name: &str,
    review: &mut Review,
    authentic: &mut dyn FnMut(&str),
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        take_line(&line, name, number, review, authentic);
    }
    Ok(())
}

/// Takes one line of a log that is called `name`.
pub(crate) fn take_line(
    line: &[u8],
    name: &str,
    number: u64,
    review: &mut Review,
    authentic: &mut dyn FnMut(&str),
) {
    let text = String::from_utf8_lossy(line);
    for found in lines::records(text.trim_end()) {
        review.take(&found, name, number, authentic);
    }
}
