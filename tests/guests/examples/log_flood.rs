//! Writes far more lines than anybody wants to read, to the log and to standard output.

#[allow(clippy::print_stdout, reason = "misbehaves on purpose")]
fn evaluate(input: &[u8], log: fn(&str)) -> Vec<u8> {
    for number in 0..20_000 {
        log("line");
        if number % 100 == 0 {
            println!("printed {number}");
        }
    }
    log(&"x".repeat(1 << 20));
    input.to_vec()
}

crossdock_test_guests::rule!(evaluate);
