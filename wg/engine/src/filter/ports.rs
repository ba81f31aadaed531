//! At which ports of this node a peer may begin to speak: what the policy says of it, compiled.

use super::packet::{ICMP, ICMPV6, TCP, UDP};

/// Ranges of one peer, at most: as many as the host hands over at once.
pub const RANGES_MAX: usize = 4096;

/// Which protocol a range is of. The numbers are the contract with `wg/engine.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Protocol {
    /// Every one.
    Any = 0,
    /// TCP.
    Tcp = 1,
    /// UDP.
    Udp = 2,
    /// ICMP of both families.
    Icmp = 3,
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which protocol.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// What a peer may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    all: bool,
    icmp: bool,
    /// Sorted, without overlaps.
    tcp: Box<[(u16, u16)]>,
    udp: Box<[(u16, u16)]>,
}

impl Ports {
    /// Everything.
    pub fn all() -> Self {
        Ports { all: true, icmp: true, ..Ports::default() }
    }

    /// The ranges; none: nothing.
    pub fn of(ranges: &[Range]) -> Self {
        let pick = |protocol| {
            let of = ranges.iter().filter(|r| r.protocol == protocol && r.first <= r.last);
            merged(of.map(|r| (r.first, r.last)).collect())
        };
        let has = |protocol| ranges.iter().any(|r| r.protocol == protocol);
        let all = has(Protocol::Any);
        Ports { all, icmp: all || has(Protocol::Icmp), tcp: pick(Protocol::Tcp), udp: pick(Protocol::Udp) }
    }

    /// Whether nothing is refused.
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Whether a packet with an IP protocol number may come to a port; ICMP and what has no ports asks for 0.
    pub fn allow(&self, protocol: u8, port: u16) -> bool {
        self.all
            || match protocol {
                TCP => contains(&self.tcp, port),
                UDP => contains(&self.udp, port),
                ICMP | ICMPV6 => self.icmp,
                _ => false,
            }
    }
}

fn merged(mut ranges: Vec<(u16, u16)>) -> Box<[(u16, u16)]> {
    ranges.sort_unstable();
    let mut out: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match out.last_mut() {
            Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out.into_boxed_slice()
}

fn contains(ranges: &[(u16, u16)], port: u16) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= port);
    after > 0 && port <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(first: u16, last: u16) -> Range {
        Range { protocol: Protocol::Tcp, first, last }
    }

    #[test]
    fn exactly_the_ports_of_the_ranges_are_allowed() {
        let ranges = [tcp(443, 443), tcp(1000, 2000), tcp(80, 80), tcp(1500, 2500), tcp(0, 5), tcp(65_000, 65_535)];
        let backwards = tcp(9, 8);
        let ports = Ports::of(&[&ranges[..], &[backwards]].concat());
        for port in 0..=65_535 {
            let within = ranges.iter().any(|r| (r.first..=r.last).contains(&port));
            assert_eq!(ports.allow(TCP, port), within, "{port}");
            assert!(!ports.allow(UDP, port));
        }
        assert!(!ports.allow(ICMP, 0) && !ports.allow(132, 0) && !ports.is_all());
    }

    #[test]
    fn any_is_everything_and_none_is_nothing() {
        let any = Ports::of(&[Range { protocol: Protocol::Any, first: 0, last: 65_535 }]);
        for (protocol, port) in [(TCP, 1), (UDP, 65_535), (ICMP, 0), (ICMPV6, 0), (132, 0)] {
            assert!(any.allow(protocol, port) && Ports::all().allow(protocol, port));
            assert!(!Ports::of(&[]).allow(protocol, port));
        }
        let icmp = Ports::of(&[Range { protocol: Protocol::Icmp, first: 0, last: 65_535 }]);
        assert!(icmp.allow(ICMP, 0) && icmp.allow(ICMPV6, 0) && !icmp.allow(TCP, 0) && !icmp.allow(132, 0));
    }
}
