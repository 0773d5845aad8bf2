//! The faults: how each is set up, and what it is to be found as.

use std::fs;

use spoacme_tests::dns::{Answers, Fault as DnsFault};
use spoacme_tests::haproxy::repository;
use spoacme_tests::process::{Process, Signal};
use spoacme_tests::stage::Stage;
use spoacme_tests::wait::until;

use super::bystander::{drop_packets, greeter, haproxy, nginx};
use super::{NAME, Scene};

/// A fault.
pub(super) struct Fault {
    pub(super) title: &'static str,
    pub(super) class: &'static str,
    pub(super) severity: &'static str,
    /// Whether it has its own HAProxy, and is seen on every version.
    pub(super) is_of_haproxy: bool,
    /// Sets it up; returns what `check` is told besides the name.
    pub(super) set: fn(&mut Scene) -> Result<Vec<String>, String>,
}

type Arguments = Result<Vec<String>, String>;

const fn of(
    title: &'static str,
    class: &'static str,
    severity: &'static str,
    set: fn(&mut Scene) -> Arguments,
) -> Fault {
    Fault {
        title,
        class,
        severity,
        is_of_haproxy: false,
        set,
    }
}

const fn of_haproxy(
    title: &'static str,
    class: &'static str,
    severity: &'static str,
    set: fn(&mut Scene) -> Arguments,
) -> Fault {
    Fault {
        is_of_haproxy: true,
        ..of(title, class, severity, set)
    }
}

pub(super) const ALL: &[Fault] = &[
    of_haproxy("all is well", "fine", "good", well),
    of("an alias", "fine", "good", alias),
    of(
        "redirected to a host that answers",
        "fine",
        "good",
        good_redirect,
    ),
    of("CAA names this CA", "fine", "good", |scene| {
        caa(scene, &["pebble.test"])
    }),
    of(
        "refused outside, answered inside",
        "hairpin",
        "note",
        |scene| leads_to(scene, "127.0.0.9"),
    ),
    of(
        "dropped outside, answered inside",
        "hairpin",
        "note",
        dropped_outside,
    ),
    of("nobody listens", "port-closed", "certain", closed),
    of(
        "one of two addresses refuses",
        "port-closed",
        "uncertain",
        half_closed,
    ),
    of("a firewall drops", "no-answer", "uncertain", dropped),
    of("HAProxy hangs", "no-answer", "uncertain", hung),
    of(
        "a stateless ACME client in nginx",
        "foreign-client",
        "certain",
        stateless_client,
    ),
    of("a challenge page of a CDN", "intercepted", "certain", cdn),
    of(
        "a cloud load balancer without a target",
        "intercepted",
        "certain",
        cloud,
    ),
    of("redirects in a circle", "redirects", "certain", circle),
    of("a redirect to port 8443", "redirects", "certain", |s| {
        redirect(s, "https://$host:8443$request_uri")
    }),
    of(
        "a redirect without its slash",
        "redirects",
        "certain",
        |s| redirect(s, "https://$host.well-known/acme-challenge/x"),
    ),
    of(
        "redirected to https, nothing there",
        "https-redirect",
        "certain",
        https_redirect,
    ),
    of(
        "nginx' default page, no other view",
        "other-answer",
        "certain",
        default_page,
    ),
    of(
        "a file server says 404",
        "other-answer",
        "certain",
        file_server,
    ),
    of(
        "what answers is not HTTP",
        "other-answer",
        "certain",
        not_http,
    ),
    of(
        "DNS leads to another server",
        "dns-elsewhere",
        "certain",
        elsewhere,
    ),
    of_haproxy(
        "haproxy.cfg without spoacme's parts",
        "no-filter",
        "certain",
        no_filter,
    ),
    of_haproxy(
        "haproxy.cfg redirects everything",
        "https-redirect",
        "certain",
        redirects_everything,
    ),
    of_haproxy(
        "another load balancer does not know it",
        "unknown-token",
        "certain",
        unknown_token,
    ),
    of("the agent is stopped", "agent-down", "certain", no_agent),
    of_haproxy(
        "HAProxy does not reach the agent",
        "agent-down",
        "certain",
        unreached_agent,
    ),
    of_haproxy(
        "PROXY protocol expected, not spoken",
        "proxy-protocol",
        "certain",
        proxy_expected,
    ),
    of(
        "PROXY protocol spoken, not expected",
        "proxy-protocol",
        "certain",
        proxy_spoken,
    ),
    of(
        "the name does not exist",
        "no-address",
        "certain",
        |scene| forget(scene),
    ),
    of(
        "the name has no addresses",
        "no-address",
        "certain",
        no_addresses,
    ),
    of("SERVFAIL", "dns-failure", "uncertain", |scene| {
        dns_fault(scene, DnsFault::Fails)
    }),
    of("DNS is silent", "dns-failure", "uncertain", |scene| {
        dns_fault(scene, DnsFault::Silent)
    }),
    of(
        "signatures are not in order",
        "dnssec",
        "certain",
        |scene| dns_fault(scene, DnsFault::Bogus),
    ),
    of(
        "IPv6 refuses, IPv4 is well",
        "ipv6-broken",
        "note",
        v6_closed,
    ),
    of(
        "IPv6 leads elsewhere, IPv4 is well",
        "ipv6-broken",
        "certain",
        v6_elsewhere,
    ),
    of("CAA lets nobody issue", "caa-forbids", "certain", |scene| {
        caa(scene, &[""])
    }),
    of(
        "CAA names another CA, above",
        "caa-forbids",
        "certain",
        caa_above,
    ),
    of(
        "DNS gives a private address",
        "not-public",
        "uncertain",
        private,
    ),
];

fn nothing() -> Arguments {
    Ok(Vec::new())
}

fn connect_to(address: &str) -> Arguments {
    Ok(vec!["--connect-to".to_owned(), address.to_owned()])
}

fn leads_to(scene: &Scene, address: &str) -> Arguments {
    scene.dns.resolve(NAME, &[address])?;
    nothing()
}

fn well(scene: &mut Scene) -> Arguments {
    crate::outage::placeholder(&scene.stage)?;
    scene.running.push(Box::new(scene.stage.agent()?));
    scene.running.push(Box::new(scene.stage.haproxy()?));
    crate::outage::wait_for_agent(&scene.stage)?;
    nothing()
}

fn alias(scene: &mut Scene) -> Arguments {
    scene.dns.resolve("lb.test", &["127.0.0.1"])?;
    let alias = Some("lb.test".to_owned());
    scene.dns.set(
        NAME,
        Answers {
            alias,
            ..Answers::default()
        },
    );
    nothing()
}

/// To the same name at the address of HAProxy, by its https side.
fn good_redirect(scene: &mut Scene) -> Arguments {
    let (http, https) = (scene.stage.http, scene.stage.https);
    let front = format!(
        "global\n\
         defaults\n  mode tcp\n  timeout client 5s\n  timeout server 5s\n  timeout connect 1s\n\
         frontend http\n  mode http\n  bind 127.0.0.2:{http}\n  http-request redirect scheme https\n\
         listen https\n  bind 127.0.0.2:{https}\n  server haproxy 127.0.0.1:{https}\n"
    );
    haproxy(scene, &format!("127.0.0.2:{http}"), &front)?;
    leads_to(scene, "127.0.0.2")
}

fn dropped_outside(scene: &mut Scene) -> Arguments {
    drop_packets(scene, "127.0.0.8")?;
    leads_to(scene, "127.0.0.8")
}

fn closed(scene: &mut Scene) -> Arguments {
    leads_to(scene, "127.0.0.9")?;
    connect_to("127.0.0.9")
}

fn half_closed(scene: &mut Scene) -> Arguments {
    scene.dns.resolve(NAME, &["127.0.0.1", "127.0.0.9"])?;
    nothing()
}

fn dropped(scene: &mut Scene) -> Arguments {
    drop_packets(scene, "127.0.0.8")?;
    leads_to(scene, "127.0.0.8")?;
    connect_to("127.0.0.8")
}

/// The kernel goes on accepting for a stopped process.
fn hung(scene: &mut Scene) -> Arguments {
    let http = scene.stage.http;
    let text = format!(
        "defaults\n  mode http\n  timeout client 5s\nfrontend http\n  bind 127.0.0.2:{http}\n"
    );
    haproxy(scene, &format!("127.0.0.2:{http}"), &text)?;
    let process = scene
        .running
        .last()
        .and_then(|last| last.downcast_ref::<Process>());
    process.ok_or("no process")?.signal(Signal::STOP)?;
    leads_to(scene, "127.0.0.2")?;
    connect_to("127.0.0.2")
}

/// What acme.sh's manual calls stateless mode.
fn stateless_client(scene: &mut Scene) -> Arguments {
    let rule = "if ($uri ~ ^/\\.well-known/acme-challenge/([-_a-zA-Z0-9]+)$) \
                { return 200 $1.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI; }";
    elsewhere_with(scene, rule)
}

/// nginx at another address, to which the name leads.
fn elsewhere_with(scene: &mut Scene, rule: &str) -> Arguments {
    let address = format!("127.0.0.2:{}", scene.stage.http);
    nginx(scene, &address, rule)?;
    leads_to(scene, "127.0.0.2")
}

fn cdn(scene: &mut Scene) -> Arguments {
    let rule = "add_header CF-RAY 8f1d2c3b4a5e6f70-FRA always; return 403 'Just a moment...';";
    elsewhere_with(scene, rule)
}

fn cloud(scene: &mut Scene) -> Arguments {
    let rule = "add_header Via '1.1 varnish' always; return 503 'Backend fetch failed';";
    elsewhere_with(scene, rule)
}

fn circle(scene: &mut Scene) -> Arguments {
    redirect(scene, "http://$host$request_uri")
}

fn redirect(scene: &mut Scene, location: &str) -> Arguments {
    elsewhere_with(scene, &format!("return 301 {location};"))
}

fn https_redirect(scene: &mut Scene) -> Arguments {
    redirect(scene, "https://$host$request_uri")?;
    connect_to("127.0.0.2")
}

fn default_page(scene: &mut Scene) -> Arguments {
    elsewhere_with(scene, "return 200 'Welcome to nginx!';")?;
    connect_to("127.0.0.2")
}

fn file_server(scene: &mut Scene) -> Arguments {
    let root = scene.stage.path("www");
    fs::create_dir_all(&root).map_err(|error| error.to_string())?;
    elsewhere_with(scene, &format!("root {};", root.display()))?;
    connect_to("127.0.0.2")
}

/// A mail server, or anything else that speaks first.
fn not_http(scene: &mut Scene) -> Arguments {
    let address = format!("127.0.0.2:{}", scene.stage.http);
    greeter(scene, &address, "220 mail.test ESMTP ready\r\n")?;
    leads_to(scene, "127.0.0.2")?;
    connect_to("127.0.0.2")
}

fn elsewhere(scene: &mut Scene) -> Arguments {
    elsewhere_with(scene, "return 404;")
}

/// HAProxy with what `change` makes of the shipped configuration.
fn changed_haproxy(scene: &mut Scene, change: impl Fn(String) -> String) -> Result<(), String> {
    crate::outage::placeholder(&scene.stage)?;
    scene.running.push(Box::new(scene.stage.agent()?));
    let shipped = repository().join("haproxy/etc/haproxy.cfg");
    let text = fs::read_to_string(shipped).map_err(|error| error.to_string())?;
    let changed = change(text.clone());
    if text == changed {
        return Err("the change changes nothing".to_owned());
    }
    scene.stage.configuration = Some(scene.stage.write("haproxy.cfg", &changed)?);
    scene.running.push(Box::new(scene.stage.haproxy()?));
    Ok(())
}

fn no_filter(scene: &mut Scene) -> Arguments {
    let app = format!("127.0.0.1:{}", scene.stage.app);
    nginx(scene, &app, "return 404 'no such page';")?;
    changed_haproxy(scene, |text| {
        let text = text
            .replace(
                "    use_backend acme-challenge if acme-challenge\n",
                "    default_backend app\n",
            )
            .replace(
                "    http-request redirect scheme https code 301 unless acme-challenge\n",
                "",
            )
            .replace(
                "    use_backend acme-challenge if { path_beg /.well-known/acme-challenge/ }\n",
                "",
            );
        let own = text
            .find("# --- spoacme begin: who answers")
            .unwrap_or(text.len());
        text[..own].to_owned()
    })?;
    nothing()
}

fn redirects_everything(scene: &mut Scene) -> Arguments {
    changed_haproxy(scene, |text| {
        text.replace("code 301 unless acme-challenge", "code 301")
            .replace(
                "    use_backend acme-challenge if { path_beg /.well-known/acme-challenge/ }\n",
                "",
            )
    })?;
    nothing()
}

/// Two load balancers that do not ask each other; the name leads to the other.
fn unknown_token(scene: &mut Scene) -> Arguments {
    well(scene)?;
    let mut other = Stage::new(&scene.stage.release)?;
    other.http_bind = Some(format!("127.0.0.2:{}", scene.stage.http));
    crate::outage::placeholder(&other)?;
    let agent = other.agent()?;
    let haproxy = other.haproxy()?;
    until("the other agent", || {
        let (stats, up) = (haproxy.runtime("show servers state acme-agent")?, " 2 ");
        if stats.contains(up) {
            Ok(())
        } else {
            Err(stats)
        }
    })?;
    scene.running.push(Box::new(agent));
    scene.running.push(Box::new(haproxy));
    scene.running.push(Box::new(other));
    leads_to(scene, "127.0.0.2")
}

fn no_agent(scene: &mut Scene) -> Arguments {
    scene.running.remove(0);
    nothing()
}

fn unreached_agent(scene: &mut Scene) -> Arguments {
    scene.stage.agent_server = "unix@/elsewhere/spop.sock".to_owned();
    crate::outage::placeholder(&scene.stage)?;
    scene.running.push(Box::new(scene.stage.agent()?));
    scene.running.push(Box::new(scene.stage.haproxy()?));
    nothing()
}

fn proxy_expected(scene: &mut Scene) -> Arguments {
    changed_haproxy(scene, |text| {
        text.replace("HTTP_BIND-:80}\"", "HTTP_BIND-:80}\" accept-proxy")
    })?;
    nothing()
}

fn proxy_spoken(scene: &mut Scene) -> Arguments {
    let http = scene.stage.http;
    let text = format!(
        "defaults\n  mode tcp\n  timeout client 5s\n  timeout server 5s\n  timeout connect 1s\n\
         listen front\n  bind 127.0.0.2:{http}\n  server haproxy 127.0.0.1:{http} send-proxy\n"
    );
    haproxy(scene, &format!("127.0.0.2:{http}"), &text)?;
    leads_to(scene, "127.0.0.2")
}

fn forget(scene: &Scene) -> Arguments {
    scene.dns.remove(NAME);
    nothing()
}

fn no_addresses(scene: &mut Scene) -> Arguments {
    scene.dns.set(NAME, Answers::default());
    nothing()
}

fn dns_fault(scene: &Scene, fault: DnsFault) -> Arguments {
    let addresses = vec![[127, 0, 0, 1].into()];
    let fault = Some(fault);
    scene.dns.set(
        NAME,
        Answers {
            addresses,
            fault,
            ..Answers::default()
        },
    );
    nothing()
}

fn v6_closed(scene: &mut Scene) -> Arguments {
    scene.dns.resolve(NAME, &["127.0.0.1", "::1"])?;
    nothing()
}

fn v6_elsewhere(scene: &mut Scene) -> Arguments {
    let address = format!("[::1]:{}", scene.stage.http);
    nginx(scene, &address, "return 404;")?;
    v6_closed(scene)
}

fn caa(scene: &Scene, issuers: &[&str]) -> Arguments {
    let addresses = vec![[127, 0, 0, 1].into()];
    let issuers = issuers.iter().map(ToString::to_string).collect();
    scene.dns.set(
        NAME,
        Answers {
            addresses,
            issuers,
            ..Answers::default()
        },
    );
    nothing()
}

fn caa_above(scene: &mut Scene) -> Arguments {
    let issuers = vec!["other-ca.test".to_owned()];
    scene.dns.set(
        "test",
        Answers {
            issuers,
            ..Answers::default()
        },
    );
    nothing()
}

fn private(scene: &mut Scene) -> Arguments {
    let path = scene.stage.path("spoacme.toml");
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    scene.stage.write(
        "spoacme.toml",
        &text.replace("allow-reserved = true", "allow-reserved = false"),
    )?;
    leads_to(scene, "10.1.2.3")
}
