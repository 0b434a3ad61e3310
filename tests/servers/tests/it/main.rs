//! The servers of the tests, tested.

mod victim;

#[path = "."]
mod needs_kafka {
    mod kafka;
}

#[path = "."]
mod needs_rabbitmq {
    mod rabbitmq;
}

#[path = "."]
mod needs_redis {
    mod redis;
}

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
