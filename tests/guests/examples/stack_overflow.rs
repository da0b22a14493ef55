//! Calls itself without end.

#[inline(never)]
#[allow(unconditional_recursion, reason = "misbehaves on purpose")]
fn deeper(depth: u64) -> u64 {
    // Opaque, so that the compiler cannot turn it into a loop.
    std::hint::black_box(deeper(depth.wrapping_add(1))) ^ depth
}

fn evaluate(input: &[u8], _log: fn(&str)) -> Vec<u8> {
    deeper(input.len() as u64).to_string().into_bytes()
}

crossdock_test_guests::rule!(evaluate);
