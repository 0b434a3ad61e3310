//! The servers of the tests, tested.

#[path = "."]
mod needs_kubernetes {
    mod cluster;
}

#[path = "."]
mod needs_s3_servers {
    mod bucket;
    mod proxy;
    mod servers;
}
