//! ChaCha20-Poly1305 (RFC 8439) with AVX2 or AVX-512: what the engine seals and opens with where the system lets native code be
//! loaded, at half or a quarter of the time of the crate `../ring` in wasm. Nothing here branches on, or indexes by, secret data,
//! and nothing of it stays on the stack.
//!
//! With the feature `library` it is the shared library `wg/aead-x86_64.so`, built by `scripts/build_engine.sh`.
#![no_std]
#![cfg(target_arch = "x86_64")]

mod chacha;
mod cipher;
#[cfg(feature = "library")]
mod library;
mod poly;
mod wide;
mod wipe;

pub use chacha::Input;

/// Whether this machine has the instructions, and its system keeps their registers. Everything else may be called only then.
pub fn is_supported() -> bool {
    const XMM_AND_YMM: u64 = 0x06;
    const AVX2_AND_BMI2: u32 = 1 << 5 | 1 << 8;
    has(XMM_AND_YMM, AVX2_AND_BMI2)
}

/// Whether it has those of [`seal_wide`] and [`open_wide`] too: AVX-512 with F, IFMA, BW and VL.
pub fn is_wide() -> bool {
    const MASKS_AND_ZMM: u64 = 0xe0;
    const AVX512: u32 = 1 << 16 | 1 << 21 | 1 << 30 | 1 << 31;
    is_supported() && has(MASKS_AND_ZMM, AVX512)
}

/// Whether the system keeps these registers, and leaf 7 of CPUID has these bits.
fn has(registers: u64, instructions: u32) -> bool {
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    const OSXSAVE_AND_AVX: u32 = 1 << 27 | 1 << 28;
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
    kept & registers == registers && __cpuid_count(7, 0).ebx & instructions == instructions
}

/// Encrypts in place and returns the tag.
///
/// # Safety
/// [`is_supported`] has said yes.
pub unsafe fn seal(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let tag = cipher::seal(input, aad, text);
    wipe::wipe_narrow();
    tag
}

/// Decrypts in place and returns what the tag should be.
///
/// # Safety
/// [`is_supported`] has said yes.
pub unsafe fn open(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let tag = cipher::open(input, aad, text);
    wipe::wipe_narrow();
    tag
}

/// As [`seal`].
///
/// # Safety
/// [`is_wide`] has said yes.
pub unsafe fn seal_wide(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let tag = wide::seal(input, aad, text);
    wipe::wipe_wide();
    tag
}

/// As [`open`].
///
/// # Safety
/// [`is_wide`] has said yes.
pub unsafe fn open_wide(input: &Input, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let tag = wide::open(input, aad, text);
    wipe::wipe_wide();
    tag
}
