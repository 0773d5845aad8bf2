//! What a haproxy.cfg lacks to get its certificates from spoacme.

use super::file::{File, Line, Section};
use super::{CHALLENGE_PATH, Settings};

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The values that the lines to add have.
    pub settings: &'a Settings,
    /// What the SPOE configuration says, if the file that haproxy.cfg names
    /// (or would name) exists.
    pub spoe_conf: Option<&'a str>,
}

/// Something that is missing or in the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lack {
    /// Where: a line, counted from 1, if there is one to look at.
    pub line: Option<usize>,
    /// What is wrong, in one sentence.
    pub what: String,
    /// The lines that mend it.
    pub add: String,
}

/// Looks through `file`, in the order in which one would mend it.
pub fn audit(file: &File, wanted: &Wanted<'_>) -> Vec<Lack> {
    let mut lacks = Vec::new();
    runtime_api(file, wanted.settings, &mut lacks);
    plain_http(file, wanted.settings, &mut lacks);
    tls(file, wanted.settings, &mut lacks);
    challenge_backend(file, wanted.settings, &mut lacks);
    agent_backend(file, wanted, &mut lacks);
    neighbours(file, wanted.settings, &mut lacks);
    lacks
}

fn runtime_api(file: &File, settings: &Settings, lacks: &mut Vec<Lack>) {
    let socket = settings.stats_socket.as_str();
    let add = format!("    stats socket {socket} mode 660 level admin\n");
    let global = file.of(&["global"]).flat_map(|section| &section.lines);
    let mut sockets = global.filter(|line| line.begins_with(&["stats", "socket"]));
    let what_and_line = match sockets.find(|line| is_socket(line, socket)) {
        None => (
            format!("the global section has no `stats socket {socket}`"),
            None,
        ),
        Some(line) if line.after("level") != Some("admin") => (
            "this socket is not at level admin, which changing certificates needs".to_owned(),
            Some(line.number),
        ),
        Some(_) => return,
    };
    let (what, line) = what_and_line;
    lacks.push(Lack { line, what, add });
}

/// Whether a `stats socket` is the one at `socket`; `ipv4@` and the like say
/// the same as nothing.
fn is_socket(line: &Line, socket: &str) -> bool {
    let bare = |address: &str| {
        let kinds = ["unix@", "ipv4@", "ipv6@", "unix:"];
        let kind = kinds.iter().find_map(|kind| address.strip_prefix(kind));
        kind.unwrap_or(address).to_owned()
    };
    line.words
        .get(2)
        .is_some_and(|found| bare(found) == bare(socket))
}

fn plain_http(file: &File, settings: &Settings, lacks: &mut Vec<Lack>) {
    let frontends: Vec<_> = file
        .of(&["frontend", "listen"])
        .filter(|section| section.is_http && plain_binds(section).any(is_port_80))
        .collect();
    if frontends.is_empty() {
        lacks.push(Lack {
            line: None,
            what: "no frontend in `mode http` binds port 80, where the CA asks".to_owned(),
            add: format!(
                "frontend http\n    mode http\n    bind {}\n{}",
                settings.http_bind,
                part(settings, |section| section == Some("frontend http"))
            ),
        });
    }
    for frontend in frontends {
        challenge_rules(frontend, settings, lacks);
    }
}

fn plain_binds(section: &Section) -> impl Iterator<Item = &Line> {
    section
        .lines_with(&["bind"])
        .filter(|line| !line.has("ssl"))
}

fn is_port_80(line: &Line) -> bool {
    let addresses = line.words.get(1).map(String::as_str).unwrap_or_default();
    addresses.split(',').any(|address| address.ends_with(":80"))
}

/// The frontend sends challenges to the backend, and nothing takes them first.
fn challenge_rules(frontend: &Section, settings: &Settings, lacks: &mut Vec<Lack>) {
    let acls = challenge_acls(frontend);
    let names_challenge = |line: &Line| speaks_of_challenge(line, &acls);
    let chooser = frontend
        .lines_with(&["use_backend"])
        .find(|line| names_challenge(line));
    let Some(chooser) = chooser else {
        lacks.push(Lack {
            line: Some(frontend.line),
            what: format!(
                "{} does not send challenges to a backend of their own",
                frontend.title()
            ),
            add: part(settings, |section| section == Some("frontend http")),
        });
        return;
    };
    let before = |line: &&Line| line.number < chooser.number;
    let choosers = frontend.lines_with(&["use_backend"]).filter(before);
    let takers = frontend.lines.iter().filter(|line| takes_requests(line));
    for line in choosers.chain(takers).filter(|line| !names_challenge(line)) {
        lacks.push(Lack {
            line: Some(line.number),
            what: format!(
                "{} takes challenges before `{}` does: `http-request` rules run first, wherever \
                 they stand, and `use_backend` rules in their order",
                quote(line),
                chooser
                    .words
                    .iter()
                    .take(2)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            add: format!(
                "    {} unless {{ path_beg {CHALLENGE_PATH} }}\n",
                unconditional(line)
            ),
        });
    }
}

/// The ACLs of `section` that stand for the challenge path.
fn challenge_acls(section: &Section) -> Vec<&str> {
    let acls = section.lines_with(&["acl"]);
    let is_challenge = |line: &&Line| line.words.iter().any(|word| is_challenge_path(word));
    acls.filter(is_challenge)
        .filter_map(|line| line.words.get(1).map(String::as_str))
        .collect()
}

fn speaks_of_challenge(line: &Line, acls: &[&str]) -> bool {
    let is_acl = |word: &str| acls.contains(&word.trim_start_matches('!'));
    line.words
        .iter()
        .any(|word| is_acl(word) || is_challenge_path(word))
}

/// The prefix itself, or one that covers it.
fn is_challenge_path(word: &str) -> bool {
    CHALLENGE_PATH.starts_with(word) && word.starts_with("/.well-known/")
}

/// Whether a rule may end the way of a request before `use_backend` is read.
fn takes_requests(line: &Line) -> bool {
    let is_rule = line.words.len() > 1 && line.words[0] == "http-request";
    let actions = [
        "redirect",
        "return",
        "deny",
        "tarpit",
        "reject",
        "silent-drop",
        "auth",
    ];
    (is_rule && actions.contains(&line.words[1].as_str())) || line.words[0] == "redirect"
}

/// The line without its condition, as an example.
fn unconditional(line: &Line) -> String {
    let is_condition = |word: &&String| !["if", "unless"].contains(&word.as_str());
    Vec::from_iter(line.words.iter().take_while(is_condition).cloned()).join(" ")
}

fn quote(line: &Line) -> String {
    format!("`{}`", line.words.join(" "))
}

fn tls(file: &File, settings: &Settings, lacks: &mut Vec<Lack>) {
    let directory = settings.certificates.trim_end_matches('/');
    let binds = || {
        file.of(&["frontend", "listen"])
            .flat_map(|section| section.lines_with(&["bind"]))
            .filter(|line| line.has("ssl"))
    };
    let names_directory = |line: &Line| {
        let values = line.words.windows(2).filter(|pair| pair[0] == "crt");
        values
            .into_iter()
            .any(|pair| pair[1].trim_end_matches('/') == directory)
    };
    if binds().any(names_directory) {
        return;
    }
    let example = binds().next();
    lacks.push(Lack {
        line: example.map(|line| line.number),
        what: format!("no `bind ... ssl` names the directory of certificates, {directory}/"),
        add: match example {
            Some(line) => format!("    {} crt {directory}/\n", line.words.join(" ")),
            None => format!(
                "frontend https\n    mode http\n{}",
                part(settings, |section| section == Some("frontend https"))
            ),
        },
    });
}

fn challenge_backend(file: &File, settings: &Settings, lacks: &mut Vec<Lack>) {
    let asks =
        |line: &Line| line.begins_with(&["http-request", "send-spoe-group", "acme", "acme-lookup"]);
    let with_lookup = file
        .of(&["backend", "listen", "frontend"])
        .find(|section| section.lines.iter().any(asks));
    let backends = || part(settings, |section| section.is_none());
    let Some(section) = with_lookup else {
        lacks.push(Lack {
            line: None,
            what: "no section asks the agent: `http-request send-spoe-group acme acme-lookup`"
                .to_owned(),
            add: backends(),
        });
        return;
    };
    if section
        .lines_with(&["filter", "spoe", "engine", "acme"])
        .next()
        .is_none()
    {
        lacks.push(Lack {
            line: Some(section.line),
            what: format!(
                "{} asks the agent, but has no filter for it",
                section.title()
            ),
            add: format!(
                "    filter spoe engine acme config {}\n",
                settings.spoe_conf
            ),
        });
    }
    let answers = |line: &Line| {
        line.words
            .iter()
            .any(|w| w.contains("var(txn.acme.key_authorization)"))
    };
    if !section.lines.iter().any(answers) {
        lacks.push(Lack {
            line: Some(section.line),
            what: format!(
                "{} asks the agent, but does not answer with what it says",
                section.title()
            ),
            add: backends(),
        });
    }
}

fn agent_backend(file: &File, wanted: &Wanted<'_>, lacks: &mut Vec<Lack>) {
    let Some(spoe_conf) = wanted.spoe_conf else {
        return lacks.push(Lack {
            line: None,
            what: format!("{} is missing", wanted.settings.spoe_conf),
            add: super::SPOE_CONF.to_owned(),
        });
    };
    let lines = || {
        spoe_conf
            .lines()
            .map(str::split_whitespace)
            .map(Vec::from_iter)
    };
    if !lines().any(|words| words.starts_with(&["spoe-group", "acme-lookup"])) {
        lacks.push(Lack {
            line: None,
            what: format!(
                "{} has no `spoe-group acme-lookup`",
                wanted.settings.spoe_conf
            ),
            add: super::SPOE_CONF.to_owned(),
        });
    }
    let name = lines().find(|words| words.first() == Some(&"use-backend"));
    let name = name
        .and_then(|words| words.get(1).copied())
        .unwrap_or("acme-agent");
    let backend = file
        .of(&["backend", "listen"])
        .find(|section| section.name == name);
    let agent = &wanted.settings.agent;
    match backend {
        None => lacks.push(Lack {
            line: None,
            what: format!("there is no backend {name}, which is where the agent is asked"),
            add: format!("backend {name}\n    mode tcp\n    option spop-check\n    timeout connect 500ms\n    timeout server 1m\n    server agent {agent} check inter 2s fastinter 250ms downinter 250ms fall 1 rise 1 observe layer4 error-limit 1 on-error mark-down\n"),
        }),
        Some(section) if section.is_http => lacks.push(Lack {
            line: Some(section.line),
            what: format!("backend {name} is in `mode http`; the agent does not speak HTTP"),
            add: "    mode tcp\n".to_owned(),
        }),
        Some(_) => {}
    }
}

fn neighbours(file: &File, settings: &Settings, lacks: &mut Vec<Lack>) {
    for neighbour in &settings.neighbours {
        let mut servers = file
            .of(&["backend", "listen"])
            .flat_map(|section| section.lines_with(&["server"]));
        if servers.any(|line| line.words.get(2).is_some_and(|a| a == neighbour.as_str())) {
            continue;
        }
        lacks.push(Lack {
            line: None,
            what: format!(
                "the neighbour {neighbour} is not asked for tokens that are not known here"
            ),
            add: part(settings, |section| section.is_none()),
        });
        // One such part mends them all.
        return;
    }
}

fn part(settings: &Settings, is_wanted: impl Fn(Option<&str>) -> bool) -> String {
    let parts = settings.parts();
    let part = parts
        .into_iter()
        .find(|part| is_wanted(part.section.as_deref()));
    part.map(|part| part.text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{HAPROXY_CFG, SPOE_CONF};
    use super::*;

    fn lacks(text: &str) -> Vec<(Option<usize>, String)> {
        let settings = Settings::default();
        let wanted = Wanted {
            settings: &settings,
            spoe_conf: Some(SPOE_CONF),
        };
        let lacks = audit(&File::parse(text), &wanted);
        lacks
            .into_iter()
            .map(|lack| (lack.line, lack.what))
            .collect()
    }

    #[test]
    fn the_shipped_files_lack_nothing() {
        assert_eq!(lacks(HAPROXY_CFG), []);
        let with_neighbours = include_str!("../../etc/haproxy-neighbours.cfg");
        assert_eq!(lacks(with_neighbours), []);
        assert_eq!(lacks(&Settings::default().complete()), []);
    }

    #[test]
    fn debians_own_file_lacks_everything() {
        let text = "global\n\tstats socket /run/haproxy/admin.sock mode 660 level admin\ndefaults\n\tmode http\n";
        let found = lacks(text);
        assert_eq!(found.len(), 4, "{found:#?}");
    }

    /// Each change of the shipped file is found, and nothing else is.
    #[test]
    fn finds_what_was_taken_away_or_put_in_the_way() {
        for (from, to, line, word) in [
            (" level admin", "", Some(12), "level admin"),
            (
                "SOCKET-/run/haproxy/admin.sock",
                "SOCKET-/run/other.sock",
                None,
                "stats socket",
            ),
            (
                "redirect scheme https code 301 unless acme-challenge",
                "redirect scheme https unless { ssl_fc }",
                Some(31),
                "ssl_fc",
            ),
            (
                "    use_backend acme-challenge if acme-challenge\n",
                "",
                Some(25),
                "frontend http",
            ),
            (
                "    acl acme-challenge path",
                "    http-request deny if { src 192.0.2.1 }\n    acl acme-challenge path",
                Some(28),
                "deny",
            ),
            (
                "    use_backend acme-challenge if acme-challenge",
                "    use_backend x if { hdr(host) x }\n    use_backend acme-challenge if acme-challenge",
                Some(32),
                "use_backend x",
            ),
            (
                "CERTIFICATES-/var/lib/spoacme/live/",
                "CERTIFICATES-/etc/ssl/private",
                Some(37),
                "/var/lib/spoacme/live/",
            ),
            (
                "    filter spoe engine acme",
                "    filter spoe engine other",
                Some(48),
                "filter",
            ),
            ("backend acme-agent", "backend other", None, "acme-agent"),
            ("    mode tcp\n", "", Some(61), "mode http"),
            (
                "SPOACME_HTTP_BIND-:80",
                "SPOACME_HTTP_BIND-:8080",
                None,
                "port 80",
            ),
        ] {
            let changed = HAPROXY_CFG.replacen(from, to, 1);
            assert_ne!(changed, HAPROXY_CFG, "{from}");
            let found = lacks(&changed);
            let [(at, what)] = found.as_slice() else {
                panic!("{from}: {found:#?}");
            };
            assert!(what.contains(word), "{what}");
            let same = line.is_none_or(|line: usize| at.is_some_and(|at| at.abs_diff(line) <= 2));
            assert!(same && line.is_some() == at.is_some(), "{from}: {at:?}");
        }
    }

    #[test]
    fn neighbours_that_are_not_asked_are_found() {
        let settings = Settings {
            neighbours: ["192.0.2.2", "192.0.2.3"]
                .map(|n| n.parse().unwrap())
                .to_vec(),
            ..Settings::default()
        };
        let wanted = Wanted {
            settings: &settings,
            spoe_conf: Some(SPOE_CONF),
        };
        assert_eq!(audit(&File::parse(HAPROXY_CFG), &wanted).len(), 1);
        assert_eq!(audit(&File::parse(&settings.complete()), &wanted), []);
    }
}
