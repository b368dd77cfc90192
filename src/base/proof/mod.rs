//! What the GPU checks compare with: patterns, products and checksums that a CPU computes exactly, so that a GPU is never
//! judged by itself. Server, agent, simulator and kernels compute the same numbers; the kernels' side is CUDA C beside the
//! agent. It refuses tolerance: an answer is equal to the last bit or it is wrong.
pub mod log;
pub mod pattern;
pub mod probe;
pub mod product;
pub mod unanimity;
