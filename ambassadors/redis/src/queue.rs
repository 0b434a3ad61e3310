//! What is done with a list and a stream alike.

use std::time::Duration;

use crate::args::{Kind, Settings};
use crate::list::List;
use crate::message::{Id, Message};
use crate::server::Connection;
use crate::stream::Stream;
use crate::trouble::Trouble;

/// How often to say that we are here, at least: others wait for it before they believe that nothing is left.
const RENEWAL: Duration = Duration::from_secs(5);

/// How much of messages one answer may carry, about: the server does nothing else while it makes one, and we have all of it at once.
pub(crate) const BYTES: usize = 8 << 20;

/// A list, or a stream.
#[derive(Debug)]
pub(crate) enum Queue {
    List(Box<List>),
    Stream(Box<Stream>),
}

/// Who takes, and how.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) name: String,
    pub(crate) lease: Duration,
    /// Of how many bytes a value is too large.
    pub(crate) most: usize,
}

/// What was taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    /// How many are left, where that is known.
    pub(crate) left: Option<u64>,
}

/// Those that are ours now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) messages: Vec<Message>,
    /// How many are gone that were held: cut off the stream, or removed by hand.
    pub(crate) trimmed: u64,
}

/// What there is beside what we hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// That nobody has taken.
    pub(crate) waiting: u64,
    /// That somebody has taken whose lease is over.
    pub(crate) orphaned: u64,
    /// Who those are, where they are known.
    pub(crate) dead: Vec<String>,
    /// Who holds nothing and has left no word of his going, where they are known.
    pub(crate) gone: Vec<String>,
    /// That somebody has taken who was not seen to live.
    pub(crate) doubtful: u64,
}

impl Queue {
    pub(crate) fn new(settings: &Settings) -> Self {
        let by = Consumer { name: settings.consumer.clone(), lease: settings.lease, most: settings.message.most() };
        let key = settings.key.clone();
        match settings.kind.clone() {
            Kind::List { take, prefix } => Self::List(Box::new(List::new(key, prefix, take, by))),
            Kind::Stream { group, start, delete_settled, .. } => {
                Self::Stream(Box::new(Stream::new(key, group, start, delete_settled, by)))
            }
        }
    }

    /// Makes what is missing for us to take anything, and says that we are here.
    pub(crate) async fn begin(&self, connection: &Connection) -> Result<(), Trouble> {
        match self {
            Self::List(list) => list.renew(connection).await.map(drop),
            Self::Stream(stream) => stream.begin(connection).await,
        }
    }

    /// The ids of what the server knows us to hold.
    pub(crate) async fn ours(&self, connection: &Connection) -> Result<Vec<Id>, Trouble> {
        match self {
            Self::List(list) => list.ours(connection).await,
            Self::Stream(stream) => stream.ours(connection).await,
        }
    }

    /// Those of them that we hold still, read anew.
    pub(crate) async fn fetch(&self, connection: &Connection, ids: &[Id]) -> Result<Found, Trouble> {
        match self {
            Self::List(list) => list.fetch(connection, ids).await,
            Self::Stream(stream) => stream.fetch(connection, ids).await,
        }
    }

    /// Looks at what we do not hold.
    pub(crate) async fn survey(&self, connection: &Connection) -> Result<Survey, Trouble> {
        match self {
            Self::List(list) => list.survey(connection).await,
            Self::Stream(stream) => stream.survey(connection).await,
        }
    }

    /// Takes over some of what that survey found orphaned.
    pub(crate) async fn adopt(&self, connection: &Connection, survey: &Survey, room: usize) -> Result<Found, Trouble> {
        match self {
            Self::List(list) => {
                let mut found = Found::default();
                for dead in &survey.dead {
                    if found.messages.len() < room {
                        let more = list.adopt(connection, dead, room - found.messages.len()).await?;
                        found.messages.extend(more.messages);
                        found.trimmed += more.trimmed;
                    }
                }
                Ok(found)
            }
            Self::Stream(stream) => stream.adopt(connection, room).await,
        }
    }

    /// Takes at most so many that nobody has.
    pub(crate) async fn take(&self, connection: &Connection, room: usize) -> Result<Batch, Trouble> {
        match self {
            Self::List(list) => list.take(connection, room).await,
            Self::Stream(stream) => stream.take(connection, room).await,
        }
    }

    /// Says that we are here, and hold these, those of them that are ours still. How many were cut off the stream.
    ///
    /// # Errors
    /// [`Trouble`], of the kind [`Lapsed`](crate::trouble::Kind::Lapsed) too.
    pub(crate) async fn renew(&self, connection: &Connection, held: &[Id]) -> Result<u64, Trouble> {
        match self {
            Self::List(list) => match list.renew(connection).await? {
                true => Ok(0),
                false => Err(Trouble::lapsed("hold what was taken")),
            },
            Self::Stream(stream) => Ok(stream.renew(connection, held).await?.len() as u64),
        }
    }

    /// Settles a message that is done, whoever holds it by now. Whether anybody did.
    pub(crate) async fn settle(&self, connection: &Connection, id: &Id) -> Result<bool, Trouble> {
        match self {
            Self::List(list) => list.settle(connection, id).await,
            Self::Stream(stream) => stream.settle(connection, id).await,
        }
    }

    /// Writes a message that never will be done to the dead letter key `to`, and why, whoever holds it by now. Whether anybody did.
    pub(crate) async fn bury(&self, connection: &Connection, id: &Id, why: &str, to: &str) -> Result<bool, Trouble> {
        match self {
            Self::List(list) => list.bury(connection, id, to).await,
            Self::Stream(stream) => stream.bury(connection, id, why, to).await,
        }
    }

    /// Forgets whom that survey, or the server, knows to be gone and to hold nothing.
    pub(crate) async fn prune(&self, connection: &Connection, survey: &Survey) -> Result<(), Trouble> {
        match self {
            Self::List(list) => list.forget(connection, &survey.gone).await,
            Self::Stream(stream) => stream.prune(connection).await,
        }
    }

    /// Whether we may do all that taking takes, and write to where dead letters go; the first of what would be taken, without taking it;
    /// and what else there is to say.
    pub(crate) async fn peek(
        &self,
        connection: &Connection,
        count: usize,
        dead_letters: Option<&str>,
    ) -> Result<(Vec<Message>, Vec<String>), Trouble> {
        match self {
            Self::List(list) => {
                let (messages, tried) = list.peek(connection, count, dead_letters).await?;
                let mut said =
                    vec!["an element has its name when it is taken; those below stand for the first".to_owned()];
                if let Some(key) = dead_letters.filter(|_| !tried) {
                    said.push(format!(
                        "whether {key} may be written to could not be tried: we may not remove from it again (LREM)"
                    ));
                }
                Ok((messages, said))
            }
            Self::Stream(stream) => {
                let (messages, there) = stream.peek(connection, count, dead_letters).await?;
                let said =
                    if there { "the group is there" } else { "there is no such group; it will be made (--start)" };
                Ok((messages, vec![said.to_owned()]))
            }
        }
    }

    /// Has others take over at once what we hold.
    pub(crate) async fn leave(&self, connection: &Connection) -> Result<(), Trouble> {
        match self {
            Self::List(list) => list.leave(connection).await,
            Self::Stream(stream) => stream.leave(connection).await,
        }
    }
}

/// For how long whoever said something lives without doubt: they say it more often.
pub(crate) fn patience(lease: Duration) -> Duration {
    renewal(lease) * 2
}

/// How often to say that we are here.
pub(crate) fn renewal(lease: Duration) -> Duration {
    (lease / 3).min(RENEWAL)
}

/// As Redis wants it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
