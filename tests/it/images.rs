//! The images: what stands in them, as whom they run, and that an environment is all their entry points need.

mod needs_podman;
mod podman;
