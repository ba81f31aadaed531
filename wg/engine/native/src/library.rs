//! The names of the shared library. Every call works on the memory of one engine, and on nothing outside of it: a wasm
//! module that is led astray cannot lead this code further than its own memory.
use crate::{is_supported, is_wide, open, open_wide, seal, seal_wide, Input};
use core::slice;

/// One call's arguments, in the engine's memory, whose addresses they are. `../ring/src/host.rs` has the same.
#[repr(C)]
struct Call {
    input: Input,
    aad: u32,
    aad_length: u32,
    text: u32,
    length: u32,
    tag: [u8; 16],
}

const PAGE: u64 = 65536;

fn fits(at: u32, length: u32, size: u64) -> bool {
    u64::from(at) + u64::from(length) <= size
}

/// 1 if this machine has what `aead_seal` and `aead_open` need, 2 if it has what `aead_seal_wide` and `aead_open_wide` need too.
#[no_mangle]
extern "C" fn aead_supported() -> u32 {
    u32::from(is_supported()) + u32::from(is_wide())
}

/// Seals the text of the call at `at` in the memory of `pages` at the address `high:low`, and leaves the tag in the call. 0
/// if something lies outside of that memory, or the text over what it is sealed with: nothing is done then.
///
/// # Safety
/// The memory is there, nobody else uses it meanwhile, and [`aead_supported`] has said 1 or 2.
#[no_mangle]
unsafe extern "C" fn aead_seal(low: u32, high: u32, pages: u32, at: u32) -> u32 {
    run(low, high, pages, at, seal)
}

/// Opens as [`aead_seal`] seals, and leaves what the tag should be.
///
/// # Safety
/// As there.
#[no_mangle]
unsafe extern "C" fn aead_open(low: u32, high: u32, pages: u32, at: u32) -> u32 {
    run(low, high, pages, at, open)
}

/// As [`aead_seal`].
///
/// # Safety
/// As there, and [`aead_supported`] has said 2.
#[no_mangle]
unsafe extern "C" fn aead_seal_wide(low: u32, high: u32, pages: u32, at: u32) -> u32 {
    run(low, high, pages, at, seal_wide)
}

/// As [`aead_open`].
///
/// # Safety
/// As there, and [`aead_supported`] has said 2.
#[no_mangle]
unsafe extern "C" fn aead_open_wide(low: u32, high: u32, pages: u32, at: u32) -> u32 {
    run(low, high, pages, at, open_wide)
}

#[inline(always)]
unsafe fn run(
    low: u32,
    high: u32,
    pages: u32,
    at: u32,
    function: unsafe fn(&Input, &[u8], &mut [u8]) -> [u8; 16],
) -> u32 {
    const CALL_BYTES: u32 = size_of::<Call>() as u32;
    let size = u64::from(pages) * PAGE;
    if !fits(at, CALL_BYTES, size) || !(at as usize).is_multiple_of(align_of::<Call>()) {
        return 0;
    }
    let memory = (u64::from(high) << 32 | u64::from(low)) as *mut u8;
    let place = memory.add(at as usize) as *mut Call;
    let Call { aad, aad_length, text, length, .. } = *place;
    if !fits(text, length, size)
        || !fits(aad, aad_length, size)
        || !apart(text, length, aad, aad_length)
        || !apart(text, length, at, CALL_BYTES)
    {
        return 0;
    }
    let aad = slice::from_raw_parts(memory.add(aad as usize), aad_length as usize);
    let text = slice::from_raw_parts_mut(memory.add(text as usize), length as usize);
    let tag = function(&(*place).input, aad, text);
    (*place).tag = tag;
    1
}

/// Whether two ranges have no byte in common.
fn apart(a: u32, a_length: u32, b: u32, b_length: u32) -> bool {
    let (a, b) = (u64::from(a), u64::from(b));
    a + u64::from(a_length) <= b || b + u64::from(b_length) <= a || a_length == 0 || b_length == 0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: ends the process
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}
