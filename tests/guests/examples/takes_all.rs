//! A plugin of every kind that, wherever it is called, tries to take what is not its own: state, secrets, the network, files,
//! the environment. It fails, and its message tells what became of each.

#[cfg(target_arch = "wasm32")]
mod exported {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]

    wit_bindgen::generate!({
        inline: "
            package test:takes-all;
            world plugin {
                include crossdock:plugin/transform-plugin@1.0.0;
                include crossdock:plugin/rule-plugin@1.0.0;
                include crossdock:plugin/scorer-plugin@1.0.0;
                include crossdock:plugin/connector-plugin@1.0.0;
                include crossdock:plugin/webhook-plugin@1.0.0;
                include crossdock:plugin/polling-plugin@1.0.0;
                include crossdock:plugin/paging-plugin@1.0.0;
            }
        ",
        path: "../../wit",
        world: "test:takes-all/plugin",
        generate_all,
    });

    use std::{fs, net::TcpStream};

    use crossdock::plugin::{
        envelope::{Failure, FailureKind},
        secrets, state,
    };
    use exports::crossdock::plugin::{
        connector, paging, polling_source, rule, scorer, transform,
        webhook_source::{self, Delivery, Feed, Receipt},
    };
    use wasip2::http::{
        outgoing_handler,
        types::{Fields, OutgoingBody, OutgoingRequest, Scheme},
    };

    struct Taker;

    fn word<T>(taken: Result<T, Failure>) -> String {
        taken.map_or_else(|failure| failure.code, |_| "TAKEN".to_owned())
    }

    /// What became of each try.
    fn tried(kind: FailureKind) -> Failure {
        let other = "others";
        let told = [
            ("get", word(state::get(other, "key"))),
            ("put", word(state::put(other, "key", b"1", None))),
            ("swap", word(state::swap(other, "key", None, b"1", None))),
            ("remove", word(state::remove(other, "key", None))),
            ("scan", word(state::scan(other, "", None, 10))),
            ("sign", word(secrets::sign("offered", "hmac-sha256", b"data"))),
            ("verify", word(secrets::verify("offered", "hmac-sha256", b"data", b"signature"))),
            ("http", request().err().unwrap_or_else(|| "TAKEN".to_owned())),
            (
                "socket",
                TcpStream::connect("127.0.0.1:9")
                    .map_or_else(|error| format!("{:?}", error.kind()), |_| "TAKEN".into()),
            ),
            ("read", fs::read("/etc/passwd").map_or_else(|error| format!("{:?}", error.kind()), |_| "TAKEN".into())),
            ("write", fs::write("/mine", b"1").map_or_else(|error| format!("{:?}", error.kind()), |()| "TAKEN".into())),
            ("environment", std::env::vars().count().to_string()),
            ("arguments", std::env::args().count().to_string()),
        ];
        let message: Vec<String> = told.into_iter().map(|(what, came)| format!("{what}={came}")).collect();
        Failure { kind, code: "tried".into(), message: message.join(" "), retry_after_ms: None, detail: None }
    }

    fn request() -> Result<(), String> {
        let request = OutgoingRequest::new(Fields::new());
        request.set_scheme(Some(&Scheme::Http)).map_err(|()| "scheme")?;
        request.set_authority(Some("127.0.0.1:9")).map_err(|()| "authority")?;
        request.set_path_with_query(Some("/")).map_err(|()| "path")?;
        let body = request.body().map_err(|()| "body")?;
        let answer = outgoing_handler::handle(request, None).map_err(|error| format!("{error:?}"))?;
        OutgoingBody::finish(body, None).map_err(|error| format!("{error:?}"))?;
        answer.subscribe().block();
        let answered = answer.get().ok_or("not ready")?.map_err(|()| "taken")?;
        answered.map(|_| ()).map_err(|error| format!("{error:?}"))
    }

    impl transform::Guest for Taker {
        fn apply(_input: Vec<u8>, _step: transform::Step) -> Result<Vec<u8>, Failure> {
            Err(tried(FailureKind::Permanent))
        }
    }

    impl rule::Guest for Taker {
        fn evaluate(_input: Vec<u8>, _step: rule::Step) -> Result<rule::Verdict, Failure> {
            Err(tried(FailureKind::Permanent))
        }
    }

    impl scorer::Guest for Taker {
        fn score(_input: Vec<u8>, _step: scorer::Step) -> Result<scorer::Assessment, Failure> {
            Err(tried(FailureKind::Permanent))
        }
    }

    impl connector::Guest for Taker {
        fn invoke(_call: connector::Call) -> Result<Vec<u8>, Failure> {
            Err(tried(FailureKind::Permanent))
        }
    }

    impl paging::Guest for Taker {
        fn fetch(_call: connector::Call, _cursor: Option<String>) -> Result<paging::Portion, Failure> {
            Err(tried(FailureKind::Permanent))
        }
    }

    impl polling_source::Guest for Taker {
        fn poll(_cursor: Option<String>, _feed: Feed) -> Result<polling_source::Page, Failure> {
            Err(tried(FailureKind::Permanent))
        }
    }

    impl webhook_source::Guest for Taker {
        fn receive(_delivery: Delivery, _feed: Feed) -> Result<Receipt, Failure> {
            Err(tried(FailureKind::InvalidInput))
        }
    }

    export!(Taker);
}
