//! The promises by name: the table of `docs/contract.md`.

use futures_util::FutureExt;

use super::{Promise, again, auth, data, errors, items, lists, pages, settle, watch, withheld};

macro_rules! promises {
    ($($name:literal $says:literal $check:path,)*) => {
        /// Every promise, in the order in which they are asked: those that settle come last, and then what holds for every answer.
        pub const PROMISES: [Promise; [$($name),*].len()] =
            [$(Promise { name: $name, says: $says, check: |ask| async { $check(ask).await }.boxed() }),*];
    };
}

promises! {
    "about" "GET /v1 says who is speaking" lists::about,
    "list" "the list is an ItemList of legal names that says whether it is complete" lists::shape,
    "list.once" "no name is listed twice" lists::once,
    "list.order" "what is in two lists stands in the same order in both" lists::order,
    "list.aliases" "all three paths serve the same list, with or without a slash behind" lists::aliases,
    "list.head" "HEAD answers as GET does, without a body" items::head,
    "list.reading" "listing and getting consume nothing" lists::reading,
    "list.parameters" "unknown parameters are ignored" lists::parameters,
    "list.version" "resourceVersion is `<incarnation>.<n>`, and another when and only when the list is" lists::version,
    "etag" "the ETag of a complete list, and of its first page, is its resourceVersion, weak and in quotes" again::etag,
    "etag.same" "whoever has the list by its ETag is answered by 304, without a body" again::same,
    "etag.other" "whoever has another list is given this one" again::other,
    "etag.incomplete" "a list that is not complete has no ETag" again::incomplete,
    "gzip" "a list of 1 KiB and more is compressed for whoever takes gzip, and for nobody else" again::gzip,
    "page.joined" "pages joined are the list, and none is longer than its limit" pages::joined,
    "page.rest" "a token without a limit goes on to the end" pages::rest,
    "page.limit" "a limit that is no number from 1 on is 400" pages::bad_limit,
    "page.maximum" "a limit above 10,000 is taken as 10,000" pages::maximum,
    "page.token" "a continue token that is none is 400" pages::bad_token,
    "page.expired" "a token of another incarnation is 410 Expired" pages::expired,
    "page.version" "every page says the resourceVersion at which the walk began" pages::version,
    "page.remaining" "remainingItemCount is how many items follow the page" pages::remaining,
    "withheld" "what is not listed is told with key, reason and message" withheld::told,
    "withheld.paged" "pages of what is withheld, joined, are all of it" withheld::paged,
    "withheld.reason" "the reason is a word of the contract, and pending where it says so" withheld::reasons,
    "withheld.complete" "where something cannot be seen the list is not complete" withheld::complete,
    "item" "every listed name can be got, under every path of the list" items::get,
    "item.data" "the data is what a worker takes it for, and not too large for one" data::readable,
    "item.slashes" "slashes of a name may stand in the path as they are" items::slashes,
    "item.unknown" "a name that was never listed is 404" items::unknown,
    "item.bad-name" "what can be no name is 400" items::bad_name,
    "watch.refused" "where no watch is offered it is 501" watch::refused,
    "watch.start" "a watch from nothing shows what is listed, and then a BOOKMARK" watch::start,
    "watch.continues" "a list, and what a watch from its version tells, are the list that is then" watch::continues,
    "watch.lines" "every line has a resourceVersion, and none an older one than the line before" watch::lines,
    "watch.bookmark" "a silent watch is known from a dead one by its BOOKMARKs" watch::bookmark,
    "watch.timeout" "timeoutSeconds ends a watch after so long, without an ERROR" watch::ends,
    "watch.version" "a watch from what is no version is 400" watch::bad_version,
    "watch.expired" "a watch from a version of another incarnation is 410 Expired" watch::expired,
    "auth" "without the token, or with another, every call is 401 and tells nothing" auth::guarded,
    "error.path" "an unknown path is 404" errors::path,
    "error.method" "a method that is not offered is 405, with Allow" errors::method,
    "error.parameter" "a parameter given twice is 400" errors::twice,
    "settle.refused" "without a settle policy DELETE is 405 and changes nothing" settle::refused,
    "settle.outcome" "an outcome that is none is 400 and changes nothing" settle::bad_outcome,
    "settle.reason" "a reason too long, or of what is not failed, is 400 and changes nothing" settle::bad_reason,
    "settle.any" "any legal name can be settled, as often as asked" settle::any,
    "settle.done" "what is settled, done or failed, is listed no more" settle::done,
    "settle.version" "what is settled changes the version of the list" settle::version,
    "settle.watched" "a watch tells what is settled as REMOVED" settle::watched,
    "error.status" "every error is a Status with the reason and the code of it" errors::status,
    "error.unavailable" "a 503 says when to ask again" errors::unavailable,
    "body.json" "every body is application/json" errors::json,
}
