//! Intents of people.
