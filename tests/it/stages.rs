//! Pods without a cluster: the real multi-worker and the real shims, each in mount and pid namespaces of its own over one
//! directory tree, every directory read-only to all but its writer. What is broken is stated, and so is how it must end.

mod pod;

mod needs_mount {
    mod denials;
    mod endings;
    mod kills;
    mod silence;
}
