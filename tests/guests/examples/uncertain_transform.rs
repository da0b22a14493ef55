//! A transform that upper-cases ASCII letters; for an empty object it claims an effect that it cannot have had.

#[cfg(target_arch = "wasm32")]
mod exported {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]

    wit_bindgen::generate!({ path: "../../wit", world: "crossdock:plugin/transform-plugin" });

    use crossdock::plugin::envelope::FailureKind;
    use exports::crossdock::plugin::transform::{Failure, Guest, Step};

    struct Transform;

    impl Guest for Transform {
        fn apply(input: Vec<u8>, step: Step) -> Result<Vec<u8>, Failure> {
            if input == b"{}" {
                return Err(Failure {
                    kind: FailureKind::Uncertain,
                    code: "guess.lost".into(),
                    message: format!("cannot know, at {}", step.now),
                    retry_after_ms: None,
                    detail: None,
                });
            }
            Ok(input.to_ascii_uppercase())
        }
    }

    export!(Transform);
}
