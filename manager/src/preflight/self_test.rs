//! The self-test before every challenge: what would surely fail costs no
//! attempt at the CA.

use tokio::task::JoinSet;
use tracing::{info, warn};

use super::{Context, Examination, Examiner, Finding, Planted, Severity};
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
            for examination in self.examine(batch).await {
                judge(examination)?;
            }
        }
        Ok(())
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
