//! Standard output and error of a guest: into the call's log, so that a panic's message is found beside its trap.

use std::pin::Pin;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use super::ledger::{Ledger, Stream};

/// Bytes that are taken in one write.
const WRITE_BYTES: usize = 64 << 10;

/// One of the two streams.
#[derive(Clone)]
pub(super) struct Printed {
    /// Where the lines go.
    pub(super) ledger: Ledger,
    /// Which of the two.
    pub(super) stream: Stream,
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only asked for by WASI versions that are not linked.
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.ledger.print(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl Pollable for Printed {
    fn ready<'this, 'future>(&'this mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'future>>
    where
        'this: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            // Whoever floods the log lets others go first, and meets the deadline.
            if self.ledger.is_flooded() {
                tokio::task::yield_now().await;
            }
        })
    }
}
