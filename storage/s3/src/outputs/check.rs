//! Whether a root can be published to, and what people should know about how commits work there: all of it tried.

use std::collections::HashMap;

use bytes::Bytes;
use contract::STAGING_DIR;
use storage::Error;

use crate::{Bucket, Condition, ListQuery, Which, Written};

/// Writes, reads, lists and deletes an object below `root`, conditionally where a commit does.
pub(super) async fn check(bucket: &Bucket, root: &str) -> Result<Vec<String>, Error> {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
    let key = format!("{root}{STAGING_DIR}/check.{random}");
    let query = ListQuery { prefix: root.to_owned(), max: Some(1), ..ListQuery::default() };
    bucket.list(&query).await?;
    let probed = probe(bucket, &key).await;
    let deleted = bucket.delete(&key, Which::Current).await;
    let mut notes = probed?;
    let root = bucket.uri(root);
    if let Err(error) = deleted {
        notes.push(format!(
            "what was written below {root} to try it cannot be deleted ({error}): what dead and replaced runs have left stays"
        ));
    }
    if let Err(error) = bucket.list_uploads(&key).await {
        notes.push(format!(
            "uploads in parts below {root} cannot be listed ({error}): those of killed workers stay open; let a lifecycle rule \
             abort them"
        ));
    }
    Ok(notes)
}

async fn probe(bucket: &Bucket, key: &str) -> Result<Vec<String>, Error> {
    const LABEL: (&str, &str) = ("longshore-check", "a");
    let label = HashMap::from([(LABEL.0.to_owned(), LABEL.1.to_owned())]);
    let put = async |body: &'static str, condition| {
        bucket.put(key, Bytes::from_static(body.as_bytes()), &condition, &label).await
    };
    let uri = bucket.uri("");
    let mut notes = Vec::new();
    if put("1", Condition::Absent).await? == Written::Conflict {
        return Err(Error::Unsupported(format!("{uri} says that an object exists which nobody has written")));
    }
    let twins = "two workers that commit one item in the same instant may both say that they published it, and the last of \
                 them has";
    if put("2", Condition::Absent).await? != Written::Conflict {
        notes.push(format!("{uri} ignores If-None-Match: {twins}"));
    }
    if put("3", Condition::Is("00000000000000000000000000000000".to_owned())).await? != Written::Conflict {
        notes.push(format!("{uri} ignores If-Match: {twins}"));
    }
    let stands = bucket.head(key, None).await?;
    if put("4", Condition::Is(stands.etag)).await? == Written::Conflict {
        return Err(Error::Unsupported(format!(
            "{uri} refuses to replace an object on the condition of its own ETag, so no output can ever be replaced there"
        )));
    }
    if stands.metadata.get(LABEL.0).map(String::as_str) != Some(LABEL.1) {
        return Err(Error::Unsupported(format!(
            "{uri} does not keep metadata of objects, by which outputs of different items are told apart"
        )));
    }
    Ok(notes)
}
