//! A haproxy.cfg that exists already, as sections of lines of words.

/// The sections of one haproxy.cfg, in its order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct File {
    /// Its sections.
    pub sections: Vec<Section>,
}

/// One section.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Section {
    /// What it is, such as `frontend`.
    pub kind: String,
    /// What it is called; empty where it has no name.
    pub name: String,
    /// Where it begins, counted from 1.
    pub line: usize,
    /// Its lines, without comments and empty ones.
    pub lines: Vec<Line>,
    /// Whether it speaks HTTP, by its own `mode` or by its defaults.
    pub is_http: bool,
}

/// One line of a section.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Where it stands, counted from 1.
    pub number: usize,
    /// Its words, quotes and escapes resolved; at least one.
    pub words: Vec<String>,
}

impl File {
    /// Reads `text`. What HAProxy would refuse is taken as far as it makes
    /// sense: `haproxy -c` is there to complain. A variable with a default,
    /// `${NAME-default}`, counts as its default.
    pub fn parse(text: &str) -> Self {
        let mut file = Self::default();
        let mut default_is_http = false;
        for (number, text) in (1..).zip(text.lines()) {
            let words = words(text);
            let Some(first) = words.first() else { continue };
            if SECTIONS.contains(&first.as_str()) {
                file.sections.push(Section {
                    kind: first.clone(),
                    name: words.get(1).cloned().unwrap_or_default(),
                    line: number,
                    lines: Vec::new(),
                    is_http: default_is_http,
                });
            } else if let Some(section) = file.sections.last_mut() {
                if first == "mode" {
                    section.is_http = words.get(1).is_some_and(|mode| mode == "http");
                }
                section.lines.push(Line { number, words });
            }
            if let Some(section) = file.sections.last()
                && section.kind == "defaults"
            {
                default_is_http = section.is_http;
            }
        }
        file
    }

    /// The sections of one of `kinds`.
    pub fn of<'a>(&'a self, kinds: &'a [&str]) -> impl Iterator<Item = &'a Section> {
        let is_one = |section: &&Section| kinds.contains(&section.kind.as_str());
        self.sections.iter().filter(is_one)
    }

    /// The first value of `keyword` in the global section.
    pub fn global(&self, keyword: &str) -> Option<&str> {
        let mut lines = self.of(&["global"]).flat_map(|section| &section.lines);
        let line = lines.find(|line| line.words[0] == keyword)?;
        line.words.get(1).map(String::as_str)
    }
}

impl Section {
    /// Its lines that begin with `words`.
    pub fn lines_with<'a>(&'a self, words: &'a [&str]) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(|line| line.begins_with(words))
    }

    /// What it is and what it is called.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

impl Line {
    /// Whether its first words are `words`.
    pub fn begins_with(&self, words: &[&str]) -> bool {
        self.words.len() >= words.len() && self.words.iter().zip(words).all(|(a, b)| a == b)
    }

    /// The word after `keyword`.
    pub fn after(&self, keyword: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word == keyword)?;
        self.words.get(at + 1).map(String::as_str)
    }

    /// Whether one of its words is `word`.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|found| found == word)
    }
}

/// The keywords that open a section (configuration manual, §3 and §4, and the
/// chapters of HAProxy 3.x).
const SECTIONS: [&str; 24] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "resolvers",
    "mailers",
    "userlist",
    "http-errors",
    "cache",
    "program",
    "ring",
    "fcgi-app",
    "crt-store",
    "log-forward",
    "log-profile",
    "traces",
    "acme",
    "dynamic-update",
    "ruleset",
    "namespace_list",
    "healthcheck",
    "cluster",
];

/// The words of one line (configuration manual §2.2, "Quoting and escaping").
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (None, '#') => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                word.get_or_insert_default()
                    .extend(rest.next().map(unescape));
            }
            (Some('"'), '$') if rest.as_str().starts_with('{') => {
                let (value, after) = variable(rest.as_str());
                word.get_or_insert_default().push_str(value);
                rest = after.chars();
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn unescape(c: char) -> char {
    match c {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        other => other,
    }
}

/// What `{NAME-default}` stands for, and what follows it. Without a default it
/// stands for nothing that could be known here.
fn variable(text: &str) -> (&str, &str) {
    let Some((inner, after)) = text[1..].split_once('}') else {
        return (text, "");
    };
    let value = inner.split_once('-').map_or("", |(_, default)| default);
    (value, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_words_as_haproxy_does() {
        for (line, wanted) in [
            ("  bind :443 ssl # comment", vec!["bind", ":443", "ssl"]),
            (r#"a "b c" 'd"e' f\ g"#, vec!["a", "b c", "d\"e", "f g"]),
            (r#"x "${NAME-value}"-1"#, vec!["x", "value-1"]),
            (r#"x "${NAME}" '${NAME-v}'"#, vec!["x", "", "${NAME-v}"]),
            (r#"x "unfinished"#, vec!["x", "unfinished"]),
            (r#"x "${unfinished"#, vec!["x", "{unfinished"]),
            ("   # only a comment", vec![]),
        ] {
            assert_eq!(words(line), wanted, "{line}");
        }
    }

    #[test]
    fn knows_the_mode_of_each_section() {
        let file = File::parse(
            "frontend a\n bind :1\ndefaults\n mode http\nfrontend b\nbackend c\n mode tcp\n",
        );
        let modes: Vec<_> = file
            .of(&["frontend", "backend"])
            .map(|section| (section.title(), section.is_http))
            .collect();
        let wanted = [
            ("frontend a", false),
            ("frontend b", true),
            ("backend c", false),
        ];
        assert_eq!(modes, wanted.map(|(title, http)| (title.to_owned(), http)));
    }
}
