//! How far long work has come: a bar where somebody looks at a terminal, and
//! nothing but the results' own lines otherwise.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// All bars of this process; there is one at most.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// How far work on some things has come.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Begins work on `count` things. One alone is not worth a bar.
    pub(super) fn begin(count: usize) -> Self {
        let bar = ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX));
        if count < 2 || !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            return Self(bar);
        }
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        let bar = BARS.add(bar);
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Names the thing that is worked on now.
    pub(super) fn name(&self, thing: &str) {
        self.0.set_message(thing.to_owned());
    }

    /// One more is done.
    pub(super) fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

const TEMPLATE: &str = "{bar:30} {pos} of {len}, {per_sec}, {eta} left  {msg}";
const TICK: Duration = Duration::from_millis(200);

/// Prints while no bar is in the way.
pub(super) fn aside<T>(print: impl FnOnce() -> T) -> T {
    BARS.suspend(print)
}

/// Stderr for logs, with the bar out of the way.
#[derive(Debug)]
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        aside(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
