//! The host's own AEAD, for wasm: where it has one that is faster than this crate, it says so once ([`offer`]), and is
//! then asked with the addresses of what is to be sealed or opened. It may refuse, and says nothing of a wrong tag.
//!
//! The host gives two functions in the import module `aead`: `seal` and `open`, each with the memory's pages and the
//! address of a [`Call`]; 1 says that it is done.
#![allow(unsafe_code)]
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

static OFFERED: AtomicBool = AtomicBool::new(false);

/// From now on the host is asked.
pub fn offer() {
    OFFERED.store(true, Relaxed);
}

/// One call's arguments. `../native/src/library.rs` has the same.
#[repr(C)]
struct Call {
    key: [u32; 8],
    nonce: [u32; 3],
    aad: *const u8,
    aad_length: usize,
    text: *mut u8,
    length: usize,
    tag: [u8; 16],
}

#[link(wasm_import_module = "aead")]
extern "C" {
    #[link_name = "seal"]
    fn host_seal(pages: usize, call: *mut Call) -> u32;
    #[link_name = "open"]
    fn host_open(pages: usize, call: *mut Call) -> u32;
}

/// Encrypts and returns the tag; `None` where the host is not to be asked, or refuses.
#[inline]
pub fn seal(key: &[u32; 8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Option<[u8; 16]> {
    ask(host_seal, key, nonce, aad, text)
}

/// Decrypts and returns what the tag should be, or `None` as there.
#[inline]
pub fn open(key: &[u32; 8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Option<[u8; 16]> {
    ask(host_open, key, nonce, aad, text)
}

#[inline(always)]
fn ask(
    function: unsafe extern "C" fn(usize, *mut Call) -> u32,
    key: &[u32; 8],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
) -> Option<[u8; 16]> {
    if !OFFERED.load(Relaxed) {
        return None;
    }
    let w = |i: usize| u32::from_le_bytes([nonce[i], nonce[i + 1], nonce[i + 2], nonce[i + 3]]);
    let mut call = Call {
        key: *key,
        nonce: [w(0), w(4), w(8)],
        aad: aad.as_ptr(),
        aad_length: aad.len(),
        text: text.as_mut_ptr(),
        length: text.len(),
        tag: [0; 16],
    };
    // SAFETY: the host reads and writes what the call names, all of which is borrowed here, and nothing else
    let done = unsafe { function(core::arch::wasm32::memory_size::<0>(), &mut call) };
    (done == 1).then_some(call.tag)
}
