//! Money's steps together, on rows kept in a map: what they post, and that the books hold after any sequence of them.
mod breaches;
mod documents;
mod life;
mod model;
mod shelf;
