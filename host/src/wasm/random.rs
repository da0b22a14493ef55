//! The randomness that a guest sees: three streams drawn from the call's seed and from nothing else.

use wasmtime::{Result, bail};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::call_state::CallState;

/// Random bytes that one call may draw. Enough for any number of ids; without it a guest could keep the host busy
/// hashing while burning no fuel.
const RANDOM_BYTES_LIMIT: u64 = 1 << 20;

/// Randomness by the BLAKE3 extendable output: unpredictable to whoever does not know the seed, and the same for the
/// same seed for ever.
pub(super) struct SeededRandom {
    seed: [u8; 32],
    drawn: u64,
    secure: Option<Box<blake3::OutputReader>>,
    insecure: Option<Box<blake3::OutputReader>>,
}

impl SeededRandom {
    /// Streams of a seed. Nothing is computed before it is asked for.
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0, secure: None, insecure: None }
    }

    fn secure(&mut self, length: u64) -> Result<Vec<u8>> {
        let length = self.take(length)?;
        let seed = &self.seed;
        Ok(draw(self.secure.get_or_insert_with(|| stream("crossdock guest random 1", seed)), length))
    }

    fn insecure(&mut self, length: u64) -> Result<Vec<u8>> {
        let length = self.take(length)?;
        let seed = &self.seed;
        Ok(draw(self.insecure.get_or_insert_with(|| stream("crossdock guest insecure random 1", seed)), length))
    }

    fn take(&mut self, length: u64) -> Result<usize> {
        self.drawn = self.drawn.saturating_add(length);
        if self.drawn > RANDOM_BYTES_LIMIT {
            bail!("a call may draw {RANDOM_BYTES_LIMIT} random bytes; draw fewer, or seed a generator of your own");
        }
        Ok(usize::try_from(length)?)
    }
}

fn stream(domain: &str, seed: &[u8; 32]) -> Box<blake3::OutputReader> {
    Box::new(blake3::Hasher::new_derive_key(domain).update(seed).finalize_xof())
}

fn draw(stream: &mut blake3::OutputReader, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.fill(&mut bytes);
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl random::Host for CallState {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.random.secure(len)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(number(&self.random.secure(8)?))
    }
}

impl insecure::Host for CallState {
    fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.random.insecure(len)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(number(&self.random.insecure(8)?))
    }
}

impl insecure_seed::Host for CallState {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        let bytes = draw(&mut stream("crossdock guest insecure seed 1", &self.random.seed), 16);
        let (first, second) = bytes.split_at(8);
        Ok((number(first), number(second)))
    }
}

#[cfg(test)]
mod tests {
    use super::{RANDOM_BYTES_LIMIT, SeededRandom};

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        let draw = |seed: u8| SeededRandom::new([seed; 32]).secure(32).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1), SeededRandom::new([1; 32]).insecure(32).unwrap());
    }

    #[test]
    fn drawing_without_end_is_refused() {
        let mut random = SeededRandom::new([0; 32]);
        assert!(random.secure(RANDOM_BYTES_LIMIT).is_ok());
        assert!(random.secure(1).is_err());
        assert!(SeededRandom::new([0; 32]).insecure(u64::MAX).is_err());
    }
}
