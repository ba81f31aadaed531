//! The AEAD of RFC 8439 section 2.8, in one pass over the text.
//!
//! Block 0 of the key stream gives the Poly1305 key, the others follow the text. Each batch takes Poly1305 blocks along:
//! sealing, those of the batch before (by then ciphertext); opening, those that come next (still ciphertext).
use crate::{
    chacha::{Input, State, BATCH},
    poly::Poly,
};
use core::arch::x86_64::*;

const HEAD: usize = BATCH - 64;
/// Poly1305 blocks that go along with each double round: a batch has 32, a packet of 1,420 bytes 88 for two of them.
const SEAL_PER_ROUND: usize = 3;
const OPEN_PER_ROUND: usize = 4;

#[target_feature(enable = "avx2,bmi2")]
#[inline]
fn xor(ks: &[__m256i], text: &mut [u8]) {
    let (whole, rest) = text.as_chunks_mut::<32>();
    for (p, k) in whole.iter_mut().zip(ks) {
        // SAFETY: 32 readable and writable bytes, of any alignment
        unsafe {
            let t = _mm256_loadu_si256(p.as_ptr().cast());
            _mm256_storeu_si256(p.as_mut_ptr().cast(), _mm256_xor_si256(t, *k));
        }
    }
    if let (false, Some(k)) = (rest.is_empty(), ks.get(whole.len())) {
        let mut last = [0_u8; 32];
        // SAFETY: 32 writable bytes
        unsafe { _mm256_storeu_si256(last.as_mut_ptr().cast(), *k) };
        for (p, k) in rest.iter_mut().zip(last) {
            *p ^= k;
        }
    }
}

/// The first batch: Poly1305 started over `aad`, and the key stream, whose first 64 bytes are not for the text.
#[target_feature(enable = "avx2,bmi2")]
#[inline]
fn start(input: &Input, aad: &[u8]) -> (Poly, State) {
    let ks = input.stream::<SEAL_PER_ROUND>(0, &mut Poly::new([0; 4]), &[]);
    let k = ks[0];
    let word = [
        _mm256_extract_epi64::<0>(k) as u64,
        _mm256_extract_epi64::<1>(k) as u64,
        _mm256_extract_epi64::<2>(k) as u64,
        _mm256_extract_epi64::<3>(k) as u64,
    ];
    let mut poly = Poly::new(word);
    poly.padded(aad);
    (poly, ks)
}

/// Encrypts and returns the tag.
#[target_feature(enable = "avx2,bmi2")]
#[inline(never)]
pub fn seal(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let n = text.len();
    let (mut poly, ks) = start(input, aad);
    let (head, rest) = text.split_at_mut(n.min(HEAD));
    xor(&ks[2..], head);
    let mut done: &[u8] = head; // encrypted, not yet authenticated; whole blocks as long as something follows
    let mut counter = 8;
    for batch in rest.chunks_mut(BATCH) {
        let ks = input.stream::<SEAL_PER_ROUND>(counter, &mut poly, done.as_chunks().0);
        xor(&ks, batch);
        done = batch;
        counter = counter.wrapping_add(8);
    }
    poly.padded(done);
    poly.finish(aad.len(), n)
}

/// Decrypts and returns what the tag should be. The blocks are shared out evenly between the batches that follow the first, so
/// that none are left that nothing goes along with; what is decrypted lies behind them.
#[target_feature(enable = "avx2,bmi2")]
#[inline(never)]
pub fn open(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let n = text.len();
    let (mut poly, first) = start(input, aad);
    let (mut ks, mut skip) = (first, 2);
    let batches = n.saturating_sub(HEAD).div_ceil(BATCH);
    let blocks = n / 16;
    let (mut seen, mut decrypted) = (0, 0); // blocks, bytes
    for batch in 0..batches {
        let share = (blocks - seen).div_ceil(batches - batch);
        let mac = text[16 * seen..16 * (seen + share)].as_chunks().0;
        let next = input.stream::<OPEN_PER_ROUND>(8_u32.wrapping_mul(batch as u32 + 1), &mut poly, mac);
        seen += share;
        let end = HEAD + BATCH * batch;
        xor(&ks[skip..], &mut text[decrypted..end]);
        (ks, skip, decrypted) = (next, 0, end);
    }
    poly.padded(&text[16 * seen..]);
    xor(&ks[skip..], &mut text[decrypted..]);
    poly.finish(aad.len(), n)
}
