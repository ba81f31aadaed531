//! What a filter in front of the stack needs of it.

use super::*;

impl Stack {
    /// Answers a packet that a filter has refused as one for a port that nobody listens on: with a reset, unless it is one.
    pub fn reject(&mut self, packet: &[u8]) {
        if let Ok(s) = Segment::parse(packet, self.config.verify_checksums) {
            if !s.has(RST) {
                self.refuse(&s);
            }
        }
    }

    /// Resets the connections that others have opened and that `which` chooses by their local and remote end; how many there were.
    /// The application learns of those that it has accepted.
    pub fn cut_where(&mut self, mut which: impl FnMut(SocketAddr, SocketAddr) -> bool) -> usize {
        let mut cut = 0;
        for h in self.table.handles() {
            let Some(e) = self.table.get_mut(h) else { continue };
            let c = &mut e.connection;
            if e.passive && c.state() != State::Closed && which(c.local, c.remote) {
                c.prohibit();
                cut += 1;
                self.touch(h);
                self.notice(h);
            }
        }
        cut
    }
}
