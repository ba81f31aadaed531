//! The same AEAD with AVX-512: 32 ChaCha20 blocks at a time in two sets of registers, then Poly1305 over eight blocks at a time
//! with the multiplications of IFMA. A packet of 1,420 bytes is one batch.
//!
//! Both go over the text one after the other: each alone fills its units, and a packet stays in the first cache.
mod chacha;
mod poly;

use crate::{chacha::Input, poly::Poly};
use chacha::{stream, xor, Blocks, SET};
use core::arch::x86_64::*;

/// Bytes of the key stream that one set of registers gives.
const SET_BYTES: usize = 64 * SET;
/// Texts of fewer blocks are authenticated one block after another: the powers of r would cost more than they save.
const POLY_BLOCKS_MIN: usize = 16;

/// The Poly1305 key, from block 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline]
fn poly_key(block: __m512i) -> Poly {
    let k = _mm512_castsi512_si256(block);
    Poly::new([
        _mm256_extract_epi64::<0>(k) as u64,
        _mm256_extract_epi64::<1>(k) as u64,
        _mm256_extract_epi64::<2>(k) as u64,
        _mm256_extract_epi64::<3>(k) as u64,
    ])
}

/// The tag of `aad` and the ciphertext `text`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline]
fn tag(mut poly: Poly, aad: &[u8], text: &[u8]) -> [u8; 16] {
    poly.padded(aad);
    if text.len() < 16 * POLY_BLOCKS_MIN {
        poly.padded(text);
        return poly.finish(aad.len(), text.len());
    }
    poly::finish(poly, aad.len(), text)
}

/// The blocks from `counter` on, as many as 16 or 32 if so many bytes of them are wanted.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline]
fn batch<'a>(input: &Input, counter: u32, wanted: usize, blocks: &'a mut [Blocks; 2]) -> &'a [__m512i] {
    if wanted > SET_BYTES {
        stream(input, counter, blocks);
        blocks.as_flattened()
    } else {
        stream(input, counter, blocks.first_chunk_mut::<1>().expect("one of two"));
        &blocks[0]
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline]
fn run<const OPENING: bool>(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let mut blocks = [[_mm512_setzero_si512(); SET]; 2];
    let ks = batch(input, 0, 64 + text.len(), &mut blocks);
    let poly = poly_key(ks[0]);
    let opened = if OPENING { tag(poly_key(ks[0]), aad, text) } else { [0; 16] };
    let (head, rest) = text.split_at_mut(text.len().min(2 * SET_BYTES - 64));
    xor(&ks[1..], head);
    let mut counter = 2 * SET as u32;
    for text in rest.chunks_mut(2 * SET_BYTES) {
        xor(batch(input, counter, text.len(), &mut blocks), text);
        counter = counter.wrapping_add(2 * SET as u32);
    }
    if OPENING {
        opened
    } else {
        tag(poly, aad, text)
    }
}

/// Encrypts and returns the tag.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline(never)]
pub fn seal(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    run::<false>(input, aad, text)
}

/// Decrypts and returns what the tag should be.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline(never)]
pub fn open(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    run::<true>(input, aad, text)
}
