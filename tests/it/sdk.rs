//! Real servers and clients of the official SDKs.
