//! Takes memory until it gets no more, and aborts then, as Rust does when an allocation fails.

fn evaluate(_input: &[u8], _log: fn(&str)) -> Vec<u8> {
    let mut held = Vec::new();
    loop {
        held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        if held.len() == usize::MAX {
            return Vec::new();
        }
    }
}

crossdock_test_guests::rule!(evaluate);
