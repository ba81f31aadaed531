//! ChaCha20 (RFC 8439 section 2.3), 16 blocks in the lanes of a set of 16 registers, one or two sets at a time: the machine has
//! 32, and two independent sets hide the latency of each other's steps.
use crate::chacha::Input;
use core::arch::x86_64::*;

/// Blocks in a set.
pub const SET: usize = 16;
/// RFC 8439 section 2.3: 20 rounds.
const DOUBLE_ROUNDS: usize = 10;

/// The 16 words of 16 blocks.
type State = [__m512i; 16];
/// 16 blocks, in order.
pub type Blocks = [__m512i; SET];

/// Four quarter rounds in each set, step by step, so that independent steps lie beside each other.
macro_rules! quarters {
    ($v:ident, $([$a:literal, $b:literal, $c:literal, $d:literal]),*) => {
        step!($v, 16, $([$a, $b, $d]),*);
        step!($v, 12, $([$c, $d, $b]),*);
        step!($v, 8, $([$a, $b, $d]),*);
        step!($v, 7, $([$c, $d, $b]),*);
    };
}

/// `x += y`, `z = (z ^ x) <<< n`.
macro_rules! step {
    ($v:ident, $n:literal, $([$x:literal, $y:literal, $z:literal]),*) => {
        for v in $v.iter_mut() {
            $(v[$x] = _mm512_add_epi32(v[$x], v[$y]);)*
        }
        for v in $v.iter_mut() {
            $(v[$z] = _mm512_xor_si512(v[$z], v[$x]);)*
        }
        for v in $v.iter_mut() {
            $(v[$z] = _mm512_rol_epi32::<$n>(v[$z]);)*
        }
    };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline]
fn state(input: &Input, counter: u32) -> State {
    let s = |w: u32| _mm512_set1_epi32(w as i32);
    let k = &input.key;
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
        _mm512_add_epi32(s(counter), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)),
        s(input.nonce[0]),
        s(input.nonce[1]),
        s(input.nonce[2]),
    ]
}

/// The key stream from block `counter` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline(never)]
pub fn stream<const SETS: usize>(input: &Input, counter: u32, blocks: &mut [Blocks; SETS]) {
    let first: [State; SETS] = core::array::from_fn(|i| state(input, counter.wrapping_add((i * SET) as u32)));
    let mut v = first;
    for _ in 0..DOUBLE_ROUNDS {
        quarters!(v, [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]);
        quarters!(v, [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]);
    }
    for ((v, first), blocks) in v.iter_mut().zip(&first).zip(blocks) {
        for (v, first) in v.iter_mut().zip(first) {
            *v = _mm512_add_epi32(*v, *first);
        }
        *blocks = in_order(v);
    }
}

/// From words of 16 blocks to blocks of 16 words.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline]
fn in_order(v: &State) -> Blocks {
    // 4x4 transposes in each piece of 128 bits: then t[4 * i + k] has words 4i to 4i + 3 of the blocks k, 4 + k, 8 + k and 12 + k
    let mut t = *v;
    for i in 0..4 {
        let w = &v[4 * i..4 * i + 4];
        let ab = (_mm512_unpacklo_epi32(w[0], w[1]), _mm512_unpackhi_epi32(w[0], w[1]));
        let cd = (_mm512_unpacklo_epi32(w[2], w[3]), _mm512_unpackhi_epi32(w[2], w[3]));
        t[4 * i] = _mm512_unpacklo_epi64(ab.0, cd.0);
        t[4 * i + 1] = _mm512_unpackhi_epi64(ab.0, cd.0);
        t[4 * i + 2] = _mm512_unpacklo_epi64(ab.1, cd.1);
        t[4 * i + 3] = _mm512_unpackhi_epi64(ab.1, cd.1);
    }
    // and the 4x4 transposes of those pieces
    let mut out = t;
    for k in 0..4 {
        let even = (_mm512_shuffle_i32x4::<0x88>(t[k], t[4 + k]), _mm512_shuffle_i32x4::<0x88>(t[8 + k], t[12 + k]));
        let odd = (_mm512_shuffle_i32x4::<0xdd>(t[k], t[4 + k]), _mm512_shuffle_i32x4::<0xdd>(t[8 + k], t[12 + k]));
        out[k] = _mm512_shuffle_i32x4::<0x88>(even.0, even.1);
        out[4 + k] = _mm512_shuffle_i32x4::<0x88>(odd.0, odd.1);
        out[8 + k] = _mm512_shuffle_i32x4::<0xdd>(even.0, even.1);
        out[12 + k] = _mm512_shuffle_i32x4::<0xdd>(odd.0, odd.1);
    }
    out
}

/// The text with the key stream, which is at least as long.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline]
pub fn xor(blocks: &[__m512i], text: &mut [u8]) {
    let (whole, rest) = text.as_chunks_mut::<64>();
    for (p, k) in whole.iter_mut().zip(blocks) {
        // SAFETY: 64 readable and writable bytes, of any alignment
        unsafe {
            let t = _mm512_loadu_si512(p.as_ptr().cast());
            _mm512_storeu_si512(p.as_mut_ptr().cast(), _mm512_xor_si512(t, *k));
        }
    }
    if let (false, Some(k)) = (rest.is_empty(), blocks.get(whole.len())) {
        let there = (1_u64 << rest.len()) - 1;
        // SAFETY: only the bytes that are there are read and written
        unsafe {
            let t = _mm512_maskz_loadu_epi8(there, rest.as_ptr().cast());
            _mm512_mask_storeu_epi8(rest.as_mut_ptr().cast(), there, _mm512_xor_si512(t, *k));
        }
    }
}
