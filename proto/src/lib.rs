//! What the sensor and its clients share: the gRPC services with their messages, and the certificates that these are
//! exchanged behind (steps 13 and 14 of the data flow).
//!
//! [`v1`] is `steno/v1/steno.proto`, [`legacy`] is `steno.proto`, the service of stenographer 1.0.1, [`certs`] is the
//! directory of certificates, [`audit`] the log of who asked what, and [`json`] reads the configuration file that both sides look into, [`places`] finds its keys.
//! Nothing here opens a socket or knows what a packet is.

#![forbid(unsafe_code)]

pub mod audit;
pub mod certs;
pub mod json;
pub mod places;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

/// `steno.v1`: what a Steno sensor answers.
#[expect(
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    clippy::missing_errors_doc,
    unused_results,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("steno.v1");
}

/// `steno`: what stenographer 1.0.1 answers.
#[expect(
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    unused_results,
    reason = "generated code"
)]
pub mod legacy {
    tonic::include_proto!("steno");
}

/// The `google.protobuf.FileDescriptorSet` of both services, encoded: for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptors");
