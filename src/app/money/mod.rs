//! Intents of money.
