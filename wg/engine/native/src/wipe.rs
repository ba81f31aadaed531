//! What a call leaves on the stack: words of the key, key stream, the key and the sum of Poly1305. The compiler puts them where it
//! likes, so all of the stack that a call uses is written over behind it.
use core::arch::x86_64::*;
use core::mem::MaybeUninit;

/// Bytes that [`crate::cipher`] uses, and some more; the lab's tests look for what is left.
const NARROW_BYTES: usize = 4096;
/// Those of [`crate::wide`].
const WIDE_BYTES: usize = 4096;

/// Writes over the stack below its caller.
#[target_feature(enable = "avx2,bmi2")]
#[inline(never)]
pub fn wipe_narrow() {
    let mut stack = [MaybeUninit::<__m256i>::uninit(); NARROW_BYTES / size_of::<__m256i>()];
    for place in &mut stack {
        // SAFETY: it is ours
        unsafe { place.as_mut_ptr().write_volatile(_mm256_setzero_si256()) }
    }
}

/// As [`wipe_narrow`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2")]
#[inline(never)]
pub fn wipe_wide() {
    let mut stack = [MaybeUninit::<__m512i>::uninit(); WIDE_BYTES / size_of::<__m512i>()];
    for place in &mut stack {
        // SAFETY: it is ours
        unsafe { place.as_mut_ptr().write_volatile(_mm512_setzero_si512()) }
    }
}
