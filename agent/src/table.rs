//! The table of tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use spoacme_control::{Entry, KeyAuthorization, Listed, Owner, Token};

/// The table of tokens. Look-ups never wait: they read a snapshot, which a
/// change replaces as a whole, so that all tokens of an order appear together.
#[derive(Debug, Default)]
pub struct Table {
    snapshot: ArcSwap<Records>,
    // Changes are made one after the other.
    changing: Mutex<()>,
}

/// Why a change is refused. It has then changed nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TableError {
    /// Somebody else has the token.
    #[error("token {token} is published by {owner}")]
    Conflict {
        /// The token.
        token: Token,
        /// Who has it.
        owner: Owner,
    },
    /// There are too many.
    #[error("the table would hold more than {TOKENS_MAX} tokens")]
    Full,
}

/// The most tokens that the table holds.
pub const TOKENS_MAX: usize = 100_000;

type Records = HashMap<Token, Arc<Record>>;

#[derive(Debug)]
struct Record {
    entry: Entry,
    owner: Owner,
    expires: Instant,
}

impl Table {
    /// Looks `token` up for the `Host` header `host`, and hands its answer to
    /// `answer`. Nothing is allocated.
    pub fn look_up<T>(
        &self,
        token: &[u8],
        host: &[u8],
        now: Instant,
        answer: impl FnOnce(&KeyAuthorization) -> T,
    ) -> Option<T> {
        let token = std::str::from_utf8(token).ok()?;
        let records = self.snapshot.load();
        let record = records
            .get(token)
            .filter(|record| record.is_for(host, now))?;
        Some(answer(record.entry.key_authorization()))
    }

    /// Publishes `entries` beside what there is; the owner's own tokens of the
    /// same name are replaced.
    ///
    /// # Errors
    ///
    /// When another owner has one of them, or the table would be too large.
    pub fn put(
        &self,
        owner: &Owner,
        entries: Vec<Entry>,
        now: Instant,
    ) -> Result<usize, TableError> {
        self.change(now, |records| insert(records, owner, entries, now))
    }

    /// Makes `entries` all that `owner` publishes.
    ///
    /// # Errors
    ///
    /// As [`Self::put`].
    pub fn replace(
        &self,
        owner: &Owner,
        entries: Vec<Entry>,
        now: Instant,
    ) -> Result<usize, TableError> {
        self.change(now, |records| {
            records.retain(|_, record| record.owner != *owner);
            insert(records, owner, entries, now)
        })
    }

    /// Withdraws tokens of `owner`, and says how many there were.
    pub fn delete(&self, owner: &Owner, tokens: &[Token], now: Instant) -> usize {
        let deleted = self.change(now, |records| {
            let is_own = |token: &&Token| records.get(*token).is_some_and(|r| r.owner == *owner);
            let own: Vec<&Token> = tokens.iter().filter(is_own).collect();
            let gone = own.into_iter().filter_map(|token| records.remove(token));
            Ok(gone.count())
        });
        deleted.unwrap_or_default()
    }

    /// Lists what is answered, in the order of the tokens.
    pub fn list(&self, now: Instant) -> Vec<Listed> {
        let records = self.snapshot.load();
        let current = records.iter().filter(|(_, record)| record.expires > now);
        let mut listed: Vec<_> = current
            .map(|(token, record)| record.list(token, now))
            .collect();
        listed.sort_by(|a, b| a.token.cmp(&b.token));
        listed
    }

    /// Forgets what has expired, and says how much that was.
    pub fn sweep(&self, now: Instant) -> usize {
        if self
            .snapshot
            .load()
            .values()
            .all(|record| record.expires > now)
        {
            return 0;
        }
        let before = self.len();
        let _ = self.change(now, |_| Ok(()));
        before.saturating_sub(self.len())
    }

    /// How many tokens it holds, expired ones included until they are swept.
    pub fn len(&self) -> usize {
        self.snapshot.load().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes a copy without what has expired, and puts it in place if that
    /// succeeds.
    fn change<T>(
        &self,
        now: Instant,
        change: impl FnOnce(&mut Records) -> Result<T, TableError>,
    ) -> Result<T, TableError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Records::clone(&self.snapshot.load());
        records.retain(|_, record| record.expires > now);
        let outcome = change(&mut records)?;
        if records.len() > TOKENS_MAX {
            return Err(TableError::Full);
        }
        self.snapshot.store(Arc::new(records));
        Ok(outcome)
    }
}

impl Record {
    fn is_for(&self, host: &[u8], now: Instant) -> bool {
        let is_host = self.entry.any_host() || self.entry.hosts().iter().any(|h| h.matches(host));
        is_host && self.expires > now
    }

    fn list(&self, token: &Token, now: Instant) -> Listed {
        Listed {
            token: token.clone(),
            owner: self.owner.clone(),
            hosts: self.entry.hosts().to_vec(),
            any_host: self.entry.any_host(),
            seconds_left: self.expires.saturating_duration_since(now).as_secs(),
        }
    }
}

fn insert(
    records: &mut Records,
    owner: &Owner,
    entries: Vec<Entry>,
    now: Instant,
) -> Result<usize, TableError> {
    let count = entries.len();
    for entry in entries {
        let token = entry.token().clone();
        if let Some(other) = records.get(&token).filter(|record| record.owner != *owner) {
            return Err(TableError::Conflict {
                token,
                owner: other.owner.clone(),
            });
        }
        let expires = now + Duration::from_secs(entry.ttl_seconds().into());
        let owner = owner.clone();
        records.insert(
            token,
            Arc::new(Record {
                entry,
                owner,
                expires,
            }),
        );
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(letter: &str, host: &str, ttl_seconds: u32) -> Entry {
        let token = letter.repeat(43);
        Entry::new(
            &token,
            &format!("{token}.thumb"),
            &[host.to_owned()],
            ttl_seconds,
        )
        .unwrap()
    }

    fn found(table: &Table, letter: &str, host: &str, now: Instant) -> Option<String> {
        let token = letter.repeat(43);
        table.look_up(token.as_bytes(), host.as_bytes(), now, |value| {
            value.as_str().to_owned()
        })
    }

    fn token(letter: &str) -> Token {
        Token::try_from(letter.repeat(43)).unwrap()
    }

    #[test]
    fn answers_only_its_hosts_and_only_in_time() {
        let (table, now) = (Table::default(), Instant::now());
        table
            .put(&Owner::cli(), vec![entry("a", "example.com", 10)], now)
            .unwrap();
        let answer = format!("{}.thumb", "a".repeat(43));
        assert_eq!(found(&table, "a", "EXAMPLE.com:80", now), Some(answer));
        assert_eq!(found(&table, "a", "other.example", now), None);
        assert_eq!(found(&table, "b", "example.com", now), None);
        let later = now + Duration::from_secs(10);
        assert_eq!(found(&table, "a", "example.com", later), None);
        assert_eq!((table.len(), table.sweep(later), table.len()), (1, 1, 0));
        assert_eq!(table.look_up(b"\xff", b"example.com", now, |_| ()), None);
    }

    #[test]
    fn owners_do_not_touch_each_others_tokens() {
        let (table, now) = (Table::default(), Instant::now());
        table
            .put(&Owner::cli(), vec![entry("a", "a.example", 10)], now)
            .unwrap();
        let stolen = table.put(
            &Owner::manager(),
            vec![entry("b", "b.example", 10), entry("a", "x.example", 10)],
            now,
        );
        assert!(
            matches!(stolen, Err(TableError::Conflict { .. })),
            "{stolen:?}"
        );
        assert_eq!(table.len(), 1, "a refused change changes nothing");
        table
            .replace(&Owner::manager(), vec![entry("b", "b.example", 10)], now)
            .unwrap();
        assert_eq!(table.delete(&Owner::manager(), &[token("a")], now), 0);
        table.replace(&Owner::manager(), vec![], now).unwrap();
        let left = table.list(now);
        assert_eq!(left.len(), 1);
        assert_eq!(
            (left[0].token.clone(), left[0].owner.clone()),
            (token("a"), Owner::cli())
        );
        assert_eq!(
            table.delete(&Owner::cli(), &[token("a"), token("c")], now),
            1
        );
        assert!(table.is_empty());
    }

    #[test]
    fn what_has_expired_is_free_for_another_owner() {
        let (table, now) = (Table::default(), Instant::now());
        table
            .put(&Owner::cli(), vec![entry("a", "a.example", 1)], now)
            .unwrap();
        let later = now + Duration::from_secs(1);
        table
            .put(&Owner::manager(), vec![entry("a", "a.example", 1)], later)
            .unwrap();
    }

    #[test]
    fn has_a_limit() {
        let (table, now) = (Table::default(), Instant::now());
        let many = (0..=TOKENS_MAX).map(|number| {
            let token = format!("{number:043}");
            Entry::for_host(&token, &format!("{token}.x"), "a.example").unwrap()
        });
        let refused = table.put(&Owner::cli(), many.collect(), now);
        assert_eq!(refused, Err(TableError::Full));
        assert!(table.is_empty());
    }
}
