//! Certificates from a CSV file (RFC 4180): one a line.
//!
//! ```text
//! names,name
//! shop.example www.shop.example,shop
//! blog.example;www.blog.example
//! ```
//!
//! The header may be left out; then there is one column, the names. Lines that
//! begin with `#` are comments.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Certificate;

use super::certificate;

/// One line that says something.
pub type Row = Result<(u64, Certificate), RowError>;

/// A line that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct RowError {
    /// Which one, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// A file that cannot be read as a table at all.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The system refused.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is too large.
    #[error("{} has {size} bytes, more than {FILE_SIZE_MAX}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// In bytes.
        size: u64,
    },
    /// Its header names a column that there is not.
    #[error("{}: there is no column {column:?}; there are {}", path.display(), COLUMNS.join(", "))]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
    },
}

/// In bytes: some hundred thousand lines.
const FILE_SIZE_MAX: u64 = 16 << 20;

const COLUMNS: [&str; 2] = [NAMES, NAME];
const NAMES: &str = "names";
const NAME: &str = "name";

/// Reads a file, line by line.
///
/// # Errors
///
/// When it cannot be read at all; what is wrong with a line stands in its
/// place.
pub fn read(path: &Path) -> Result<Vec<Row>, TableError> {
    let fail = |source| TableError::Read {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(fail)?.len();
    if size > FILE_SIZE_MAX {
        let path = path.to_owned();
        return Err(TableError::TooLarge { path, size });
    }
    let bytes = fs::read(path).map_err(fail)?;
    parse(&bytes).map_err(|column| TableError::Column {
        path: path.to_owned(),
        column,
    })
}

/// The rows; an error is a column that there is not.
fn parse(bytes: &[u8]) -> Result<Vec<Row>, String> {
    // A spreadsheet's byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let mut columns = vec![NAMES];
    let mut rows = Vec::new();
    let mut lines = Lines {
        bytes,
        at: 0,
        line: 1,
    };
    for (index, record) in reader.byte_records().enumerate() {
        // Reading from memory does not fail, and flexible records are never
        // of the wrong length.
        let Ok(record) = record else { continue };
        let line = lines.line_at(record.position().map_or(0, csv::Position::byte));
        let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
        if index == 0 && is_header(&fields) {
            columns = header(&fields)?;
        } else {
            let row = row(&columns, &fields).map_err(|why| RowError { line, why });
            rows.push(row.map(|certificate| (line, certificate)));
        }
    }
    Ok(rows)
}

/// Counts lines, going forward. The reader's own count is that of the first
/// line it passes over before a record.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the first record at or after the byte `at`.
    fn line_at(&mut self, at: u64) -> u64 {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        while let Some(length) = self.bytes[self.at..].iter().position(|&byte| byte == b'\n') {
            let line = &self.bytes[self.at..self.at + length];
            let is_passed_over = matches!(line, [] | [b'\r'] | [b'#', ..]);
            if self.at >= at && !is_passed_over {
                break;
            }
            self.at += length + 1;
            self.line += 1;
        }
        self.line
    }
}

fn is_header<T: AsRef<str>>(fields: &[T]) -> bool {
    let known = |field: &T| COLUMNS.contains(&field.as_ref().to_ascii_lowercase().as_str());
    fields.iter().any(known)
}

fn header<T: AsRef<str>>(fields: &[T]) -> Result<Vec<&'static str>, String> {
    let column = |field: &T| {
        let text = field.as_ref().to_ascii_lowercase();
        let known = COLUMNS.into_iter().find(|column| *column == text);
        known.ok_or_else(|| field.as_ref().to_owned())
    };
    fields.iter().map(column).collect()
}

fn row<T: AsRef<str>>(columns: &[&str], fields: &[T]) -> Result<Certificate, String> {
    if fields.len() > columns.len() {
        let (found, wanted) = (fields.len(), columns.len());
        return Err(format!(
            "{found} columns where {wanted} are expected; several names are separated by spaces \
             or semicolons"
        ));
    }
    let value = |wanted: &str| {
        let at = columns.iter().position(|column| *column == wanted)?;
        let text = fields.get(at)?.as_ref().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let names = value(NAMES).unwrap_or_default();
    let names: Vec<_> = names
        .split([' ', ';', '\t'])
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    certificate(&names, value(NAME)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let show = |row: Row| match row {
            Ok((line, c)) => format!("{line} {}: {}", c.name, c.names_text().join(" ")),
            Err(error) => error.to_string(),
        };
        parse(text.as_bytes())
            .unwrap()
            .into_iter()
            .map(show)
            .collect()
    }

    #[test]
    fn one_certificate_a_line() {
        let text = "\u{feff}# ours\na.test www.a.test\r\n\n\"b.test;www.b.test\"\n  c.test  \n";
        let wanted = [
            "2 a.test: a.test www.a.test",
            "4 b.test: b.test www.b.test",
            "5 c.test: c.test",
        ];
        assert_eq!(lines(text), wanted);
    }

    #[test]
    fn a_header_names_the_columns() {
        let text = "name,names\nshop,a.test\n,b.test\n";
        assert_eq!(lines(text), ["2 shop: a.test", "3 b.test: b.test"]);
        assert_eq!(parse(b"names,colour\n"), Err("colour".to_owned()));
    }

    #[test]
    fn bad_lines_do_not_spoil_the_good_ones() {
        let text = "a.test\n*.b.test\nc.test,d.test\ne.test e.test\n \nno name\n\"open\nf.test\n";
        let lines = lines(text);
        assert_eq!(lines[0], "1 a.test: a.test");
        for (index, word) in [
            (1, "line 2: "),
            (2, "line 3: 2 columns"),
            (3, "listed twice"),
        ] {
            assert!(lines[index].contains(word), "{lines:#?}");
        }
    }

    #[test]
    fn garbage_is_refused_line_by_line() {
        for byte in 0..=255_u8 {
            let text = [b'a', byte, b'\n', byte, byte, b'\n'];
            assert!(parse(&text).is_err() || parse(&text).unwrap().iter().all(Result::is_err));
        }
    }
}
