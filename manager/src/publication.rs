//! Tokens on the agent, for as long as a CA may ask for them.

use std::future::Future;
use std::time::Duration;

use spoacme_control::{Client, Entry, Error, Owner};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

/// Tokens published on the agent, and published again if it restarts: the
/// agent keeps them in memory only.
#[derive(Debug)]
pub struct Publication<'a> {
    agent: &'a Client,
    entries: Vec<Entry>,
    boot_id: String,
}

impl<'a> Publication<'a> {
    /// Publishes `entries` in place of whatever the manager had published
    /// before, and returns once the agent has acknowledged them.
    ///
    /// # Errors
    ///
    /// When the agent cannot be reached or refuses.
    pub async fn publish(agent: &'a Client, entries: Vec<Entry>) -> Result<Self, Error> {
        let acknowledged = agent.replace(&owner(), &entries).await?;
        let boot_id = acknowledged.boot_id().to_owned();
        Ok(Self {
            agent,
            entries,
            boot_id,
        })
    }

    /// Runs `work`, keeping the tokens published meanwhile.
    pub async fn during<F: Future>(&mut self, work: F) -> F::Output {
        tokio::pin!(work);
        let mut ticks = interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reachable = true;
        loop {
            tokio::select! {
                output = &mut work => return output,
                _ = ticks.tick() => reachable = self.watch(reachable).await,
            }
        }
    }

    /// Takes the tokens back.
    pub async fn withdraw(self) {
        clear(self.agent).await;
    }

    /// Publishes again after a restart. Says whether the agent answered, and
    /// logs only when that changes.
    async fn watch(&mut self, was_reachable: bool) -> bool {
        match self.refresh().await {
            Ok(()) => true,
            Err(error) => {
                if was_reachable {
                    warn!(%error, "the agent does not answer; trying on");
                }
                false
            }
        }
    }

    async fn refresh(&mut self) -> Result<(), Error> {
        if self.agent.ping().await?.boot_id() == self.boot_id {
            return Ok(());
        }
        let acknowledged = self.agent.replace(&owner(), &self.entries).await?;
        self.boot_id = acknowledged.boot_id().to_owned();
        info!(
            tokens = self.entries.len(),
            "the agent restarted; tokens published again"
        );
        Ok(())
    }
}

/// Takes back whatever the manager has published, also before a crash. What
/// cannot be taken back in some tries expires by itself.
pub async fn clear(agent: &Client) {
    for pause in PAUSES {
        match agent.replace(&owner(), &[]).await {
            Ok(_) => return,
            Err(error) => debug!(%error, "trying again to take the tokens back"),
        }
        sleep(pause).await;
    }
    if let Err(error) = agent.replace(&owner(), &[]).await {
        warn!(%error, "the tokens stay published until they expire");
    }
}

/// Between tries to take tokens back: an agent that restarts takes a moment.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

/// Well below the second or two that a CA takes before it asks.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

fn owner() -> Owner {
    Owner::manager()
}
