//! Write Crossdock plugins in Rust: a plugin is a plain function on typed input, and one macro.
//!
//! ```
//! use crossdock_plugin::{Failure, Step, Verdict};
//!
//! #[derive(serde::Deserialize)]
//! struct Order {
//!     quantity: u32,
//! }
//!
//! fn evaluate(order: Order, _step: &Step) -> Result<Verdict, Failure> {
//!     if order.quantity > 100 {
//!         return Ok(Verdict::hold("buyers").because("quantity.large", "more than 100 pieces").at("/quantity"));
//!     }
//!     Ok(Verdict::proceed())
//! }
//!
//! crossdock_plugin::rule!(evaluate);
//! # assert!(evaluate(Order { quantity: 7 }, &crossdock_plugin::testing::step("{}")).is_ok());
//! ```
//!
//! | macro | function |
//! | --- | --- |
//! | [`transform!`] | `fn(Input, &Step) -> Result<Output, Failure>` |
//! | [`rule!`] | `fn(Input, &Step) -> Result<Verdict, Failure>` |
//! | [`scorer!`] | `fn(Input, &Step) -> Result<Assessment, Failure>` |
//! | [`connector!`] | `fn(Input, &Call) -> Result<Output, Failure>` for each operation |
//! | [`webhook!`] | `fn(&Delivery, &Feed) -> Result<Receipt, Failure>` |
//! | [`polling!`] | `fn(Option<&str>, &Feed) -> Result<Page, Failure>` |
//! | [`connector!`], `; pages` | `fn(Input, &Call, Option<&str>) -> Result<Portion<Rows>, Failure>` for each paged operation |
//!
//! Compiled for `wasm32-wasip2` these talk to the hub; compiled natively, to the mock host of [`testing`], so that
//! `cargo test` tests a plugin without Wasm. The typed layer never panics; a plugin that does writes its message to the
//! run's log before it traps.

mod call;
mod decision;
mod failure;
mod hub;
mod source;

pub mod context;
pub mod http;
pub mod log;
pub mod money;
pub mod secrets;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod typed;

pub use call::{Call, Step};
pub use decision::{Alternative, Assessment, Outcome, Reason, Verdict};
pub use failure::{Failure, FailureKind};
pub use money::{Decimal, Money};
pub use source::{Delivery, Event, Feed, Page, Portion, Receipt, Reply};

/// Exports a transform: `transform!(apply)`.
#[macro_export]
macro_rules! transform {
    ($apply:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::bindings::transform::exports::crossdock::plugin::transform::Guest for Exported {
                fn apply(input: Vec<u8>, step: $crate::bindings::Step) -> Result<Vec<u8>, $crate::bindings::Failure> {
                    $crate::typed::transform($apply, &input, step.into()).map_err(Into::into)
                }
            }

    $crate::bindings::transform::export!(Exported with_types_in $crate::bindings::transform);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            let _ = $crate::typed::is_transform(&$apply);
        };
    };
}

/// Exports a rule: `rule!(evaluate)`.
#[macro_export]
macro_rules! rule {
    ($evaluate:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::bindings::rule::exports::crossdock::plugin::rule::Guest for Exported {
                fn evaluate(
                    input: Vec<u8>,
                    step: $crate::bindings::Step,
                ) -> Result<
                    $crate::bindings::rule::exports::crossdock::plugin::rule::Verdict,
                    $crate::bindings::Failure,
                > {
                    $crate::typed::rule($evaluate, &input, step.into()).map(Into::into).map_err(Into::into)
                }
            }

            $crate::bindings::rule::export!(Exported with_types_in $crate::bindings::rule);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            let _ = $crate::typed::is_rule(&$evaluate);
        };
    };
}

/// Exports a scorer: `scorer!(score)`.
#[macro_export]
macro_rules! scorer {
    ($score:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::bindings::scorer::exports::crossdock::plugin::scorer::Guest for Exported {
                fn score(
                    input: Vec<u8>,
                    step: $crate::bindings::Step,
                ) -> Result<
                    $crate::bindings::scorer::exports::crossdock::plugin::scorer::Assessment,
                    $crate::bindings::Failure,
                > {
                    $crate::typed::scorer($score, &input, step.into()).map(Into::into).map_err(Into::into)
                }
            }

    $crate::bindings::scorer::export!(Exported with_types_in $crate::bindings::scorer);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            let _ = $crate::typed::is_scorer(&$score);
        };
    };
}

/// Exports a connector, operation by operation: `connector! { "read_order" => read_order }`.
///
/// Each operation is a function `fn(Input, &Call) -> Result<Output, Failure>`. Also makes
/// `fn invoke(&Call, &[u8]) -> Result<Vec<u8>, Failure>`, by which [`testing`] calls an operation by its name.
///
/// Operations whose result is too large for one answer follow behind `; pages`:
/// `connector! { "read_order" => read_order; pages "settlement_rows" => settlement_rows }`. Each is a
/// `fn(Input, &Call, Option<&str>) -> Result<Portion<Rows>, Failure>`, given the cursor at which to go on; absent: the
/// first portion. `fn fetch(&Call, &[u8], Option<&str>) -> Result<Portion<Vec<u8>>, Failure>` is made for tests. This takes
/// the feature `paging`: the contract's `paging` shares a type with its `connector`, so that one world holds both, or not.
#[macro_export]
macro_rules! connector {
    (@invoke $($operation:literal => $function:path),+) => {
        /// Carries out the operation that the call names.
        pub(crate) fn invoke(call: &$crate::Call, input: &[u8]) -> Result<Vec<u8>, $crate::Failure> {
            match call.operation.as_str() {
                $($operation => $crate::typed::operation($function, input, call),)+
                _ => Err($crate::typed::unknown_operation(call, &[$($operation),+])),
            }
        }

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Call, &[u8]) -> Result<Vec<u8>, $crate::Failure> = invoke;
    };
    (@export) => {
        impl $crate::bindings::connector::exports::crossdock::plugin::connector::Guest for Exported {
            fn invoke(
                call: $crate::bindings::connector::exports::crossdock::plugin::connector::Call,
            ) -> Result<Vec<u8>, $crate::bindings::Failure> {
                let (call, input) = $crate::typed::taken(call.into());
                invoke(&call, &input).map_err(Into::into)
            }
        }

        $crate::bindings::connector::export!(Exported with_types_in $crate::bindings::connector);
    };
    ($($operation:literal => $function:path),+ $(,)?) => {
        $crate::connector!(@invoke $($operation => $function),+);

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            $crate::without_pages!(Exported);
            $crate::connector!(@export);
        };
    };
    ($($operation:literal => $function:path),+; pages $($paged:literal => $fetch:path),+ $(,)?) => {
        $crate::with_pages!();
        $crate::connector!(@invoke $($operation => $function),+);

        /// Fetches a portion of the operation that the call names; its rows as JSON.
        pub(crate) fn fetch(
            call: &$crate::Call,
            input: &[u8],
            cursor: Option<&str>,
        ) -> Result<$crate::Portion<Vec<u8>>, $crate::Failure> {
            match call.operation.as_str() {
                $($paged => $crate::typed::paged($fetch, input, call, cursor),)+
                _ => Err($crate::typed::unknown_operation(call, &[$($paged),+])),
            }
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::bindings::connector::exports::crossdock::plugin::paging::Guest for Exported {
                fn fetch(
                    call: $crate::bindings::connector::exports::crossdock::plugin::connector::Call,
                    cursor: Option<String>,
                ) -> Result<
                    $crate::bindings::connector::exports::crossdock::plugin::paging::Portion,
                    $crate::bindings::Failure,
                > {
                    let (call, input) = $crate::typed::taken(call.into());
                    fetch(&call, &input, cursor.as_deref()).map(Into::into).map_err(Into::into)
                }
            }

            $crate::connector!(@export);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Call, &[u8], Option<&str>) -> Result<$crate::Portion<Vec<u8>>, $crate::Failure> = fetch;
    };
}

/// For a connector without paged operations: nothing to export.
#[cfg(not(feature = "paging"))]
#[doc(hidden)]
#[macro_export]
macro_rules! without_pages {
    ($exported:ident) => {};
}

/// For a connector without paged operations, built together with one that has some: none of them is known.
#[cfg(feature = "paging")]
#[doc(hidden)]
#[macro_export]
macro_rules! without_pages {
    ($exported:ident) => {
        impl $crate::bindings::connector::exports::crossdock::plugin::paging::Guest for $exported {
            fn fetch(
                call: $crate::bindings::connector::exports::crossdock::plugin::connector::Call,
                _cursor: Option<String>,
            ) -> Result<
                $crate::bindings::connector::exports::crossdock::plugin::paging::Portion,
                $crate::bindings::Failure,
            > {
                let (call, _input) = $crate::typed::taken(call.into());
                Err($crate::typed::unknown_operation(&call, &[]).into())
            }
        }
    };
}

/// Says which feature is missing.
#[cfg(not(feature = "paging"))]
#[doc(hidden)]
#[macro_export]
macro_rules! with_pages {
    () => {
        compile_error!("paged operations take the feature `paging` of `crossdock-plugin`");
    };
}

/// The feature is there.
#[cfg(feature = "paging")]
#[doc(hidden)]
#[macro_export]
macro_rules! with_pages {
    () => {};
}

/// Exports a webhook source: `webhook!(receive)`. May stand beside another macro in the same plugin.
#[macro_export]
macro_rules! webhook {
    ($receive:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::bindings::webhook::exports::crossdock::plugin::webhook_source::Guest for Exported {
                fn receive(
                    delivery: $crate::bindings::webhook::exports::crossdock::plugin::webhook_source::Delivery,
                    feed: $crate::bindings::Feed,
                ) -> Result<
                    $crate::bindings::webhook::exports::crossdock::plugin::webhook_source::Receipt,
                    $crate::bindings::Failure,
                > {
                    $crate::typed::webhook($receive, delivery.into(), feed.into()).map(Into::into).map_err(Into::into)
                }
            }

    $crate::bindings::webhook::export!(Exported with_types_in $crate::bindings::webhook);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Delivery, &$crate::Feed) -> Result<$crate::Receipt, $crate::Failure> = $receive;
    };
}

/// Exports a polled source: `polling!(poll)`. May stand beside another macro in the same plugin.
///
/// `poll` is a `fn(Option<&str>, &Feed) -> Result<Page, Failure>` that fetches what came after the cursor; absent: the
/// first poll.
#[macro_export]
macro_rules! polling {
    ($poll:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::bindings::polling::exports::crossdock::plugin::polling_source::Guest for Exported {
                fn poll(
                    cursor: Option<String>,
                    feed: $crate::bindings::Feed,
                ) -> Result<
                    $crate::bindings::polling::exports::crossdock::plugin::polling_source::Page,
                    $crate::bindings::Failure,
                > {
                    $crate::typed::polling($poll, cursor.as_deref(), feed.into()).map(Into::into).map_err(Into::into)
                }
            }

    $crate::bindings::polling::export!(Exported with_types_in $crate::bindings::polling);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(Option<&str>, &$crate::Feed) -> Result<$crate::Page, $crate::Failure> = $poll;
    };
}
