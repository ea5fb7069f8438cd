"""The Typer application: which commands there are."""

from __future__ import annotations

from collections.abc import Callable
from inspect import cleandoc
from typing import Annotated

import typer

from kvsproducer.cli.demo import demo
from kvsproducer.cli.explain import explain
from kvsproducer.cli.get import get
from kvsproducer.cli.inspect import inspect
from kvsproducer.cli.put import put
from kvsproducer.cli.serve import serve
from kvsproducer.version import VERSION

__all__ = ["app"]

app = typer.Typer(
    name="kvs",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Put media into Amazon Kinesis Video Streams, and get it back. Nothing is silently lost.",
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
    """Options of `kvs` itself."""


def _help(command: Callable[..., None]) -> str:
    """The command's docstring, one line a paragraph: the terminal breaks them where it ends."""
    paragraphs = cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for _command in (put, get, serve, inspect, explain, demo):
    app.command(help=_help(_command), no_args_is_help=_command in (put, get, inspect, explain))(
        _command
    )
