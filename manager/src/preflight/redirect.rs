//! Which redirects a CA follows: Boulder's rules (`va/http.go`). Pure.

use http::Uri;
use http::uri::Scheme;

/// What is fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    /// Whether over TLS.
    pub is_https: bool,
    /// The host, without brackets or port.
    pub host: String,
    /// The path with its query.
    pub path: String,
}

/// Why a redirect is not followed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum RedirectFault {
    /// It leads to what was fetched already.
    #[error("the redirects lead in a circle")]
    Loop,
    /// There are too many.
    #[error("more than {REDIRECTS_MAX} redirects")]
    TooMany,
    /// It has no usable Location.
    #[error("a redirect without a usable Location")]
    NoLocation,
    /// It leads to another port than the CA follows to.
    #[error("a redirect to port {0}; a CA follows to 80 and 443 only")]
    Port(u16),
    /// It leads to another scheme.
    #[error("a redirect to {0:?}; a CA follows to http and https only")]
    Scheme(String),
    /// The slash between host and path is missing, as in
    /// `https://example.com.well-known/…`.
    #[error("a redirect to the host {0:?}: the slash after the host is missing")]
    MissingSlash(String),
    /// Its path is too long.
    #[error("a redirect to a path of more than {PATH_LENGTH_MAX} bytes")]
    TooLong,
}

/// How many redirects a CA follows.
pub(super) const REDIRECTS_MAX: usize = 10;

/// In bytes.
const PATH_LENGTH_MAX: usize = 2000;

/// The statuses that a CA follows.
pub(super) fn is_followed(status: u16) -> bool {
    matches!(status, 301 | 302 | 307 | 308)
}

/// The next target after `targets`, the last of which answered with `location`.
/// `ports` are those for http and https.
///
/// # Errors
///
/// Why it is not followed.
pub(super) fn follow(
    targets: &[Target],
    location: Option<&str>,
    ports: [u16; 2],
) -> Result<Target, RedirectFault> {
    let current = targets.last().ok_or(RedirectFault::NoLocation)?;
    let next = resolve(current, location.ok_or(RedirectFault::NoLocation)?, ports)?;
    if next.path.len() > PATH_LENGTH_MAX {
        return Err(RedirectFault::TooLong);
    }
    if targets.contains(&next) {
        return Err(RedirectFault::Loop);
    }
    if targets.len() > REDIRECTS_MAX {
        return Err(RedirectFault::TooMany);
    }
    Ok(next)
}

fn resolve(current: &Target, location: &str, ports: [u16; 2]) -> Result<Target, RedirectFault> {
    if let Some(rest) = location.strip_prefix("//") {
        let scheme = if current.is_https { "https" } else { "http" };
        return absolute(&format!("{scheme}://{rest}"), ports);
    }
    if location.starts_with('/') {
        return Ok(Target {
            path: without_fragment(location),
            ..current.clone()
        });
    }
    absolute(location, ports)
}

fn absolute(location: &str, ports: [u16; 2]) -> Result<Target, RedirectFault> {
    let uri: Uri = without_fragment(location)
        .parse()
        .map_err(|_| RedirectFault::NoLocation)?;
    let scheme = uri.scheme().ok_or(RedirectFault::NoLocation)?;
    let is_https = *scheme == Scheme::HTTPS;
    if !is_https && *scheme != Scheme::HTTP {
        return Err(RedirectFault::Scheme(scheme.to_string()));
    }
    let host = uri.host().unwrap_or_default();
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    if host.ends_with(".well-known") {
        return Err(RedirectFault::MissingSlash(host));
    }
    if host.is_empty() {
        return Err(RedirectFault::NoLocation);
    }
    match uri.port_u16() {
        Some(port) if !ports.contains(&port) => Err(RedirectFault::Port(port)),
        _ => Ok(Target {
            is_https,
            host,
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
        }),
    }
}

fn without_fragment(location: &str) -> String {
    location.split('#').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: [u16; 2] = [80, 443];

    fn at(is_https: bool, host: &str, path: &str) -> Target {
        Target {
            is_https,
            host: host.to_owned(),
            path: path.to_owned(),
        }
    }

    fn from_start(location: &str) -> Result<Target, RedirectFault> {
        let start = at(false, "a.test", "/.well-known/acme-challenge/t");
        follow(&[start], Some(location), PORTS)
    }

    #[test]
    fn follows_what_a_ca_follows() {
        for (location, wanted) in [
            ("https://a.test/x", at(true, "a.test", "/x")),
            ("http://B.test:80/x?y#z", at(false, "b.test", "/x?y")),
            ("https://[2001:db8::1]:443/", at(true, "2001:db8::1", "/")),
            ("//c.test/x", at(false, "c.test", "/x")),
            ("/other", at(false, "a.test", "/other")),
            ("https://a.test", at(true, "a.test", "/")),
        ] {
            assert_eq!(from_start(location), Ok(wanted), "{location}");
        }
    }

    #[test]
    fn says_why_it_does_not_follow() {
        use RedirectFault::{Loop, MissingSlash, NoLocation, Port, Scheme, TooLong};
        for (location, wanted) in [
            ("http://a.test/.well-known/acme-challenge/t", Loop),
            ("https://a.test:8443/x", Port(8443)),
            ("ftp://a.test/x", Scheme("ftp".to_owned())),
            (
                "https://a.test.well-known/acme-challenge/t",
                MissingSlash("a.test.well-known".to_owned()),
            ),
            ("", NoLocation),
            ("relative", NoLocation),
            ("https:///x", NoLocation),
        ] {
            assert_eq!(from_start(location), Err(wanted), "{location}");
        }
        let long = format!("/{}", "x".repeat(2000));
        assert_eq!(from_start(&long), Err(TooLong));
        let many =
            Vec::from_iter((0..=REDIRECTS_MAX).map(|n| at(false, "a.test", &format!("/{n}"))));
        assert_eq!(
            follow(&many, Some("/x"), PORTS),
            Err(RedirectFault::TooMany)
        );
    }
}
