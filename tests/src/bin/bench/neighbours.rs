//! What a neighbour's answer costs, against one's own.

use std::time::{Duration, Instant};

use spoacme_tests::fleet::{Fleet, Node};
use spoacme_tests::haproxy::{Release, releases};
use spoacme_tests::http;
use spoacme_tests::manager::token;
use spoacme_tests::pebble::Options;
use spoacme_tests::wait::{ensure, until};

use crate::times::Times;

/// Measures with this many requests a row.
pub(crate) fn run(requests: usize) -> Result<(), String> {
    println!(
        "One client, a connection for each request, {requests} requests a row, rows in turn.\n\
         The three load balancers share this machine's cores.\n"
    );
    releases()?
        .iter()
        .try_for_each(|release| measure(release, requests.max(1)))
}

fn measure(release: &Release, requests: usize) -> Result<(), String> {
    let mut fleet = Fleet::start(std::slice::from_ref(release), &Options::default())?;
    let paths = [FIRST, LAST].map(|token| format!("/.well-known/acme-challenge/{token}"));
    let [first, last] = paths.each_ref().map(String::as_str);
    publish(&fleet.nodes[0], FIRST)?;
    publish(&fleet.nodes[2], LAST)?;
    let mut rows = [
        Row::new("here", 2, last, 200),
        Row::new("by the first neighbour", 1, first, 200),
        Row::new("by the second, the first does not know", 0, last, 200),
        Row::new("by nobody: 404", 0, UNKNOWN, 404),
    ];
    fill(&fleet, &mut rows, requests)?;
    let mut late = [Row::new(
        "by the second, the first died just now",
        0,
        last,
        200,
    )];
    let mut dead = [
        Row::new("here, again", 2, last, 200),
        Row::new("by the second, the first is dead", 0, last, 200),
    ];
    fleet.nodes[1].cut_power()?;
    while fleet.nodes[0].neighbours()?[0] != "DOWN" {
        fill(&fleet, &mut late, 1)?;
    }
    until("both health checks", || {
        let found = fleet.nodes[2].neighbours()?;
        ensure(found == ["UP", "DOWN"], format!("{found:?}"))
    })?;
    fill(&fleet, &mut dead, requests)?;
    let before = Vec::from_iter(rows.iter().chain(&late));
    print_table(&release.exact, &before, &rows[0]);
    print_table("", &Vec::from_iter(&dead), &dead[0]);
    Ok(())
}

const NAME: &str = "shop.test";
/// Known by the first load balancer alone, and by the last one alone.
const FIRST: &str = "first-first-first-first-first-first-first-fi";
const LAST: &str = "last-last-last-last-last-last-last-last-last";
const UNKNOWN: &str = "/.well-known/acme-challenge/none-none-none-none-none-none-none-none-none";

fn publish(node: &Node, name: &str) -> Result<(), String> {
    // As long as a real one: the token, and a SHA-256 thumbprint.
    let authorization = format!("{name}.{}", "t".repeat(43));
    token(&node.stage, &["put", "--host", NAME, name, &authorization]).map(drop)
}

/// One way to ask, and how long the answers took.
struct Row<'a> {
    name: &'static str,
    /// The load balancer asked.
    node: usize,
    path: &'a str,
    status: u16,
    times: Times,
}

impl<'a> Row<'a> {
    fn new(name: &'static str, node: usize, path: &'a str, status: u16) -> Self {
        Self {
            name,
            node,
            path,
            status,
            times: Times::default(),
        }
    }

    fn ask(&mut self, fleet: &Fleet) -> Result<(), String> {
        let address = fleet.nodes[self.node].http()?;
        let begun = Instant::now();
        let answer = http::get_at(address, NAME, self.path)?;
        self.times.push(begun.elapsed());
        ensure(
            answer.status == self.status,
            format!("{}: {answer:?}", self.name),
        )
    }
}

/// Asks for every row in turn, so that they share good and bad moments.
fn fill(fleet: &Fleet, rows: &mut [Row<'_>], requests: usize) -> Result<(), String> {
    let _inside = fleet.enter_ca()?;
    (0..requests).try_for_each(|_| rows.iter_mut().try_for_each(|row| row.ask(fleet)))
}

fn print_table(release: &str, rows: &[&Row<'_>], base: &Row<'_>) {
    if !release.is_empty() {
        println!(
            "{:42}{:>9}{:>10}{:>10}{:>10}{:>10}",
            format!("HAProxy {release}: answered"),
            "requests",
            "p50 µs",
            "p99 µs",
            "ratio p50",
            "ratio p99"
        );
    }
    for row in rows {
        let [p50, p99] = [50, 99].map(|percent| row.times.percentile(percent));
        let ratio = |time: Duration, percent| {
            time.as_secs_f64()
                / base
                    .times
                    .percentile(percent)
                    .as_secs_f64()
                    .max(f64::MIN_POSITIVE)
        };
        println!(
            "{:42}{:>9}{:>10}{:>10}{:>10.2}{:>10.2}",
            row.name,
            row.times.len(),
            p50.as_micros(),
            p99.as_micros(),
            ratio(p50, 50),
            ratio(p99, 99)
        );
    }
    if release.is_empty() {
        println!();
    }
}
