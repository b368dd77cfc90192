//! Rules of fleet.
