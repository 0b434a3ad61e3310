//! What a folder on a file server does that one on a local disk does not. Each test has a server of its own.

use crate::server::{Mounted, Op, Server};

mod needs_fuse;
