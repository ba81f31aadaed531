//! The native cipher beside the stand-in for ring: every length, the Wycheproof texts, and Poly1305's carries. Only where the
//! machine has AVX2.
#![cfg(target_arch = "x86_64")]

use aead_lab::native::{key, open, seal};
use aead_lab::{simd, Random};

/// Seals and opens by both.
fn agree(bytes: &[u8; 32], nonce: [u8; 12], aad: &[u8], plain: &[u8]) {
    let Some(key) = key(bytes) else { return };
    let (mut own, mut native) = (plain.to_vec(), plain.to_vec());
    let want = simd::seal(&simd::key(bytes), nonce, aad, &mut own);
    let tag = seal(&key, nonce, aad, &mut native);
    assert_eq!(native, own, "ciphertext of {} bytes", plain.len());
    assert_eq!(tag, want, "tag of {} bytes", plain.len());
    assert_eq!(open(&key, nonce, aad, &mut native), want, "tag of {} bytes, opened", plain.len());
    assert_eq!(native, plain, "plaintext of {} bytes", plain.len());
}

#[test]
fn every_length_agrees() {
    let mut random = Random(11);
    for length in (0..=2048).chain([4096, 8191, 65519, 65535]) {
        let mut plain = vec![0; length];
        random.fill(&mut plain);
        let mut aad = vec![0; random.below(70)];
        random.fill(&mut aad);
        agree(&random.array(), random.array(), &aad, &plain);
    }
}

#[test]
fn wycheproof_texts_agree() {
    use wycheproof::aead::{TestName, TestSet};
    let set = TestSet::load(TestName::ChaCha20Poly1305).expect("the vectors are built in");
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let Ok(nonce) = <[u8; 12]>::try_from(&test.nonce[..]) else { continue };
        let bytes: [u8; 32] = test.key[..].try_into().expect("32 bytes");
        agree(&bytes, nonce, &test.aad, &test.pt);
        agree(&bytes, nonce, &test.aad, &test.ct);
    }
}

/// Opened, ones and zeros reach Poly1305 as they are, and carry as far as bytes can.
#[test]
fn ones_and_zeros_agree() {
    let mut random = Random(12);
    for round in 0..2000 {
        let mut text = vec![0; 16 * (1 + random.below(40)) + random.below(2) * random.below(16)];
        for b in &mut text {
            *b = if random.below(8) == 0 { random.bits() as u8 } else { [0, 0xff][round % 2] };
        }
        let (bytes, nonce) = (random.array::<32>(), random.array::<12>());
        let Some(key) = key(&bytes) else { return };
        let mut native = text.clone();
        let tag = open(&key, nonce, &[], &mut native);
        let mut sealed = [text, tag.to_vec()].concat();
        assert_eq!(simd::open(&simd::key(&bytes), nonce, &[], &mut sealed).expect("the tag is right"), native);
    }
}
