//! Rules of money.
