//! Poly1305 (RFC 8439 section 2.5) over eight blocks at a time, one in each lane, in limbs of 44, 44 and 42 bits.
//!
//! With N blocks, the last of them that of the lengths, the sum is b0 r^N + b1 r^(N-1) + ... + b(N-1) r. Groups of eight are aligned
//! with the end: the first is filled with nothing in front. From group to group the lanes are multiplied by r^8, or by r^16
//! over two of them at once, and at the end each by its own power of r^8 to r.
//!
//! Bounds: after `carried` the limbs are below 2^44, 2^44 + 2^12 and 2^42, with a block added below 2^45, 2^45 + 2^12 and 2^43. A
//! power's limbs times 20 are below 2^49. IFMA takes 52 bits, so all factors fit; a sum of six low halves is below 2^55, of six
//! high halves (products below 2^94) below 2^45, and 5 times what is above 2^130 below 2^58.
use crate::poly::Poly;
use core::arch::x86_64::*;

const GROUP: usize = 8;
const M44: u64 = (1 << 44) - 1;
const M42: u64 = (1 << 42) - 1;
/// 2^128 in the third limb.
const ONE: i64 = 1 << 40;
/// `THERE[m]`: the lanes of the last m blocks of a group. Lane by lane a group has blocks 0, 4, 1, 5, 2, 6, 3, 7.
const THERE: [__mmask8; GROUP + 1] = {
    let mut table = [0; GROUP + 1];
    let mut m = 0;
    while m <= GROUP {
        let mut block = GROUP - m;
        while block < GROUP {
            table[m] |= 1 << (if block < 4 { 2 * block } else { 2 * (block - 4) + 1 });
            block += 1;
        }
        m += 1;
    }
    table
};

/// A number in each lane.
#[derive(Clone, Copy)]
struct Limbs([__m512i; 3]);

/// What numbers are multiplied by.
#[derive(Clone, Copy)]
struct Factor {
    r: Limbs,
    /// `20 * r[1]` and `20 * r[2]`: 2^132 is 20 (mod p)
    s: [__m512i; 2],
}

/// Low and high halves of the products, not yet carried.
struct Sums {
    lo: [__m512i; 3],
    hi: [__m512i; 3],
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline]
fn all(w: u64) -> __m512i {
    _mm512_set1_epi64(w as i64)
}

impl Factor {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn new(r: Limbs) -> Self {
        let times20 = |x| _mm512_slli_epi64::<2>(_mm512_add_epi64(_mm512_slli_epi64::<2>(x), x));
        Factor { r, s: [times20(r.0[1]), times20(r.0[2])] }
    }

    /// Lane 0 in all lanes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn of_lane_0(l: Limbs) -> Self {
        Factor::new(Limbs(l.0.map(|l| _mm512_broadcastq_epi64(_mm512_castsi512_si128(l)))))
    }
}

impl Sums {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn new() -> Self {
        let zero = _mm512_setzero_si512();
        Sums { lo: [zero; 3], hi: [zero; 3] }
    }

    /// Adds `a * f`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn add(&mut self, a: &Limbs, f: &Factor) {
        let (Limbs(a), Limbs(r), [s1, s2]) = (a, f.r, f.s);
        for (i, column) in [[r[0], s2, s1], [r[1], r[0], s2], [r[2], r[1], r[0]]].into_iter().enumerate() {
            for (a, f) in a.iter().zip(column) {
                self.lo[i] = _mm512_madd52lo_epu64(self.lo[i], *a, f);
                self.hi[i] = _mm512_madd52hi_epu64(self.hi[i], *a, f);
            }
        }
    }

    /// As limbs. A high half begins 52 bits above its low half: 8 above the next limb, 10 above 2^130.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn carried(&self) -> Limbs {
        let (lo, hi) = (&self.lo, &self.hi);
        let (m44, m42) = (all(M44), all(M42));
        let h0 = _mm512_and_si512(lo[0], m44);
        let d1 =
            _mm512_add_epi64(_mm512_add_epi64(lo[1], _mm512_slli_epi64::<8>(hi[0])), _mm512_srli_epi64::<44>(lo[0]));
        let h1 = _mm512_and_si512(d1, m44);
        let d2 = _mm512_add_epi64(_mm512_add_epi64(lo[2], _mm512_slli_epi64::<8>(hi[1])), _mm512_srli_epi64::<44>(d1));
        let h2 = _mm512_and_si512(d2, m42);
        let over = _mm512_add_epi64(_mm512_slli_epi64::<10>(hi[2]), _mm512_srli_epi64::<42>(d2));
        let h0 = _mm512_add_epi64(h0, _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over)));
        let h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(h0));
        Limbs([_mm512_and_si512(h0, m44), h1, h2])
    }
}

impl Limbs {
    /// Eight blocks, four in each vector; `ones` are the lanes that get 2^128.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn of_blocks(a: __m512i, b: __m512i, ones: __mmask8) -> Self {
        let (lo, hi) = (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(lo), _mm512_slli_epi64::<20>(hi));
        Limbs([
            _mm512_and_si512(lo, all(M44)),
            _mm512_and_si512(middle, all(M44)),
            _mm512_or_si512(_mm512_srli_epi64::<24>(hi), _mm512_maskz_set1_epi64(ones, ONE)),
        ])
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn of_group(group: &[u8; 16 * GROUP]) -> Self {
        // SAFETY: 128 readable bytes, of any alignment
        let (a, b) =
            unsafe { (_mm512_loadu_si512(group.as_ptr().cast()), _mm512_loadu_si512(group.as_ptr().add(64).cast())) };
        Limbs::of_blocks(a, b, THERE[GROUP])
    }

    /// The `m` blocks, 1 to 8, at the end of a group that has nothing before them; `h` is added to the first of them.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn of_first(blocks: &[u8], m: usize, h: [u64; 3]) -> Self {
        let from = blocks.as_ptr().wrapping_sub(16 * (GROUP - m));
        let words = 0xffff_u32 << (2 * (GROUP - m));
        // SAFETY: only the words from `blocks` on are read
        let (a, b) = unsafe {
            (
                _mm512_maskz_loadu_epi64(words as u8, from.cast()),
                _mm512_maskz_loadu_epi64((words >> 8) as u8, from.wrapping_add(64).cast()),
            )
        };
        let Limbs(mut l) = Limbs::of_blocks(a, b, THERE[m]);
        for (l, h) in l.iter_mut().zip(h) {
            *l = _mm512_mask_add_epi64(*l, THERE[m] & !THERE[m - 1], *l, all(h));
        }
        Limbs(l)
    }

    /// Seven blocks, of which the last may want bytes, and that of the lengths.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn of_last(text: &[u8], lengths: [usize; 2]) -> Self {
        let there = (1_u64 << (text.len() - 64)) - 1;
        // SAFETY: more than 64 bytes, and beyond those only what is there
        let (a, b) = unsafe {
            (_mm512_loadu_si512(text.as_ptr().cast()), _mm512_maskz_loadu_epi8(there, text.as_ptr().add(64).cast()))
        };
        let b = _mm512_mask_set1_epi64(b, 1 << 6, lengths[0] as i64);
        let b = _mm512_mask_set1_epi64(b, 1 << 7, lengths[1] as i64);
        Limbs::of_blocks(a, b, THERE[GROUP])
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn times(&self, f: &Factor) -> Limbs {
        let mut sums = Sums::new();
        sums.add(self, f);
        sums.carried()
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn plus(&self, b: &Limbs) -> Limbs {
        let (Limbs(a), Limbs(b)) = (self, b);
        Limbs([_mm512_add_epi64(a[0], b[0]), _mm512_add_epi64(a[1], b[1]), _mm512_add_epi64(a[2], b[2])])
    }

    /// `self` in the lanes of the mask, `other` in the others.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
    #[inline]
    fn or(&self, lanes: __mmask8, other: &Limbs) -> Limbs {
        let (Limbs(a), Limbs(b)) = (self, other);
        let pick = |i: usize| _mm512_mask_mov_epi64(b[i], lanes, a[i]);
        Limbs([pick(0), pick(1), pick(2)])
    }
}

/// The sum of all lanes as a number below 2^130 + 2^64, in words.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline]
fn sum(Limbs(l): &Limbs) -> [u64; 3] {
    let l0 = _mm512_reduce_add_epi64(l[0]) as u64;
    let l1 = _mm512_reduce_add_epi64(l[1]) as u64 + (l0 >> 44);
    let l2 = _mm512_reduce_add_epi64(l[2]) as u64 + (l1 >> 44);
    let l0 = u128::from((l0 & M44) + 5 * (l2 >> 42));
    let (l1, l2) = (u128::from(l1 & M44), l2 & M42);
    let (low, carry) = (l0 + (l1 << 44)).overflowing_add(u128::from(l2) << 88);
    [low as u64, (low >> 64) as u64, (l2 >> 40) + u64::from(carry)]
}

/// The tag of a text of 16 blocks or more, behind what `poly` has seen.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline]
pub fn finish(mut poly: Poly, aad_length: usize, text: &[u8]) -> [u8; 16] {
    let r = in_limbs([poly.r[0], poly.r[1], 0]).map(|r| all(r));
    // 2 2 1 1 2 2 1 1, then 4 4 3 3 2 2 1 1, then 8 4 7 3 6 2 5 1
    let r1 = Limbs(r);
    let r2 = r1.times(&Factor::new(r1));
    let powers = r2.or(0b0011_0011, &r1);
    let powers = powers.times(&Factor::new(r2)).or(0b0000_1111, &powers);
    let powers = powers.times(&Factor::of_lane_0(powers)).or(0b0101_0101, &powers);
    let r8 = Factor::of_lane_0(powers);
    let r16 = Factor::new(r8.r.times(&r8));

    let blocks = text.len().div_ceil(16) + 1;
    let m = (blocks - 1) % GROUP + 1;
    let (first, rest) = text.split_at(16 * m);
    let mut h = Limbs::of_first(first, m, in_limbs(poly.h));
    let (groups, last) = rest.as_chunks();
    let last = Limbs::of_last(last, [aad_length, text.len()]);
    let (pairs, odd) = groups.as_chunks::<2>();
    for [a, b] in pairs {
        let mut sums = Sums::new();
        sums.add(&Limbs::of_group(a), &r8);
        sums.add(&h, &r16);
        h = sums.carried().plus(&Limbs::of_group(b));
    }
    let mut sums = Sums::new();
    if let [a] = odd {
        sums.add(&Limbs::of_group(a), &r8);
        sums.add(&h, &r16);
    } else {
        sums.add(&h, &r8);
    }
    h = sums.carried().plus(&last);
    poly.h = sum(&h.times(&Factor::new(powers)));
    poly.tag()
}

/// A number below 2^131 in limbs, the last of them with what is above 2^130.
#[inline(always)]
fn in_limbs([h0, h1, h2]: [u64; 3]) -> [u64; 3] {
    [h0 & M44, (h0 >> 44 | h1 << 20) & M44, h1 >> 24 | h2 << 40]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest r, the least ones, and some between, over ones, zeros and both: every carry is as large as it can be.
    #[test]
    fn agrees_with_one_block_after_another_at_the_bounds() {
        if !crate::is_wide() {
            return;
        }
        let keys = [[u64::MAX; 4], [0; 4], [1, 0, u64::MAX, 0], [0, u64::MAX, 0, 1], [0x0123_4567_89ab_cdef; 4]];
        let mut text = [0_u8; 1536];
        for key in keys {
            for fill in [[0xff, 0xff], [0, 0], [0xff, 0], [0xfb, 0xff]] {
                for (i, byte) in text.iter_mut().enumerate() {
                    *byte = fill[i / 16 % 2];
                }
                for length in 256..=text.len() {
                    let text = &text[..length];
                    for aad in [&text[..0], &text[..13], &text[..160]] {
                        let mut one = Poly::new(key);
                        one.padded(aad);
                        one.padded(text);
                        let mut eight = Poly::new(key);
                        eight.padded(aad);
                        // SAFETY: the machine has it
                        let tag = unsafe { finish(eight, aad.len(), text) };
                        assert_eq!(tag, one.finish(aad.len(), length), "{length} bytes of {fill:?}, r of {key:?}");
                    }
                }
            }
        }
    }
}
