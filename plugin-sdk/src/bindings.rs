//! The generated bindings, one module for each interface that a plugin can export, all sharing the types of [`hub`].
//! For the macros only.

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

pub use self::hub::crossdock::plugin::envelope::{Failure, Feed, Step};

/// What the hub gives.
pub mod hub {
    wit_bindgen::generate!({ path: "../wit", world: "crossdock:plugin/effects" });
}

/// Exports `transform`.
pub mod transform {
    wit_bindgen::generate!({
        path: "../wit",
        world: "crossdock:plugin/transform-plugin",
        pub_export_macro: true,
        export_macro_name: "export",
        with: {
            "crossdock:plugin/envelope@1.0.0": crate::bindings::hub::crossdock::plugin::envelope,
            "crossdock:plugin/log@1.0.0": crate::bindings::hub::crossdock::plugin::log,
        },
    });
}

/// Exports `rule`.
pub mod rule {
    wit_bindgen::generate!({
        path: "../wit",
        world: "crossdock:plugin/rule-plugin",
        pub_export_macro: true,
        export_macro_name: "export",
        with: {
            "crossdock:plugin/envelope@1.0.0": crate::bindings::hub::crossdock::plugin::envelope,
            "crossdock:plugin/log@1.0.0": crate::bindings::hub::crossdock::plugin::log,
        },
    });
}

/// Exports `scorer`.
pub mod scorer {
    wit_bindgen::generate!({
        path: "../wit",
        world: "crossdock:plugin/scorer-plugin",
        pub_export_macro: true,
        export_macro_name: "export",
        with: {
            "crossdock:plugin/envelope@1.0.0": crate::bindings::hub::crossdock::plugin::envelope,
            "crossdock:plugin/log@1.0.0": crate::bindings::hub::crossdock::plugin::log,
        },
    });
}

/// Exports `connector`.
#[cfg(not(feature = "paging"))]
pub mod connector {
    wit_bindgen::generate!({
        path: "../wit",
        world: "crossdock:plugin/connector-plugin",
        pub_export_macro: true,
        export_macro_name: "export",
        with: {
            "crossdock:plugin/envelope@1.0.0": crate::bindings::hub::crossdock::plugin::envelope,
            "crossdock:plugin/log@1.0.0": crate::bindings::hub::crossdock::plugin::log,
            "crossdock:plugin/context@1.0.0": crate::bindings::hub::crossdock::plugin::context,
            "crossdock:plugin/state@1.0.0": crate::bindings::hub::crossdock::plugin::state,
            "crossdock:plugin/secrets@1.0.0": crate::bindings::hub::crossdock::plugin::secrets,
        },
    });
}

/// Exports `connector`, and `paging`, whose `fetch` takes the `call` of the other: one world holds both.
#[cfg(feature = "paging")]
pub mod connector {
    wit_bindgen::generate!({
        inline: "
            package crossdock:sdk;
            world paging {
                include crossdock:plugin/connector-plugin@1.0.0;
                include crossdock:plugin/paging-plugin@1.0.0;
            }
        ",
        path: "../wit",
        world: "crossdock:sdk/paging",
        pub_export_macro: true,
        export_macro_name: "export",
        generate_all,
        with: {
            "crossdock:plugin/envelope@1.0.0": crate::bindings::hub::crossdock::plugin::envelope,
            "crossdock:plugin/log@1.0.0": crate::bindings::hub::crossdock::plugin::log,
            "crossdock:plugin/context@1.0.0": crate::bindings::hub::crossdock::plugin::context,
            "crossdock:plugin/state@1.0.0": crate::bindings::hub::crossdock::plugin::state,
            "crossdock:plugin/secrets@1.0.0": crate::bindings::hub::crossdock::plugin::secrets,
        },
    });
}

/// Exports `webhook`.
pub mod webhook {
    wit_bindgen::generate!({
        path: "../wit",
        world: "crossdock:plugin/webhook-plugin",
        pub_export_macro: true,
        export_macro_name: "export",
        with: {
            "crossdock:plugin/envelope@1.0.0": crate::bindings::hub::crossdock::plugin::envelope,
            "crossdock:plugin/log@1.0.0": crate::bindings::hub::crossdock::plugin::log,
            "crossdock:plugin/context@1.0.0": crate::bindings::hub::crossdock::plugin::context,
            "crossdock:plugin/state@1.0.0": crate::bindings::hub::crossdock::plugin::state,
            "crossdock:plugin/secrets@1.0.0": crate::bindings::hub::crossdock::plugin::secrets,
        },
    });
}

/// Exports `polling-source`.
pub mod polling {
    wit_bindgen::generate!({
        path: "../wit",
        world: "crossdock:plugin/polling-plugin",
        pub_export_macro: true,
        export_macro_name: "export",
        with: {
            "crossdock:plugin/envelope@1.0.0": crate::bindings::hub::crossdock::plugin::envelope,
            "crossdock:plugin/log@1.0.0": crate::bindings::hub::crossdock::plugin::log,
            "crossdock:plugin/context@1.0.0": crate::bindings::hub::crossdock::plugin::context,
            "crossdock:plugin/state@1.0.0": crate::bindings::hub::crossdock::plugin::state,
            "crossdock:plugin/secrets@1.0.0": crate::bindings::hub::crossdock::plugin::secrets,
        },
    });
}

mod conversions;
