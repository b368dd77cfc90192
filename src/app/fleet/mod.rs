//! Intents of fleet.
