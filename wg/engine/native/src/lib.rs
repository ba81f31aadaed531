//! ChaCha20-Poly1305 (RFC 8439) with AVX2: what the engine seals and opens with where the system lets native code be
//! loaded, at half the time of the crate `../ring` in wasm. Nothing here branches on, or indexes by, secret data.
//!
//! With the feature `library` it is the shared library `wg/aead-x86_64.so`, built by `scripts/build_engine.sh`.
#![no_std]
#![cfg(target_arch = "x86_64")]

mod chacha;
mod cipher;
#[cfg(feature = "library")]
mod library;
mod poly;

pub use chacha::Input;

/// Whether this machine has the instructions, and its system keeps their registers. Everything else may be called only then.
pub fn is_supported() -> bool {
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    const OSXSAVE_AND_AVX: u32 = 1 << 27 | 1 << 28;
    const AVX2_AND_BMI2: u32 = 1 << 5 | 1 << 8;
    const XMM_AND_YMM: u64 = 6;
    #[target_feature(enable = "xsave")]
    fn kept() -> u64 {
        // SAFETY: OSXSAVE says that the instruction is there
        unsafe { _xgetbv(0) }
    }
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE_AND_AVX != OSXSAVE_AND_AVX {
        return false;
    }
    // SAFETY: the same
    let kept = unsafe { kept() };
    kept & XMM_AND_YMM == XMM_AND_YMM && __cpuid_count(7, 0).ebx & AVX2_AND_BMI2 == AVX2_AND_BMI2
}

/// Encrypts in place and returns the tag.
///
/// # Safety
/// [`is_supported`] has said yes.
pub unsafe fn seal(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    cipher::seal(input, aad, text)
}

/// Decrypts in place and returns what the tag should be.
///
/// # Safety
/// [`is_supported`] has said yes.
pub unsafe fn open(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    cipher::open(input, aad, text)
}
