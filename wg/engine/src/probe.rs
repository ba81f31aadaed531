//! Probes: whether one path to a peer carries packets of a size, and how fast it answers, asked inside the session
//! (docs/decisions/0012-probes-in-the-session.md).
//!
//! ```text
//!  0 IPv6 header: payload length at 4, next header 58 at 6, hop limit 1 at 7, source at 8, destination at 24
//! 40 ICMPv6: type u8 (128 request, 129 reply)   code 0 u8   checksum u16
//! 44 sequence u32 (ICMPv6's identifier and sequence number)
//! 48 zeros to the length asked for; a reply has none                                                   (big-endian)
//! ```
//!
//! Both addresses are link-local and follow from the public keys. They are nobody's AllowedIPs: whose a probe is tells the session
//! that it came in.

use crate::tun::checksum::{pseudo, stored, IPV6_BYTES};
use blake2::{Blake2s256, Digest};
use tcp::checksum::sum;

/// A probe without padding, and every reply.
pub const PROBE_BYTES_MIN: usize = IPV6_BYTES + 8;
/// The longest: what fits a UDP datagram behind WireGuard's header, its tag and an IPv4 header.
pub const PROBE_BYTES_MAX: usize = 65_535 - 20 - 8 - 32;
/// Requests of one peer that are answered in a row, and in a second.
const ANSWERS_BURST: u64 = 128;
const ANSWERS_PER_SECOND: u64 = 64;

const ICMPV6: u8 = 58;
const REQUEST: u8 = 128;
const REPLY: u8 = 129;
/// Before the public key in the hash, so that it is no other use of the key.
const CONTEXT: &[u8] = b"moray probe address v1";

/// The link-local address of whoever has a public key: fe80::/64 and the first bytes of BLAKE2s-256 over it.
pub fn link_local(public_key: &[u8; 32]) -> [u8; 16] {
    let hash = Blake2s256::new().chain_update(CONTEXT).chain_update(public_key).finalize();
    let mut address = [0; 16];
    address[..2].copy_from_slice(&[0xfe, 0x80]);
    address[8..].copy_from_slice(&hash[..8]);
    address
}

/// What a probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Answer this number.
    Request(u32),
    /// This number was asked.
    Reply(u32),
}

impl Probe {
    /// Reads a packet for `to`; `None` for what is no probe for it. The source has been looked at before.
    pub fn parse(packet: &[u8], to: &[u8; 16]) -> Option<Probe> {
        let header: &[u8; PROBE_BYTES_MIN] = packet.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]])) + IPV6_BYTES;
        if header[0] >> 4 != 6 || header[6] != ICMPV6 || length != packet.len() || header[24..40] != *to {
            return None;
        }
        let sequence = u32::from_be_bytes([header[44], header[45], header[46], header[47]]);
        match (header[40], header[41]) {
            (REQUEST, 0) => Some(Probe::Request(sequence)),
            (REPLY, 0) => Some(Probe::Reply(sequence)),
            _ => None,
        }
    }

    /// Writes a packet that fills `out`, at least [`PROBE_BYTES_MIN`].
    pub fn write(self, from: &[u8; 16], to: &[u8; 16], out: &mut [u8]) {
        let (kind, sequence) = match self {
            Probe::Request(n) => (REQUEST, n),
            Probe::Reply(n) => (REPLY, n),
        };
        let length = (out.len() - IPV6_BYTES) as u16;
        out.fill(0);
        out[0] = 0x60;
        out[4..6].copy_from_slice(&length.to_be_bytes());
        out[6..8].copy_from_slice(&[ICMPV6, 1]);
        out[8..24].copy_from_slice(from);
        out[24..40].copy_from_slice(to);
        out[40] = kind;
        out[44..48].copy_from_slice(&sequence.to_be_bytes());
        let body = &out[IPV6_BYTES..];
        let checksum = stored(sum(pseudo(out, ICMPV6, body.len()), body), 0);
        out[42..44].copy_from_slice(&checksum);
    }
}

/// How many requests of a peer may be answered.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Microseconds of credit: an answer costs a second's share.
    credit_us: u64,
    at: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance { credit_us: ANSWERS_BURST * Self::COST_US, at: 0 }
    }
}

impl Allowance {
    const COST_US: u64 = 1_000_000 / ANSWERS_PER_SECOND;

    /// Takes one answer at `now` (microseconds), if there is one.
    pub fn take(&mut self, now: u64) -> bool {
        self.credit_us = (self.credit_us + now.saturating_sub(self.at)).min(ANSWERS_BURST * Self::COST_US);
        self.at = now;
        let may = self.credit_us >= Self::COST_US;
        if may {
            self.credit_us -= Self::COST_US;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_reads_as_it_was_written_and_its_checksum_is_right() {
        let (a, b) = (link_local(&[1; 32]), link_local(&[2; 32]));
        assert_ne!(a, b);
        assert_eq!(a[..8], [0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
        for (probe, length) in [(Probe::Request(7), 48), (Probe::Request(u32::MAX), 1421), (Probe::Reply(0x1_0000), 48)]
        {
            let mut packet = vec![0xff; length];
            probe.write(&a, &b, &mut packet);
            assert_eq!(Probe::parse(&packet, &b), Some(probe));
            assert!(crate::tun::checksum::is_right(&packet, ICMPV6, IPV6_BYTES));
        }
    }

    #[test]
    fn what_is_no_probe_is_none() {
        let (a, b) = (link_local(&[1; 32]), link_local(&[2; 32]));
        let mut good = [0; 64];
        Probe::Request(9).write(&a, &b, &mut good);
        assert_eq!(Probe::parse(&good, &a), None, "for somebody else");
        for length in 0..64 {
            assert_eq!(Probe::parse(&good[..length], &b), None, "cut to {length}");
        }
        // Version, next header, type, code; the length in the header.
        for (at, value) in [(0, 0x40), (6, 17), (40, 127), (40, 130), (41, 1), (5, 23), (5, 25)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Probe::parse(&bad, &b), None, "byte {at} is {value}");
        }
    }

    #[test]
    fn a_burst_is_answered_and_then_so_many_in_a_second() {
        let mut allowance = Allowance::default();
        let mut taken = |from: u64| (0..1000).filter(|i| allowance.take(from + i * 1000)).count() as u64;
        let first = taken(5_000_000);
        assert!(
            (ANSWERS_BURST + ANSWERS_PER_SECOND - 1..=ANSWERS_BURST + ANSWERS_PER_SECOND).contains(&first),
            "{first}"
        );
        assert!((ANSWERS_PER_SECOND - 1..=ANSWERS_PER_SECOND + 1).contains(&taken(6_000_000)));
    }
}
