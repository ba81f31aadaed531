//! What the network and the caller say about paths, passed on to the connections that use them.

use super::*;
use crate::icmp::Report;

impl Stack {
    /// Takes an IP packet that may be an ICMP error. True when it is about a segment of a connection of ours.
    pub fn handle_icmp(&mut self, now: Time, packet: &[u8]) -> bool {
        let Some(report) = Report::parse(packet, self.config.verify_checksums) else { return false };
        let Some(h) = self.table.find(report.local, report.remote) else { return false };
        let now = self.clock(now);
        self.counters.icmp_errors += 1;
        if let Some(e) = self.table.get_mut(h) {
            if e.connection.handle_icmp(now, report.seq, report.verdict) {
                self.counters.icmp_errors_heeded += 1;
                self.touch(h);
                self.notice(h);
            }
        }
        true
    }

    /// The path to a peer, or to all, carries packets of this size now; connections to come start with what was said last for all.
    /// Raises as well as lowers, within [`Config::mtu`].
    pub fn set_path_mtu(&mut self, now: Time, remote: Option<IpAddr>, mtu: usize) {
        if remote.is_none() {
            self.path_mtu = mtu;
        }
        self.set_path_mtu_where(now, mtu, |r| remote.is_none_or(|remote| remote == r));
    }

    /// As [`set_path_mtu`](Self::set_path_mtu), for the connections there are to the hosts that `which` chooses.
    pub fn set_path_mtu_where(&mut self, now: Time, mtu: usize, mut which: impl FnMut(IpAddr) -> bool) {
        let now = self.clock(now);
        for h in self.table.handles() {
            let Some(e) = self.table.get_mut(h) else { continue };
            if which(e.connection.remote.ip()) {
                e.connection.set_mtu(now, mtu);
                self.touch(h);
            }
        }
    }

    /// The paths to the hosts that `which` chooses carry packets again: connections do not wait for timers that have backed off.
    pub fn resume_where(&mut self, now: Time, mut which: impl FnMut(IpAddr) -> bool) {
        let now = self.clock(now);
        for h in self.table.handles() {
            let Some(e) = self.table.get_mut(h) else { continue };
            if which(e.connection.remote.ip()) && e.connection.resume(now) {
                self.touch(h);
            }
        }
    }
}
