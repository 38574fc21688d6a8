//! Tests of the whole door over real sockets.
