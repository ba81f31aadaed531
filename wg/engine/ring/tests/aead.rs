//! ring's names from outside: RFC 8439's example, and what is refused. `../aead-lab` holds the large comparisons.

use ring::aead::{Aad, LessSafeKey, Nonce, Tag, UnboundKey, CHACHA20_POLY1305};
use ring::constant_time::verify_slices_are_equal;

/// RFC 8439 section 2.8.2.
const TAG: [u8; 16] = [0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60, 0x06, 0x91];
const TEXT: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
sunscreen would be it.";
const AAD: [u8; 12] = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];

fn key() -> LessSafeKey {
    let bytes: Vec<u8> = (0x80..0xa0).collect();
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes).unwrap())
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47])
}

fn sealed() -> Vec<u8> {
    let mut packet = TEXT.to_vec();
    let tag = key().seal_in_place_separate_tag(nonce(), Aad::from(AAD), &mut packet).unwrap();
    packet.extend_from_slice(tag.as_ref());
    packet
}

#[test]
fn rfc8439_example_seals_and_opens() {
    let mut packet = sealed();
    assert_eq!(packet[..4], [0xd3, 0x1a, 0x8d, 0x34]);
    assert_eq!(packet[TEXT.len()..], TAG);
    assert_eq!(key().open_in_place(nonce(), Aad::from(AAD), &mut packet).unwrap(), TEXT);
}

#[test]
fn a_wrong_tag_leaves_zeros_and_no_plaintext() {
    for bit in 0..128 {
        let mut packet = sealed();
        packet[TEXT.len() + bit / 8] ^= 1 << (bit % 8);
        assert!(key().open_in_place(nonce(), Aad::from(AAD), &mut packet).is_err());
        assert!(packet[..TEXT.len()].iter().all(|b| *b == 0));
    }
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    for length in [0, 16, 31, 33, 64] {
        assert!(UnboundKey::new(&CHACHA20_POLY1305, &vec![0; length]).is_err());
    }
    assert!(Nonce::try_assume_unique_for_key(&[0; 11]).is_err());
    assert!(Nonce::try_assume_unique_for_key(&[0; 24]).is_err());
    assert!(Tag::try_from(&[0; 15][..]).is_err());
    for length in 0..16 {
        assert!(key().open_in_place(nonce(), Aad::empty(), &mut vec![0; length]).is_err());
    }
}

#[test]
fn comparison_looks_at_every_byte_and_the_length() {
    assert!(verify_slices_are_equal(&TAG, &TAG).is_ok());
    assert!(verify_slices_are_equal(&TAG, &TAG[..15]).is_err());
    for i in 0..16 {
        let mut other = TAG;
        other[i] ^= 0x80;
        assert!(verify_slices_are_equal(&TAG, &other).is_err());
    }
}

#[test]
fn keys_are_not_printed() {
    let unbound = UnboundKey::new(&CHACHA20_POLY1305, &[0xab; 32]).unwrap();
    let text = format!("{unbound:?} {:?}", key());
    assert!(!text.contains("ab") && !text.contains("171") && !text.contains("128"), "{text}");
}
