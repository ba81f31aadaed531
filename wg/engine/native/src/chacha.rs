//! ChaCha20 (RFC 8439 section 2.3), eight blocks at a time: lane i of each word belongs to block `counter + i`.
use crate::poly::Poly;
use core::arch::x86_64::*;

/// The bytes of key stream that one batch of eight blocks gives.
pub const BATCH: usize = 512;

/// RFC 8439 section 2.3: 20 rounds.
const DOUBLE_ROUNDS: usize = 10;

/// 16 words of eight blocks, or eight blocks in 16 pieces.
pub type State = [__m256i; 16];

/// What the key stream comes from, as little-endian words.
#[repr(C)]
pub struct Input {
    pub key: [u32; 8],
    pub nonce: [u32; 3],
}

#[target_feature(enable = "avx2,bmi2")]
#[inline]
fn rot<const N: i32, const M: i32>(v: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<N>(v), _mm256_srli_epi32::<M>(v))
}

#[target_feature(enable = "avx2,bmi2")]
#[inline]
fn quarter(v: &mut State, r16: __m256i, r8: __m256i, [a, b, c, d]: [usize; 4]) {
    v[a] = _mm256_add_epi32(v[a], v[b]);
    v[d] = _mm256_shuffle_epi8(_mm256_xor_si256(v[d], v[a]), r16);
    v[c] = _mm256_add_epi32(v[c], v[d]);
    v[b] = rot::<12, 20>(_mm256_xor_si256(v[b], v[c]));
    v[a] = _mm256_add_epi32(v[a], v[b]);
    v[d] = _mm256_shuffle_epi8(_mm256_xor_si256(v[d], v[a]), r8);
    v[c] = _mm256_add_epi32(v[c], v[d]);
    v[b] = rot::<7, 25>(_mm256_xor_si256(v[b], v[c]));
}

#[target_feature(enable = "avx2,bmi2")]
#[inline]
fn double_round(v: &mut State, r16: __m256i, r8: __m256i) {
    for q in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]] {
        quarter(v, r16, r8, q);
    }
    for q in [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]] {
        quarter(v, r16, r8, q);
    }
}

impl Input {
    #[target_feature(enable = "avx2,bmi2")]
    #[inline]
    fn state(&self, counter: u32) -> State {
        let s = |w: u32| _mm256_set1_epi32(w as i32);
        let k = &self.key;
        [
            s(0x6170_7865),
            s(0x3320_646e),
            s(0x7962_2d32),
            s(0x6b20_6574),
            s(k[0]),
            s(k[1]),
            s(k[2]),
            s(k[3]),
            s(k[4]),
            s(k[5]),
            s(k[6]),
            s(k[7]),
            _mm256_add_epi32(s(counter), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
            s(self.nonce[0]),
            s(self.nonce[1]),
            s(self.nonce[2]),
        ]
    }

    /// The key stream of the eight blocks from `counter`: 16 pieces of 32 bytes, in order. The Poly1305 blocks in `mac` go
    /// through `poly` meanwhile, `PER_ROUND` of them with each double round and the rest behind, so that the multiplications fill
    /// the integer units while the rounds wait on the vector units.
    #[target_feature(enable = "avx2,bmi2")]
    #[inline]
    pub(crate) fn stream<const PER_ROUND: usize>(&self, counter: u32, poly: &mut Poly, mac: &[[u8; 16]]) -> State {
        let r16 = _mm256_setr_epi8(
            2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
        );
        let r8 = _mm256_setr_epi8(
            3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14,
        );
        let first = self.state(counter);
        let mut v = first;
        let (groups, odd) = mac.as_chunks::<PER_ROUND>();
        let (inside, after) = groups.split_at(groups.len().min(DOUBLE_ROUNDS));
        for group in inside {
            double_round(&mut v, r16, r8);
            for block in group {
                poly.block(block);
            }
        }
        for _ in inside.len()..DOUBLE_ROUNDS {
            double_round(&mut v, r16, r8);
        }
        for block in after.as_flattened().iter().chain(odd) {
            poly.block(block);
        }
        for (v, first) in v.iter_mut().zip(first) {
            *v = _mm256_add_epi32(*v, first);
        }
        in_order(&v)
    }
}

/// From words of eight blocks to blocks of 16 words: piece `2 * b` and `2 * b + 1` are block b.
#[target_feature(enable = "avx2,bmi2")]
#[inline]
fn in_order(v: &State) -> State {
    let mut out = *v;
    for half in 0..2 {
        let w = &v[8 * half..8 * half + 8];
        // 4x4 transposes in each half of 128 bits
        let mut t = [_mm256_setzero_si256(); 8];
        for i in 0..2 {
            let w = &w[4 * i..4 * i + 4];
            let ab = (_mm256_unpacklo_epi32(w[0], w[1]), _mm256_unpackhi_epi32(w[0], w[1]));
            let cd = (_mm256_unpacklo_epi32(w[2], w[3]), _mm256_unpackhi_epi32(w[2], w[3]));
            t[4 * i] = _mm256_unpacklo_epi64(ab.0, cd.0);
            t[4 * i + 1] = _mm256_unpackhi_epi64(ab.0, cd.0);
            t[4 * i + 2] = _mm256_unpacklo_epi64(ab.1, cd.1);
            t[4 * i + 3] = _mm256_unpackhi_epi64(ab.1, cd.1);
        }
        // t[b] has words 0-3 of blocks b and b + 4, t[4 + b] words 4-7
        for b in 0..4 {
            out[2 * b + half] = _mm256_permute2x128_si256::<0x20>(t[b], t[4 + b]);
            out[2 * (b + 4) + half] = _mm256_permute2x128_si256::<0x31>(t[b], t[4 + b]);
        }
    }
    out
}
