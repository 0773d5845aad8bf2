//! Addresses that no CA asks, and that no probe is led to by a redirect or by
//! somebody else's DNS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is not globally reachable (the IANA special-purpose
/// registries, RFC 6890), as far as a name may point there.
pub(super) fn is_reserved(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_reserved_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_reserved_v4(mapped),
            None => is_reserved_v6(address),
        },
    }
}

fn is_reserved_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Shared address space, RFC 6598; protocol assignments, RFC 6890;
        // benchmarks, RFC 2544.
        || (a == 100 && b & 0b1100_0000 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0b1111_1110 == 18)
        // Once the relays of 6to4, RFC 7526.
        || (a == 192 && b == 88 && c == 99)
}

/// Of IPv6, only 2000::/3 is given out (RFC 4291 §2.4).
fn is_reserved_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_global_unicast = a & 0xe000 == 0x2000;
    // Documentation (RFC 3849, RFC 9637); Teredo and ORCHID (RFC 4380, RFC 7343).
    let is_documentation = (a == 0x2001 && b == 0x0db8) || (a == 0x3fff && b < 0x1000);
    // 6to4 leads to any IPv4 address (RFC 3056).
    let is_special = (a == 0x2001 && b < 0x0200) || a == 0x2002;
    !is_global_unicast || is_documentation || is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_reserved_from_public() {
        for reserved in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b::1",
            "3fff::1",
            "2001::1",
            "2002:7f00:1::",
            "192.88.99.1",
        ] {
            assert!(is_reserved(reserved.parse().unwrap()), "{reserved}");
        }
        for public in [
            "1.1.1.1",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(!is_reserved(public.parse().unwrap()), "{public}");
        }
    }
}
