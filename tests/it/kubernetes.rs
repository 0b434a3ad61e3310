//! Pods on a real Kubernetes node.

mod examples;
mod faults;
mod manifests;
mod node;
mod ours;
mod rendered;
mod uses;
