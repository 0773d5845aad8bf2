//! `[haproxy]` or several `[[haproxy]]`: where certificates are deployed; and
//! `[[external]]`: what others have made that is deployed there too.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use spoacme_haproxy::runtime::Address;
use toml::Spanned;

use super::file;
use super::problem::Notebook;
use super::resolve::absolute;

/// One HAProxy: a process of its own, with its own truth.
#[derive(Clone, Debug)]
pub struct Haproxy {
    /// What it is called; no two share a name.
    pub name: String,
    /// The Runtime API, at level admin.
    pub socket: Address,
    /// Its `tune.bufsize`, in bytes.
    pub buffer_size: usize,
    /// The directory of its certificates: the one that `bind ... ssl crt`
    /// names, or that of the files in `crt_list`.
    pub certificates: PathBuf,
    /// The crt-list that `bind ... ssl crt-list` names, if it is that.
    pub crt_list: Option<PathBuf>,
    /// The group that may read that directory, if it exists here.
    pub group: String,
    /// The addresses whose handshakes prove what is served.
    pub verify: Vec<SocketAddr>,
}

/// Certificates that others make: bundles that are hot-swapped when their
/// files change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct External {
    /// A bundle, or a directory of bundles.
    pub path: PathBuf,
    /// The HAProxys that load it, by name; all of them if there are none.
    pub haproxys: Vec<String>,
}

pub(super) fn resolve_haproxy(
    typed: file::Haproxy,
    notebook: &mut Notebook<'_>,
) -> Option<Haproxy> {
    let socket = typed.socket.map(|text| {
        let parsed = text.get_ref().parse();
        parsed
            .map_err(|error| notebook.at(text.span(), format!("socket: {error}")))
            .ok()
    });
    if socket.is_none() {
        notebook.missing("[haproxy] lacks `socket`, such as \"/run/haproxy/admin.sock\"");
    }
    let certificates = typed
        .certificates
        .map(|path| absolute(path, "certificates", notebook));
    if certificates.is_none() {
        notebook
            .missing("[haproxy] lacks `certificates`, the directory that `bind ... ssl crt` names");
    }
    let crt_list = typed
        .crt_list
        .and_then(|path| absolute(path, "crt-list", notebook));
    let verify = addresses(typed.verify, notebook);
    let buffer_size = buffer_size(typed.tune_bufsize, notebook);
    Some(Haproxy {
        name: typed
            .name
            .map_or_else(|| HAPROXY_NAME.to_owned(), Spanned::into_inner),
        socket: socket??,
        buffer_size,
        certificates: certificates??,
        crt_list,
        group: typed
            .group
            .map_or_else(|| HAPROXY_GROUP.to_owned(), Spanned::into_inner),
        verify,
    })
}

const HAPROXY_NAME: &str = "haproxy";
const HAPROXY_GROUP: &str = "haproxy";
const VERIFY_ADDRESS: &str = "127.0.0.1:443";

/// HAProxy's default, and what it takes (configuration.txt §3.2).
const BUFFER_SIZE: usize = 16_384;
const BUFFER_SIZE_RANGE: RangeInclusive<usize> = 8_192..=1_048_576;

fn buffer_size(typed: Option<Spanned<usize>>, notebook: &mut Notebook<'_>) -> usize {
    let Some(typed) = typed else {
        return BUFFER_SIZE;
    };
    if !BUFFER_SIZE_RANGE.contains(typed.get_ref()) {
        let (min, max) = (BUFFER_SIZE_RANGE.start(), BUFFER_SIZE_RANGE.end());
        let message = format!(
            "tune-bufsize {} is not between {min} and {max} bytes; say what `tune.bufsize` of \
             haproxy.cfg says",
            typed.get_ref()
        );
        notebook.at(typed.span(), message);
    }
    typed.into_inner()
}

fn addresses(typed: Option<Vec<Spanned<String>>>, notebook: &mut Notebook<'_>) -> Vec<SocketAddr> {
    let own = || vec![Spanned::new(0..0, VERIFY_ADDRESS.to_owned())];
    let mut addresses = Vec::new();
    for text in typed.unwrap_or_else(own) {
        match text.get_ref().parse() {
            Ok(address) => addresses.push(address),
            Err(_) => notebook.at(
                text.span(),
                format!(
                    "verify {:?} is not IP:PORT, such as {VERIFY_ADDRESS:?}",
                    text.get_ref()
                ),
            ),
        }
    }
    addresses
}

pub(super) fn resolve_external(
    typed: Spanned<file::External>,
    notebook: &mut Notebook<'_>,
) -> Option<External> {
    let span = typed.span();
    let typed = typed.into_inner();
    let Some(path) = typed.path else {
        notebook.at(
            span,
            "[[external]] lacks `path`, a PEM bundle or a directory of them",
        );
        return None;
    };
    Some(External {
        path: absolute(path, "path", notebook)?,
        haproxys: typed.haproxy.into_iter().map(Spanned::into_inner).collect(),
    })
}
