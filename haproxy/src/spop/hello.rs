//! HELLO: the handshake (SPOE.txt 3.2.4, 3.2.5).

use super::error::Error;
use super::frame::{self, FrameType, Head};
use super::{Value, item};

/// What HAProxy offers at the start of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaproxyHello<'a> {
    /// `supported-versions`, separated by commas.
    pub supported_versions: &'a [u8],
    /// `max-frame-size`: the longest frame that HAProxy takes, in bytes.
    pub frame_size_max: u32,
    /// `capabilities`, separated by commas; may be empty.
    pub capabilities: &'a [u8],
    /// `engine-id`: which SPOE engine this is.
    pub engine_id: Option<&'a [u8]>,
    /// `healthcheck`: the connection is one of `option spop-check`.
    pub is_health_check: bool,
}

impl<'a> HaproxyHello<'a> {
    /// Decodes a payload. Unknown items are skipped.
    ///
    /// # Errors
    ///
    /// When a mandatory item is missing, and when a known one comes twice or has the wrong type.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Error> {
        let mut versions = None;
        let mut frame_size = None;
        let mut capabilities = None;
        let mut engine_id = None;
        let mut healthcheck = None;
        for item in item::list(payload, item::decode) {
            let (name, value) = item?;
            match str::from_utf8(name) {
                Ok(VERSIONS) => item::fill(&mut versions, VERSIONS, item::string(value))?,
                Ok(FRAME_SIZE) => item::fill(&mut frame_size, FRAME_SIZE, item::uint32(value))?,
                Ok(CAPABILITIES) => {
                    item::fill(&mut capabilities, CAPABILITIES, item::string(value))?;
                }
                Ok(ENGINE_ID) => item::fill(&mut engine_id, ENGINE_ID, item::string(value))?,
                Ok(HEALTHCHECK) => {
                    item::fill(&mut healthcheck, HEALTHCHECK, item::boolean(value))?;
                }
                _ => {}
            }
        }
        Ok(Self {
            supported_versions: versions.ok_or(Error::VersionMissing)?,
            frame_size_max: frame_size.ok_or(Error::FrameSizeMissing)?,
            capabilities: capabilities.ok_or(Error::CapabilitiesMissing)?,
            engine_id,
            is_health_check: healthcheck.unwrap_or(false),
        })
    }

    /// Appends a whole frame, its items in HAProxy's order.
    pub fn encode(&self, output: &mut Vec<u8>) {
        frame::encode(&Head::control(FrameType::HAPROXY_HELLO), output, |output| {
            let versions = Value::String(self.supported_versions);
            item::encode(VERSIONS, versions, output);
            item::encode(FRAME_SIZE, self.frame_size_max.into(), output);
            item::encode(CAPABILITIES, Value::String(self.capabilities), output);
            if let Some(engine_id) = self.engine_id {
                item::encode(ENGINE_ID, Value::String(engine_id), output);
            }
            if self.is_health_check {
                item::encode(HEALTHCHECK, true.into(), output);
            }
        });
    }

    /// A major version that is announced stands for all its minor ones (SPOE.txt 3.2.4), so that
    /// any 2.x means 2.0 as well.
    fn offers_version_2(&self) -> bool {
        elements(self.supported_versions).any(|version| {
            version
                .strip_prefix(b"2.")
                .is_some_and(|minor| !minor.is_empty() && minor.iter().all(u8::is_ascii_digit))
        })
    }

    fn offers_pipelining(&self) -> bool {
        elements(self.capabilities).any(|capability| capability == PIPELINING)
    }
}

/// What the agent accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentHello<'a> {
    /// `version`: the one version both speak from here on.
    pub version: &'a [u8],
    /// `max-frame-size`: the longest frame from here on, in bytes.
    pub frame_size_max: u32,
    /// `capabilities`, separated by commas; may be empty.
    pub capabilities: &'a [u8],
}

impl<'a> AgentHello<'a> {
    /// The answer of an agent that takes frames of up to `frame_size_max` bytes.
    ///
    /// Pipelining is announced when HAProxy offers it, and nothing else ever is: HAProxy 3.1 gave up
    /// `async` and `fragmentation`.
    ///
    /// # Errors
    ///
    /// When HAProxy offers no version 2.x, or takes only frames shorter than 256 bytes.
    pub fn answer(offer: &HaproxyHello<'_>, frame_size_max: u32) -> Result<Self, Error> {
        if !offer.offers_version_2() {
            return Err(Error::VersionUnsupported);
        }
        if offer.frame_size_max < FRAME_SIZE_MAX_MIN {
            return Err(Error::FrameSizeTooSmall(offer.frame_size_max));
        }
        Ok(Self {
            version: VERSION_2_0,
            frame_size_max: offer.frame_size_max.min(frame_size_max),
            capabilities: if offer.offers_pipelining() {
                PIPELINING
            } else {
                b""
            },
        })
    }

    /// Decodes a payload. Unknown items are skipped.
    ///
    /// # Errors
    ///
    /// When a mandatory item is missing, and when a known one comes twice or has the wrong type.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Error> {
        let mut version = None;
        let mut frame_size = None;
        let mut capabilities = None;
        for item in item::list(payload, item::decode) {
            let (name, value) = item?;
            match str::from_utf8(name) {
                Ok(VERSION) => item::fill(&mut version, VERSION, item::string(value))?,
                Ok(FRAME_SIZE) => item::fill(&mut frame_size, FRAME_SIZE, item::uint32(value))?,
                Ok(CAPABILITIES) => {
                    item::fill(&mut capabilities, CAPABILITIES, item::string(value))?;
                }
                _ => {}
            }
        }
        Ok(Self {
            version: version.ok_or(Error::VersionMissing)?,
            frame_size_max: frame_size.ok_or(Error::FrameSizeMissing)?,
            capabilities: capabilities.ok_or(Error::CapabilitiesMissing)?,
        })
    }

    /// Appends a whole frame.
    pub fn encode(&self, output: &mut Vec<u8>) {
        frame::encode(&Head::control(FrameType::AGENT_HELLO), output, |output| {
            item::encode(VERSION, Value::String(self.version), output);
            item::encode(FRAME_SIZE, self.frame_size_max.into(), output);
            item::encode(CAPABILITIES, Value::String(self.capabilities), output);
        });
    }
}

/// The elements of a list separated by commas. "Spaces must be ignored, if any."
fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// The least that a peer's longest frame may be, in bytes (SPOE.txt 3.2).
pub(super) const FRAME_SIZE_MAX_MIN: u32 = 256;

/// The only version that HAProxy takes: 1.0 was dropped.
const VERSION_2_0: &[u8] = b"2.0";
const PIPELINING: &[u8] = b"pipelining";

const VERSIONS: &str = "supported-versions";
const VERSION: &str = "version";
const FRAME_SIZE: &str = "max-frame-size";
const CAPABILITIES: &str = "capabilities";
const ENGINE_ID: &str = "engine-id";
const HEALTHCHECK: &str = "healthcheck";

#[cfg(test)]
mod tests {
    use super::super::{Frame, Malformed};
    use super::*;

    const OFFER: HaproxyHello<'_> = HaproxyHello {
        supported_versions: b"2.0",
        frame_size_max: 16_380,
        capabilities: b"pipelining,async",
        engine_id: Some(b"6A2B1C4E-0000-4000-8000-000000000001"),
        is_health_check: false,
    };

    fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut output = Vec::new();
        encode(&mut output);
        output
    }

    fn payload(frame: &[u8]) -> &[u8] {
        let (frame, rest) = Frame::split(frame, 16_380).unwrap().unwrap();
        assert!(rest.is_empty());
        frame.payload
    }

    #[test]
    fn haproxy_hello_round_trips() {
        let check = HaproxyHello {
            capabilities: b"",
            engine_id: None,
            is_health_check: true,
            ..OFFER
        };
        for hello in [OFFER, check] {
            let bytes = encoded(|output| hello.encode(output));
            assert_eq!(HaproxyHello::decode(payload(&bytes)), Ok(hello));
        }
    }

    #[test]
    fn agent_hello_round_trips_and_is_what_haproxy_expects() {
        let hello = AgentHello::answer(&OFFER, 16_380).unwrap();
        let bytes = encoded(|output| hello.encode(output));
        let expected = b"\x00\x00\x00\x40\x65\x00\x00\x00\x01\x00\x00\
            \x07version\x08\x032.0\
            \x0emax-frame-size\x03\xfc\xf0\x06\
            \x0ccapabilities\x08\x0apipelining";
        assert_eq!(bytes, expected);
        assert_eq!(AgentHello::decode(payload(&bytes)), Ok(hello));
    }

    #[test]
    fn no_truncated_hello_is_taken() {
        let offer = HaproxyHello {
            engine_id: None,
            ..OFFER
        };
        let bytes = encoded(|output| offer.encode(output));
        let payload = payload(&bytes);
        for end in 0..payload.len() {
            assert!(
                HaproxyHello::decode(&payload[..end]).is_err(),
                "{end} bytes"
            );
        }
    }

    #[test]
    fn names_the_first_missing_item() {
        let items = |items: &[(&str, Value<'_>)]| {
            encoded(|output| {
                for (name, value) in items {
                    item::encode(name, *value, output);
                }
            })
        };
        let (versions, size) = ((VERSIONS, "2.0".into()), (FRAME_SIZE, 16_380.into()));
        let decode = |bytes: &[u8]| HaproxyHello::decode(bytes).map(|_| ());
        assert_eq!(decode(&[]), Err(Error::VersionMissing));
        assert_eq!(decode(&items(&[versions])), Err(Error::FrameSizeMissing));
        assert_eq!(
            decode(&items(&[versions, size])),
            Err(Error::CapabilitiesMissing)
        );
        let unknown = ("x-new", Value::Null);
        let capabilities = (CAPABILITIES, "".into());
        assert_eq!(
            decode(&items(&[unknown, versions, size, capabilities])),
            Ok(())
        );
        let twice = Err(Malformed::ItemTwice(FRAME_SIZE).into());
        assert_eq!(decode(&items(&[size, versions, size])), twice);
        let mistyped = Err(Malformed::ItemType(FRAME_SIZE).into());
        assert_eq!(
            decode(&items(&[versions, (FRAME_SIZE, "16380".into())])),
            mistyped
        );
        let mistyped = Err(Malformed::ItemType(HEALTHCHECK).into());
        assert_eq!(decode(&items(&[(HEALTHCHECK, 1.into())])), mistyped);
    }

    #[test]
    fn answers_the_lesser_frame_size() {
        let answer = |offered, own| {
            let offer = HaproxyHello {
                frame_size_max: offered,
                ..OFFER
            };
            AgentHello::answer(&offer, own).map(|hello| hello.frame_size_max)
        };
        assert_eq!(answer(16_380, 16_380), Ok(16_380));
        assert_eq!(answer(256, 16_380), Ok(256));
        assert_eq!(answer(u32::MAX, 16_380), Ok(16_380));
        assert_eq!(answer(255, 16_380), Err(Error::FrameSizeTooSmall(255)));
    }

    #[test]
    fn takes_any_version_2() {
        let takes = |versions: &'static str| {
            let offer = HaproxyHello {
                supported_versions: versions.as_bytes(),
                ..OFFER
            };
            AgentHello::answer(&offer, 16_380).is_ok_and(|hello| hello.version == b"2.0")
        };
        for versions in ["2.0", " 2.0 ", "1.0,2.0", "3.0, 2.1", "2.0, 1.5"] {
            assert!(takes(versions), "{versions:?}");
        }
        for versions in ["", "1.0", "3.0", "2", "2.", "2.x", "12.0", "1.2.0", "2.0.0"] {
            assert!(!takes(versions), "{versions:?}");
        }
    }

    #[test]
    fn announces_pipelining_only_if_offered_and_never_more() {
        let announced = |capabilities: &'static str| {
            let offer = HaproxyHello {
                capabilities: capabilities.as_bytes(),
                ..OFFER
            };
            AgentHello::answer(&offer, 16_380).unwrap().capabilities
        };
        assert_eq!(announced("pipelining,async"), b"pipelining");
        assert_eq!(announced("fragmentation, pipelining"), b"pipelining");
        assert_eq!(announced("pipelining2,async"), b"");
        assert_eq!(announced(""), b"");
    }
}
