//! Poly1305 (RFC 8439 section 2.5) on 64-bit words with products of 128 bits.
//!
//! The clamp leaves each half of r below 2^60 and the upper half a multiple of 4, so 2^130 = 5 (mod p) turns what is above
//! 2^128 into a multiple of `(r1 / 4) * 5`, exactly: four products and two small ones a block.
//!
//! Bounds: h2 <= 4 before a block and <= 6 with it, r0, r1 < 2^60, q < 1.25 * 2^60. So h2 * q < 2^63, the sums of products
//! are below 2^126, and x2 < 2^64.

/// The sum so far, and the key.
pub struct Poly {
    pub(crate) h: [u64; 3],
    pub(crate) r: [u64; 2],
    /// `(r[1] >> 2) * 5`
    q: u64,
    s: [u64; 2],
}

/// The whole product of two words.
#[inline(always)]
fn product(a: u64, b: u64) -> u128 {
    a as u128 * b as u128
}

/// Two words as one.
#[inline(always)]
fn wide(lo: u64, hi: u64) -> u128 {
    (hi as u128) << 64 | lo as u128
}

impl Poly {
    /// From the first 32 bytes of the key stream block numbered 0.
    #[inline(always)]
    pub fn new(k: [u64; 4]) -> Self {
        let r = [k[0] & 0x0fff_fffc_0fff_ffff, k[1] & 0x0fff_fffc_0fff_fffc];
        Poly { h: [0; 3], r, q: r[1] + (r[1] >> 2), s: [k[2], k[3]] }
    }

    /// A block as a number of two words.
    #[inline(always)]
    fn add(&mut self, [lo, hi]: [u64; 2]) {
        let [h0, h1, h2] = self.h;
        let [r0, r1] = self.r;
        let (h, c) = wide(h0, h1).overflowing_add(wide(lo, hi));
        let h2 = h2 + 1 + c as u64;
        let (h0, h1) = (h as u64, (h >> 64) as u64);
        let x0 = product(h0, r0) + product(h1, self.q);
        let x1 = product(h0, r1) + product(h1, r0) + (h2 * self.q) as u128 + (x0 >> 64);
        let x2 = h2 * r0 + (x1 >> 64) as u64;
        let (h, c) = wide(x0 as u64, x1 as u64).overflowing_add(((x2 & !3) + (x2 >> 2)) as u128);
        self.h = [h as u64, (h >> 64) as u64, (x2 & 3) + c as u64];
    }

    /// One whole block.
    #[inline(always)]
    pub fn block(&mut self, b: &[u8; 16]) {
        let w = u128::from_le_bytes(*b);
        self.add([w as u64, (w >> 64) as u64]);
    }

    /// Whole blocks, then what is left padded with zeros to a block, as the AEAD has it.
    #[inline(always)]
    pub fn padded(&mut self, data: &[u8]) {
        let (blocks, rest) = data.as_chunks::<16>();
        for b in blocks {
            self.block(b);
        }
        if !rest.is_empty() {
            let mut last = [0; 16];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            self.block(&last);
        }
    }

    /// The block of the two lengths, and the tag.
    #[inline(always)]
    pub fn finish(mut self, aad_len: usize, text_len: usize) -> [u8; 16] {
        self.add([aad_len as u64, text_len as u64]);
        self.tag()
    }

    #[inline(always)]
    pub(crate) fn tag(self) -> [u8; 16] {
        let [h0, h1, h2] = self.h;
        // h is below 2p: it is reduced once, if h + 5 reaches 2^130.
        let (g0, c) = h0.overflowing_add(5);
        let (g1, c) = h1.overflowing_add(c as u64);
        let take = (((h2 + c as u64) >> 2) & 1).wrapping_neg();
        let (h0, h1) = ((h0 & !take) | (g0 & take), (h1 & !take) | (g1 & take));
        wide(h0, h1).wrapping_add(wide(self.s[0], self.s[1])).to_le_bytes()
    }
}
