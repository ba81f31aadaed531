//! What precedes each packet of a TUN device opened with `IFF_VNET_HDR` (`struct virtio_net_hdr` of linux/virtio_net.h).
//!
//! ```text
//!  0 flags u8   1 gso_type u8   2 hdr_len u16   4 gso_size u16   6 csum_start u16   8 csum_offset u16    (10, host order)
//! ```

/// Length of the header.
pub const BYTES: usize = 10;
/// The longest IP packet behind it.
pub const PACKET_BYTES_MAX: usize = 65_535;

/// The checksum at `csum_start + csum_offset` holds the pseudo-header's sum only (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
pub const NEEDS_CHECKSUM: u8 = 1;
/// Beside a kind of TCP: its first segment may carry CWR (`VIRTIO_NET_HDR_GSO_ECN`).
pub const ECN: u8 = 0x80;

/// What a packet is to be split into (`gso_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it is one packet.
    Whole = 0,
    /// TCP segments over IPv4.
    Tcp4 = 1,
    /// TCP segments over IPv6.
    Tcp6 = 4,
    /// UDP datagrams (`VIRTIO_NET_HDR_GSO_UDP_L4`).
    Udp = 5,
}

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the checksum has still to be computed.
    pub needs_checksum: bool,
    /// What to split into.
    pub kind: Kind,
    /// Bytes of IP and transport header; the kernel calls it a hint.
    pub header_length: u16,
    /// Payload of each part but the last.
    pub size: u16,
    /// Where the checksummed part begins: the transport header.
    pub checksum_start: u16,
    /// Where in it the checksum is.
    pub checksum_offset: u16,
}

impl Header {
    /// Of a packet that is as it should be.
    pub const PLAIN: Header = Header {
        needs_checksum: false,
        kind: Kind::Whole,
        header_length: 0,
        size: 0,
        checksum_start: 0,
        checksum_offset: 0,
    };

    /// Reads the header in front of a packet; `None` when it is cut off or of a kind that was not asked for.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let b: &[u8; BYTES] = bytes.first_chunk()?;
        let word = |i: usize| u16::from_ne_bytes([b[i], b[i + 1]]);
        let kind = match b[1] & !ECN {
            0 => Kind::Whole,
            1 => Kind::Tcp4,
            4 => Kind::Tcp6,
            5 => Kind::Udp,
            _ => return None,
        };
        Some(Header {
            needs_checksum: b[0] & NEEDS_CHECKSUM != 0,
            kind,
            header_length: word(2),
            size: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        })
    }

    /// Writes the header to the first [`BYTES`] of `out`.
    pub fn write(&self, out: &mut [u8]) {
        out[0] = if self.needs_checksum { NEEDS_CHECKSUM } else { 0 };
        out[1] = self.kind as u8;
        let words = [self.header_length, self.size, self.checksum_start, self.checksum_offset];
        for (space, word) in out[2..BYTES].as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *space = word.to_ne_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for kind in [Kind::Whole, Kind::Tcp4, Kind::Tcp6, Kind::Udp] {
            let h = Header {
                needs_checksum: true,
                kind,
                header_length: 54,
                size: 1208,
                checksum_start: 40,
                checksum_offset: 16,
            };
            let mut bytes = [0; BYTES];
            h.write(&mut bytes);
            assert_eq!(Header::parse(&bytes), Some(h));
            bytes[1] |= ECN;
            assert_eq!(Header::parse(&bytes), Some(h));
        }
    }

    #[test]
    fn a_short_header_and_an_unknown_kind_are_refused() {
        assert_eq!(Header::parse(&[0; 9]), None);
        assert_eq!(Header::parse(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Header::parse(&[0; 10]), Some(Header::PLAIN));
    }
}
