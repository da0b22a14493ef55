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

/// Exports a rule that holds an input whose `n` is above a number, for the group `people`.
#[macro_export]
macro_rules! holds_above {
    ($most:literal) => {
        #[cfg(target_arch = "wasm32")]
        mod exported {
            #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]

            wit_bindgen::generate!({ path: "../../wit", world: "crossdock:plugin/rule-plugin" });

            use exports::crossdock::plugin::rule::{Failure, Guest, Outcome, Reason, Step, Verdict};

            struct Rule;

            impl Guest for Rule {
                fn evaluate(input: Vec<u8>, _step: Step) -> Result<Verdict, Failure> {
                    let n = super::n_of(&input);
                    let (outcome, target) = match n > $most {
                        true => (Outcome::Hold, Some("people".to_owned())),
                        false => (Outcome::Proceed, None),
                    };
                    let message = format!("{n} of at most {}", $most);
                    let reasons = match n > $most {
                        true => vec![Reason { code: "n.above".to_owned(), message, path: Some("/n".to_owned()) }],
                        false => vec![],
                    };
                    Ok(Verdict { outcome, target, reasons, output: None })
                }
            }

            export!(Rule);
        }

        /// The number that it is about; none is 0.
        #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "natively nobody calls it"))]
        fn n_of(input: &[u8]) -> u64 {
            let input: serde_json::Value = serde_json::from_slice(input).unwrap_or_default();
            input.get("n").and_then(serde_json::Value::as_u64).unwrap_or_default()
        }
    };
}
