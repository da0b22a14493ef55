//! Exports an interface that has the contract's name, and other types.

#[cfg(target_arch = "wasm32")]
mod exported {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]

    wit_bindgen::generate!({
        inline: "
            package crossdock:plugin@1.0.0;
            interface rule { evaluate: func(input: u32) -> u32; }
            world plugin { export rule; }
        ",
    });

    struct Rule;

    impl exports::crossdock::plugin::rule::Guest for Rule {
        fn evaluate(input: u32) -> u32 {
            input
        }
    }

    export!(Rule);
}
