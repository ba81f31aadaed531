//! Initiations that were just accepted, by their ephemeral keys. A peer sends one initiation to every address that we may have, and
//! whoever guesses ports sends hundreds of copies: only the first is worth its two key exchanges.

/// Initiations remembered, the oldest first to go; beyond them boringtun's timestamps refuse a copy, at a higher price.
const REMEMBERED_MAX: usize = 32;
/// Where the ephemeral key lies in an initiation (WireGuard paper, section 5.4.2).
const EPHEMERAL: std::ops::Range<usize> = 8..40;

/// The ephemeral keys of the last accepted initiations.
#[derive(Default)]
pub struct RecentInitiations {
    keys: Vec<[u8; 32]>,
    next: usize,
}

impl RecentInitiations {
    /// Whether an initiation is a copy of an accepted one.
    pub fn contains(&self, datagram: &[u8]) -> bool {
        datagram.get(EPHEMERAL).is_some_and(|key| self.keys.iter().any(|known| known == key))
    }

    /// Remembers an initiation that was accepted: what nobody has authenticated could keep the real one out.
    pub fn accept(&mut self, datagram: &[u8]) {
        let Some(key) = datagram.get(EPHEMERAL).and_then(|key| key.try_into().ok()) else { return };
        if self.keys.len() < REMEMBERED_MAX {
            self.keys.push(key);
        } else {
            self.keys[self.next] = key;
            self.next = (self.next + 1) % REMEMBERED_MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initiation(ephemeral: u8, mac: u8) -> [u8; 148] {
        let mut datagram = [mac; 148];
        datagram[EPHEMERAL].fill(ephemeral);
        datagram
    }

    #[test]
    fn the_last_accepted_are_known_whatever_else_they_say() {
        let mut recent = RecentInitiations::default();
        assert!(!recent.contains(&initiation(0, 0)));
        for i in 0..=REMEMBERED_MAX as u8 {
            recent.accept(&initiation(i, 1));
        }
        assert!(!recent.contains(&initiation(0, 1)));
        assert!((1..=REMEMBERED_MAX as u8).all(|i| recent.contains(&initiation(i, 2))));
    }

    #[test]
    fn what_is_too_short_is_nobody() {
        let mut recent = RecentInitiations::default();
        recent.accept(&[1; 39]);
        assert!(!recent.contains(&[1; 39]));
    }
}
