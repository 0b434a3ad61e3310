//! Pods on a real Kubernetes node.

mod node;
mod rendered;
