//! Tells everything by which two machines, two moments or two instances could differ.

use std::{
    collections::HashMap,
    hint::black_box,
    time::{Instant, SystemTime},
};

use serde_json::json;

#[cfg(target_arch = "wasm32")]
fn drawn() -> serde_json::Value {
    use wasip2::random::{insecure, insecure_seed, random};
    let seed = insecure_seed::insecure_seed();
    json!([
        random::get_random_bytes(16),
        random::get_random_u64().to_string(),
        insecure::get_insecure_random_bytes(16),
        [seed.0.to_string(), seed.1.to_string()],
    ])
}

#[cfg(not(target_arch = "wasm32"))]
fn drawn() -> serde_json::Value {
    serde_json::Value::Null
}

#[allow(clippy::disallowed_methods, reason = "the clock is what is tested")]
fn evaluate(_input: &[u8], _log: fn(&str)) -> Vec<u8> {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let before = Instant::now();
    let map: HashMap<u32, ()> = (0..50).map(|number| (number, ())).collect();
    let (zero, infinity) = (|| black_box(0.0_f64), black_box(f64::INFINITY));
    let not_numbers = [zero() / zero(), -(zero() / zero()), black_box(-1.0_f64).sqrt(), infinity - 1.0 / zero()];
    let narrow = black_box(0.0_f32) / black_box(0.0_f32);
    json!({
        "wall": wall.as_nanos().to_string(),
        "passed": before.elapsed().as_nanos().to_string(),
        "order": map.keys().collect::<Vec<_>>(),
        "nan": not_numbers.map(|number| format!("{:016x}", number.to_bits())),
        "nan32": format!("{:08x}", narrow.to_bits()),
        "drawn": drawn(),
        "environment": std::env::vars().count() + std::env::args().count(),
    })
    .to_string()
    .into_bytes()
}

crossdock_test_guests::rule!(evaluate);
