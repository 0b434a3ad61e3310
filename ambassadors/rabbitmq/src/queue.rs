//! The queue: how it is found, or made.

use clap::{Args, ValueEnum};
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use crate::args::{SettingsError, short, short_or_empty};

/// How the queue is made, if it is to be.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Making the queue")]
pub(crate) struct DeclareArgs {
    /// Make the queue if it is not there, durable; if it is, it must be what is said here. Without it nothing is ever made.
    #[arg(long, value_enum, value_name = "KIND")]
    declare: Option<Type>,
    /// Where its rejected messages go; an empty name is the default exchange. The exchange must be there, and something be bound to it.
    #[arg(long, value_name = "NAME", requires = "declare", value_parser = short_or_empty)]
    dead_letter_exchange: Option<String>,
    /// By which routing key; to the default exchange, the name of a queue [default: that of the message].
    #[arg(long, value_name = "KEY", requires = "dead_letter_exchange", value_parser = short)]
    dead_letter_routing_key: Option<String>,
    /// After how many deliveries a quorum queue gives a message up.
    #[arg(long, value_name = "COUNT", requires = "declare")]
    delivery_limit: Option<u32>,
    /// Any other argument of the queue, such as `x-max-length=1000`; as often as needed.
    #[arg(long = "queue-argument", value_name = "NAME=VALUE", requires = "declare", value_parser = argument)]
    arguments: Vec<(String, Argument)>,
}

/// `--declare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    /// Replicated.
    Quorum,
    /// On one node.
    Classic,
}

/// What an argument may be.
#[derive(Clone, Debug, PartialEq)]
enum Argument {
    Number(i64),
    Switch(bool),
    Text(String),
}

/// A queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) name: String,
    declare: Option<FieldTable>,
    /// Exchange and routing key.
    dead_letters: Option<(String, Option<String>)>,
}

/// What a look at it found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Messages that nobody has.
    pub(crate) messages: u32,
    /// Consumers, we among them where we are one.
    pub(crate) consumers: u32,
}

impl DeclareArgs {
    /// The queue of this name.
    ///
    /// # Errors
    /// [`SettingsError`] where its dead letters would come back to it.
    pub(crate) fn queue(self, name: String) -> Result<Queue, SettingsError> {
        let dead_letters = self.dead_letter_exchange.map(|exchange| (exchange, self.dead_letter_routing_key));
        match &dead_letters {
            Some((exchange, None)) if exchange.is_empty() => return Err(SettingsError::DeadLetterNowhere),
            Some((exchange, Some(key))) if exchange.is_empty() && *key == name => {
                return Err(SettingsError::DeadLetterToItself(name));
            }
            Some(_) | None => {}
        }
        let declare = self.declare.map(|kind| {
            let mut table = FieldTable::default();
            let mut set = |name: &str, value: AMQPValue| {
                table.insert(name.into(), value);
            };
            let kind = if kind == Type::Quorum { "quorum" } else { "classic" };
            set("x-queue-type", text(kind));
            if let Some((exchange, key)) = &dead_letters {
                set("x-dead-letter-exchange", text(exchange));
                if let Some(key) = key {
                    set("x-dead-letter-routing-key", text(key));
                }
            }
            if let Some(limit) = self.delivery_limit {
                set("x-delivery-limit", AMQPValue::LongLongInt(limit.into()));
            }
            for (name, value) in self.arguments {
                set(&name, value.into());
            }
            table
        });
        Ok(Queue { name, declare, dead_letters })
    }
}

impl Queue {
    /// Whether it is made with a dead letter exchange.
    pub(crate) fn has_dead_letters(&self) -> bool {
        self.dead_letters.is_some()
    }

    /// Makes it if that is asked for. RabbitMQ takes an exchange for its dead letters that is not there, and then throws them away: so it
    /// must be there.
    ///
    /// # Errors
    /// [`lapin::Error`]; the channel is over then.
    pub(crate) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        let Some(arguments) = &self.declare else { return Ok(()) };
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        match &self.dead_letters {
            Some((exchange, Some(queue))) if exchange.is_empty() => {
                channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await?;
            }
            Some((exchange, _)) if !exchange.is_empty() => {
                let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                channel
                    .exchange_declare(exchange.as_str().into(), ExchangeKind::default(), passive, FieldTable::default())
                    .await?;
            }
            Some(_) | None => {}
        }
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(self.name.as_str().into(), durable, arguments.clone()).await.map(drop)
    }

    /// Asks how much waits in it. What was sent to a consumer of this channel before was there before the answer is.
    ///
    /// # Errors
    /// [`lapin::Error`]; the channel is over then.
    pub(crate) async fn look(&self, channel: &Channel) -> lapin::Result<Waiting> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(self.name.as_str().into(), passive, FieldTable::default()).await?;
        Ok(Waiting { messages: found.message_count(), consumers: found.consumer_count() })
    }
}

impl From<Argument> for AMQPValue {
    fn from(argument: Argument) -> Self {
        match argument {
            Argument::Number(number) => Self::LongLongInt(number),
            Argument::Switch(on) => Self::Boolean(on),
            Argument::Text(words) => text(&words),
        }
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn argument(words: &str) -> Result<(String, Argument), String> {
    let (name, value) = words.split_once('=').ok_or("an argument is NAME=VALUE")?;
    let value = match (value.parse(), value.parse()) {
        (Ok(number), _) => Argument::Number(number),
        (_, Ok(on)) => Argument::Switch(on),
        _ => Argument::Text(value.to_owned()),
    };
    Ok((short(name)?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_a_number_a_switch_or_a_text() {
        let of = |words: &str| argument(words).map(|(_, value)| value);
        assert_eq!(of("x-max-length=10"), Ok(Argument::Number(10)));
        assert_eq!(of("x-single-active-consumer=true"), Ok(Argument::Switch(true)));
        assert_eq!(of("x-overflow=reject-publish"), Ok(Argument::Text("reject-publish".into())));
        assert!(of("x-overflow").is_err() && of("=1").is_err());
    }
}
