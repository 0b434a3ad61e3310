//! What `--check` asks of the server, so that it says whose fault it is; and what it says of the queue.

use redis::cmd;

use crate::args::{Kind, Settings};
use crate::message::Message;
use crate::queue::{Queue, Survey};
use crate::server::Connection;
use crate::trouble::{Kind as Why, Trouble};

/// Whether all may be done that taking takes; the first of what would be taken, how much waits, and what there is to say of it.
///
/// # Errors
/// [`Trouble`].
pub(super) async fn preflight(settings: &Settings, queue: &Queue) -> Result<(Vec<Message>, u64, Vec<String>), Trouble> {
    let connection = settings.server.connect().await?;
    let mut said = vec![format!("{} at {}", settings.what(), settings.server.whom())];
    let (kind, flag) = match &settings.kind {
        Kind::List { .. } => ("list", "--list"),
        Kind::Stream { .. } => ("stream", "--stream"),
    };
    let there = is_of_type(&connection, &settings.key, flag, kind).await?;
    if !there {
        said.push("the key is not there: nothing waits".to_owned());
    }
    if let Some(dead) = &settings.dead_letter_key {
        is_of_type(&connection, dead, "--dead-letter-key", kind).await?;
    }
    has_all(&connection, settings).await?;
    let dead = settings.dead_letter_key.as_deref();
    let (messages, more) = queue.peek(&connection, usize::from(settings.window.window), dead).await?;
    said.extend(more);
    let Survey { waiting, orphaned, .. } = match queue.survey(&connection).await {
        Err(trouble) if trouble.kind() == Why::NoGroup => {
            Survey { waiting: messages.len() as u64, ..Survey::default() }
        }
        survey => survey?,
    };
    said.push(format!("{waiting} wait, and {orphaned} were taken by somebody of whom nothing was heard for --lease"));
    Ok((messages, waiting, said))
}

/// Whether the server, which may be one of a cluster, has the place for dead letters too: it is wanted in the step that removes a message.
///
/// # Errors
/// [`Trouble`].
pub(super) async fn has_all(connection: &Connection, settings: &Settings) -> Result<(), Trouble> {
    let Settings { key, dead_letter_key: Some(dead), .. } = settings else { return Ok(()) };
    let both = cmd("EXISTS").arg(key).arg(dead).take();
    connection.ask::<u64>(&both, &format!("write dead letters of {key} to {dead}")).await.map(drop)
}

/// Whether the key is there.
async fn is_of_type(connection: &Connection, key: &str, flag: &str, wanted: &str) -> Result<bool, Trouble> {
    let doing = format!("look at {key}");
    let is: String = connection.ask(cmd("TYPE").arg(key), &doing).await?;
    match is.as_str() {
        "none" => Ok(false),
        is if is == wanted => Ok(true),
        is => Err(Trouble::config(&doing, format!("it is a {is}, and {flag} wants a {wanted}"))),
    }
}
