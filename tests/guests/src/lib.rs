//! What the guests share: a rule made of one function on bytes. The guests themselves are this package's examples, each
//! one component, and each named after what it does. They use the generated bindings directly, so that nothing but the
//! sandbox stands between them and the hub.

/// Exports a rule that proceeds with what `$evaluate` makes of its input: a `fn(input: &[u8], log: fn(&str)) -> Vec<u8>`.
#[macro_export]
macro_rules! rule {
    ($evaluate:ident) => {
        #[cfg(target_arch = "wasm32")]
        mod exported {
            #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]

            wit_bindgen::generate!({ path: "../../wit", world: "crossdock:plugin/rule-plugin" });

            use crossdock::plugin::log::{Level, write};
            use exports::crossdock::plugin::rule::{Failure, Guest, Outcome, Step, Verdict};

            struct Rule;

            impl Guest for Rule {
                fn evaluate(input: Vec<u8>, _step: Step) -> Result<Verdict, Failure> {
                    let output = super::$evaluate(&input, |message| write(Level::Info, message, &[]));
                    Ok(Verdict { outcome: Outcome::Proceed, target: None, reasons: vec![], output: Some(output) })
                }
            }

            export!(Rule);
        }

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&[u8], fn(&str)) -> Vec<u8> = $evaluate;
    };
}
