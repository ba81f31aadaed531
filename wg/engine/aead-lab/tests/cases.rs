//! The cases with overflow checks: natively on the portable path, in wasm (`selftest.ts`) on the SIMD code.

/// So that the portable path cannot pass for the SIMD code.
#[cfg(target_arch = "wasm32")]
#[test]
fn wasm_is_built_with_simd() {
    const { assert!(cfg!(target_feature = "simd128")) }
}

#[test]
fn rfc8439_example_is_reproduced() {
    aead_lab::rfc8439();
}

#[test]
fn wycheproof_cases_agree() {
    assert_eq!(aead_lab::wycheproof_vectors(), 316);
}

#[test]
fn every_length_agrees_with_the_reference() {
    assert_eq!(aead_lab::differential(2048, 7), 2055);
}

#[test]
fn less_than_a_tag_is_refused() {
    aead_lab::refuses_what_is_too_short();
}

/// What boringtun relies on is what ring itself does, refusals included.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn behaves_as_published_ring_does() {
    use aead_lab::{published_ring, simd, Random};
    let mut random = Random(5);
    for length in [0, 1, 15, 16, 17, 191, 192, 193, 1420, 5000] {
        let (key, nonce, aad) = (random.array::<32>(), random.array::<12>(), random.array::<32>());
        let (own, published) = (simd::key(&key), published_ring::key(&key));
        let mut text = vec![0; length];
        random.fill(&mut text);
        let mut other = text.clone();
        let tag = simd::seal(&own, nonce, &aad, &mut text);
        assert_eq!(published_ring::seal(&published, nonce, &aad, &mut other), tag);
        assert_eq!(text, other);
        text.extend(tag);
        let mut wrong = text.clone();
        wrong[length] ^= 1;
        let mut other_wrong = wrong.clone();
        assert!(simd::open(&own, nonce, &aad, &mut wrong).is_none());
        assert!(published_ring::open(&published, nonce, &aad, &mut other_wrong).is_none());
        assert_eq!(wrong[..length], other_wrong[..length], "what a refused packet leaves behind");
    }
}
