//! Many swaps and reloads under load: does a visitor ever see anything wrong?

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use spoacme_tests::haproxy::Release;
use spoacme_tests::stage::Stage;

use super::store::fill;
use super::visitors::{Book, Name, visit};
use super::ways::Target;
use crate::times::Times;

/// How much is done.
pub(super) struct Size {
    swaps: usize,
    reloads: usize,
    handshakes: usize,
    certificates: usize,
}

impl Size {
    /// A hundred reloads and ten handshakes for each of 10,000 swaps.
    ///
    /// With 10,000 certificates, the reloads alone would take most of the time:
    /// a tenth keeps a run below ten minutes.
    pub(super) fn full(swaps: usize) -> Self {
        Self {
            swaps,
            reloads: 100.min(swaps),
            handshakes: 100_000,
            certificates: 1000,
        }
    }

    pub(super) const QUICK: Self = Self {
        swaps: 200,
        reloads: 10,
        handshakes: 4000,
        certificates: 100,
    };
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Endurance: {} certificates, {} swaps, {} reloads in between, while {VISITORS} \
             visitors make at least {} handshakes.",
            self.certificates, self.swaps, self.reloads, self.handshakes
        )
    }
}

/// Enough to keep two cores busy.
const VISITORS: usize = 4;

/// Swaps and reloads, and counts what visitors saw.
pub(super) fn run(release: &Release, size: &Size) -> Result<Found, String> {
    let stage = Stage::new(release)?;
    let names = Vec::from_iter(fill(&stage, size.certificates)?.into_iter().map(Name::new));
    let haproxy = stage.haproxy()?;
    let target = Target::new(&haproxy, stage.path("admin.sock"))?;
    let (book, is_over) = (Book::default(), AtomicBool::new(false));
    let begun = Instant::now();
    let swaps = thread::scope(|scope| {
        for first in 0..VISITORS {
            let (names, book, is_over) = (&names, &book, &is_over);
            scope.spawn(move || visit(names, first, stage.https, book, is_over));
        }
        let swaps = swap_all(&names, size, &target, &book);
        is_over.store(true, Ordering::SeqCst);
        swaps
    });
    Ok(Found {
        swaps: swaps?,
        time: begun.elapsed(),
        book,
    })
}

/// Spreads the swaps over the handshakes, and the reloads over the swaps.
fn swap_all(
    names: &[Name],
    size: &Size,
    target: &Target<'_>,
    book: &Book,
) -> Result<Times, String> {
    let mut times = Times::default();
    for (done, name) in names.iter().cycle().take(size.swaps).enumerate() {
        book.wait_for(size.handshakes * done / size.swaps);
        times.push(swap(name, target)?);
        let reloads = |swaps| size.reloads * swaps / size.swaps;
        if reloads(done + 1) > reloads(done) {
            book.reloaded(reload(target)?);
        }
    }
    book.wait_for(size.handshakes);
    Ok(times)
}

/// Brings the next generation in, and says how long the swap itself took.
fn swap(name: &Name, target: &Target<'_>) -> Result<Duration, String> {
    let generation = name.confirmed.load(Ordering::SeqCst) + 1;
    let bundle = name.hot.bundle(generation)?;
    name.hot.write(&bundle)?;
    let begun = Instant::now();
    target.swap(&name.hot, &bundle)?;
    let time = begun.elapsed();
    name.confirmed.store(generation, Ordering::SeqCst);
    Ok(time)
}

/// Reloads, and says for how long the old worker was still there.
///
/// Both of them serve visitors meanwhile, and a swap reaches one of them: what
/// the other serves says nothing about the swap.
fn reload(target: &Target<'_>) -> Result<Duration, String> {
    let old = target.haproxy.worker()?;
    target.reload(old)?;
    let begun = Instant::now();
    Target::wait_for_end(old).map(|()| begun.elapsed())
}

/// What an endurance run has found.
pub(super) struct Found {
    swaps: Times,
    time: Duration,
    book: Book,
}

impl Found {
    fn faults(&self) -> [usize; 3] {
        [&self.book.failed, &self.book.wrong, &self.book.older]
            .map(|count| count.load(Ordering::SeqCst))
    }

    pub(super) fn is_clean(&self) -> bool {
        self.faults() == [0; 3]
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [failed, wrong, older] = self.faults();
        let millis = |times: &Times, percent| times.percentile(percent).as_secs_f64() * 1000.0;
        let reloads = self.book.reloads.lock().map_err(|_| fmt::Error)?;
        write!(
            f,
            "{} swaps (p50 {:.2} ms, p99 {:.2} ms) and {} reloads (the old worker stays for {:.0} ms, \
             {:.0} ms at most) in {:.0} s:\n{} handshakes, {failed} failed, {wrong} wrong name, \
             {older} older generation",
            self.swaps.len(),
            millis(&self.swaps, 50),
            millis(&self.swaps, 99),
            reloads.overlaps.len(),
            millis(&reloads.overlaps, 50),
            millis(&reloads.overlaps, 100),
            self.time.as_secs_f64(),
            self.book.handshakes.load(Ordering::SeqCst)
        )?;
        drop(reloads);
        let examples = self.book.examples.lock();
        let examples = examples
            .map(|examples| examples.clone())
            .unwrap_or_default();
        examples
            .iter()
            .try_for_each(|example| write!(f, "\n  {example}"))
    }
}
