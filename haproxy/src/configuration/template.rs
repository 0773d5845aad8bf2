//! The shipped files as templates: `"${NAME-default}"` is a place for a value,
//! and "spoacme begin" and "spoacme end" enclose what belongs to spoacme.

use super::Part;

/// Fills every place for which `value` has something.
pub(super) fn expand<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, place, after)) = next_place(rest) {
        filled.push_str(before);
        match value(place.name) {
            Some(value) => filled.push_str(&word(value)),
            None => filled.push_str(place.whole),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// The value that `text` itself has for `name`.
pub(super) fn default_of(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while let Some((_, place, after)) = next_place(rest) {
        if place.name == name {
            return Some(place.default.to_owned());
        }
        rest = after;
    }
    None
}

struct Place<'a> {
    whole: &'a str,
    name: &'a str,
    default: &'a str,
}

/// What stands before the next place, the place, and what follows it.
fn next_place(text: &str) -> Option<(&str, Place<'_>, &str)> {
    let mut start = 0;
    loop {
        start += text[start..].find(OPEN)?;
        let length = text[start..].find(CLOSE)? + CLOSE.len();
        let whole = &text[start..start + length];
        let inner = &whole[OPEN.len()..whole.len() - CLOSE.len()];
        match inner.split_once('-') {
            Some((name, default)) if name.starts_with("SPOACME_") => {
                let place = Place {
                    whole,
                    name,
                    default,
                };
                return Some((&text[..start], place, &text[start + length..]));
            }
            _ => start += OPEN.len(),
        }
    }
}

const OPEN: &str = "\"${";
const CLOSE: &str = "}\"";

/// One word of haproxy.cfg: in strong quotes if it has to be (management
/// "Quoting and escaping"), between which all but a quote stands for itself.
pub(super) fn word(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@*,[]%+=".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "'\\''"))
}

/// The parts of `text` that belong to spoacme.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut section = None;
    let mut open: Option<Part> = None;
    for line in text.lines() {
        let is_section = !line.is_empty() && !line.starts_with([' ', '#']);
        if is_section && open.is_none() {
            section = Some(line.to_owned());
        }
        if line.trim_start().starts_with(BEGIN) {
            let inside = line.starts_with(' ');
            open = Some(Part {
                section: section.clone().filter(|_| inside),
                text: String::new(),
            });
        }
        if let Some(part) = &mut open {
            part.text.push_str(line);
            part.text.push('\n');
        }
        if line.trim_start().starts_with(END) {
            parts.extend(open.take());
        }
    }
    parts
}

const BEGIN: &str = "# --- spoacme begin";
const END: &str = "# --- spoacme end";

#[cfg(test)]
mod tests {
    use super::super::HAPROXY_CFG;
    use super::*;

    #[test]
    fn fills_places_and_leaves_the_rest() {
        let text = r#"a "${SPOACME_A-1}" "${OTHER-2}" "${SPOACME_B-3}""#;
        let filled = expand(text, |name| (name == "SPOACME_A").then_some("x"));
        assert_eq!(filled, r#"a x "${OTHER-2}" "${SPOACME_B-3}""#);
        assert_eq!(default_of(text, "SPOACME_B").as_deref(), Some("3"));
        assert_eq!(default_of(text, "SPOACME_C"), None);
    }

    #[test]
    fn unfinished_places_are_text() {
        for text in [
            r#""${"#,
            r#""${SPOACME_A"#,
            r#""${SPOACME_A-"#,
            "${SPOACME_A-1}",
        ] {
            assert_eq!(expand(text, |_| Some("x")), text);
        }
    }

    #[test]
    fn quotes_what_would_be_read_otherwise() {
        assert_eq!(word("/var/lib/x/"), "/var/lib/x/");
        assert_eq!(word("a b"), "'a b'");
        assert_eq!(word("a#$b"), "'a#$b'");
        assert_eq!(word("it's"), r"'it'\''s'");
        assert_eq!(word(""), "''");
    }

    #[test]
    fn the_shipped_file_has_three_parts() {
        let parts = parts(HAPROXY_CFG);
        let sections: Vec<_> = parts.iter().map(|part| part.section.as_deref()).collect();
        assert_eq!(
            sections,
            [Some("frontend http"), Some("frontend https"), None]
        );
    }
}
