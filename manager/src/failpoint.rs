//! Named points at which a test lets the process fail. Debug builds only: in a
//! release build [`reach`] does nothing.
//!
//! `SPOACME_FAILPOINT=NAME[#N]=ACTION` acts when the point is reached for the
//! N-th time (the first unless told otherwise):
//!
//! | action       | what happens                                            |
//! |--------------|---------------------------------------------------------|
//! | `exit`       | the process ends at once, with status 70                |
//! | `kill`       | it kills itself by SIGKILL                              |
//! | `error`      | the step fails with an input/output error               |
//! | `delay:MS`   | nothing goes on for so many milliseconds                |
//! | `pause:PATH` | `PATH` is made; all goes on when it is gone, or in 20 s |
//!
//! `SPOACME_FAILPOINTS_SEEN=PATH` lists there what is reached.

use crate::store::StoreError;

/// Says that the step `name` is reached, to whoever wants it to fail.
///
/// # Errors
///
/// When it is to fail with an error.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn reach(_name: &str) -> std::io::Result<()> {
    Ok(())
}

/// [`reach`], for steps whose errors are those of the store.
///
/// # Errors
///
/// As [`reach`].
pub(crate) fn step(name: &'static str) -> Result<(), StoreError> {
    reach(name).map_err(|source| StoreError::Io {
        action: "reach",
        path: name.into(),
        source,
    })
}

#[cfg(debug_assertions)]
pub(crate) use armed::reach;

#[cfg(debug_assertions)]
mod armed {
    use std::collections::BTreeMap;
    use std::io::{self, Write};
    use std::path::Path;
    use std::sync::{LazyLock, Mutex};
    use std::time::{Duration, Instant};
    use std::{env, fs, thread};

    struct Plan {
        name: String,
        at: u32,
        action: String,
    }

    static PLAN: LazyLock<Option<Plan>> =
        LazyLock::new(|| parse(&env::var("SPOACME_FAILPOINT").ok()?));
    static REACHED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

    fn parse(text: &str) -> Option<Plan> {
        let (point, action) = text.split_once('=')?;
        let (name, at) = point.split_once('#').unwrap_or((point, "1"));
        Some(Plan {
            name: name.to_owned(),
            at: at.parse().ok()?,
            action: action.to_owned(),
        })
    }

    /// Says that the step `name` is reached, to whoever wants it to fail.
    pub(crate) fn reach(name: &str) -> io::Result<()> {
        list(name);
        let Some(plan) = PLAN.as_ref().filter(|plan| plan.name == name) else {
            return Ok(());
        };
        let count = {
            let mut reached = REACHED.lock().map_err(|_| io::ErrorKind::Other)?;
            let count = reached.entry(name.to_owned()).or_default();
            *count += 1;
            *count
        };
        match count == plan.at {
            true => act(&plan.action),
            false => Ok(()),
        }
    }

    fn list(name: &str) {
        static SEEN: LazyLock<Option<Mutex<fs::File>>> = LazyLock::new(|| {
            let path = env::var_os("SPOACME_FAILPOINTS_SEEN")?;
            let file = fs::File::options().create(true).append(true).open(path);
            Some(Mutex::new(file.ok()?))
        });
        if let Some(Ok(mut seen)) = SEEN.as_ref().map(Mutex::lock) {
            // What is not listed is not tried; nothing else depends on it.
            let _ = writeln!(seen, "{name}");
        }
    }

    #[expect(clippy::exit, reason = "to die in the middle is what it is for")]
    fn act(action: &str) -> io::Result<()> {
        match action.split_once(':').unwrap_or((action, "")) {
            ("exit", _) => std::process::exit(70),
            ("kill", _) => {
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::KILL)?;
                Ok(())
            }
            ("error", _) => Err(io::Error::other("a failpoint")),
            ("delay", milliseconds) => {
                let milliseconds = milliseconds.parse().unwrap_or_default();
                thread::sleep(Duration::from_millis(milliseconds));
                Ok(())
            }
            ("pause", path) => pause(Path::new(path)),
            _ => Err(io::Error::other("no such action")),
        }
    }

    fn pause(path: &Path) -> io::Result<()> {
        fs::write(path, b"")?;
        let give_up = Instant::now() + Duration::from_secs(20);
        while path.exists() && Instant::now() < give_up {
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}
