//! The command line, read: what is wrong with it is told by the name of the setting, and whether that is
//! a flag or a variable.

use std::ffi::OsString;
use std::num::{IntErrorKind, ParseIntError};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::Cli;
use crate::config;

impl Cli {
    /// Reads the command line and the environment. Ends the process where they are wrong, or ask for no
    /// more than to be told something.
    #[must_use]
    pub fn read() -> Self {
        let mut command = without_empty_variables(Self::command());
        let read = command
            .try_get_matches_from_mut(std::env::args_os())
            .and_then(|matches| {
                refuse_settings_of_another_command(&mut command, &matches)?;
                Self::from_arg_matches(&matches)
            });
        read.unwrap_or_else(|error| explained(&mut command, error).exit())
    }
}

/// An empty variable counts as unset.
fn without_empty_variables(command: Command) -> Command {
    command
        .mut_args(|arg| match arg.get_env() {
            Some(name) if config::is_empty(name) => arg.env(Resettable::Reset),
            _ => arg,
        })
        .mut_subcommands(without_empty_variables)
}

/// Flags in front of a command are those that every command has.
fn refuse_settings_of_another_command(command: &mut Command, matches: &ArgMatches) -> Result<(), Error> {
    let Some((name, _)) = matches.subcommand() else {
        return Ok(());
    };
    let given = command
        .get_arguments()
        .filter(|arg| !arg.is_global_set())
        .find(|arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine))
        .map(ToString::to_string);
    match given {
        None => Ok(()),
        Some(flag) => Err(command.error(
            ErrorKind::ArgumentConflict,
            format!("{flag} cannot be used with the command {name}; '{name} --help' tells what can"),
        )),
    }
}

/// Tells of a wrong setting whether the flag or the variable is wrong, and what is expected.
fn explained(command: &mut Command, mut error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return error;
    }
    command.build(); // else the arguments of the commands below cannot be shown
    let Some(flag) = error.get(ContextKind::InvalidArg).map(ToString::to_string) else {
        return error;
    };
    let Some(arg) = find(command, &flag) else {
        return error;
    };
    let name = name(arg, std::env::args_os());
    if arg.is_hide_env_values_set() {
        let secret = ContextValue::String("…".to_owned());
        error.insert(ContextKind::InvalidValue, secret);
    }
    if let Some(expected) = expected_number(&error) {
        let value = error.get(ContextKind::InvalidValue).map(ToString::to_string);
        let value = value.unwrap_or_default();
        let message = format!("invalid value '{value}' for '{name}': {expected}");
        return command.error(ErrorKind::ValueValidation, message);
    }
    error.insert(ContextKind::InvalidArg, ContextValue::String(name));
    error
}

/// The argument that clap shows as `shown`, of this command or one below it.
fn find<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| arg.to_string() == shown)
        .or_else(|| command.get_subcommands().find_map(|command| find(command, shown)))
}

/// What the user knows a setting by: its flag where that is given, else its variable.
fn name(arg: &Arg, mut given: impl Iterator<Item = OsString>) -> String {
    let (Some(variable), Some(long)) = (arg.get_env(), arg.get_long()) else {
        return arg.to_string();
    };
    let flag = format!("--{long}");
    let is_given = given.any(|text| {
        let text = text.to_string_lossy();
        text.split_once('=').map_or(text.as_ref(), |(flag, _)| flag) == flag
    });
    if is_given {
        arg.to_string()
    } else {
        format!("the variable {} (flag {arg})", variable.display())
    }
}

/// What is wrong with a number.
fn expected_number(error: &Error) -> Option<&'static str> {
    let cause = std::error::Error::source(error)?;
    Some(match cause.downcast_ref::<ParseIntError>()?.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "a smaller number is expected",
        IntErrorKind::Zero => "a whole number of at least 1 is expected",
        _ => "a whole number is expected",
    })
}
