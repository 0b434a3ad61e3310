//! Walking through all keys of a prefix, or of a part of it.

use futures_util::stream::{self, BoxStream, StreamExt};
use storage::Error;

use crate::{Bucket, ListQuery, Listed};

/// What is to be walked through.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// What every key begins with.
    pub prefix: String,
    /// Only keys after this one, in the order of UTF-8 bytes.
    pub after: Option<String>,
    /// Only keys up to this one and with it.
    pub until: Option<String>,
    /// The most requests at once; 0 counts as 1.
    pub parallelism: usize,
}

impl Bucket {
    /// All objects of `walk`, a page at a time, each exactly once if it is there throughout. With more than one request at once
    /// the pages come in no order.
    ///
    /// The stream ends after its first error: nothing may be concluded from what has not come. Dropping it ends all requests.
    pub fn walk(&self, walk: Walk) -> BoxStream<'static, Result<Vec<Listed>, Error>> {
        let query = ListQuery { prefix: walk.prefix, start_after: walk.after, ..ListQuery::default() };
        let pages = stream::try_unfold((self.clone(), Some(query)), |(bucket, query)| async move {
            let Some(query) = query else { return Ok(None) };
            let page = bucket.list(&query).await?;
            let next = page.next.map(|token| ListQuery { token: Some(token), ..query });
            Ok(Some((page.objects, (bucket, next))))
        });
        pages.boxed()
    }
}
