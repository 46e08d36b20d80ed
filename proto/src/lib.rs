//! What the sensor and its clients share: the gRPC messages, and the certificates that they are exchanged behind.
#![forbid(unsafe_code)]
