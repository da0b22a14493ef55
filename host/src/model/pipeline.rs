//! Pipelines as they are written.
