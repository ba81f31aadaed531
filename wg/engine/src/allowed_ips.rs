//! AllowedIPs: longest prefix to peer, for where an inner packet goes and whether it may come.

use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;
use std::net::IpAddr;

/// Prefixes in all, at most.
pub const PREFIXES_MAX: usize = 65_536;

/// The routing table of the tunnel.
#[derive(Default)]
pub struct AllowedIps {
    table: IpNetworkTable<u32>,
    count: usize,
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
        true
    }

    /// Forgets every prefix of a peer.
    pub fn remove_peer(&mut self, peer: u32) {
        let gone: Vec<IpNetwork> = self.table.iter().filter(|(_, p)| **p == peer).map(|(n, _)| n).collect();
        for network in gone {
            self.table.remove(network);
            self.count -= 1;
        }
    }

    /// The peer responsible for an address.
    pub fn find(&self, address: IpAddr) -> Option<u32> {
        self.table.longest_match(address).map(|(_, peer)| *peer)
    }
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
    fn a_prefix_belongs_to_the_peer_that_took_it_last() {
        let mut t = AllowedIps::default();
        t.insert(ip("10.0.0.0"), 8, 1);
        t.insert(ip("10.0.0.0"), 8, 2);
        t.remove_peer(1);
        assert_eq!(t.find(ip("10.1.1.1")), Some(2));
    }
}
