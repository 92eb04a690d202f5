//! Random bits from the kernel, for names that nobody can guess.
//!
//! What it does not do: be fast. Segments are created off the data path.
#![allow(unsafe_code)]

use std::io;

use nix::libc;

/// 128 bits from the `getrandom` system call.
///
/// # Errors
/// Only where a seccomp filter forbids the call.
pub fn random_u128() -> io::Result<u128> {
    let mut bytes = [0_u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: `rest` is a live, exclusively borrowed buffer of exactly the length passed.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(count) => filled += count,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_varies() {
        let (mut ones, mut zeros) = (0, 0);
        for _ in 0..64 {
            let value = random_u128().expect("getrandom");
            ones |= value;
            zeros |= !value;
        }
        assert_eq!((ones, zeros), (u128::MAX, u128::MAX));
    }
}
