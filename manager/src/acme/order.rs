//! One order, from newOrder to the stored generation (RFC 8555 §7.4).
//!
//! Every step leaves on disk what the next one needs, so that a crash
//! anywhere is followed by going on, not by another order.

use std::collections::BTreeMap;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeStatus, ChallengeType, Identifier,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use spoacme_control::Entry;
use tracing::{info, warn};

use super::Authority;
use super::error::AcmeError;
use crate::bundle::{self, Bundle};
use crate::config::Certificate;
use crate::failpoint;
use crate::names::DnsName;
use crate::preflight::Planted;
use crate::publication::Publication;
use crate::store::{Generation, Meta, OrderRecord, State};
use crate::{key, policy};

/// Drives an order for `certificate` to its end.
pub(super) async fn issue(
    authority: &Authority<'_>,
    account: &Account,
    certificate: &Certificate,
) -> Result<Generation, AcmeError> {
    let (mut order, mut record) = open(authority, account, certificate).await?;
    for _ in 0..STEPS_MAX {
        match order.state().status {
            OrderStatus::Pending => authorize(authority, certificate, &mut order).await?,
            OrderStatus::Ready => finalize(authority, certificate, &mut order, &mut record).await?,
            OrderStatus::Processing => wait_for_certificate(&mut order).await?,
            OrderStatus::Valid => return store(authority, certificate, &mut order, &record).await,
            OrderStatus::Invalid => return Err(why_invalid(&mut order).await),
        }
    }
    Err(AcmeError::TimedOut)
}

/// Pending, ready, processing, valid: an order passes through each once.
const STEPS_MAX: usize = 8;

/// A CA that has not decided by then is asked again by the next attempt.
const WAIT: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(100))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));

/// The order under way, if the CA still knows it, or a new one.
async fn open(
    authority: &Authority<'_>,
    account: &Account,
    certificate: &Certificate,
) -> Result<(Order, OrderRecord), AcmeError> {
    let name = &certificate.name;
    let mut record = match usable_record(authority, certificate)? {
        Some(record) => record,
        None => begin(authority, certificate)?,
    };
    if let Some(url) = &record.url {
        match resume(account, url).await? {
            Some(order) => {
                info!(certificate = %name, url, "going on with the order under way");
                return Ok((order, record));
            }
            None => record = begin(authority, certificate)?,
        }
    }
    let names: Vec<_> = certificate
        .names_text()
        .into_iter()
        .map(Identifier::Dns)
        .collect();
    let mut new_order = NewOrder::new(&names);
    if let Some(profile) = profile(authority, account, certificate)? {
        new_order = new_order.profile(profile);
    }
    let order = account.new_order(&new_order).await?;
    failpoint::step("order-created")?;
    record.url = Some(order.url().to_owned());
    authority.store.keep_order(name, &record)?;
    info!(certificate = %name, names = names.len(), "order created");
    failpoint::step("order-kept")?;
    Ok((order, record))
}

/// The profile asked for: one that the CA does not have is not replaced by
/// whatever it has.
fn profile<'a>(
    authority: &Authority<'a>,
    account: &Account,
    certificate: &'a Certificate,
) -> Result<Option<&'a str>, AcmeError> {
    let wanted = certificate.profile.as_deref();
    let Some(wanted) = wanted.or(authority.config.profile.as_deref()) else {
        return Ok(None);
    };
    if account.profiles().any(|profile| profile.name == wanted) {
        return Ok(Some(wanted));
    }
    let offered = account.profiles().map(|profile| profile.name.to_owned());
    Err(AcmeError::NoProfile {
        wanted: wanted.to_owned(),
        offered: Vec::from_iter(offered).join(", "),
    })
}

/// The record of an order for these very names at this very CA.
fn usable_record(
    authority: &Authority<'_>,
    certificate: &Certificate,
) -> Result<Option<OrderRecord>, AcmeError> {
    let Some(record) = authority.store.order(&certificate.name)? else {
        return Ok(None);
    };
    let lineage = authority.store.lineage(&certificate.name);
    let fits = record.names == certificate.names
        && record.directory == authority.config.directory
        && lineage.key(record.generation)?.is_some();
    Ok(fits.then_some(record))
}

/// The order at `url`; none when it is dead or the CA has forgotten it.
async fn resume(account: &Account, url: &str) -> Result<Option<Order>, AcmeError> {
    match account.order(url.to_owned()).await.map_err(AcmeError::from) {
        Ok(mut order) => Ok((order.state().status != OrderStatus::Invalid).then_some(order)),
        Err(error) if error.is_transient() || error.is_unknown_account() => Err(error),
        Err(error) => {
            warn!(url, %error, "the order under way is gone; beginning another");
            Ok(None)
        }
    }
}

/// The next generation, with its key, and the record of an order to come. What
/// earlier attempts have left is cleared away.
fn begin(authority: &Authority<'_>, certificate: &Certificate) -> Result<OrderRecord, AcmeError> {
    let lineage = authority.store.lineage(&certificate.name);
    lineage.prune(None)?;
    let generation = lineage.begin(&key::generate(certificate.key_type)?)?;
    let record = OrderRecord {
        generation,
        directory: authority.config.directory.clone(),
        names: certificate.names.clone(),
        url: None,
        finalized: false,
        begun: (authority.clock)(),
    };
    authority.store.keep_order(&certificate.name, &record)?;
    Ok(record)
}

/// Publishes the tokens, and only then posts the challenges (RFC 8555 §7.5.1).
async fn authorize(
    authority: &Authority<'_>,
    certificate: &Certificate,
    order: &mut Order,
) -> Result<(), AcmeError> {
    let Challenges { entries, unposted } = challenges(order).await?;
    let names = entries.len();
    let mut publication = Publication::publish(authority.agent, entries).await?;
    info!(certificate = %certificate.name, tokens = names, "tokens published on the agent");
    failpoint::step("tokens-published")?;
    let validated = publication
        .during(async {
            if let Some(self_test) = &authority.self_test {
                self_test.run(&unposted).await?;
            }
            failpoint::step("self-tested")?;
            post_challenges(order).await?;
            failpoint::step("challenges-posted")?;
            order.poll_ready(&WAIT).await.map_err(AcmeError::from)
        })
        .await;
    failpoint::step("validated")?;
    publication.withdraw().await;
    failpoint::step("tokens-withdrawn")?;
    match validated {
        Ok(OrderStatus::Invalid) => Err(why_invalid(order).await),
        Ok(_) => {
            info!(certificate = %certificate.name, names, "the CA has validated the names");
            Ok(())
        }
        // The order's own error says less than that of the name that failed.
        Err(error) if error.ends_order() => Err(why_invalid(order).await),
        Err(error) => Err(error),
    }
}

/// The challenges of an order.
struct Challenges {
    /// What the agent must answer: one entry for each name still to be proven.
    entries: Vec<Entry>,
    /// Those that the CA has not been told of yet.
    unposted: Vec<(DnsName, Planted)>,
}

async fn challenges(order: &mut Order) -> Result<Challenges, AcmeError> {
    let (mut entries, mut unposted) = (Vec::new(), Vec::new());
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let name = authorization.identifier().to_string();
        let Some(challenge) = authorization.challenge(ChallengeType::Http01) else {
            return Err(AcmeError::NoHttp01(name));
        };
        let key_authorization = challenge.key_authorization();
        if challenge.status == ChallengeStatus::Pending
            && let Ok(name) = DnsName::try_from(name.clone())
        {
            let planted = Planted {
                token: challenge.token.clone(),
                key_authorization: key_authorization.as_str().to_owned(),
            };
            unposted.push((name, planted));
        }
        let entry = Entry::for_host(&challenge.token, key_authorization.as_str(), &name);
        entries.push(entry.map_err(|e| AcmeError::BadChallenge {
            name,
            what: e.to_string(),
        })?);
    }
    Ok(Challenges { entries, unposted })
}

async fn post_challenges(order: &mut Order) -> Result<(), AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = authorization.challenge(ChallengeType::Http01)
            // One under way since before a crash is not to be posted twice.
            && challenge.status == ChallengeStatus::Pending
        {
            challenge.set_ready().await?;
        }
    }
    Ok(())
}

/// Marks first, then sends: a lost answer may hide an issued certificate.
async fn finalize(
    authority: &Authority<'_>,
    certificate: &Certificate,
    order: &mut Order,
    record: &mut OrderRecord,
) -> Result<(), AcmeError> {
    let key = private_key(authority, certificate, record)?;
    let request = key::signing_request(&key, &certificate.names)?;
    record.finalized = true;
    authority.store.keep_order(&certificate.name, record)?;
    failpoint::step("finalize-marked")?;
    order.finalize_csr(&request).await?;
    Ok(failpoint::step("finalize-sent")?)
}

/// Polls until the order leaves "processing".
async fn wait_for_certificate(order: &mut Order) -> Result<(), AcmeError> {
    // The chain itself is fetched by the next step, from an order that is valid.
    order
        .poll_certificate(&WAIT)
        .await
        .map(drop)
        .map_err(AcmeError::from)
}

/// Fetches the chain, checks it, and completes the generation.
async fn store(
    authority: &Authority<'_>,
    certificate: &Certificate,
    order: &mut Order,
    record: &OrderRecord,
) -> Result<Generation, AcmeError> {
    let nothing = || AcmeError::Nonsense("a valid order without a certificate".to_owned());
    let text = order.certificate().await?.ok_or_else(nothing)?;
    failpoint::step("chain-fetched")?;
    let issued = (authority.clock)();
    let chain = bundle::chain_from_pem(text.as_bytes())?;
    let bundle = Bundle::new(private_key(authority, certificate, record)?, chain)?;
    let leaf = policy::check(&bundle, &certificate.names, issued)?;
    failpoint::step("chain-checked")?;
    let meta = Meta {
        leaf,
        issued,
        directory: record.directory.clone(),
        state: State::Issued,
        pem_sha256: None,
        refused_by: BTreeMap::new(),
    };
    let lineage = authority.store.lineage(&certificate.name);
    let generation = lineage.complete(record.generation, &bundle, meta)?;
    failpoint::step("generation-complete")?;
    authority.store.forget_order(&certificate.name)?;
    info!(
        certificate = %certificate.name,
        generation = generation.number,
        not_after = %generation.meta.leaf.not_after,
        issuer = generation.meta.leaf.issuer,
        "certificate issued"
    );
    Ok(generation)
}

fn private_key(
    authority: &Authority<'_>,
    certificate: &Certificate,
    record: &OrderRecord,
) -> Result<rustls::pki_types::PrivateKeyDer<'static>, AcmeError> {
    let key = authority
        .store
        .lineage(&certificate.name)
        .key(record.generation)?;
    key.ok_or_else(|| AcmeError::Nonsense("the order's key is gone".to_owned()))
}

/// The name that failed, and what the CA found.
async fn why_invalid(order: &mut Order) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Some(error) = why_authorization_failed(&mut authorization).await {
            return error;
        }
    }
    match order.state().error.clone() {
        Some(problem) => AcmeError::Refused(Box::new(problem)),
        None => AcmeError::Nonsense("the order is invalid without a reason".to_owned()),
    }
}

async fn why_authorization_failed(
    authorization: &mut AuthorizationHandle<'_>,
) -> Option<AcmeError> {
    let name = authorization.identifier().to_string();
    let state = authorization.refresh().await.ok()?;
    if state.status != AuthorizationStatus::Invalid {
        return None;
    }
    let problem = state
        .challenges
        .iter()
        .find_map(|challenge| challenge.error.clone());
    Some(AcmeError::Invalid {
        name,
        problem: problem.map(Box::new),
    })
}
