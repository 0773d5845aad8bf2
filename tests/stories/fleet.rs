//! Three load balancers behind one name, each with its own certificate.

use spoacme_tests::fleet::{Fleet, NAME, OWN, SIZE, VIRTUAL};
use spoacme_tests::haproxy::{Release, releases};
use spoacme_tests::pebble::Options;
use spoacme_tests::tls;
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[("fleet: each gets its own certificate", own)];

/// A fleet whose first load balancer has `release`, and the others the next
/// ones: versions meet as they do while somebody upgrades.
fn fleet(release: &Release, options: &Options) -> Result<Fleet, String> {
    let all = releases()?;
    let first = all.iter().position(|one| one == release).unwrap_or(0);
    let chosen: [&Release; SIZE] = std::array::from_fn(|step| &all[(first + step) % all.len()]);
    Fleet::start(chosen, options)
}

/// All three at once, while validation lands on any of them.
fn own(release: &Release) -> Result<(), String> {
    let mut fleet = fleet(release, &Options::default())?;
    for node in &mut fleet.nodes {
        node.run_daemon()?;
    }
    let mut leaves = Vec::new();
    for (node, own) in fleet.nodes.iter().zip(OWN) {
        node.manager().wait_for_generation(1)?;
        let serve = |address| {
            let chain = fleet
                .ca
                .stage
                .enter(|| tls::chain_at((address, 443).into(), NAME))??;
            chain.into_iter().next().ok_or("no leaf".to_owned())
        };
        let leaf = serve(own)?;
        ensure(
            leaf == serve(VIRTUAL[node.index])?,
            "by its virtual address another",
        )?;
        ensure(!leaves.contains(&leaf), "two serve the same")?;
        leaves.push(leaf);
    }
    ensure(fleet.ca.issued() == SIZE, fleet.ca.log())?;
    let (own, neighbours) = until("the journals", || {
        let (own, neighbours) = fleet.answered();
        ensure(own + neighbours >= 9, format!("{:#?}", fleet.validations()))?;
        Ok::<_, String>((own, neighbours))
    })?;
    ensure(
        neighbours > 0,
        format!("{own} answered by the one asked, none by a neighbour"),
    )
}
