//! Money: double entry, append-only, integers. It refuses floats, edits, and postings that its table does not list.
