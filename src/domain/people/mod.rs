//! Rules of people.
