//! The defaults of settings in code, which are those of the command line.

use clap::builder::Resettable;
use clap::{Args, Command};

/// Returns the settings without any flags or variables.
#[expect(
    clippy::expect_used,
    reason = "the defaults are constants: an invalid one fails in every test"
)]
pub(super) fn parse_defaults<T: Args>() -> T {
    T::augment_args(Command::new("defaults").no_binary_name(true))
        .mut_args(|arg| arg.env(Resettable::Reset))
        .try_get_matches_from([""; 0])
        .and_then(|matches| T::from_arg_matches(&matches))
        .expect("the defaults are valid")
}
