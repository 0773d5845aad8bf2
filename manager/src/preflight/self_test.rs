//! The self-test before every challenge: what would surely fail costs no
//! attempt at the CA.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Class, Context, Examination, Examiner, Finding, Planted, Severity};
use crate::names::DnsName;

/// Looks at names before their challenges are posted.
#[derive(Clone, Debug)]
pub struct SelfTest {
    examiner: Examiner,
    context: Context,
}

/// The CA would fail for sure.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the CA was not asked, since it would fail: {name}: {}", finding.cause)]
pub struct Blocked {
    /// The name.
    pub name: String,
    /// What is the matter with it.
    pub finding: Finding,
}

impl SelfTest {
    /// Looks with `examiner`, knowing `context`.
    pub fn new(examiner: Examiner, context: Context) -> Self {
        Self { examiner, context }
    }

    /// Looks at all names whose tokens are published.
    ///
    /// # Errors
    ///
    /// The first name for which a CA would fail for sure. What cannot be told
    /// from here, such as a router that does not lead back inside, is none.
    pub async fn run(&self, names: &[(DnsName, Planted)]) -> Result<(), Blocked> {
        for batch in names.chunks(AT_ONCE) {
            self.run_batch(batch).await?;
        }
        Ok(())
    }

    /// What looks certain is looked at again: an address that has just moved
    /// from one load balancer to another answers strangely for a moment, and
    /// so does an agent that is being restarted, for some seconds.
    async fn run_batch(&self, batch: &[(DnsName, Planted)]) -> Result<(), Blocked> {
        let mut looks = 0;
        loop {
            let examinations = self.examine(batch).await;
            looks += 1;
            let patience = examinations.iter().map(looks_for).max().unwrap_or(0);
            if looks >= patience {
                return examinations.into_iter().try_for_each(judge);
            }
            sleep(PAUSE).await;
        }
    }

    async fn examine(&self, batch: &[(DnsName, Planted)]) -> Vec<Examination> {
        let mut examined = JoinSet::new();
        for (name, planted) in batch {
            let (this, name, planted) = (self.clone(), name.clone(), planted.clone());
            let examine =
                async move { this.examiner.examine(&name, &planted, &this.context).await };
            examined.spawn(examine);
        }
        examined.join_all().await
    }
}

/// How often something is looked at that is found as in `examination`.
fn looks_for(examination: &Examination) -> u32 {
    let Finding {
        severity, class, ..
    } = examination.finding;
    match (severity, class) {
        (Severity::Certain, Class::AgentDown) => 12,
        (Severity::Certain, _) => 3,
        _ => 1,
    }
}

const PAUSE: Duration = Duration::from_millis(700);

/// Names looked at in parallel.
const AT_ONCE: usize = 8;

fn judge(examination: Examination) -> Result<(), Blocked> {
    let Examination { name, finding, .. } = examination;
    let cause = &finding.cause;
    match finding.severity {
        Severity::Certain => return Err(Blocked { name, finding }),
        Severity::Uncertain => warn!(name, "self-test: {cause}; asking the CA all the same"),
        Severity::Note => info!(name, "self-test: {cause}"),
        Severity::Good => {}
    }
    Ok(())
}
