//! The protocol core of Cartwheel: pure code, no I/O, no clock, no threads, no randomness.
