//! Tests and timings of the stand-in for ring, beside ring itself (native only) and RustCrypto.
//!
//! The SIMD code runs only in wasm: `cargo test` tests the portable path, `selftest.ts $(./build.sh .)` runs the same tests in
//! wasm.

mod cases;

pub use cases::{differential, refuses_what_is_too_short, rfc8439, wycheproof_vectors};

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;

/// Seals and opens through ring's names, for a crate that has them.
macro_rules! ring_like {
    ($module:ident, $crate_name:ident) => {
        pub mod $module {
            use $crate_name::aead::{Aad, LessSafeKey, Nonce, UnboundKey, CHACHA20_POLY1305};

            pub type Key = LessSafeKey;

            pub fn key(key: &[u8]) -> Key {
                LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes"))
            }

            #[inline(never)]
            pub fn seal(key: &Key, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).expect("not too long");
                tag.as_ref().try_into().expect("16 bytes")
            }

            #[inline(never)]
            pub fn open<'a>(key: &Key, nonce: [u8; 12], aad: &[u8], text: &'a mut [u8]) -> Option<&'a mut [u8]> {
                key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text).ok()
            }
        }
    };
}
ring_like!(simd, own);
#[cfg(not(target_arch = "wasm32"))]
ring_like!(published_ring, published);

/// RustCrypto, the reference.
pub mod reference {
    use super::*;

    pub type Key = ChaCha20Poly1305;

    pub fn key(key: &[u8]) -> Key {
        ChaCha20Poly1305::new(key.into())
    }

    #[inline(never)]
    pub fn seal(key: &Key, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        key.encrypt_in_place_detached(&nonce.into(), aad, text).expect("not too long").into()
    }

    #[inline(never)]
    pub fn open<'a>(key: &Key, nonce: [u8; 12], aad: &[u8], text: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (text, tag) = text.split_at_mut(text.len() - 16);
        key.decrypt_in_place_detached(&nonce.into(), aad, text, (&*tag).into()).ok()?;
        Some(text)
    }
}

/// Xorshift64*: enough for tests, never for secrets.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for b in bytes {
            *b = (self.bits() >> 56) as u8;
        }
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

/// The native cipher, which is used only where the machine has AVX2, and one of its forms where it has AVX-512.
#[cfg(target_arch = "x86_64")]
pub mod native {
    use aead_native::Input;

    /// Which of its forms.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Form {
        Avx2,
        Avx512,
    }

    /// Made only where the machine has what the form needs.
    pub struct Key(Form, [u32; 8]);

    pub fn key(form: Form, key: &[u8; 32]) -> Option<Key> {
        let has = match form {
            Form::Avx2 => aead_native::is_supported(),
            Form::Avx512 => aead_native::is_wide(),
        };
        has.then_some(Key(form, words(key)))
    }

    fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
        core::array::from_fn(|i| u32::from_le_bytes([0, 1, 2, 3].map(|j| bytes[4 * i + j])))
    }

    #[inline(never)]
    pub fn seal(key: &Key, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        let input = Input { key: key.1, nonce: words(&nonce) };
        // SAFETY: there is a key of that form
        unsafe {
            match key.0 {
                Form::Avx2 => aead_native::seal(&input, aad, text),
                Form::Avx512 => aead_native::seal_wide(&input, aad, text),
            }
        }
    }

    #[inline(never)]
    pub fn open(key: &Key, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        let input = Input { key: key.1, nonce: words(&nonce) };
        // SAFETY: there is a key of that form
        unsafe {
            match key.0 {
                Form::Avx2 => aead_native::open(&input, aad, text),
                Form::Avx512 => aead_native::open_wide(&input, aad, text),
            }
        }
    }
}

/// What [`bench`] times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Own,
    Reference,
    #[cfg(not(target_arch = "wasm32"))]
    Published,
    /// Its tags are not compared: the engine does that.
    #[cfg(target_arch = "x86_64")]
    Native(native::Form),
}

/// Seals, or else opens, `count` packets of `length` bytes and says how many came out right. Each packet is copied first, as
/// boringtun copies it.
pub fn bench(backend: Backend, opening: bool, length: usize, count: u32) -> u32 {
    let mut random = Random(99);
    let key = random.array::<32>();
    let mut source = vec![0; length + 16];
    let mut packet = vec![0; length + 16];
    let (own, reference) = (simd::key(&key), reference::key(&key));
    #[cfg(not(target_arch = "wasm32"))]
    let published = published_ring::key(&key);
    #[cfg(target_arch = "x86_64")]
    let native = match backend {
        Backend::Native(form) => native::key(form, &key),
        _ => None,
    };
    let mut nonce = [0; 12];
    if opening {
        let tag = reference::seal(&reference, nonce, &[], &mut source[..length]);
        source[length..].copy_from_slice(&tag);
    }
    let mut right = 0;
    for i in 0..count {
        if opening {
            packet.copy_from_slice(&source);
            let opened = match backend {
                Backend::Own => simd::open(&own, nonce, &[], &mut packet),
                Backend::Reference => reference::open(&reference, nonce, &[], &mut packet),
                #[cfg(not(target_arch = "wasm32"))]
                Backend::Published => published_ring::open(&published, nonce, &[], &mut packet),
                #[cfg(target_arch = "x86_64")]
                Backend::Native(_) => {
                    let (text, tag) = packet.split_at_mut(length);
                    let key = native.as_ref().expect("the machine has it");
                    (native::open(key, nonce, &[], text) == *tag).then_some(text)
                }
            };
            right += u32::from(opened.is_some());
        } else {
            nonce[4..8].copy_from_slice(&i.to_le_bytes());
            let (text, tag) = packet.split_at_mut(length);
            text.copy_from_slice(&source[..length]);
            let sealed = match backend {
                Backend::Own => simd::seal(&own, nonce, &[], text),
                Backend::Reference => reference::seal(&reference, nonce, &[], text),
                #[cfg(not(target_arch = "wasm32"))]
                Backend::Published => published_ring::seal(&published, nonce, &[], text),
                #[cfg(target_arch = "x86_64")]
                Backend::Native(_) => native::seal(native.as_ref().expect("the machine has it"), nonce, &[], text),
            };
            tag.copy_from_slice(&sealed);
            right += 1;
        }
    }
    std::hint::black_box(&packet);
    right
}
