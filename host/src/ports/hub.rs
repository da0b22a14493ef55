//! What the surfaces (HTTP, command line) may ask of a running hub.
