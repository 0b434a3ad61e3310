//! Pods on a real Kubernetes node.

mod node;
