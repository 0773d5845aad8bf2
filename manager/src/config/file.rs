//! What a configuration file says, key by key, before it is resolved.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::key::KeyType;

/// One file: `spoacme.toml` or a file of `conf.d/`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) state_directory: Option<Spanned<String>>,
    pub(super) account: Option<Spanned<Account>>,
    pub(super) agent: Option<Spanned<Agent>>,
    pub(super) haproxy: Haproxys,
    pub(super) external: Vec<Spanned<External>>,
    pub(super) check: Option<Spanned<Check>>,
    pub(super) alerts: Option<Spanned<Alerts>>,
    pub(super) alert: Vec<Spanned<Alert>>,
    pub(super) certificate: Vec<Spanned<Certificate>>,
}

/// `[account]`: who asks, and which CA.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Account {
    pub(super) email: Option<Spanned<String>>,
    pub(super) agree_to_terms: bool,
    pub(super) directory: Option<Spanned<String>>,
    pub(super) directory_root: Option<Spanned<String>>,
    pub(super) staging: Option<Spanned<String>>,
    pub(super) staging_root: Option<Spanned<String>>,
    pub(super) eab_key_id: Option<Spanned<String>>,
    pub(super) eab_key_file: Option<Spanned<String>>,
    pub(super) profile: Option<Spanned<String>>,
}

/// `[agent]`: where tokens are published.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Agent {
    pub(super) control: Option<Spanned<String>>,
}

/// `[haproxy]`, or several `[[haproxy]]`.
#[derive(Debug, Default)]
pub(super) struct Haproxys(pub(super) Vec<Haproxy>);

/// `[haproxy]`: where certificates are deployed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Haproxy {
    pub(super) name: Option<Spanned<String>>,
    pub(super) socket: Option<Spanned<String>>,
    pub(super) certificates: Option<Spanned<String>>,
    pub(super) crt_list: Option<Spanned<String>>,
    pub(super) group: Option<Spanned<String>>,
    pub(super) verify: Option<Vec<Spanned<String>>>,
    pub(super) tune_bufsize: Option<Spanned<usize>>,
}

impl<'de> Deserialize<'de> for Haproxys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrSeveral)
    }
}

struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = Haproxys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[haproxy] or several [[haproxy]]")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Haproxys, M::Error> {
        let one = Haproxy::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Haproxys(vec![one]))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut several: S) -> Result<Haproxys, S::Error> {
        let mut haproxys = Vec::new();
        while let Some(one) = several.next_element()? {
            haproxys.push(one);
        }
        Ok(Haproxys(haproxys))
    }
}

/// `[[external]]`: certificates that others make.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct External {
    pub(super) path: Option<Spanned<String>>,
    pub(super) haproxy: Vec<Spanned<String>>,
}

/// `[check]`: how names are looked at before the CA is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Check {
    pub(super) self_test: Option<bool>,
    pub(super) connect_to: Option<Vec<Spanned<String>>>,
    pub(super) dns: Vec<Spanned<String>>,
    pub(super) allow_reserved: bool,
    pub(super) port: Option<u16>,
    pub(super) tls_port: Option<u16>,
    pub(super) timeout: Option<Spanned<u64>>,
}

/// `[alerts]`: when somebody is told of trouble.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Alerts {
    pub(super) failures: Option<Spanned<u32>>,
    pub(super) life_left_percent: Option<Spanned<u32>>,
    pub(super) grace_seconds: Option<Spanned<u32>>,
    pub(super) repeat_hours: Option<Spanned<u32>>,
}

/// `[[alert]]`: who is told.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Alert {
    pub(super) name: Option<Spanned<String>>,
    pub(super) events: Option<Vec<Spanned<String>>>,
    pub(super) smtp: Option<Spanned<String>>,
    pub(super) from: Option<Spanned<String>>,
    pub(super) to: Vec<Spanned<String>>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) password_file: Option<Spanned<String>>,
    pub(super) webhook: Option<Spanned<String>>,
    pub(super) allow_plain: bool,
    pub(super) root: Option<Spanned<String>>,
    pub(super) command: Option<Spanned<Vec<String>>>,
}

/// `[[certificate]]`: one certificate and its names.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Certificate {
    pub(super) name: Option<Spanned<String>>,
    pub(super) names: Vec<Spanned<String>>,
    pub(super) file: Option<Spanned<String>>,
    pub(super) key_type: Option<KeyType>,
    pub(super) profile: Option<Spanned<String>>,
}
