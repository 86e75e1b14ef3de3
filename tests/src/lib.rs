//! The native-oracle harness.
