"""The page of the command line, written from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from generator.markdown import cell, table
from kvsproducer.cli.app import app

__all__ = ["commands"]

INTRO = """\
# Command line

The command `kvs` is installed with the package. `python -m kvsproducer` is the same command.

A duration is a number of seconds (`30`), a number with a unit (`24h`, `7d`, `2m`), or ISO 8601 text
(`PT24H`). Exit code 0 means success, 1 a failure, 2 a wrong command line. After a signal the exit
code is 130 (Ctrl-C), 143 (SIGTERM) or 129 (SIGHUP). Errors and progress go to standard error;
`--json` prints the result as JSON on standard output.
"""


def commands() -> str:
    """Return the page: what each command does, its arguments and its options."""
    group: Any = typer.main.get_command(app)
    with group.make_context("kvs", [], resilient_parsing=True) as context:
        lines = [INTRO]
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            with command.make_context(name, [], parent=context, resilient_parsing=True) as inner:
                lines += _command(command, inner)
    return "\n".join(lines) + "\n"


def _command(command: Any, context: Any) -> Iterator[str]:
    yield from (f"## kvs {command.name}", "")
    usage = " ".join(command.collect_usage_pieces(context)).replace("{", "").replace("}", "")
    yield from ("```text", f"kvs {command.name} {usage}", "```", "")
    yield from (_prose(command.help or ""), "")
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        argument = parameter.param_type_name == "argument"
        panel = getattr(parameter, "rich_help_panel", None) or (
            "Arguments" if argument else "Options"
        )
        record = parameter.get_help_record(context)
        if record is not None:
            panels.setdefault(panel, []).append(_row(parameter, record))
    for panel, rows in panels.items():
        yield from (*table((panel, "Meaning"), rows), "")


def _row(parameter: Any, record: tuple[str, str]) -> tuple[str, str]:
    """Return the cells of an option or an argument: how it is written, and its help text."""
    name, text = record
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name
    return f"`{name}`", cell(" ".join(text.replace("\\[", "[").split()))


def _prose(text: str) -> str:
    """Return a help text as Markdown; its example becomes a code block."""
    parts = []
    for paragraph in text.split("\n\n"):
        found = re.fullmatch(r"Example: (.+)", paragraph.strip())
        parts.append(
            f"```sh\n{found.group(1)}\n```" if found else cell(paragraph).replace("\\`", "`")
        )
    return "\n\n".join(parts)
