//! What one answer means by itself.

use std::fmt;

use http::HeaderMap;
use serde::Serialize;

use super::fetch::{Answer, BODY_MAX, Outcome};
use super::redirect::RedirectFault;

/// What one answer means by itself. Displays as the second half of a sentence
/// that begins with the address.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Reading {
    /// The key authorization.
    Right,
    /// Our own 404.
    UnknownToken,
    /// Our own 503.
    AgentFailed,
    /// A key authorization of the token by another account.
    ForeignThumbprint {
        /// The thumbprint (RFC 8555 §8.1), which is public.
        thumbprint: String,
    },
    /// A provider's answer.
    Provider {
        /// Which one.
        provider: &'static str,
        /// The status code.
        status: u16,
    },
    /// HAProxy's, or somebody's, 400.
    BadRequest,
    /// Anything else.
    Other {
        /// The status code.
        status: u16,
        /// The beginning of the body, escaped.
        body: String,
    },
    /// A redirect that a CA does not follow.
    RedirectNotFollowed {
        /// Why.
        why: String,
    },
    /// A redirect led to where there is no answer.
    BeyondRedirect {
        /// What is there.
        why: String,
    },
    /// What came back is not HTTP.
    NotHttp,
    /// The connection was closed before there was an answer.
    Closed,
    /// Nobody listens there.
    Refused,
    /// No connection came about in time.
    NoConnection,
    /// The system knows no way there.
    NoRoute {
        /// What it says.
        why: String,
    },
    /// There was a connection, but no answer in time.
    Silent,
    /// It is not public, and was left alone.
    NotProbed,
}

impl Reading {
    /// What `outcome` means, when `expected` is the key authorization of the
    /// token asked for.
    pub(super) fn of(outcome: &Outcome, expected: &str, was_redirected: bool) -> Self {
        let reading = match outcome {
            Outcome::Answer(answer) => return of_answer(answer, expected),
            Outcome::Redirect(fault) => return of_redirect(fault),
            Outcome::Refused => Self::Refused,
            Outcome::NoConnection => Self::NoConnection,
            Outcome::NoRoute(why) => Self::NoRoute { why: why.clone() },
            Outcome::Closed => Self::Closed,
            Outcome::Silent => Self::Silent,
            Outcome::Garbled => Self::NotHttp,
            Outcome::Tls(why) => return beyond(format!("TLS fails: {why}")),
            Outcome::Reserved(ip) => return beyond(format!("{ip} is not public")),
            Outcome::Dns(host, fault) => return beyond(format!("{host:?}: {fault}")),
        };
        if was_redirected {
            return beyond(reading.to_string());
        }
        reading
    }

    /// Whether a CA would be content.
    pub fn is_right(&self) -> bool {
        *self == Self::Right
    }

    /// Whether something answered, and not with what a CA wants.
    pub fn is_wrong_answer(&self) -> bool {
        !matches!(
            self,
            Self::Right
                | Self::Refused
                | Self::NoConnection
                | Self::NoRoute { .. }
                | Self::Silent
                | Self::NotProbed
        )
    }
}

fn beyond(why: String) -> Reading {
    Reading::BeyondRedirect { why }
}

fn of_redirect(fault: &RedirectFault) -> Reading {
    Reading::RedirectNotFollowed {
        why: fault.to_string(),
    }
}

fn of_answer(answer: &Answer, expected: &str) -> Reading {
    let Answer {
        status,
        headers,
        body,
    } = answer;
    let (status, text) = (*status, String::from_utf8_lossy(body));
    // Trailing white space is allowed (RFC 8555 §8.3).
    let is_short = body.len() <= BODY_MAX;
    let text = text.trim_end();
    if status == 200 && is_short && text == expected {
        return Reading::Right;
    }
    if let Some(thumbprint) = foreign_thumbprint(text, expected)
        && status == 200
    {
        return Reading::ForeignThumbprint { thumbprint };
    }
    let is_ours = has(headers, "x-content-type-options", "nosniff")
        && has(headers, "cache-control", "no-store");
    match (status, text) {
        (404, "unknown token") if is_ours => return Reading::UnknownToken,
        (503, AGENT_FAILED) if is_ours => return Reading::AgentFailed,
        _ => {}
    }
    if let Some(provider) = provider(headers) {
        return Reading::Provider { provider, status };
    }
    // nginx says 400 of plain HTTP on a port for TLS too.
    if status == 400 && !text.contains("HTTPS port") {
        return Reading::BadRequest;
    }
    Reading::Other {
        status,
        body: quote(text),
    }
}

/// What the shipped haproxy.cfg says with its 503.
const AGENT_FAILED: &str = "the ACME challenge agent does not answer";

/// The thumbprint of a key authorization of the same token: base64url of a
/// SHA-256 (RFC 8555 §8.1), other than ours.
fn foreign_thumbprint(text: &str, expected: &str) -> Option<String> {
    let (token, ours) = expected.split_once('.')?;
    let thumbprint = text.strip_prefix(token)?.strip_prefix('.')?;
    let is_base64url = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_thumbprint =
        thumbprint.len() == THUMBPRINT_LENGTH && thumbprint.chars().all(is_base64url);
    (is_thumbprint && thumbprint != ours).then(|| thumbprint.to_owned())
}

const THUMBPRINT_LENGTH: usize = 43;

/// Who stands in front, by what they add to every answer.
fn provider(headers: &HeaderMap) -> Option<&'static str> {
    let by_header = [
        ("cf-ray", "Cloudflare"),
        ("x-amz-cf-id", "Amazon CloudFront"),
        ("x-azure-ref", "Azure Front Door"),
        ("x-akamai-request-id", "Akamai"),
        ("x-sucuri-id", "Sucuri"),
        ("x-served-by", "Fastly"),
        ("x-vercel-id", "Vercel"),
        ("x-iinfo", "Imperva"),
    ];
    let by_server = [
        ("cloudflare", "Cloudflare"),
        ("cloudfront", "Amazon CloudFront"),
        ("awselb", "an AWS load balancer"),
        ("akamaighost", "Akamai"),
        ("google frontend", "Google"),
        ("gws", "Google"),
        ("varnish", "Varnish"),
    ];
    let named = by_header
        .iter()
        .find(|(header, _)| headers.contains_key(*header));
    let told = by_server
        .iter()
        .find(|(word, _)| has(headers, "server", word) || has(headers, "via", word));
    named.or(told).map(|(_, provider)| *provider)
}

fn has(headers: &HeaderMap, name: &str, word: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .into_iter()
        .any(|value| value.to_ascii_lowercase().contains(word))
}

/// The beginning of a body, fit for a terminal and for HTML: whatever a peer
/// says is escaped.
fn quote(text: &str) -> String {
    let shown: String = text
        .chars()
        .take(QUOTE_MAX)
        .flat_map(char::escape_default)
        .collect();
    if text.chars().count() > QUOTE_MAX {
        shown + "…"
    } else {
        shown
    }
}

/// In characters.
const QUOTE_MAX: usize = 60;

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right => f.write_str("answers with the key authorization"),
            Self::UnknownToken => f.write_str("does not know the token, which was published here"),
            Self::AgentFailed => f.write_str("answers that its agent does not answer"),
            Self::ForeignThumbprint { thumbprint } => {
                write!(
                    f,
                    "answers for another ACME account, of thumbprint {thumbprint}"
                )
            }
            Self::Provider { provider, status } => {
                write!(f, "is {provider}, which answers {status}")
            }
            Self::BadRequest => {
                f.write_str("answers 400, as when it is sent what it does not expect")
            }
            Self::Other { status, body } if body.is_empty() => {
                write!(f, "answers {status} with nothing")
            }
            Self::Other { status, body } => write!(f, "answers {status} with \"{body}\""),
            Self::RedirectNotFollowed { why } => write!(f, "redirects in vain: {why}"),
            Self::BeyondRedirect { why } => {
                write!(f, "redirects to where there is no answer: {why}")
            }
            Self::NotHttp => f.write_str("does not speak HTTP"),
            Self::Closed => f.write_str("closes the connection without an answer"),
            Self::Refused => f.write_str("refuses connections to port 80"),
            Self::NoConnection => f.write_str("lets no connection come about: packets are dropped"),
            Self::NoRoute { why } => write!(f, "cannot be reached: {why}"),
            Self::Silent => f.write_str("takes the connection and does not answer in time"),
            Self::NotProbed => f.write_str("is not a public address"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = "tttttttttttttttttttttttt.ooooooooooooooooooooooooooooooooooooooooooo";

    fn read(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Reading {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let mut body = body.as_bytes().to_vec();
        body.truncate(BODY_MAX + 1);
        let answer = Answer {
            status,
            headers,
            body,
        };
        Reading::of(&Outcome::Answer(answer), EXPECTED, false)
    }

    const OURS: [(&str, &str); 2] = [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ];

    #[test]
    fn only_what_a_ca_takes_is_right() {
        assert!(read(200, &[], EXPECTED).is_right());
        assert!(read(200, &[], &format!("{EXPECTED} \r\n")).is_right());
        for (status, body) in [
            (201, EXPECTED.to_owned()),
            (200, format!(" {EXPECTED}")),
            (200, format!("{EXPECTED}{}", " ".repeat(100))),
            (200, format!("{EXPECTED}x")),
            (200, String::new()),
        ] {
            assert!(
                read(status, &[], &body).is_wrong_answer(),
                "{status} {body:?}"
            );
        }
    }

    #[test]
    fn tells_who_answers() {
        let foreign = format!("tttttttttttttttttttttttt.{}", "x".repeat(43));
        assert!(matches!(
            read(200, &[], &foreign),
            Reading::ForeignThumbprint { .. }
        ));
        assert!(matches!(
            read(200, &[], &foreign[..60]),
            Reading::Other { .. }
        ));
        assert_eq!(read(404, &OURS, "unknown token\n"), Reading::UnknownToken);
        assert!(matches!(
            read(404, &[], "unknown token\n"),
            Reading::Other { .. }
        ));
        assert_eq!(
            read(503, &OURS, &format!("{AGENT_FAILED}\n")),
            Reading::AgentFailed
        );
        assert!(matches!(
            read(403, &[("cf-ray", "1")], ""),
            Reading::Provider {
                provider: "Cloudflare",
                ..
            }
        ));
        assert!(matches!(
            read(502, &[("server", "awselb/2.0")], ""),
            Reading::Provider { .. }
        ));
        assert_eq!(read(400, &[], "<html>"), Reading::BadRequest);
    }

    #[test]
    fn a_body_is_escaped_and_cut() {
        let hostile = "\u{1b}[2J<script>\"\u{202e}".to_owned() + &"x".repeat(500);
        let Reading::Other { body, .. } = read(200, &[], &hostile) else {
            panic!("not read as another answer");
        };
        assert!(body.is_ascii() || body.ends_with('…'), "{body}");
        assert!(
            !body.contains('\u{1b}') && !body.contains('\u{202e}'),
            "{body}"
        );
        assert!(body.starts_with("\\u{1b}[2J<script>\\\""), "{body}");
    }
}
