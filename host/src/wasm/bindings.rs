//! The contract's bindings, generated from `wit/`. One host-only world includes every interface, so that one set of
//! types serves every kind of plugin; which interfaces a component really exports is looked up once, at load.

#[allow(missing_docs, unreachable_pub, reason = "generated from the WIT, which documents every item")]
#[allow(clippy::all, clippy::indexing_slicing, clippy::large_futures, reason = "generated code")]
mod generated {
    wasmtime::component::bindgen!({
        inline: "
            package crossdock:host;

            world hub {
                import crossdock:plugin/log@1.0.0;
                import crossdock:plugin/context@1.0.0;
                import crossdock:plugin/state@1.0.0;
                import crossdock:plugin/secrets@1.0.0;
                export crossdock:plugin/transform@1.0.0;
                export crossdock:plugin/rule@1.0.0;
                export crossdock:plugin/scorer@1.0.0;
                export crossdock:plugin/connector@1.0.0;
                export crossdock:plugin/paging@1.0.0;
                export crossdock:plugin/webhook-source@1.0.0;
                export crossdock:plugin/polling-source@1.0.0;
            }
        ",
        path: "../wit",
        world: "crossdock:host/hub",
        imports: {
            "crossdock:plugin/context": trappable,
            default: async | trappable,
        },
        exports: { default: async },
        require_store_data_send: true,
    });
}

pub(super) use generated::crossdock::plugin::{context, envelope, log, secrets, state};
pub(super) use generated::exports::crossdock::plugin::{
    connector, paging, polling_source, rule, scorer, transform, webhook_source,
};
