//! The cases: RFC 8439, Project Wycheproof, and every length against RustCrypto.

use super::{reference, simd, Random};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|d| (d[0] * 16 + d[1]) as u8).collect()
}

/// RFC 8439 section 2.8.2.
pub fn rfc8439() {
    let key: Vec<u8> = (0x80..0xa0).collect();
    let nonce: [u8; 12] = hex("070000004041424344454647").try_into().expect("12 bytes");
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
        sunscreen would be it.";
    let cipher = hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6
        3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
        92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
        3ff4def08e4b7a9de576d26586cec64b6116");
    let tag = hex("1ae10b594f09e26a7e902ecbd0600691");
    let key = simd::key(&key);
    let mut text = plain.to_vec();
    assert_eq!(simd::seal(&key, nonce, &aad, &mut text).to_vec(), tag);
    assert_eq!(text, cipher);
    text.extend(tag);
    assert_eq!(simd::open(&key, nonce, &aad, &mut text).expect("opens"), plain);
}

/// Less than a tag is refused.
pub fn refuses_what_is_too_short() {
    for length in 0..16 {
        assert!(simd::open(&simd::key(&[0; 32]), [0; 12], &[], &mut vec![0; length]).is_none());
    }
}

/// Lengths beyond those that [`differential`] tries one by one: around batches of 256, and the largest datagrams.
const LONG: [usize; 6] = [4096, 8191, 8192, 16384 + 5, 65519, 65535];

/// Every length up to `longest`, and some longer ones, against RustCrypto: seal, open, and tampering. Says how many lengths.
pub fn differential(longest: usize, seed: u64) -> u32 {
    let mut random = Random(seed | 1);
    let mut count = 0;
    for length in (0..=longest).chain(LONG) {
        one_length(&mut random, length);
        count += 1;
    }
    count
}

fn one_length(random: &mut Random, length: usize) {
    let (key, nonce) = (random.array::<32>(), random.array::<12>());
    let mut aad = vec![0; random.below(if length.is_multiple_of(3) { 1 } else { 70 })];
    random.fill(&mut aad);
    // An odd offset, and bytes around that must stay as they are.
    let at = random.below(17);
    let (end, sealed_end) = (at + length, at + length + 16);
    let mut buffer = vec![0; sealed_end + 32];
    random.fill(&mut buffer);
    let original = buffer.clone();
    let mut want = original[at..end].to_vec();
    let want_tag = reference::seal(&reference::key(&key), nonce, &aad, &mut want);
    let own = simd::key(&key);
    let tag = simd::seal(&own, nonce, &aad, &mut buffer[at..end]);
    assert_eq!(buffer[at..end], want[..], "ciphertext of {length}");
    assert_eq!(tag, want_tag, "tag of {length}");
    assert!(buffer[..at] == original[..at] && buffer[end..] == original[end..], "outside, sealing {length}");
    buffer[end..sealed_end].copy_from_slice(&tag);
    let sealed = buffer.clone();
    let plain = simd::open(&own, nonce, &aad, &mut buffer[at..sealed_end]).expect("opens");
    assert_eq!(plain, &original[at..end], "plaintext of {length}");
    let outside = buffer[..at] == original[..at] && buffer[sealed_end..] == original[sealed_end..];
    assert!(outside, "outside, opening {length}");
    for part in Part::ALL {
        let (mut text, mut aad, mut nonce, mut key) = (sealed.clone(), aad.clone(), nonce, key);
        let target = match part {
            Part::Tag => &mut text[end..sealed_end],
            Part::Text => &mut text[at..end],
            Part::Aad => &mut aad[..],
            Part::Nonce => &mut nonce[..],
            Part::Key => &mut key[..],
        };
        if target.is_empty() {
            continue;
        }
        let i = random.below(target.len());
        target[i] ^= 1 << random.below(8);
        let opened = simd::open(&simd::key(&key), nonce, &aad, &mut text[at..sealed_end]);
        assert!(opened.is_none(), "{part:?} tampered with, {length}");
        assert!(text[at..end].iter().all(|b| *b == 0), "plaintext left behind, {length}");
    }
}

/// Where one bit is wrong.
#[derive(Clone, Copy, Debug)]
enum Part {
    Tag,
    Text,
    Aad,
    Nonce,
    Key,
}

impl Part {
    const ALL: [Part; 5] = [Part::Tag, Part::Text, Part::Aad, Part::Nonce, Part::Key];
}

/// Project Wycheproof's vectors with nonces of 12 bytes. Says how many.
pub fn wycheproof_vectors() -> u32 {
    use wycheproof::aead::{TestName, TestSet};
    use wycheproof::TestResult;
    let mut count = 0;
    let set = TestSet::load(TestName::ChaCha20Poly1305).expect("the vectors are built in");
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let Ok(nonce) = <[u8; 12]>::try_from(&test.nonce[..]) else {
            assert_ne!(test.result, TestResult::Valid);
            continue;
        };
        let key = simd::key(&test.key);
        let mut text = [&test.ct[..], &test.tag[..]].concat();
        let opened = simd::open(&key, nonce, &test.aad, &mut text);
        if test.result == TestResult::Valid {
            assert_eq!(opened.expect("valid"), &test.pt[..], "case {}", test.tc_id);
            let mut text = test.pt.to_vec();
            assert_eq!(simd::seal(&key, nonce, &test.aad, &mut text), test.tag[..], "case {}", test.tc_id);
            assert_eq!(text, test.ct[..], "case {}", test.tc_id);
        } else {
            assert!(opened.is_none(), "case {}", test.tc_id);
        }
        count += 1;
    }
    count
}
