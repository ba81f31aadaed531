//! AllowedIPs: longest prefix to peer, for where an inner packet goes and whether it may come.

use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;
use std::cell::Cell;
use std::net::IpAddr;

/// Prefixes in all, at most.
pub const PREFIXES_MAX: usize = 65_536;
/// Answers remembered, a power of two; one more takes the place of another.
const RECENT: usize = 256;

/// An address looked up, and whose it was.
type Answer = (IpAddr, Option<u32>);

/// The routing table of the tunnel.
pub struct AllowedIps {
    table: IpNetworkTable<u32>,
    count: usize,
    /// Every packet asks twice, mostly for the same address as the one before.
    recent: Box<[Cell<Option<Answer>>]>,
}

impl Default for AllowedIps {
    fn default() -> Self {
        AllowedIps { table: IpNetworkTable::new(), count: 0, recent: (0..RECENT).map(|_| Cell::new(None)).collect() }
    }
}

impl AllowedIps {
    /// Gives a prefix to a peer, taking it from whoever had it; false when the prefix is no prefix or the table is full.
    pub fn insert(&mut self, address: IpAddr, prefix: u8, peer: u32) -> bool {
        let Ok(network) = IpNetwork::new_truncate(address, prefix) else { return false };
        if self.count >= PREFIXES_MAX {
            return false;
        }
        if self.table.insert(network, peer).is_none() {
            self.count += 1;
        }
        self.forget();
        true
    }

    /// Forgets every prefix of a peer.
    pub fn remove_peer(&mut self, peer: u32) {
        let gone: Vec<IpNetwork> = self.table.iter().filter(|(_, p)| **p == peer).map(|(n, _)| n).collect();
        for network in gone {
            self.table.remove(network);
            self.count -= 1;
        }
        self.forget();
    }

    fn forget(&self) {
        self.recent.iter().for_each(|r| r.set(None));
    }

    /// The peer responsible for an address.
    pub fn find(&self, address: IpAddr) -> Option<u32> {
        let recent = &self.recent[slot(address)];
        if let Some((known, peer)) = recent.get() {
            if known == address {
                return peer;
            }
        }
        let peer = self.table.longest_match(address).map(|(_, peer)| *peer);
        recent.set(Some((address, peer)));
        peer
    }
}

/// The place of an address among the recent ones: hosts of one network differ at the end.
fn slot(address: IpAddr) -> usize {
    let low = match address {
        IpAddr::V4(a) => u32::from_be_bytes(a.octets()),
        IpAddr::V6(a) => a.octets().as_chunks::<4>().0.iter().fold(0, |x, w| x ^ u32::from_be_bytes(*w)),
    };
    low.wrapping_mul(0x9e37_79b1) as usize >> 24 & (RECENT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_and_removal_uncovers_the_shorter() {
        let mut t = AllowedIps::default();
        assert!(t.insert(ip("0.0.0.0"), 0, 1));
        assert!(t.insert(ip("10.42.7.9"), 16, 2));
        assert!(t.insert(ip("10.42.0.5"), 32, 3));
        assert!(t.insert(ip("fd00::1"), 128, 4));
        assert!(!t.insert(ip("10.0.0.0"), 33, 5));
        assert_eq!(
            [t.find(ip("10.42.0.5")), t.find(ip("10.42.255.1")), t.find(ip("8.8.8.8"))],
            [Some(3), Some(2), Some(1)]
        );
        assert_eq!([t.find(ip("fd00::1")), t.find(ip("fd00::2"))], [Some(4), None]);
        t.remove_peer(3);
        t.remove_peer(1);
        assert_eq!([t.find(ip("10.42.0.5")), t.find(ip("8.8.8.8"))], [Some(2), None]);
    }

    #[test]
    fn an_answer_is_forgotten_when_the_table_changes() {
        let mut t = AllowedIps::default();
        assert_eq!(t.find(ip("10.1.1.1")), None);
        t.insert(ip("10.0.0.0"), 8, 1);
        assert_eq!([t.find(ip("10.1.1.1")), t.find(ip("10.1.1.1"))], [Some(1), Some(1)]);
        t.insert(ip("10.1.0.0"), 16, 2);
        assert_eq!(t.find(ip("10.1.1.1")), Some(2));
        t.remove_peer(2);
        assert_eq!(t.find(ip("10.1.1.1")), Some(1));
    }

    #[test]
    fn addresses_that_share_a_place_keep_their_answers() {
        let mut t = AllowedIps::default();
        for (i, net) in ["10.0.0.0", "11.0.0.0", "12.0.0.0"].iter().enumerate() {
            t.insert(ip(net), 8, i as u32);
        }
        for round in 0..2u32 {
            for host in 0..3 * 4096u32 {
                let address = IpAddr::from(((10 + host % 3) << 24 | host).to_be_bytes());
                assert_eq!(t.find(address), Some(host % 3), "round {round}");
            }
        }
    }

    #[test]
    fn a_prefix_belongs_to_the_peer_that_took_it_last() {
        let mut t = AllowedIps::default();
        t.insert(ip("10.0.0.0"), 8, 1);
        t.insert(ip("10.0.0.0"), 8, 2);
        t.remove_peer(1);
        assert_eq!(t.find(ip("10.1.1.1")), Some(2));
    }
}
