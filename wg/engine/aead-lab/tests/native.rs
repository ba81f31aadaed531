//! The native cipher beside the stand-in for ring: every length, the Wycheproof texts, and Poly1305's carries. Only where the
//! machine has AVX2, and AVX-512 for that form.
#![cfg(target_arch = "x86_64")]

use aead_lab::native::{key, open, seal, Form};
use aead_lab::{simd, Random};
use aead_native::Input;

const FORMS: [Form; 2] = [Form::Avx2, Form::Avx512];

/// Seals and opens by all.
fn agree(bytes: &[u8; 32], nonce: [u8; 12], aad: &[u8], plain: &[u8]) {
    for form in FORMS {
        agree_in(form, bytes, nonce, aad, plain);
    }
}

fn agree_in(form: Form, bytes: &[u8; 32], nonce: [u8; 12], aad: &[u8], plain: &[u8]) {
    let Some(key) = key(form, bytes) else { return };
    let (mut own, mut native) = (plain.to_vec(), plain.to_vec());
    let want = simd::seal(&simd::key(bytes), nonce, aad, &mut own);
    let tag = seal(&key, nonce, aad, &mut native);
    assert_eq!(native, own, "{form:?}, ciphertext of {} bytes", plain.len());
    assert_eq!(tag, want, "{form:?}, tag of {} bytes", plain.len());
    assert_eq!(open(&key, nonce, aad, &mut native), want, "{form:?}, tag of {} bytes, opened", plain.len());
    assert_eq!(native, plain, "{form:?}, plaintext of {} bytes", plain.len());
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
        for form in FORMS {
            let Some(key) = key(form, &bytes) else { return };
            let mut native = text.clone();
            let tag = open(&key, nonce, &[], &mut native);
            let mut sealed = [&text[..], &tag].concat();
            let opened = simd::open(&simd::key(&bytes), nonce, &[], &mut sealed);
            assert_eq!(opened.expect("the tag is right"), native, "{form:?}");
        }
    }
}

/// More than a call uses.
const STACK_WORDS: usize = 4096;

/// The 32-bit words on the stack below the caller's frame, as far as a call may have reached.
#[inline(never)]
fn stack_below(words: &mut [u32]) {
    let here = words.len();
    let bottom = (&raw const here).cast::<u32>().wrapping_sub(words.len() + 64);
    for (i, word) in words.iter_mut().enumerate() {
        // SAFETY: a thread's stack is mapped further down than this; what is there is only compared
        *word = unsafe { bottom.wrapping_add(i).read_volatile() };
    }
}

/// What the test itself left there.
#[inline(never)]
fn clear_below() {
    std::hint::black_box(&mut [0_u32; 2 * STACK_WORDS]);
}

/// Neither words of the key nor of the key stream.
#[test]
fn nothing_secret_stays_on_the_stack() {
    type Function = unsafe fn(&Input, &[u8], &mut [u8]) -> [u8; 16];
    let narrow: [Function; 2] = [aead_native::seal, aead_native::open];
    let wide: [Function; 2] = [aead_native::seal_wide, aead_native::open_wide];
    let mut random = Random(13);
    let mut found = vec![0; STACK_WORDS];
    for (has, functions) in [(aead_native::is_supported(), narrow), (aead_native::is_wide(), wide)] {
        if !has {
            continue;
        }
        for length in [0, 16, 100, 256, 447, 448, 959, 960, 1000, 1424, 1984, 2500, 4100] {
            for (i, function) in functions.into_iter().enumerate() {
                let input = Input { key: [(); 8].map(|_| random.bits() as u32), nonce: [1, 2, 3] };
                let mut text = vec![0; length];
                clear_below();
                // SAFETY: the machine has it
                unsafe { function(&input, &[], &mut text) };
                stack_below(&mut found);
                // Only now, as it is on the stack too.
                let key = input.key.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
                let nonce = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
                let mut stream = vec![0; length];
                simd::seal(&simd::key(&key), nonce, &[], &mut stream);
                let mut secrets = input.key.to_vec();
                secrets.extend(stream.as_chunks().0.iter().map(|w| u32::from_le_bytes(*w)));
                let left = found.iter().filter(|w| secrets.contains(w)).count();
                assert_eq!(left, 0, "words of function {i} after {length} bytes, of {}", secrets.len());
            }
        }
    }
}
