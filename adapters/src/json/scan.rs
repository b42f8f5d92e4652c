//! Search for the special bytes of a JSON string.

use wide::u8x16;

#[inline]
fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// Bit mask of the special bytes of a block; the lowest bit is the first byte.
#[inline]
fn special(block: [u8; 16]) -> u32 {
    let block = u8x16::new(block);
    let special = block.simd_lt(u8x16::splat(0x20))
        | block.simd_eq(u8x16::splat(b'"'))
        | block.simd_eq(u8x16::splat(b'\\'));
    special.to_bitmask()
}

/// Number of leading bytes that need no escape. Most of the reading time is spent here; one block holds most names, and
/// the last bytes of a text are examined one by one.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut run = 0;
    while let Some((block, behind)) = rest.split_first_chunk::<16>() {
        let special = special(*block);
        if special != 0 {
            return run + special.trailing_zeros() as usize;
        }
        run += 16;
        rest = behind;
    }
    run + rest.iter().take_while(|&&byte| is_plain(byte)).count()
}
