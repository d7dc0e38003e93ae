//! Rules, by examples.
