//! Finds out whether patterns and prefix pass each other by: `--prefix in --glob 'in/*.mp4'` is about what begins with `inin/`.

use storage::Error;
use storage_s3::ListQuery;
use tracing::warn;

use crate::args::Settings;

/// What is likely to be wrong where nothing lies in what all patterns have in common, and yet something begins with the prefix.
///
/// # Errors
/// The store's.
pub(crate) async fn hint(settings: &Settings) -> Result<Option<String>, Error> {
    let (prefix, narrowed) = (&settings.prefix, settings.filter.listed_prefix());
    if narrowed == *prefix || any(settings, &narrowed).await? || !any(settings, prefix).await? {
        return Ok(None);
    }
    let folder = if prefix.is_empty() || prefix.ends_with('/') {
        String::new()
    } else {
        format!("; a folder is given as --prefix {:?}", format!("{prefix}/"))
    };
    Ok(Some(format!(
        "nothing begins with {narrowed:?}, where all that --glob can match would lie, but something with --prefix {prefix:?}: \
         patterns are about what follows the prefix{folder}"
    )))
}

/// Says so in the log.
pub(crate) async fn warn(settings: &Settings) {
    // Whoever serves the bucket hears of errors by itself.
    if let Ok(Ok(Some(hint))) = tokio::time::timeout(settings.when.stall_after, hint(settings)).await {
        warn!(hint, "nothing can be listed");
    }
}

async fn any(settings: &Settings, prefix: &str) -> Result<bool, Error> {
    let query = ListQuery { prefix: prefix.to_owned(), max: Some(1), ..ListQuery::default() };
    let page = settings.bucket.list(&query).await?;
    Ok(!page.objects.is_empty() || page.next.is_some())
}
