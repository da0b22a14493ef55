//! L3: HTTP, in both directions. The only place that names `hyper`.

pub mod client;
pub mod egress;
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
