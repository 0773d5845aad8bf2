//! Which certificates are wanted: those of the configuration's files, and
//! those that commands have added. Pure.

mod table;

use std::collections::BTreeMap;

use crate::config::{CERTIFICATE_NAMES_MAX, Certificate};
use crate::names::{CertificateName, DnsName, NameError};

pub use table::{Row, RowError, TableError, read};

/// Which certificates are wanted.
#[derive(Clone, Debug)]
pub struct Roster {
    from_files: BTreeMap<CertificateName, Certificate>,
    added: BTreeMap<CertificateName, Certificate>,
}

/// What an addition did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addition {
    /// There is a new certificate.
    New,
    /// It was there already, with the same names.
    Already,
    /// Its names were replaced.
    Changed,
}

/// Why a certificate was not added or removed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A file of the configuration has it.
    #[error("{0} stands in the configuration's files; change it there")]
    InFile(CertificateName),
    /// It was added with other names.
    #[error("{name} was added with other names ({names}); --replace changes them")]
    OtherNames {
        /// The certificate.
        name: CertificateName,
        /// The names it has.
        names: String,
    },
    /// There is none of that name.
    #[error("no certificate {0:?} was added")]
    Unknown(String),
}

impl Roster {
    /// Those of the configuration's files, and those added.
    pub fn new(from_files: Vec<Certificate>, added: Vec<Certificate>) -> Self {
        let by_name =
            |list: Vec<Certificate>| list.into_iter().map(|c| (c.name.clone(), c)).collect();
        Self {
            from_files: by_name(from_files),
            added: by_name(added),
        }
    }

    /// Adds `certificate`. With `replace`, one that was added before gets its
    /// names.
    ///
    /// # Errors
    ///
    /// When there is another of that name.
    pub fn add(&mut self, certificate: Certificate, replace: bool) -> Result<Addition, Refusal> {
        let name = certificate.name.clone();
        if let Some(file) = self.from_files.get(&name) {
            return if same_names(file, &certificate) {
                Ok(Addition::Already)
            } else {
                Err(Refusal::InFile(name))
            };
        }
        match self.added.get(&name) {
            Some(there) if same_names(there, &certificate) => return Ok(Addition::Already),
            Some(there) if !replace => {
                return Err(Refusal::OtherNames {
                    name,
                    names: abridged(&there.names_text()),
                });
            }
            _ => {}
        }
        match self.added.insert(name, certificate) {
            Some(_) => Ok(Addition::Changed),
            None => Ok(Addition::New),
        }
    }

    /// Removes one that was added, by what it is called or by one of its
    /// names.
    ///
    /// # Errors
    ///
    /// When there is none, or a file has it.
    pub fn remove(&mut self, name: &str) -> Result<Certificate, Refusal> {
        let is_it = |c: &&Certificate| {
            c.name.as_str() == name || c.names.iter().any(|n| n.as_str() == name)
        };
        if let Some(found) = self.added.values().find(is_it).cloned() {
            self.added.remove(&found.name);
            return Ok(found);
        }
        match self.from_files.values().find(is_it) {
            Some(file) => Err(Refusal::InFile(file.name.clone())),
            None => Err(Refusal::Unknown(name.to_owned())),
        }
    }

    /// Those added.
    pub fn added(&self) -> Vec<Certificate> {
        self.added.values().cloned().collect()
    }

    /// All of them; a file wins over an addition of the same name.
    pub fn all(mut self) -> Vec<Certificate> {
        self.added.append(&mut self.from_files);
        self.added.into_values().collect()
    }
}

/// A certificate of `names`, called `name` or else by the first of them.
///
/// # Errors
///
/// What is wrong with the names.
pub fn certificate(names: &[String], name: Option<String>) -> Result<Certificate, NamesError> {
    let mut valid: Vec<DnsName> = Vec::new();
    for text in names {
        let name = DnsName::try_from(text.clone())?;
        if valid.contains(&name) {
            return Err(NamesError::Twice(name));
        }
        valid.push(name);
    }
    if valid.len() > CERTIFICATE_NAMES_MAX {
        return Err(NamesError::TooMany(valid.len()));
    }
    let first = valid.first().ok_or(NamesError::None)?;
    let name = match name {
        Some(name) => CertificateName::try_from(name)?,
        None => CertificateName::from(first),
    };
    Ok(Certificate::new(name, valid))
}

/// What is wrong with the names of a certificate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NamesError {
    /// One of them is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// One stands there twice.
    #[error("{0} is listed twice")]
    Twice(DnsName),
    /// There are more than a CA puts into a certificate.
    #[error("{0} names; a certificate holds {CERTIFICATE_NAMES_MAX} at most")]
    TooMany(usize),
    /// There are none.
    #[error("there is no name")]
    None,
}

fn same_names(a: &Certificate, b: &Certificate) -> bool {
    a.names.len() == b.names.len() && a.names.iter().all(|name| b.names.contains(name))
}

fn abridged(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(" ");
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Certificate {
        certificate(
            &names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            None,
        )
        .unwrap()
    }

    #[test]
    fn adding_again_changes_nothing() {
        let mut roster = Roster::new(vec![of(&["file.test"])], Vec::new());
        assert_eq!(
            roster.add(of(&["a.test", "b.test"]), false),
            Ok(Addition::New)
        );
        let before = roster.added();
        assert_eq!(
            roster.add(of(&["a.test", "b.test"]), false),
            Ok(Addition::Already)
        );
        assert_eq!(roster.add(of(&["file.test"]), false), Ok(Addition::Already));
        assert_eq!(roster.added(), before);
    }

    #[test]
    fn other_names_need_a_word() {
        let mut roster = Roster::new(vec![of(&["file.test"])], vec![of(&["a.test"])]);
        let wider = of(&["a.test", "b.test"]);
        assert!(matches!(
            roster.add(wider.clone(), false),
            Err(Refusal::OtherNames { .. })
        ));
        assert_eq!(roster.add(wider, true), Ok(Addition::Changed));
        let file = of(&["file.test", "b.test"]);
        assert!(matches!(roster.add(file, true), Err(Refusal::InFile(_))));
    }

    #[test]
    fn only_what_was_added_is_removed() {
        let mut roster = Roster::new(vec![of(&["file.test"])], vec![of(&["a.test", "b.test"])]);
        assert_eq!(roster.remove("b.test"), Ok(of(&["a.test", "b.test"])));
        assert!(matches!(roster.remove("a.test"), Err(Refusal::Unknown(_))));
        assert!(matches!(
            roster.remove("file.test"),
            Err(Refusal::InFile(_))
        ));
        assert_eq!(roster.all(), [of(&["file.test"])]);
    }

    #[test]
    fn names_are_checked() {
        let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for names in [
            &["a.test", "A.test."][..],
            &[],
            &["*.a.test"],
            &["a b.test"],
        ] {
            assert!(certificate(&texts(names), None).is_err(), "{names:?}");
        }
        let many: Vec<_> = (0..=CERTIFICATE_NAMES_MAX)
            .map(|n| format!("n{n}.test"))
            .collect();
        assert!(matches!(
            certificate(&many, None),
            Err(NamesError::TooMany(101))
        ));
        let named = certificate(&texts(&["a.test"]), Some("shop".to_owned())).unwrap();
        assert_eq!(named.name.as_str(), "shop");
    }
}
