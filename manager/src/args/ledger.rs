//! The command line of `ledger`.

use clap::{Args, Subcommand};
use contract::ItemName;

use super::{Format, PlaceArgs};
use crate::ledger::State;

/// `ledger` and what follows.
#[derive(Clone, Debug, Args)]
pub struct LedgerArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LedgerCommand,
}

/// Which ledger, and which part of it.
#[derive(Clone, Debug, Args)]
pub struct ViewArgs {
    /// Where the queue's memory lies.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// The revision to look at [default: the highest there is].
    #[arg(long, value_name = "N")]
    pub revision: Option<u64>,
}

/// What to do with a ledger.
#[derive(Clone, Debug, Subcommand)]
pub enum LedgerCommand {
    /// List items, the first seen first
    List {
        /// Which ledger.
        #[command(flatten)]
        view: ViewArgs,
        /// Only items in this state.
        #[arg(long, value_enum)]
        only: Option<State>,
        /// How they are printed.
        #[arg(long = "output-format", short, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Show one item with all its attempts, how each ended and the last lines it wrote
    Show {
        /// Which ledger.
        #[command(flatten)]
        view: ViewArgs,
        /// The item.
        item: ItemName,
        /// How it is printed.
        #[arg(long = "output-format", short, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Have items done again, as if they had never been tried
    #[command(
        after_help = "A worker that finds an item of this revision published leaves it at that: to have everything \
                            published anew, raise the manager's --revision instead."
    )]
    Retry {
        /// Which ledger.
        #[command(flatten)]
        view: ViewArgs,
        /// The items.
        #[arg(required_unless_present_any = ["dead", "done"], conflicts_with_all = ["dead", "done"])]
        items: Vec<ItemName>,
        /// All that are dead.
        #[arg(long)]
        dead: bool,
        /// All that are done.
        #[arg(long)]
        done: bool,
    },
    /// Have items left undone
    Skip {
        /// Which ledger.
        #[command(flatten)]
        view: ViewArgs,
        /// The items; one that is not known yet is skipped when it is listed.
        #[arg(required = true)]
        items: Vec<ItemName>,
    },
}
