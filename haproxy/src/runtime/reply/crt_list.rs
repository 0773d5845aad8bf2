use nom::bytes::complete::{tag, take_until};
use nom::character::complete::u32;
use nom::combinator::{eof, opt, rest};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser, branch::alt};

use super::{Failure, lines, text};

/// One entry of a crt-list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CrtListEntry {
    /// The certificate.
    pub name: String,
    /// Its line in the file; 0 in a directory, and for what was added later.
    pub line: u32,
    /// The options between brackets, empty if there are none.
    pub options: String,
    /// The names it is limited to, or kept from with `!`.
    pub filters: Vec<String>,
}

/// Reads the reply of `show ssl crt-list`: the names of the lists.
///
/// # Errors
///
/// Never yet: a list may have any name.
pub fn crt_lists(body: &[u8]) -> Result<Vec<String>, Failure> {
    Ok(lines(body).map(text).collect())
}

/// Reads the reply of `show ssl crt-list -n LIST`; nothing if there is no such
/// list.
///
/// # Errors
///
/// When it is something else.
pub fn crt_list(body: &[u8]) -> Result<Option<Vec<CrtListEntry>>, Failure> {
    let mut lines = lines(body);
    match lines.next() {
        Some(first) if first.starts_with(b"# ") => {}
        Some(b"didn't find the specified filename") => return Ok(None),
        _ => return Err(Failure::Unexpected),
    }
    let entries: Option<Vec<_>> = lines.map(entry).collect();
    entries.map(Some).ok_or(Failure::Unexpected)
}

/// `NAME:LINE [OPTIONS] FILTER...`. A name may hold spaces and colons, so its
/// end is the first colon that a line number follows.
fn entry(line: &[u8]) -> Option<CrtListEntry> {
    let colons = line.iter().enumerate().filter(|(_, byte)| **byte == b':');
    colons.map(|(index, _)| index).find_map(|index| {
        let (name, tail) = line.split_at(index);
        let (_, (line, options, filters)) = after_name(tail).ok()?;
        // HAProxy prints the protocols of `alpn` with the NUL that ends them.
        let options = options.unwrap_or_default().iter().filter(|b| **b != 0);
        Some(CrtListEntry {
            name: text(name),
            line,
            options: text(&options.copied().collect::<Vec<_>>()),
            filters: filters
                .split(|&b| b == b' ')
                .filter(|filter| !filter.is_empty())
                .map(text)
                .collect(),
        })
    })
}

type AfterName<'a> = (u32, Option<&'a [u8]>, &'a [u8]);

fn after_name(tail: &[u8]) -> IResult<&[u8], AfterName<'_>> {
    let number = terminated(u32, alt((tag(" "), eof)));
    let options = delimited(tag("["), take_until("]"), tag("]"));
    (preceded(tag(":"), number), opt(options), rest).parse(tail)
}
