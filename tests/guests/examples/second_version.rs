//! Gives its input back inside an object, so that its answers can be told from `well_behaved`'s: the next version of a
//! rule.

fn evaluate(input: &[u8], log: fn(&str)) -> Vec<u8> {
    log("looked at it anew");
    [b"{\"second\":", input, b"}"].concat()
}

crossdock_test_guests::rule!(evaluate);
