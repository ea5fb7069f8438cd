"""`kvs explain`: print what a status code means, what raises it, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from kvsproducer.cli.console import EXIT_USAGE, Json, out, print_error, print_json, report_errors
from kvsproducer.status import KvsError
from kvsproducer.status.catalogue import suggest
from kvsproducer.status.explain import explain as explanation_of

__all__ = ["explain"]


@report_errors
def explain(
    code: Annotated[
        str,
        typer.Argument(
            metavar="CODE|NAME",
            help="A status code (0x5200000e) or name, the ErrorId"
            " of an ack (4009), or a service exception.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Explain a status code of AWS's Error Code Reference.

    Also explains the ErrorId of an ERROR ack and the name of a service exception, and finds codes
    that are misprinted in the reference. For an unknown code it exits with 2 and lists similar
    ones; with --json they are in {"error", "code", "near"}.

    Example: kvs explain 0x5200000e
    """
    try:
        found = explanation_of(code)
    except KvsError as error:
        if as_json:
            print_json({"error": error.name, "code": code, "near": suggest(code)})
        else:
            print_error(error)
        raise typer.Exit(EXIT_USAGE) from error
    if as_json:
        print_json(found.as_dict())
    else:
        out.print(str(found), markup=False)
