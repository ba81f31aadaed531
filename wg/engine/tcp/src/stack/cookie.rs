//! SYN cookies (RFC 4987 section 3.6): a listener under pressure keeps nothing until the handshake completes.
//!
//! The sequence number carries 24 bits of keyed hash, the age in slots, and the segment size class. Window
//! scale and SACK travel in the low bits of the echoed timestamp, so that cookies cost little.

use super::*;

/// Lifetime of a cookie slot; the present and the previous one are good.
const SLOT: Time = 32 * crate::SEC;
const SIZES: [u16; 4] = [536, 1220, 1360, 1460];
/// Low bits of our timestamp: four of window shift (15 for none), one of SACK.
const SHIFT_MASK: u32 = 15;
const SACK_BIT: u32 = 16;
const STAMP_BITS: u32 = 5;

impl Stack {
    fn cookie(&self, s: &Segment, isn: u32, slot: u64, class: usize) -> u32 {
        let hash = keyed(self.secret, Purpose::Cookie, &(s.dst, s.src, isn, slot, class as u8)) as u32;
        hash << 8 >> 8 | ((slot & 63) as u32) << 26 | (class as u32) << 24
    }

    pub(super) fn offer_cookie(&mut self, now: Time, s: &Segment) {
        let slot = now / SLOT;
        let mss = s.options.mss.unwrap_or(536);
        let class = SIZES.iter().rposition(|m| *m <= mss).unwrap_or(0);
        let ours = self.config.mtu - if s.dst.is_ipv4() { 40 } else { 60 };
        let mut options = Options { mss: Some(ours as u16), ..Options::default() };
        if let Some((value, _)) = s.options.timestamps {
            let shift = s.options.window_shift.map_or(15, u32::from);
            let bits = shift.min(15) | if s.options.sack_permitted { SACK_BIT } else { 0 };
            let clock = ((now / crate::MS) as u32).wrapping_add(self.identity(now, s.dst, s.src).stamp_offset);
            options.timestamps = Some((clock >> STAMP_BITS << STAMP_BITS | bits, value));
            options.window_shift = s.options.window_shift.map(|_| Connection::shift_of(&self.config));
            options.sack_permitted = s.options.sack_permitted;
        }
        self.last_cookie_at = Some(now);
        let seq = self.cookie(s, s.seq, slot, class);
        let window = self.config.receive_buffer_initial.min(0xffff) as u16;
        self.reply(Reply {
            src: s.dst,
            dst: s.src,
            seq,
            ack: s.seq.wrapping_add(1),
            flags: SYN | ACK,
            window,
            options,
        });
    }

    /// The acknowledgment of a cookie becomes a connection, as if the SYN had been kept.
    pub(super) fn redeem_cookie(&mut self, now: Time, s: &Segment) -> Option<Handle> {
        // Guesses are worth nothing while no cookie is out.
        self.last_cookie_at.filter(|at| now < at + 2 * SLOT)?;
        let iss = s.ack.wrapping_sub(1);
        let isn = s.seq.wrapping_sub(1);
        let class = (iss >> 24 & 3) as usize;
        let present = now / SLOT;
        let good = |slot: u64| self.cookie(s, isn, slot, class) == iss;
        if !good(present) && !present.checked_sub(1).is_some_and(good) {
            return None;
        }
        let mut options = Options { mss: Some(SIZES[class]), ..Options::default() };
        let mut stamp_offset = 0;
        if let Some((value, echo)) = s.options.timestamps {
            options.timestamps = Some((value, 0));
            options.window_shift = Some((echo & SHIFT_MASK) as u8).filter(|x| *x != 15);
            options.sack_permitted = echo & SACK_BIT != 0;
            stamp_offset = echo.wrapping_sub((now / crate::MS) as u32).wrapping_add(1 << STAMP_BITS);
        }
        let syn = Segment { seq: isn, flags: SYN, options, payload: &[], ..*s };
        let mut c = Connection::accept(now, self.config, &syn, Identity { iss, stamp_offset });
        c.assume_answered(now);
        let h = self.insert(c, Some(s.dst.port()));
        if let Some(l) = self.listeners.get_mut(&s.dst.port()) {
            l.half_open += 1;
        }
        self.deliver(now, h, s);
        Some(h)
    }
}
