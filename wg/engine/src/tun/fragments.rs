//! Splits packets that nobody can be asked to make smaller: every host may send 1280 bytes over IPv6 (RFC 8200 section 5) and 576 over
//! IPv4, and the path to a peer may carry less; so may what allows to be split. The fragments (RFC 8200 section 4.5, RFC 791
//! section 3.2) are joined again by the kernel at the other end.

use super::checksum::{renew_ipv4, IPV4_BYTES, IPV6_BYTES};

/// The protocol number of IPv6's fragment header, and its length.
const FRAGMENT: u8 = 44;
const FRAGMENT_BYTES: usize = 8;
/// What stands between the fixed IPv6 header and the part that may be split, and would have to be repeated.
const BEFORE_FRAGMENTS: [u8; 2] = [0, 43];
/// In the 16 bits with the offset: IPv4's flags, and IPv6's only one.
const DO_NOT_FRAGMENT_V4: u16 = 0x4000;
const MORE_V4: u16 = 0x2000;
const MORE_V6: u16 = 1;
/// Offsets count in units of so many bytes.
const UNIT: usize = 8;

/// A packet and how it is split.
pub struct Fragments<'a> {
    /// The fixed header.
    head: &'a [u8],
    body: &'a [u8],
    /// Payload of each fragment but the last.
    size: usize,
    /// Where the body begins in the packet that this is a fragment of itself; otherwise 0.
    offset: usize,
    /// More follows after the body, elsewhere.
    more: bool,
    /// What the body begins with, and what its fragments are recognised by. IPv4 has both in its fixed header.
    next: u8,
    id: [u8; 4],
}

impl<'a> Fragments<'a> {
    /// Looks at a packet that is whole, its header included. `None` for what fits, and for what may or can not be split. `id` is
    /// another one for each packet.
    pub fn of(packet: &'a [u8], mtu: usize, id: u32) -> Option<Self> {
        if packet.len() <= mtu {
            return None;
        }
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let fragments = if packet[0] >> 4 == 4 {
            let field = word(6);
            if packet[0] != 0x45 || field & DO_NOT_FRAGMENT_V4 != 0 {
                return None;
            }
            Fragments {
                head: &packet[..IPV4_BYTES],
                body: &packet[IPV4_BYTES..],
                size: mtu.checked_sub(IPV4_BYTES)? / UNIT * UNIT,
                offset: usize::from(field & 0x1fff) * UNIT,
                more: field & MORE_V4 != 0,
                next: 0,
                id: [0; 4],
            }
        } else {
            let (head, body) = packet.split_at(IPV6_BYTES);
            let next = head[6];
            if BEFORE_FRAGMENTS.contains(&next) {
                return None;
            }
            let size = mtu.checked_sub(IPV6_BYTES + FRAGMENT_BYTES)? / UNIT * UNIT;
            let whole = Fragments { head, body, size, offset: 0, more: false, next, id: id.to_be_bytes() };
            if next == FRAGMENT {
                let (header, body) = body.split_first_chunk::<FRAGMENT_BYTES>()?;
                let [next, _, high, low, id @ ..] = *header;
                let field = u16::from_be_bytes([high, low]);
                Fragments { body, offset: usize::from(field & !7), more: field & MORE_V6 != 0, next, id, ..whole }
            } else {
                whole
            }
        };
        (fragments.size > 0).then_some(fragments)
    }

    /// How many fragments it becomes.
    pub fn count(&self) -> usize {
        self.body.len().div_ceil(self.size)
    }

    /// Writes fragment `i` to `out`, which has room for it; its length.
    pub fn write(&self, i: usize, out: &mut [u8]) -> usize {
        let from = i * self.size;
        let part = &self.body[from..self.body.len().min(from + self.size)];
        let more = self.more || from + part.len() < self.body.len();
        let units = ((self.offset + from) / UNIT) as u16;
        out[..self.head.len()].copy_from_slice(self.head);
        if self.head.len() == IPV4_BYTES {
            let length = IPV4_BYTES + part.len();
            out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            out[6..8].copy_from_slice(&(units | if more { MORE_V4 } else { 0 }).to_be_bytes());
            renew_ipv4(&mut out[..IPV4_BYTES]);
            out[IPV4_BYTES..length].copy_from_slice(part);
            return length;
        }
        let start = IPV6_BYTES + FRAGMENT_BYTES;
        out[4..6].copy_from_slice(&((FRAGMENT_BYTES + part.len()) as u16).to_be_bytes());
        out[6] = FRAGMENT;
        out[IPV6_BYTES..IPV6_BYTES + 2].copy_from_slice(&[self.next, 0]);
        out[IPV6_BYTES + 2..IPV6_BYTES + 4]
            .copy_from_slice(&(units << 3 | if more { MORE_V6 } else { 0 }).to_be_bytes());
        out[IPV6_BYTES + 4..start].copy_from_slice(&self.id);
        out[start..start + part.len()].copy_from_slice(part);
        start + part.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(v6: bool, length: usize) -> Vec<u8> {
        let mut p: Vec<u8> = (0..length).map(|i| (i * 7 + i / 251) as u8).collect();
        if v6 {
            p[0] = 0x60;
            p[4..6].copy_from_slice(&((length - IPV6_BYTES) as u16).to_be_bytes());
            p[6] = 17;
        } else {
            p[0] = 0x45;
            p[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            p[6..8].fill(0);
            p[9] = 17;
            renew_ipv4(&mut p[..IPV4_BYTES]);
        }
        p
    }

    fn split(p: &[u8], mtu: usize, id: u32) -> Vec<Vec<u8>> {
        let Some(f) = Fragments::of(p, mtu, id) else { return vec![p.to_vec()] };
        (0..f.count())
            .map(|i| {
                let mut out = vec![0; 2048];
                let n = f.write(i, &mut out);
                assert!(n <= mtu, "{n} bytes");
                out.truncate(n);
                out
            })
            .collect()
    }

    /// Joins fragments as the receiver of RFC 8200 does: what they name, in the order of their offsets.
    fn join(v6: bool, fragments: &[Vec<u8>]) -> Vec<u8> {
        let mut body = Vec::new();
        let mut ended = false;
        for f in fragments {
            let (field, start, stated) = if v6 {
                let word = u16::from_be_bytes([f[42], f[43]]);
                assert_eq!((f[6], f[40], f[41]), (44, 17, 0));
                ((usize::from(word & !7), word & 1 != 0), 48, usize::from(u16::from_be_bytes([f[4], f[5]])) + 40)
            } else {
                let word = u16::from_be_bytes([f[6], f[7]]);
                let mut head = f[..IPV4_BYTES].to_vec();
                renew_ipv4(&mut head);
                assert_eq!(head, f[..IPV4_BYTES], "header checksum");
                (
                    (usize::from(word & 0x1fff) * 8, word & MORE_V4 != 0),
                    20,
                    usize::from(u16::from_be_bytes([f[2], f[3]])),
                )
            };
            let (offset, more) = field;
            assert!(!ended && offset == body.len() && stated == f.len());
            assert!(!more || (f.len() - start) % 8 == 0, "only the last may have an odd length");
            body.extend_from_slice(&f[start..]);
            ended = !more;
        }
        assert!(ended);
        body
    }

    #[test]
    fn fragments_join_to_what_they_were() {
        for v6 in [true, false] {
            let head = if v6 { IPV6_BYTES } else { IPV4_BYTES };
            for length in [300, 576, 1200, 1279, 1280] {
                for mtu in [68, 100, 255, 576, 1044, 1200, 1279] {
                    let p = packet(v6, length);
                    if length <= mtu {
                        assert!(Fragments::of(&p, mtu, 1).is_none());
                        continue;
                    }
                    let once = split(&p, mtu, 7);
                    assert_eq!(join(v6, &once), p[head..], "{length} by {mtu}");
                    // A router further on may have less still, and so may a kernel that has split before.
                    let twice: Vec<Vec<u8>> = once.iter().flat_map(|f| split(f, mtu.min(96), 8)).collect();
                    assert_eq!(join(v6, &twice), p[head..], "{length} by {mtu}, then by less");
                    if v6 {
                        assert!(twice.iter().all(|f| f[44..48] == 7u32.to_be_bytes()), "still parts of the same");
                    }
                }
            }
        }
    }

    #[test]
    fn what_must_stay_whole_does() {
        let mut p = packet(false, 600);
        p[6] = 0x40;
        assert!(Fragments::of(&p, 500, 1).is_none(), "don't fragment");
        p[6] = 0;
        p[0] = 0x46;
        assert!(Fragments::of(&p, 500, 1).is_none(), "options");
        let mut p = packet(true, 1280);
        for next in BEFORE_FRAGMENTS {
            p[6] = next;
            assert!(Fragments::of(&p, 1200, 1).is_none());
        }
        p[6] = 17;
        assert!(Fragments::of(&p, 48, 1).is_none(), "no room for anything");
        p[6] = FRAGMENT;
        assert!(Fragments::of(&p[..44], 40, 1).is_none(), "cut off");
    }
}
