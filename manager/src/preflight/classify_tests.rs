use super::*;

const PUBLIC: &str = "192.0.2.1";
const PUBLIC_V6: &str = "2001:db8::1";
const BALANCER: &str = "127.0.0.1:80";

fn view<A: std::str::FromStr>(address: &str, reading: Reading) -> View<A> {
    let Ok(address) = address.parse() else {
        panic!("{address}");
    };
    View {
        address,
        redirects: Vec::new(),
        reading,
    }
}

/// A name with one address that is read as `public`, and one load balancer
/// that is read as `balancer`.
fn sights(public: Reading, balancer: Reading) -> Sights {
    Sights {
        dns: Ok(Addresses::default()),
        authoritative: None,
        caa: Caa::Allows,
        public: vec![view(PUBLIC, public)],
        balancers: vec![view(BALANCER, balancer)],
        agent: None,
        has_backend: Some(true),
        ours: vec![BALANCER.parse::<SocketAddr>().unwrap().ip()],
    }
}

fn other() -> Reading {
    Reading::Other {
        status: 200,
        body: "hello".to_owned(),
    }
}

#[test]
fn one_answer_decides() {
    use Reading::{
        AgentFailed, BadRequest, Closed, NoConnection, NotProbed, Refused, Right, Silent,
        UnknownToken,
    };
    let foreign = || Reading::ForeignThumbprint {
        thumbprint: "x".repeat(43),
    };
    let provider = || Reading::Provider {
        provider: "Cloudflare",
        status: 403,
    };
    let vain = || Reading::RedirectNotFollowed {
        why: "a circle".to_owned(),
    };
    for (public, balancer, class, severity) in [
        (Right, Right, Class::Fine, Good),
        (Refused, Right, Class::Hairpin, Note),
        (NoConnection, Right, Class::Hairpin, Note),
        (Silent, Right, Class::Hairpin, Note),
        (Refused, Refused, Class::PortClosed, Certain),
        (Refused, NoConnection, Class::PortClosed, Uncertain),
        (NoConnection, Refused, Class::NoAnswer, Uncertain),
        (NotProbed, Right, Class::NotPublic, Uncertain),
        (foreign(), Right, Class::ForeignClient, Certain),
        (provider(), Right, Class::Intercepted, Certain),
        (vain(), vain(), Class::Redirects, Certain),
        (other(), Right, Class::DnsElsewhere, Certain),
        (other(), other(), Class::OtherAnswer, Certain),
        (UnknownToken, Right, Class::UnknownToken, Certain),
        (AgentFailed, AgentFailed, Class::AgentDown, Certain),
        (Closed, Closed, Class::ProxyProtocol, Certain),
        (BadRequest, Right, Class::ProxyProtocol, Certain),
        (Right, UnknownToken, Class::UnknownToken, Note),
        (Right, Refused, Class::Fine, Note),
        (Refused, other(), Class::OtherAnswer, Certain),
    ] {
        let case = format!("{public:?}, {balancer:?}");
        let finding = classify(&sights(public, balancer));
        assert_eq!(
            (finding.class, finding.severity),
            (class, severity),
            "{case}"
        );
    }
}

#[test]
fn what_is_known_besides_counts() {
    let without_filter = Sights {
        has_backend: Some(false),
        ..sights(other(), other())
    };
    assert_eq!(classify(&without_filter).class, Class::NoFilter);
    let mut over_https = sights(other(), other());
    over_https.public[0]
        .redirects
        .push("https://a.test/".to_owned());
    assert_eq!(classify(&over_https).class, Class::HttpsRedirect);
    let own_address = Sights {
        ours: vec![PUBLIC.parse().unwrap()],
        ..sights(other(), Reading::Right)
    };
    assert_eq!(classify(&own_address).class, Class::OtherAnswer);
    let own_and_closed = Sights {
        ours: vec![PUBLIC.parse().unwrap()],
        ..sights(Reading::Refused, Reading::Right)
    };
    let finding = classify(&own_and_closed);
    assert_eq!(
        (finding.class, finding.severity),
        (Class::PortClosed, Certain)
    );
}

#[test]
fn ipv6_comes_first() {
    for (v6, v4, class, severity) in [
        (Reading::Refused, Reading::Right, Class::Ipv6Broken, Note),
        (other(), Reading::Right, Class::Ipv6Broken, Certain),
        (
            Reading::Right,
            Reading::Refused,
            Class::PortClosed,
            Uncertain,
        ),
        (
            Reading::Right,
            Reading::UnknownToken,
            Class::UnknownToken,
            Certain,
        ),
    ] {
        let mut sights = sights(v4, Reading::Right);
        sights.public.insert(0, view(PUBLIC_V6, v6));
        let finding = classify(&sights);
        assert_eq!(
            (finding.class, finding.severity),
            (class, severity),
            "{finding:?}"
        );
    }
}

#[test]
fn nothing_is_asked_in_vain() {
    let right = || sights(Reading::Right, Reading::Right);
    for (fault, class, severity) in [
        (DnsFault::NoName, Class::NoAddress, Certain),
        (DnsFault::NoAddress, Class::NoAddress, Certain),
        (DnsFault::Dnssec, Class::Dnssec, Certain),
        (DnsFault::TimedOut, Class::DnsFailure, Uncertain),
    ] {
        let finding = classify(&Sights {
            dns: Err(fault),
            ..right()
        });
        assert_eq!((finding.class, finding.severity), (class, severity));
    }
    let forbids = Caa::Forbids {
        at: "test".to_owned(),
        issuers: vec![String::new()],
    };
    let finding = classify(&Sights {
        caa: forbids,
        ..right()
    });
    assert_eq!(finding.class, Class::CaaForbids);
    assert!(
        finding.cause.contains("let nobody issue"),
        "{}",
        finding.cause
    );
    let unknown = Caa::Unknown(DnsFault::TimedOut);
    assert_eq!(
        classify(&Sights {
            caa: unknown,
            ..right()
        })
        .severity,
        Uncertain
    );
    let down = Sights {
        agent: Some("gone".to_owned()),
        ..right()
    };
    assert_eq!(classify(&down).class, Class::AgentDown);
}

#[test]
fn every_fault_has_a_way_out() {
    for class in [
        Class::Hairpin,
        Class::OtherAnswer,
        Class::AgentDown,
        Class::NotPublic,
    ] {
        assert!(hint(class).is_some_and(|hint| hint.len() > 20));
    }
    assert_eq!(hint(Class::Fine), None);
}
