//! A rule that imports a function which no hub gives.

#[cfg(target_arch = "wasm32")]
mod exported {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]

    wit_bindgen::generate!({
        inline: "
            package acme:private;
            interface door { open: func() -> string; }
            world plugin { import door; include crossdock:plugin/rule-plugin@1.0.0; }
        ",
        path: "../../wit",
        world: "acme:private/plugin",
        generate_all,
    });

    use exports::crossdock::plugin::rule::{Failure, Guest, Outcome, Step, Verdict};

    struct Rule;

    impl Guest for Rule {
        fn evaluate(_input: Vec<u8>, _step: Step) -> Result<Verdict, Failure> {
            let output = Some(acme::private::door::open().into_bytes());
            Ok(Verdict { outcome: Outcome::Proceed, target: None, reasons: vec![], output })
        }
    }

    export!(Rule);
}
