//! A scorer whose score is not a number.

#[cfg(target_arch = "wasm32")]
mod exported {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]

    wit_bindgen::generate!({ path: "../../wit", world: "crossdock:plugin/scorer-plugin" });

    use exports::crossdock::plugin::scorer::{Assessment, Failure, Guest, Step};

    struct Scorer;

    impl Guest for Scorer {
        fn score(_input: Vec<u8>, _step: Step) -> Result<Assessment, Failure> {
            Ok(Assessment {
                model: "broken".into(),
                model_version: "1".into(),
                score: f64::NAN,
                confidence: 1.0,
                recommendation: "anything".into(),
                alternatives: vec![],
                reasons: vec![],
                features: b"{}".to_vec(),
            })
        }
    }

    export!(Scorer);
}
