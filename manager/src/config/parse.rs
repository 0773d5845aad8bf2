//! From text to [`File`], noting every fault rather than the first.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::file::File;
use super::problem::Notebook;

/// Parses what can be understood of `text`.
///
/// serde stops at the first fault. So each fault is noted, what it is about is
/// taken out of the document, and the rest is tried again.
pub(super) fn parse(text: &str, notebook: &mut Notebook<'_>) -> File {
    let (mut document, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        notebook.at(error.span().unwrap_or_default(), error.message());
    }
    if !syntax_errors.is_empty() {
        return File::default();
    }
    for _ in 0..FAULTS_MAX {
        let error = match File::deserialize(toml::Deserializer::from(document.clone())) {
            Ok(file) => return file,
            Err(error) => error,
        };
        let span = error.span().unwrap_or_default();
        notebook.at(span.clone(), explain(error.message()));
        if !remove_from_table(document.get_mut(), &span) {
            break;
        }
    }
    File::default()
}

/// Past this many faults the file is another program's.
const FAULTS_MAX: usize = 50;

/// serde's message, and for an unknown key the known one that it resembles.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(found), true) = (quoted.next(), message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    let known: Vec<_> = quoted.collect();
    let nearest = known
        .iter()
        .map(|key| (strsim::jaro_winkler(found, key), key))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, key)) if likeness > 0.8 => {
            format!("unknown key `{found}`; did you mean `{key}`?")
        }
        _ => format!("unknown key `{found}`; known here: {}", known.join(", ")),
    }
}

type Span = std::ops::Range<usize>;

/// Takes out the innermost entry that `span` is about. False if there is none.
fn remove_from_table(table: &mut DeTable<'_>, span: &Span) -> bool {
    if table
        .iter_mut()
        .any(|(_, value)| remove_within(value, span))
    {
        return true;
    }
    let about = |key: &Spanned<_>, value: &Spanned<_>| {
        covers(&key.span(), span) || covers(&value.span(), span)
    };
    let key = table
        .iter()
        .find(|(key, value)| about(key, value))
        .map(|(key, _)| key.clone());
    key.is_some_and(|key| table.remove(&key).is_some())
}

fn remove_within(value: &mut Spanned<DeValue<'_>>, span: &Span) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => remove_from_table(table, span),
        DeValue::Array(array) => remove_from_array(array, span),
        _ => false,
    }
}

fn remove_from_array(array: &mut DeArray<'_>, span: &Span) -> bool {
    if array.iter_mut().any(|value| remove_within(value, span)) {
        return true;
    }
    let count = array.len();
    let mut kept = DeArray::new();
    array
        .iter()
        .filter(|value| !covers(&value.span(), span))
        .for_each(|value| kept.push(value.clone()));
    *array = kept;
    array.len() < count
}

fn covers(outer: &Span, inner: &Span) -> bool {
    outer.start <= inner.start && inner.end <= outer.end && !outer.is_empty()
}
