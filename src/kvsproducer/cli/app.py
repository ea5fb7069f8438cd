"""The Typer application with all commands.

A command's module is imported only when that command is called, so that `kvs --version` and `kvs
explain` do not load what `kvs put` needs. `kvs --help` lists all commands and so imports them all.
"""

from __future__ import annotations

from importlib import import_module
from inspect import cleandoc
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from kvsproducer.version import VERSION

__all__ = ["app"]

# The commands in the order of --help. Each is a function in the module of the same name.
_COMMANDS: Final = ("put", "get", "serve", "inspect", "explain", "demo")
_NEED_ARGUMENTS: Final = frozenset(("put", "get", "inspect", "explain"))
_SETTINGS: Final[dict[str, Any]] = {
    "add_completion": False,
    "rich_markup_mode": "rich",
    "pretty_exceptions_enable": False,
}


class _Command(TyperCommand):
    """A command whose --help shows the option --help without a type."""

    def get_help_option(self, ctx: Any) -> Any:
        return _without_type(super().get_help_option(ctx))


class _Commands(TyperGroup):
    """The group of all commands; it imports and creates a command when that command is called."""

    def get_help_option(self, ctx: Any) -> Any:
        return _without_type(super().get_help_option(ctx))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  typer passes it
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  typer passes it
        if cmd_name in _COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = _command(cmd_name)
        return self.commands.get(cmd_name)


def _without_type(option: Any) -> Any:
    if option is not None:
        option.metavar = ""
    return option


def _command(name: str) -> Any:
    function = getattr(import_module(f"kvsproducer.cli.{name}"), name)
    # Join the lines of a paragraph, so that Typer wraps them at the width of the terminal.
    paragraphs = cleandoc(function.__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    alone = typer.Typer(**_SETTINGS)
    alone.command(name, cls=_Command, help=text, no_args_is_help=name in _NEED_ARGUMENTS)(function)
    command = typer.main.get_command(alone)
    for parameter in command.params:
        _simplify(parameter)
    return command


def _simplify(parameter: Any) -> None:
    """Remove types such as <str> and ranges such as x>=1 from --help; the help texts have both."""
    parameter._get_number_range_help_str = lambda: ""
    if parameter.param_type_name == "argument":
        parameter.display_type_rich = lambda ctx: None  # noqa: ARG005  typer passes it


app = typer.Typer(
    name="kvs",
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Put media into Amazon Kinesis Video Streams, and get it back. Nothing is silently lost.",
    **_SETTINGS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kvs {VERSION}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_print_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Process the options of `kvs` itself, which come before the command."""
