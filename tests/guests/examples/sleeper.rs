//! Sleeps for as many milliseconds as its input says, and tells how much time it saw pass.

use std::time::{Duration, Instant};

fn evaluate(input: &[u8], _log: fn(&str)) -> Vec<u8> {
    let millis = String::from_utf8_lossy(input).trim().parse().unwrap_or(0);
    let before = Instant::now();
    std::thread::sleep(Duration::from_millis(millis));
    before.elapsed().as_millis().to_string().into_bytes()
}

crossdock_test_guests::rule!(evaluate);
