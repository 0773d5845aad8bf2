//! The manager's work on one certificate: reconcile, and issue when due.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use spoacme_control::Client as Agent;
use spoacme_haproxy::runtime::Info;

use tracing::{info, warn};

use crate::acme::{self, AcmeError, Authority};
use crate::config::{self, Certificate, Config};
use crate::deploy::{DeployError, Deployer, External, Externals, Outcome, Survey, Withdrawal};
use crate::failpoint;
use crate::names::{CertificateName, DnsName};
use crate::policy;
use crate::preflight::{Context, Examiner, SelfTest};
use crate::publication;
use crate::schedule::{self, Current, History, Step};
use crate::store::{Generation, Known, Lock, State, Store, StoreError};

/// Everything that work on certificates needs.
#[derive(Debug)]
pub struct Manager {
    config: Config,
    store: Store,
    agent: Agent,
    clock: fn() -> Timestamp,
}

/// When a certificate is to be issued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// When the schedule says so.
    Due,
    /// Now, whatever the schedule says.
    Now,
}

/// What came of the work on one certificate.
#[derive(Debug)]
pub struct Report {
    /// The certificate.
    pub name: CertificateName,
    /// What was done.
    pub done: Done,
    /// What could not be done.
    pub error: Option<WorkError>,
    /// Until when the newest generation is valid.
    pub not_after: Option<Timestamp>,
    /// When it is issued next.
    pub next: Option<Step>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// Nothing.
    Nothing,
    /// The newest generation was deployed.
    Deployed,
    /// A new generation was issued, but not deployed.
    Issued,
    /// A new generation was issued and deployed.
    IssuedAndDeployed,
    /// The staging CA issued one, which was checked and thrown away.
    Rehearsed,
}

impl Manager {
    /// Opens the store of `config`.
    ///
    /// # Errors
    ///
    /// When the state directory cannot be used.
    pub fn open(config: Config, clock: fn() -> Timestamp) -> Result<Self, StoreError> {
        let store = Store::open(&config.state_directory)?;
        let agent = Agent::new(&config.agent.control);
        Ok(Self {
            config,
            store,
            agent,
            clock,
        })
    }

    /// The configuration worked by.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes the lock that all work needs.
    ///
    /// # Errors
    ///
    /// When another process keeps it for longer than `patience`.
    pub async fn lock(&self, patience: Duration) -> Result<Lock, StoreError> {
        self.store.lock(patience).await
    }

    /// Makes what HAProxy needs to start.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn prepare(&self) -> Result<(), DeployError> {
        self.deployer()
            .prepare(&self.config.certificates, (self.clock)())
    }

    /// Makes what HAProxy needs to start, as far as one certificate goes.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn prepare_for(&self, certificate: &Certificate) -> Result<(), DeployError> {
        let one = std::slice::from_ref(certificate);
        self.deployer().prepare(one, (self.clock)())
    }

    /// The store worked on.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes a certificate out of the directory and out of HAProxy, and what
    /// is known of it into the archive, or away for good.
    ///
    /// # Errors
    ///
    /// When the directory or the store cannot be written. To call it again
    /// does the rest.
    pub async fn withdraw(
        &self,
        certificate: &Certificate,
        purge: bool,
    ) -> Result<Withdrawal, WorkError> {
        let now = (self.clock)();
        let withdrawal = self.deployer().withdraw(certificate, now).await?;
        if purge {
            self.store.purge(&certificate.name)?;
        } else {
            self.store.archive(&certificate.name, now)?;
        }
        Ok(withdrawal)
    }

    /// Which HAProxys do not answer, and why: by their names, if there are
    /// several. And why the agent does not.
    pub async fn look_around(&self) -> (Vec<(String, String)>, Option<String>) {
        let deployer = self.deployer();
        let (processes, agent) = tokio::join!(deployer.processes(), self.agent.ping());
        let is_one = processes.len() == 1;
        let silent = processes.into_iter().filter_map(|(name, info)| {
            let name = if is_one { String::new() } else { name };
            Some((name, info.err()?.to_string()))
        });
        (silent.collect(), agent.err().map(|error| error.to_string()))
    }

    /// Looks whether what was deployed is still served, and notes it in
    /// `report` if it is not.
    pub async fn look_again(&self, certificate: &Certificate, report: &mut Report) {
        if report.error.is_none()
            && let Err(error) = self
                .deployer()
                .look_again(certificate, (self.clock)())
                .await
        {
            report.error = Some(error.into());
        }
    }

    /// Reconciles one certificate, issuing it first if it is time.
    pub async fn work(&self, certificate: &Certificate, when: When) -> Report {
        let (done, error) = match self.try_work(certificate, when).await {
            Ok(done) => (done, None),
            Err((done, error)) => (done, Some(error)),
        };
        self.report(certificate, done, error)
    }

    /// Does all that issuing does, with the CA's staging directory and up to
    /// the chain that it issues; nothing is deployed or kept but the account.
    pub async fn rehearse(&self, certificate: &Certificate) -> Report {
        match self.try_rehearse(certificate).await {
            Ok(()) => self.report(certificate, Done::Rehearsed, None),
            Err(error) => self.report(certificate, Done::Nothing, Some(error)),
        }
    }

    fn report(&self, certificate: &Certificate, done: Done, error: Option<WorkError>) -> Report {
        let known = self.store.known(&certificate.name).ok();
        let newest = known.as_ref().and_then(|known| known.newest.as_ref());
        Report {
            name: certificate.name.clone(),
            done,
            error,
            not_after: newest.map(|newest| newest.meta.leaf.not_after),
            next: known.and_then(|known| self.next(certificate, &known).ok()),
        }
    }

    async fn try_rehearse(&self, certificate: &Certificate) -> Result<(), WorkError> {
        let account = &self.config.account;
        let staging = account
            .at_staging()
            .ok_or_else(|| WorkError::NoStaging(account.directory.clone()))?;
        self.expect_answers().await?;
        let store = Store::open(&self.config.state_directory.join("rehearsal"))?;
        let authority = Authority::new(&staging, &store, &self.agent, self.clock)?
            .with_self_test(self.self_test(&staging).await);
        let issued = authority.issue(certificate).await;
        store.purge(&certificate.name)?;
        Ok(issued.map(drop)?)
    }

    /// The CA's question comes through this HAProxy and this agent: if they
    /// do not answer, asking the CA would only be a failure in its books.
    async fn expect_answers(&self) -> Result<(), WorkError> {
        self.agent.ping().await?;
        Ok(self.deployer().wait_for_agent().await?)
    }

    async fn try_work(
        &self,
        certificate: &Certificate,
        when: When,
    ) -> Result<Done, (Done, WorkError)> {
        let nothing = |error: WorkError| (Done::Nothing, error);
        self.store.tidy(&certificate.name);
        let outcome = self.deploy(certificate).await;
        let is_due = self.is_due(certificate).map_err(|e| nothing(e.into()))?;
        if !is_due && when == When::Due {
            return match outcome.map_err(|e| nothing(e.into()))? {
                Outcome::Deployed => Ok(Done::Deployed),
                Outcome::InPlace | Outcome::NothingYet => Ok(Done::Nothing),
            };
        }
        self.expect_answers().await.map_err(nothing)?;
        let is_offered = when == When::Due && self.offer_again(certificate).map_err(nothing)?;
        if !is_offered {
            self.issue(certificate).await.map_err(nothing)?;
        }
        match self.deploy(certificate).await {
            Ok(_) => Ok(Done::IssuedAndDeployed),
            Err(error) => Err((Done::Issued, error.into())),
        }
    }

    /// Offers to HAProxy once more what was taken back and is still fit: a CA
    /// issues the same names a few times a week only. Now and then another is
    /// issued all the same, for it may be the content that is refused.
    fn offer_again(&self, certificate: &Certificate) -> Result<bool, WorkError> {
        let history = self.store.history(&certificate.name)?;
        if history.rollbacks == 0 || history.rollbacks.is_multiple_of(OFFERS) {
            return Ok(false);
        }
        let last = self
            .store
            .lineage(&certificate.name)
            .complete_generations()?
            .pop();
        let Some(mut last) = last else {
            return Ok(false);
        };
        let is_rejected = matches!(last.meta.state, State::Rejected { .. });
        let is_for_them = has_names(&last.meta.leaf.names, &certificate.names);
        let is_fit =
            || policy::check_fit(&last.bundle()?, (self.clock)()).map_err(DeployError::from);
        if !is_rejected || !is_for_them || is_fit().is_err() {
            return Ok(false);
        }
        info!(certificate = %certificate.name, generation = last.number, "offered once more");
        last.set_state(State::Issued)?;
        Ok(true)
    }

    /// Issues, and keeps book of it.
    async fn issue(&self, certificate: &Certificate) -> Result<Generation, WorkError> {
        let account = &self.config.account;
        let authority = Authority::new(account, &self.store, &self.agent, self.clock)?
            .with_self_test(self.self_test(account).await);
        let mut history = self.store.history(&certificate.name)?;
        let is_resumed = self.store.order(&certificate.name)?.is_some();
        let issued = authority.issue(certificate).await;
        if is_resumed {
            // A crash may have left them, and not every order publishes anew.
            publication::clear(&self.agent).await;
        }
        match issued {
            Ok(generation) => {
                history.succeed();
                self.store.keep_history(&certificate.name, &history)?;
                Ok(generation)
            }
            Err(error) => {
                history.fail((self.clock)(), error.to_string());
                history.by_self_test = error.is_self_test();
                self.store.keep_history(&certificate.name, &history)?;
                Err(error.into())
            }
        }
    }

    /// Reconciles. What was taken back counts as a failure to issue, so that a
    /// CA is not asked again at once for what would be taken back again.
    async fn deploy(&self, certificate: &Certificate) -> Result<Outcome, DeployError> {
        self.deploy_by(&self.deployer(), certificate).await
    }

    async fn deploy_by(
        &self,
        deployer: &Deployer<'_>,
        certificate: &Certificate,
    ) -> Result<Outcome, DeployError> {
        let deployed = deployer.reconcile(certificate, (self.clock)()).await;
        let mut history = self.store.history(&certificate.name)?;
        match &deployed {
            Err(error) if error.is_final() => {
                history.take_back((self.clock)(), error.to_string());
                self.store.keep_history(&certificate.name, &history)?;
            }
            Ok(Outcome::Deployed) if history.rollbacks > 0 && self.is_newest(certificate)? => {
                self.store
                    .keep_history(&certificate.name, &History::default())?;
            }
            _ => {}
        }
        deployed
    }

    /// Whether nothing newer was taken back.
    fn is_newest(&self, certificate: &Certificate) -> Result<bool, StoreError> {
        let generations = self
            .store
            .lineage(&certificate.name)
            .complete_generations()?;
        Ok(generations.last().is_some_and(|g| g.meta.state.is_usable()))
    }

    /// Deploys the newest generation now. With `again`, also one that was
    /// refused or taken back; with `force`, also in place of something newer.
    pub async fn redeploy(&self, certificate: &Certificate, again: bool, force: bool) -> Report {
        let (done, error) = match self.try_redeploy(certificate, again, force).await {
            Ok(done) => (done, None),
            Err(error) => (Done::Nothing, Some(error)),
        };
        self.report(certificate, done, error)
    }

    async fn try_redeploy(
        &self,
        certificate: &Certificate,
        again: bool,
        force: bool,
    ) -> Result<Done, WorkError> {
        let lineage = self.store.lineage(&certificate.name);
        self.store.tidy(&certificate.name);
        if let (true, Some(mut last)) = (again, lineage.complete_generations()?.pop())
            && !last.meta.state.is_usable()
        {
            last.set_state(State::Issued)?;
        }
        let deployer = match force {
            true => self.deployer().forcing(),
            false => self.deployer(),
        };
        match self.deploy_by(&deployer, certificate).await? {
            Outcome::Deployed => Ok(Done::Deployed),
            Outcome::InPlace => Ok(Done::Nothing),
            Outcome::NothingYet => Err(WorkError::NothingIssued),
        }
    }

    /// Takes the newest generation back, or all that are newer than `to`, and
    /// deploys the one before. Gives that one's number.
    ///
    /// # Errors
    ///
    /// When there is none before, which changes nothing; or when it cannot be
    /// deployed, which the next reconciliation tries again.
    pub async fn roll_back(
        &self,
        certificate: &Certificate,
        to: Option<u64>,
    ) -> Result<u64, WorkError> {
        let lineage = self.store.lineage(&certificate.name);
        self.store.tidy(&certificate.name);
        let mut usable = lineage.complete_generations()?;
        usable.retain(|generation| generation.meta.state.is_usable());
        let kept = match to {
            Some(to) => usable.iter().position(|generation| generation.number == to),
            None => usable.len().checked_sub(2),
        };
        let kept = kept.ok_or_else(|| {
            let known = usable
                .iter()
                .map(|generation| generation.number.to_string());
            WorkError::NothingBefore(Vec::from_iter(known).join(", "))
        })?;
        let number = usable[kept].number;
        policy::check_fit(&usable[kept].bundle()?, (self.clock)()).map_err(DeployError::from)?;
        for newer in &mut usable[kept + 1..] {
            newer.set_state(State::Withdrawn { at: (self.clock)() })?;
            failpoint::step("withdrawn")?;
        }
        usable[kept].set_state(State::Issued)?;
        self.deploy(certificate).await?;
        Ok(number)
    }

    /// What every HAProxy holds, asked for at once.
    pub async fn survey(&self) -> Survey<'_> {
        self.deployer().survey(&self.config.certificates).await
    }

    /// A report at once for a certificate with which all is well by `survey`,
    /// and which is not due; and what it is drawn from.
    pub fn glance(
        &self,
        certificate: &Certificate,
        survey: &Survey<'_>,
    ) -> Option<(Report, Known)> {
        let known = self.store.known(&certificate.name).ok()?;
        let newest = known.newest.as_ref()?;
        let next = self.next(certificate, &known).ok()?;
        if next.is_due((self.clock)()) || !survey.is_settled(certificate, newest).ok()? {
            return None;
        }
        let report = Report {
            name: certificate.name.clone(),
            done: Done::Nothing,
            error: None,
            not_after: Some(newest.meta.leaf.not_after),
            next: Some(next),
        };
        Some((report, known))
    }

    /// Makes every HAProxy serve what others have put into watched places.
    ///
    /// # Errors
    ///
    /// When one of our own certificates cannot be put into HAProxy's words.
    pub async fn reconcile_externals(&self) -> Result<Vec<External>, DeployError> {
        let deployer = self.deployer();
        let Config {
            externals,
            certificates,
            ..
        } = &self.config;
        let externals = Externals::new(&deployer, externals, certificates)?;
        Ok(externals.reconcile((self.clock)()).await)
    }

    /// The processes of every HAProxy that answers, so that a change of one
    /// can be told.
    pub async fn processes(&self) -> Vec<Option<u32>> {
        let processes = self.deployer().processes().await;
        let pid = |info: Result<_, _>| info.ok().map(|info: Info| info.pid);
        processes.into_iter().map(|(_, info)| pid(info)).collect()
    }

    /// The look before the CA is asked, unless the configuration is against
    /// it or DNS cannot be asked at all.
    async fn self_test(&self, account: &config::Account) -> Option<SelfTest> {
        if !self.config.check.self_test {
            return None;
        }
        let examiner = Examiner::new(&self.config.check)
            .inspect_err(|fault| warn!("no self-test: {fault}"))
            .ok()?;
        let context = Context {
            agent: None,
            has_backend: self.deployer().has_agent_backend().await,
            // A CA that does not say forbids nothing; one that cannot be
            // reached is found out by the order.
            caa_identities: acme::caa_identities(account).await.unwrap_or_default(),
            asks_authorities: false,
        };
        Some(SelfTest::new(examiner, context))
    }

    fn is_due(&self, certificate: &Certificate) -> Result<bool, StoreError> {
        let known = self.store.known(&certificate.name)?;
        Ok(self.next(certificate, &known)?.is_due((self.clock)()))
    }

    fn next(&self, certificate: &Certificate, known: &Known) -> Result<Step, StoreError> {
        next_step(&self.store, certificate, known, (self.clock)())
    }

    fn deployer(&self) -> Deployer<'_> {
        Deployer::new(&self.store, &self.config.haproxys)
    }
}

/// When `certificate` is issued next, by what the store knows.
///
/// # Errors
///
/// When the record of an order cannot be read.
pub fn next_step(
    store: &Store,
    certificate: &Certificate,
    known: &Known,
    now: Timestamp,
) -> Result<Step, StoreError> {
    let current = known.newest.as_ref().map(|generation| Current {
        is_held: known.is_held,
        not_before: generation.meta.leaf.not_before,
        not_after: generation.meta.leaf.not_after,
        names_match: has_names(&generation.meta.leaf.names, &certificate.names),
    });
    let is_under_way = store.order(&certificate.name)?.is_some();
    Ok(schedule::next(current, &known.history, is_under_way, now))
}

/// After so many times that the same was taken back, another is issued.
const OFFERS: u32 = 4;

fn has_names(found: &[String], wanted: &[DnsName]) -> bool {
    found.len() == wanted.len() && wanted.iter().all(|n| found.iter().any(|f| f == n.as_str()))
}

/// What could not be done for a certificate.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// It was not issued.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// It was not deployed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The agent does not answer.
    #[error("cannot publish tokens: {0}")]
    Agent(#[from] spoacme_control::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to deploy.
    #[error("nothing was issued yet")]
    NothingIssued,
    /// There is nothing to roll back to.
    #[error("there is no such generation to go back to; usable are: {0}")]
    NothingBefore(String),
    /// There is nowhere to rehearse.
    #[error("the CA at {0} has no staging directory that is known here")]
    NoStaging(String),
}

impl WorkError {
    /// The way out, where there is a plain one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Acme(error) => error.hint(),
            Self::Deploy(error) => error.hint(),
            Self::Agent(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::NothingIssued => Some("`spoacme issue` issues it".to_owned()),
            Self::NothingBefore(_) => Some("`spoacme renew` issues another".to_owned()),
            Self::NoStaging(_) => Some("set `staging` in [account] to its URL".to_owned()),
        }
    }
}
