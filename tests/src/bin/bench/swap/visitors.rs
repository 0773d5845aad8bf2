//! Visitors who make one handshake after the other, and what they see.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use spoacme_tests::tls;

use super::store::Hot;
use crate::times::Times;

/// A hot name, and what its visitors may expect.
pub(super) struct Name {
    pub(super) hot: Hot,
    /// The newest generation that HAProxy is known to serve.
    pub(super) confirmed: AtomicU64,
}

impl Name {
    pub(super) fn new(hot: Hot) -> Self {
        Self {
            hot,
            confirmed: AtomicU64::new(0),
        }
    }
}

/// What visitors saw.
#[derive(Default)]
pub(super) struct Book {
    /// Those that succeeded.
    pub(super) handshakes: AtomicUsize,
    pub(super) failed: AtomicUsize,
    /// The leaf was not for the name asked for.
    pub(super) wrong: AtomicUsize,
    /// The leaf was older than one confirmed before the handshake began.
    pub(super) older: AtomicUsize,
    /// The first few of whatever went wrong.
    pub(super) examples: Mutex<Vec<String>>,
    pub(super) reloads: Mutex<Reloads>,
}

impl Book {
    fn note(&self, counter: &AtomicUsize, example: String) {
        counter.fetch_add(1, Ordering::SeqCst);
        if let Ok(mut examples) = self.examples.lock()
            && examples.len() < EXAMPLES_MAX
        {
            examples.push(format!("{example}, {}", self.when()));
        }
    }

    pub(super) fn reloaded(&self, overlap: Duration) {
        if let Ok(mut reloads) = self.reloads.lock() {
            reloads.overlaps.push(overlap);
            reloads.last = Some(Instant::now());
        }
    }

    fn when(&self) -> String {
        let last = self.reloads.lock().ok().and_then(|reloads| reloads.last);
        last.map_or_else(
            || "before all reloads".to_owned(),
            |at| format!("{} ms after a reload", at.elapsed().as_millis()),
        )
    }

    /// Waits until so many were tried.
    pub(super) fn wait_for(&self, handshakes: usize) {
        let tried = || [&self.handshakes, &self.failed].map(|count| count.load(Ordering::SeqCst));
        while tried().iter().sum::<usize>() < handshakes {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The reloads so far.
#[derive(Default)]
pub(super) struct Reloads {
    /// How long the old worker stayed beside the new one.
    pub(super) overlaps: Times,
    last: Option<Instant>,
}

const EXAMPLES_MAX: usize = 5;

pub(super) fn visit(names: &[Name], first: usize, port: u16, book: &Book, is_over: &AtomicBool) {
    for name in names.iter().cycle().skip(first) {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let expected = name.confirmed.load(Ordering::SeqCst);
        match see(port, &name.hot.name) {
            Err(error) => book.note(&book.failed, error),
            Ok(seen) => {
                book.handshakes.fetch_add(1, Ordering::SeqCst);
                seen.judge(&name.hot.name, expected, book);
            }
        }
    }
}

/// A leaf.
struct Seen {
    names: Vec<String>,
    generation: u64,
}

fn see(port: u16, name: &str) -> Result<Seen, String> {
    let leaf = tls::leaf(port, name)?;
    Ok(Seen {
        names: tls::names(&leaf)?,
        generation: tls::serial(&leaf)?,
    })
}

impl Seen {
    fn judge(&self, name: &str, expected: u64, book: &Book) {
        let Self { names, generation } = self;
        if !names.iter().any(|found| found == name) {
            book.note(&book.wrong, format!("{name}: {names:?}"));
        } else if *generation < expected {
            let example = format!("{name}: generation {generation} after {expected}");
            book.note(&book.older, example);
        }
    }
}
