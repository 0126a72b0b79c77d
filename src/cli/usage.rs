//! Parsing of the command line and the environment, with error messages that name the flag or the variable.

use std::ffi::OsString;
use std::io::{self, Write};
use std::num::{IntErrorKind, ParseIntError};
use std::process;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::{Cli, CommandError, Failure, output};
use crate::config;

impl Cli {
    /// Parses the command line and the environment. Exits the process if they are invalid, and after `--help` or
    /// `--version`.
    #[must_use]
    pub fn read() -> Self {
        let mut command = without_empty_variables(Self::command());
        let read = command
            .try_get_matches_from_mut(std::env::args_os())
            .and_then(|matches| {
                reject_settings_before_command(&mut command, &matches)?;
                Self::from_arg_matches(&matches)
            });
        read.unwrap_or_else(|error| exit(&explain(&mut command, error)))
    }
}

/// Prints the error, help or version and exits the process.
fn exit(error: &Error) -> ! {
    let printed = error.print().and_then(|()| io::stdout().flush());
    match printed {
        Err(cause) if !error.use_stderr() && cause.kind() != io::ErrorKind::BrokenPipe => {
            output::print_error(&Failure::from(CommandError::Output(cause)).message);
            process::exit(1)
        }
        _ => process::exit(error.exit_code()),
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

/// Rejects flags in front of a command, except those that all commands have.
fn reject_settings_before_command(command: &mut Command, matches: &ArgMatches) -> Result<(), Error> {
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
            format!("{flag} cannot be used with the command {name}; see '{name} --help'"),
        )),
    }
}

/// Adds the flag or variable and the expected value to the error of an invalid setting.
fn explain(command: &mut Command, mut error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return error;
    }
    command.build(); // so that the arguments of subcommands can be formatted
    let Some(flag) = error.get(ContextKind::InvalidArg).map(ToString::to_string) else {
        return error;
    };
    let Some(arg) = find_arg(command, &flag) else {
        return error;
    };
    let name = describe(arg, std::env::args_os());
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

/// Returns the argument that clap formats as `text`, of this command or a subcommand.
fn find_arg<'a>(command: &'a Command, text: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| arg.to_string() == text)
        .or_else(|| {
            command
                .get_subcommands()
                .find_map(|command| find_arg(command, text))
        })
}

/// Returns the name of a setting for messages: its flag if that is given, otherwise its variable.
fn describe(arg: &Arg, mut given: impl Iterator<Item = OsString>) -> String {
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

/// Returns the expected form of an invalid number.
fn expected_number(error: &Error) -> Option<&'static str> {
    let cause = std::error::Error::source(error)?;
    Some(match cause.downcast_ref::<ParseIntError>()?.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "expected a smaller number",
        IntErrorKind::Zero => "expected a whole number of at least 1",
        _ => "expected a whole number",
    })
}
