//! `spoacme haproxy-config`: what HAProxy's configuration must say.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde_json::json;
use spoacme_haproxy::configuration::{
    File, Lack, NEIGHBOURS_MAX, Neighbour, NeighbourError, Part, SPOE_CONF, Settings, Wanted,
    agent_server, audit,
};
use spoacme_haproxy::runtime::Address;

use super::{complain, output};
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::exit::Exit;
use crate::key;
use crate::names::DnsName;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Another load balancer, asked for tokens that are not known here; may be given again
    #[arg(long = "neighbour", value_name = "IP[:PORT]", value_parser = parse_neighbour)]
    neighbours: Vec<Neighbour>,

    /// HAProxy's configuration as it is, which chroot, socket and addresses are taken from
    #[arg(long, value_name = "FILE", default_value = "/etc/haproxy/haproxy.cfg")]
    file: PathBuf,

    /// The HAProxy to print for
    #[arg(long, value_name = "PROGRAM", default_value = "/usr/sbin/haproxy")]
    haproxy: PathBuf,

    /// Where the agent listens: HOST:PORT, unix:PATH or abns:NAME [default: below the chroot]
    #[arg(long, value_name = "ADDR")]
    agent: Option<String>,

    /// Print a whole haproxy.cfg instead of the parts to paste
    #[arg(long)]
    complete: bool,

    /// Let HAProxy check the whole of it, and print what it says
    #[arg(long, conflicts_with_all = ["complete", "diff"])]
    check: bool,

    /// Show what FILE lacks
    #[arg(long, conflicts_with = "complete")]
    diff: bool,
}

fn parse_neighbour(text: &str) -> Result<Neighbour, NeighbourError> {
    text.parse()
}

pub(super) fn execute(path: &Path, options: &Options, json: bool) -> Exit {
    let ground = match Ground::survey(path, options) {
        Ok(ground) => ground,
        Err(exit) => return exit,
    };
    match options {
        Options { check: true, .. } => check(&ground, options, json),
        Options { diff: true, .. } => diff(&ground, options, json),
        _ => show(&ground, options, json),
    }
}

/// What was found on this machine.
struct Ground {
    version: Option<String>,
    existing: Option<File>,
    settings: Settings,
}

impl Ground {
    fn survey(path: &Path, options: &Options) -> Result<Self, Exit> {
        if options.neighbours.len() > NEIGHBOURS_MAX {
            let message = format!(
                "{} neighbours; {NEIGHBOURS_MAX} at most",
                options.neighbours.len()
            );
            output::fail(&message, None);
            return Err(Exit::Usage);
        }
        let existing = read_if_there(&options.file)?.map(|text| File::parse(&text));
        let mut settings = Settings {
            neighbours: options.neighbours.clone(),
            ..Settings::default()
        };
        if let Some(file) = &existing {
            take_from_existing(&mut settings, file);
        }
        take_from_manager(&mut settings, path)?;
        if let Some(listen) = &options.agent {
            // Without a haproxy.cfg, the shipped one's chroot holds.
            let has_chroot = existing
                .as_ref()
                .is_none_or(|file| file.global("chroot").is_some());
            let chroot = Some(settings.chroot.as_str()).filter(|_| has_chroot);
            settings.agent = agent_server(listen, chroot).map_err(|error| {
                output::fail(&error.to_string(), None);
                Exit::Usage
            })?;
        }
        Ok(Self {
            version: version(&options.haproxy),
            existing,
            settings,
        })
    }

    fn describe(&self, options: &Options) -> String {
        let version = self.version.as_deref().map_or_else(
            || {
                format!(
                    "HAProxy 2.6 and later ({} is not to be run)",
                    options.haproxy.display()
                )
            },
            |version| format!("HAProxy {version}"),
        );
        let source = match self.existing {
            Some(_) => format!("values as in {}", options.file.display()),
            None => format!("there is no {}", options.file.display()),
        };
        format!("# For {version}; {source}.")
    }
}

fn read_if_there(path: &Path) -> Result<Option<String>, Exit> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(output::fail(
            &format!("cannot read {}: {error}", path.display()),
            Some("name HAProxy's configuration with --file, and run as a user who may read it"),
        )),
    }
}

fn take_from_existing(settings: &mut Settings, file: &File) {
    if let Some(chroot) = file.global("chroot") {
        chroot.clone_into(&mut settings.chroot);
    }
    let binds = || {
        file.of(&["frontend", "listen"])
            .flat_map(|s| s.lines_with(&["bind"]))
    };
    let address = |line: &spoacme_haproxy::configuration::Line| line.words.get(1).cloned();
    let plain = binds().filter(|line| !line.has("ssl")).filter_map(address);
    if let Some(bind) = plain.into_iter().find(|address| address.ends_with(":80")) {
        settings.http_bind = bind;
    }
    if let Some(bind) = binds().filter(|line| line.has("ssl")).find_map(address) {
        settings.https_bind = bind;
    }
    let mut global = file.of(&["global"]).flat_map(|section| &section.lines);
    let socket = global.find(|line| line.begins_with(&["stats", "socket"]));
    if let Some(socket) = socket.and_then(|line| line.words.get(2)) {
        socket.clone_into(&mut settings.stats_socket);
    }
}

/// The manager knows which socket it uses and where certificates are. It need
/// not be configured yet.
fn take_from_manager(settings: &mut Settings, path: &Path) -> Result<(), Exit> {
    match Config::load(path) {
        Ok(config) => {
            if let Some(haproxy) = config.haproxys.first() {
                let directory = haproxy.certificates.display().to_string();
                settings.certificates = format!("{}/", directory.trim_end_matches('/'));
                if let Address::Unix(socket) = &haproxy.socket {
                    settings.stats_socket = socket.display().to_string();
                }
            }
            Ok(())
        }
        Err(ConfigError::Read(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(complain(&error)),
    }
}

/// Such as `2.6.12-1+deb12u4`.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("-v").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .strip_prefix("HAProxy version ")?
        .split_whitespace()
        .next()?;
    Some(version.to_owned())
}

fn show(ground: &Ground, options: &Options, json: bool) -> Exit {
    let settings = &ground.settings;
    if json {
        let part = |part: &Part| json!({ "section": part.section, "text": part.text });
        output::print_json(&json!({
            "haproxy": ground.version,
            "stats_socket": settings.stats_socket,
            "parts": Vec::from_iter(settings.parts().iter().map(part)),
            "complete": settings.complete(),
            "spoe_conf": { "file": settings.spoe_conf, "text": SPOE_CONF },
        }));
    } else if options.complete {
        output::print(&format!(
            "{}\n\n{}",
            ground.describe(options),
            settings.complete().trim_end()
        ));
    } else {
        output::print(&parts_as_text(ground, options));
    }
    Exit::Done
}

fn parts_as_text(ground: &Ground, options: &Options) -> String {
    let settings = &ground.settings;
    let mut text = ground.describe(options);
    let socket = &settings.stats_socket;
    text.push_str("\n\n# ===== into the section `global`: the Runtime API, at level admin\n");
    text.push_str(&format!("    stats socket {socket} mode 660 level admin\n"));
    for part in settings.parts() {
        let place = match part.section.as_deref() {
            Some("frontend http") => "into the frontend for plain HTTP, port 80",
            Some(_) => "into the frontend for TLS, port 443",
            None => "to the end",
        };
        text.push_str(&format!("\n# ===== {place}\n{}", part.text));
    }
    let file = &settings.spoe_conf;
    text.push_str(&format!(
        "\n# ===== {file}, a file of its own\n{}",
        SPOE_CONF.trim_end()
    ));
    text
}

fn diff(ground: &Ground, options: &Options, json: bool) -> Exit {
    let Some(file) = &ground.existing else {
        let message = format!("there is no {}", options.file.display());
        return output::fail(&message, Some("name HAProxy's configuration with --file"));
    };
    let spoe_conf = match read_if_there(&spoe_conf_of(file, &ground.settings)) {
        Ok(text) => text,
        Err(exit) => return exit,
    };
    let wanted = Wanted {
        settings: &ground.settings,
        spoe_conf: spoe_conf.as_deref(),
    };
    let lacks = audit(file, &wanted);
    if json {
        let lack = |l: &Lack| json!({ "line": l.line, "what": l.what, "add": l.add });
        let lacks = Vec::from_iter(lacks.iter().map(lack));
        output::print_json(&json!({ "file": options.file, "lacks": lacks }));
    } else {
        output::print(&lacks_as_text(&options.file, &lacks));
    }
    if lacks.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

/// The file that haproxy.cfg names, or would name.
fn spoe_conf_of(file: &File, settings: &Settings) -> PathBuf {
    let mut lines = file.sections.iter().flat_map(|section| &section.lines);
    let filter = lines.find(|line| line.begins_with(&["filter", "spoe", "engine", "acme"]));
    let named = filter.and_then(|line| line.after("config"));
    PathBuf::from(named.unwrap_or(&settings.spoe_conf))
}

fn lacks_as_text(file: &Path, lacks: &[Lack]) -> String {
    let file = file.display();
    if lacks.is_empty() {
        return format!("{file}: nothing is missing");
    }
    let mut text = String::new();
    for lack in lacks {
        let place = lack
            .line
            .map_or_else(|| file.to_string(), |line| format!("{file}:{line}"));
        text.push_str(&format!("{place}: {}\n", lack.what));
        for line in lack.add.lines() {
            text.push_str(format!("+ {line}").trim_end());
            text.push('\n');
        }
        text.push('\n');
    }
    let count = lacks.len();
    let s = if count == 1 { "" } else { "s" };
    text + &format!("{count} thing{s} to mend; lines with + show how")
}

/// HAProxy looks at the whole of it, with a certificate of our own: the real
/// directory may still be empty.
fn check(ground: &Ground, options: &Options, json: bool) -> Exit {
    let said = match run_check(ground, &options.haproxy) {
        Ok(said) => said,
        Err(error) => {
            let message = format!("cannot let {} check: {error}", options.haproxy.display());
            return output::fail(&message, Some("name HAProxy's program with --haproxy"));
        }
    };
    let version = ground.version.as_deref().unwrap_or("of unknown version");
    if json {
        output::print_json(
            &json!({ "haproxy": ground.version, "valid": said.is_valid, "said": said.text }),
        );
    } else if said.is_valid {
        let warnings = if said.text.is_empty() {
            ", without a warning"
        } else {
            "; it says:"
        };
        output::print(format!("valid for HAProxy {version}{warnings}\n{}", said.text).trim_end());
    } else {
        output::fail(
            &format!("HAProxy {version} refuses it:\n{}", said.text),
            None,
        );
    }
    if said.is_valid {
        Exit::Done
    } else {
        Exit::Failed
    }
}

struct Said {
    is_valid: bool,
    text: String,
}

fn run_check(ground: &Ground, program: &Path) -> io::Result<Said> {
    let directory = tempfile::tempdir()?;
    let place = |name: &str| directory.path().join(name);
    fs::create_dir(place("certificates"))?;
    fs::write(place("certificates/placeholder.pem"), placeholder()?)?;
    fs::write(place("spoe-acme.conf"), SPOE_CONF)?;
    let settings = Settings {
        certificates: format!("{}/", place("certificates").display()),
        spoe_conf: place("spoe-acme.conf").display().to_string(),
        ..ground.settings.clone()
    };
    fs::write(place("haproxy.cfg"), settings.complete())?;
    let output = Command::new(program)
        .arg("-c")
        .arg("-f")
        .arg(place("haproxy.cfg"))
        .output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).replace("Configuration file is valid", "");
    Ok(Said {
        is_valid: output.status.success(),
        text: text.trim().to_owned(),
    })
}

fn placeholder() -> io::Result<Vec<u8>> {
    let name = DnsName::try_from("placeholder.invalid".to_owned()).map_err(io::Error::other)?;
    let bundle = key::placeholder(&[name], clock::now()).map_err(io::Error::other)?;
    Ok(bundle.to_pem().as_bytes().to_vec())
}
