//! Promises about watching.

use std::collections::HashSet;
use std::time::Duration;

use contract::ItemName;
use contract::wire::{Status, WatchEvent};
use http::StatusCode;
use tokio::time::{Instant, sleep};

use super::Miss;
use super::ask::Ask;
use super::lines::{Line, Reached, Watch, question};
use super::listed::Listed;
use super::pages::another;
use super::quiet::{TRIES, too_busy};
use super::settle;

/// How long a list is watched that may change by itself, each time.
const FOR_A_CHANGE: Duration = Duration::from_secs(1);

pub(super) fn offered(ask: &Ask) -> Result<(), Miss> {
    if ask.ours()?.capabilities.watch { Ok(()) } else { Err(Miss::not_offered("GET /v1 offers no watch")) }
}

pub(super) async fn refused(ask: &Ask) -> Result<(), Miss> {
    if ask.ours()?.capabilities.watch {
        return Err(Miss::not_offered("this source can be watched"));
    }
    // Only the head: what is answered all the same may be a watch, and have no end.
    let question = question(ask, None);
    let (response, _until) = ask.open(&question).await?;
    match response.status() {
        StatusCode::NOT_IMPLEMENTED => Ok(()),
        other => Err(Miss::broken(format!("{question} was answered by {other}, not 501"))),
    }
}

/// The list and its version, from which it can be watched.
pub(super) async fn versioned(ask: &Ask) -> Result<(Listed<ItemName>, String), Miss> {
    let list = ask.list().await?;
    match list.metadata.resource_version.clone() {
        Some(version) => Ok((list, version)),
        None => Err(Miss::broken("a watch is offered, and the list has no resourceVersion to begin it with")),
    }
}

pub(super) async fn start(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    for _ in 0..TRIES {
        let before = ask.list().await?;
        let (lines, marked) = Watch::begin(ask, None).await?.up_to_bookmark(ask).await?;
        if let Some(line) = lines.iter().find(|line| matches!(line.event, WatchEvent::Error { .. })) {
            return Err(Miss::broken(format!("among what exists is {}", line.json)));
        }
        // Of a list longer than is looked at it is enough that nothing else comes first.
        let (shown, listed) = (told(&[], &lines), before.items.iter().collect());
        if before.more || shown == listed {
            return Ok(());
        }
        if ask.list().await?.is_as(&before) {
            let (shown, listed) = (shown.len(), listed.len());
            return Err(Miss::broken(format!("{shown} items are shown, BOOKMARK: {marked}, and {listed} are listed")));
        }
    }
    Err(too_busy())
}

/// Only a list that changes while it is watched shows that a watch tells its changes. Of one that does not change by itself an
/// item is settled, where that may be done.
pub(super) async fn continues(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    let mut changed = false;
    for tried in 0..TRIES {
        let (list, version) = versioned(ask).await?;
        let mut watch = Watch::begin(ask, Some(&version)).await?;
        let (mut lines, _) = watch.up_to_bookmark(ask).await?;
        match tried {
            0 => settle::change(ask, &list).await,
            _ if changed => {}
            _ => sleep(FOR_A_CHANGE).await,
        }
        let (after, at) = versioned(ask).await?;
        if at == version {
            if after.is_as(&list) && contradict(&list, &lines, &after) {
                return Err(Miss::broken(format!("the list is that of {version} still, and the watch tells changes")));
            }
            continue;
        }
        changed = true;
        // Of another incarnation nothing is told here, and of what came later still too much was.
        if watch.up_to(ask, &at, &mut lines).await? != Reached::Exactly {
            continue;
        }
        return if contradict(&list, &lines, &after) {
            Err(Miss::broken(format!("the list of {version} and the changes after it are not the list of {at}")))
        } else {
            Ok(())
        };
    }
    if changed { Err(too_busy()) } else { Err(Miss::not_offered("the list did not change while it was watched")) }
}

/// Whether a list and the changes after it are not the later list. Of a list longer than is looked at only those items count which
/// the later one reaches past, and which did not come anew.
fn contradict(list: &Listed<ItemName>, lines: &[Line], after: &Listed<ItemName>) -> bool {
    let (told, listed): (_, HashSet<_>) = (told(&list.items, lines), after.items.iter().collect());
    if !list.more && !after.more {
        return told != listed;
    }
    let came = |name| lines.iter().any(|line| matches!(&line.event, WatchEvent::Added { item, .. } if item == name));
    let reached = list.items.iter().rposition(|name| listed.contains(name)).map_or(0, |at| at + 1);
    list.items.iter().take(reached).any(|name| told.contains(name) != listed.contains(name) && !came(name))
}

/// What is listed after the changes that a watch told.
fn told<'a>(before: &'a [ItemName], lines: &'a [Line]) -> HashSet<&'a ItemName> {
    let mut names: HashSet<&ItemName> = before.iter().collect();
    for line in lines {
        match &line.event {
            WatchEvent::Added { item, .. } => {
                names.insert(item);
            }
            WatchEvent::Removed { item, .. } => {
                names.remove(item);
            }
            WatchEvent::Bookmark { .. } | WatchEvent::Error { .. } | WatchEvent::Other => {}
        }
    }
    names
}

pub(super) async fn lines(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    let incarnation = &ask.ours()?.incarnation;
    let (_, version) = versioned(ask).await?;
    for from in [None, Some(version.as_str())] {
        let (lines, _) = Watch::begin(ask, from).await?.up_to_bookmark(ask).await?;
        let mut last = from.and_then(|version| version.rsplit_once('.')?.1.parse().ok()).unwrap_or(0);
        for line in lines {
            let Some((of, n)) = line.version().filter(|(of, _)| of == incarnation) else {
                return Err(Miss::broken(format!("{} has no resourceVersion of {incarnation}", line.json)));
            };
            if n < last {
                return Err(Miss::broken(format!("{} comes after {of}.{last}", line.json)));
            }
            last = n;
        }
    }
    Ok(())
}

/// On a watch where nothing happens a bookmark comes all the same.
pub(super) async fn bookmark(ask: &Ask) -> Result<(), Miss> {
    const PROMISED: Duration = Duration::from_secs(15);
    offered(ask)?;
    let (_, version) = versioned(ask).await?;
    let mut watch = Watch::begin(ask, Some(&version)).await?;
    watch.up_to_bookmark(ask).await?;
    // Every line begins the silence anew, and of a busy source one may always come before its end.
    let give_up = Instant::now() + ask.plan.silence * 2;
    loop {
        let (begun, until) = (Instant::now(), give_up.min(Instant::now() + ask.plan.silence));
        match watch.next(until).await? {
            Some(line) if matches!(line.event, WatchEvent::Bookmark { .. }) => return Ok(()),
            Some(line) if matches!(line.event, WatchEvent::Error { .. }) => {
                return Err(Miss::broken(format!("the watch ends with {}", line.json)));
            }
            Some(_) => {}
            None if watch.ended => return Err(Miss::broken("the watch ends by itself")),
            None if ask.plan.silence <= PROMISED => {
                return Err(Miss::not_offered(format!(
                    "a bookmark may take {PROMISED:?}, and {:?} were waited",
                    ask.plan.silence
                )));
            }
            None if begun.elapsed() < ask.plan.silence => {
                let listened = ask.plan.silence * 2;
                return Err(Miss::not_offered(format!("it was never silent: changes came for {listened:?}")));
            }
            None => return Err(Miss::broken(format!("nothing came for {:?}", ask.plan.silence))),
        }
    }
}

pub(super) async fn ends(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    let mut question = question(ask, None);
    question.path += "&timeoutSeconds=1";
    let mut watch = Watch::put(ask, question).await?;
    let until = Instant::now() + Duration::from_secs(1) + ask.plan.deadline;
    while let Some(line) = watch.next(until).await? {
        if matches!(line.event, WatchEvent::Error { .. }) {
            return Err(Miss::broken(format!("with timeoutSeconds=1 the watch ends with {}", line.json)));
        }
    }
    if watch.ended { Ok(()) } else { Err(Miss::broken("with timeoutSeconds=1 the watch does not end")) }
}

pub(super) async fn bad_version(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    for version in ["x", "42", "a.b", "x.-1"] {
        let (response, _until) = ask.open(&question(ask, Some(version))).await?;
        if response.status() != StatusCode::BAD_REQUEST {
            let status = response.status();
            return Err(Miss::broken(format!(
                "a watch from {version:?}, which is no version, was answered by {status}"
            )));
        }
    }
    Ok(())
}

pub(super) async fn expired(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    let (_, version) = versioned(ask).await?;
    let foreign =
        version.rsplit_once('.').map_or_else(|| "another.1".to_owned(), |(of, n)| format!("{}.{n}", another(of)));
    let question = question(ask, Some(&foreign));
    let (response, _until) = ask.open(&question).await?;
    if response.status() == StatusCode::OK {
        return Err(Miss::broken(format!(
            "{question} was answered by 200, and that version is of another incarnation"
        )));
    }
    drop(response);
    let said: Status = ask.put(&question).await?.expect(StatusCode::GONE)?.json()?;
    if said.reason == "Expired" {
        return Ok(());
    }
    Err(Miss::broken(format!("a version of another incarnation is {:?}, not Expired", said.reason)))
}
