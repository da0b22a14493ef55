//! stub
pub mod egress {
    use crate::{
        model::{connection::Connection, manifest::HttpCapability},
        ports::{clock::Clock, egress::Egress, secrets::Secrets},
    };
    use std::sync::Arc;
    pub struct EgressScope {
        pub connection_name: String,
        pub connection: Connection,
        pub capabilities: Vec<HttpCapability>,
        pub read_methods: Vec<String>,
        pub revision: u64,
        pub secrets: Arc<dyn Secrets>,
        pub clock: Arc<dyn Clock>,
    }
    pub struct Gateway;
    impl Gateway {
        pub fn new() -> Result<Self, String> {
            Ok(Self)
        }
        pub fn open(&self, _s: EgressScope) -> Arc<dyn Egress> {
            todo!()
        }
    }
}
pub mod server {
    use crate::ports::hub::Hub;
    use std::{net::SocketAddr, sync::Arc};
    #[derive(Default)]
    pub struct Options {
        pub metrics: Option<()>,
    }
    pub async fn listen(a: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::bind(a).await
    }
    pub async fn serve(
        _l: tokio::net::TcpListener,
        _h: Arc<dyn Hub>,
        _o: Options,
        _s: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        Ok(())
    }
}
pub mod client {
    use futures::stream::BoxStream;
    use serde::de::DeserializeOwned;
    pub struct Client;
    impl Client {
        pub fn new(_u: &str) -> Result<Self, std::io::Error> {
            Ok(Self)
        }
        pub async fn get<T: DeserializeOwned>(&self, _p: &str) -> Result<T, std::io::Error> {
            todo!()
        }
        pub async fn get_with<T: DeserializeOwned>(
            &self,
            _p: &str,
            _q: &[(&str, String)],
        ) -> Result<T, std::io::Error> {
            todo!()
        }
        pub async fn post<T: DeserializeOwned>(&self, _p: &str, _c: &str, _b: Vec<u8>) -> Result<T, std::io::Error> {
            todo!()
        }
        pub async fn stream(
            &self,
            _p: &str,
        ) -> Result<BoxStream<'static, Result<String, std::io::Error>>, std::io::Error> {
            todo!()
        }
    }
}
