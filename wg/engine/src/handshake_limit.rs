//! A token bucket for each source address, in front of boringtun's one global counter: a flood from one address
//! must not push everybody else to cookies.

use std::collections::HashMap;
use std::net::IpAddr;

/// Handshake messages that a source may send in a row, and tokens regained a second.
const BURST: f64 = 60.0;
const RATE_PER_SECOND: f64 = 20.0;
/// Sources remembered; when full, the buckets that are full again are forgotten, then all of them.
const SOURCES_MAX: usize = 4096;

/// Tokens by source. IPv6 sources count by their /64, which is what one host commands.
#[derive(Default)]
pub struct HandshakeLimit {
    buckets: HashMap<[u8; 9], (f64, u64)>,
}

fn key(source: IpAddr) -> [u8; 9] {
    let mut key = [0; 9];
    match source {
        IpAddr::V4(a) => {
            key[0] = 4;
            key[1..5].copy_from_slice(&a.octets());
        }
        IpAddr::V6(a) => {
            key[0] = 6;
            key[1..].copy_from_slice(&a.octets()[..8]);
        }
    }
    key
}

impl HandshakeLimit {
    /// Whether `source` may send one more handshake message at `now` (microseconds).
    pub fn allow(&mut self, now: u64, source: IpAddr) -> bool {
        if self.buckets.len() >= SOURCES_MAX {
            self.buckets.retain(|_, (tokens, at)| refill(*tokens, now.saturating_sub(*at)) < BURST);
            if self.buckets.len() >= SOURCES_MAX {
                self.buckets.clear();
            }
        }
        let (tokens, at) = self.buckets.entry(key(source)).or_insert((BURST, now));
        *tokens = refill(*tokens, now.saturating_sub(*at));
        *at = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }
}

fn refill(tokens: f64, elapsed_us: u64) -> f64 {
    (tokens + elapsed_us as f64 / 1e6 * RATE_PER_SECOND).min(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn one_source_is_limited_and_others_are_not() {
        let mut limit = HandshakeLimit::default();
        let flood = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let passed = (0..1000).filter(|_| limit.allow(5, flood)).count();
        assert_eq!(passed, BURST as usize);
        assert!(limit.allow(5, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))));
        assert!(limit.allow(5 + 50_000, flood));
        assert!(!limit.allow(5 + 50_000, flood));
    }

    #[test]
    fn ipv6_counts_by_64_and_memory_is_bounded() {
        let mut limit = HandshakeLimit::default();
        for i in 0..60 {
            limit.allow(0, IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, i)));
        }
        assert!(!limit.allow(0, IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 9, 9, 9, 9))));
        for i in 0..20_000u32 {
            limit.allow(1, IpAddr::V4(Ipv4Addr::from(i)));
        }
        assert!(limit.buckets.len() <= SOURCES_MAX);
    }
}
