//! Panics.

#[allow(clippy::panic, reason = "misbehaves on purpose")]
fn evaluate(input: &[u8], _log: fn(&str)) -> Vec<u8> {
    panic!("no idea what to do with {} bytes", input.len());
}

crossdock_test_guests::rule!(evaluate);
