"""Options that several commands share: access to the service, durations and times."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction
from typing import Annotated, Final

import typer

from kvsproducer.cli.console import err
from kvsproducer.duration import (
    MAX_TICKS,
    TICKS_PER_DAY,
    TICKS_PER_HOUR,
    TICKS_PER_MINUTE,
    TICKS_PER_SECOND,
    instant_to_ticks,
    parse_duration,
)
from kvsproducer.service.config import Caching, IpFamily, ServiceConfig
from kvsproducer.service.connection import Connection
from kvsproducer.service.credentials import FileCredentials, IotCredentials
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = [
    "CaBundle",
    "CachingMode",
    "CredentialsFile",
    "Dualstack",
    "EndpointUrl",
    "Fips",
    "Iot",
    "IpVersion",
    "NoVerify",
    "Profile",
    "Proxy",
    "Region",
    "connection",
    "duration_option",
    "instant_option",
    "seconds_option",
    "service_config",
    "stream_option",
]

_SERVICE = "Service"
_NETWORK = "Network"
Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="NAME",
        help="AWS region of the stream. \\[default: as in boto3]",
        rich_help_panel=_SERVICE,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Take region and credentials from this profile of ~/.aws/config.",
        rich_help_panel=_SERVICE,
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        metavar="URL",
        help="Address of another service than AWS, such as http://127.0.0.1:8080 of `kvs serve`.",
        rich_help_panel=_SERVICE,
    ),
]
CaBundle = Annotated[
    str | None,
    typer.Option(
        "--ca-bundle",
        metavar="FILE",
        help="Trust the certificate authorities in this PEM file.",
        rich_help_panel=_SERVICE,
    ),
]
NoVerify = Annotated[
    bool,
    typer.Option(
        "--no-verify-ssl",
        metavar="",
        help="Do not verify the service's TLS certificate.",
        rich_help_panel=_SERVICE,
    ),
]
CredentialsFile = Annotated[
    str | None,
    typer.Option(
        "--credentials-file",
        metavar="FILE",
        help="Read credentials from a file in the format of AWS's C producer.",
        rich_help_panel=_SERVICE,
    ),
]
Iot = Annotated[
    bool,
    typer.Option(
        "--iot",
        metavar="",
        help="Get credentials from AWS IoT, set up by the variables AWS_IOT_CORE_...",
        rich_help_panel=_SERVICE,
    ),
]

Fips = Annotated[
    bool,
    typer.Option(
        "--fips", metavar="", help="Use the FIPS 140 endpoint of AWS.", rich_help_panel=_NETWORK
    ),
]
Dualstack = Annotated[
    bool,
    typer.Option(
        "--dualstack",
        metavar="",
        help="Use the endpoint of AWS that has IPv4 and IPv6 addresses.",
        rich_help_panel=_NETWORK,
    ),
]
IpVersion = Annotated[
    IpFamily | None,
    typer.Option(
        "--ip",
        metavar="VERSION",
        help="Connect over ipv4 or ipv6 only. \\[default: either]",
        rich_help_panel=_NETWORK,
    ),
]
Proxy = Annotated[
    str | None,
    typer.Option(
        "--proxy",
        metavar="URL",
        help="Send all requests through this HTTP proxy"
        ". \\[default: as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say]",
        rich_help_panel=_NETWORK,
    ),
]

CachingMode = Annotated[
    Caching,
    typer.Option(
        "--caching",
        metavar="MODE",
        help="Calls whose answers are cached: none, all, or endpoint-only, which never calls"
        " DescribeStream and CreateStream, for roles without permission to call them.",
        rich_help_panel=_NETWORK,
    ),
]


def service_config(
    fips: bool,
    dualstack: bool,
    ip: IpFamily | None,
    proxy: str | None,
    caching: Caching = Caching.ALL,
) -> ServiceConfig:
    """Return a `ServiceConfig` with the options; fields of options that were not given are None."""
    return ServiceConfig(
        use_fips_endpoint=fips or None,
        use_dualstack_endpoint=dualstack or None,
        ip_family=ip,
        proxies=None if proxy is None else {"http": proxy, "https": proxy},
        caching=caching,
    )


def connection(
    region: str | None,
    profile: str | None,
    endpoint_url: str | None,
    ca_bundle: str | None,
    no_verify: bool,
    credentials_file: str | None = None,
    iot: bool = False,
    config: ServiceConfig | None = None,
) -> Connection:
    """Return the `Connection` that the options describe.

    Raises INVALID_ARG for options that exclude each other, and the errors of the credentials.
    """
    if ca_bundle is not None and no_verify:
        raise kvs_error(
            StatusCode.INVALID_ARG, "--ca-bundle and --no-verify-ssl exclude each other"
        )
    verify: bool | str = ca_bundle if ca_bundle is not None else not no_verify
    if no_verify:
        err.print("warning: --no-verify-ssl: TLS certificates are not verified")
    if credentials_file is not None and iot:
        raise kvs_error(StatusCode.INVALID_ARG, "--credentials-file and --iot exclude each other")
    credentials: FileCredentials | IotCredentials | None = None
    if credentials_file is not None:
        credentials = FileCredentials(credentials_file)
    elif iot:
        credentials = IotCredentials.from_environment(ca=ca_bundle)
    return Connection(
        region_name=region,
        profile_name=profile,
        endpoint_url=endpoint_url,
        credentials=credentials,
        verify=verify,
        config=config,
    )


def stream_option(name: str) -> str:
    """Return the stream's name. Raises INVALID_ARG if it is empty: the SDK would make up a name."""
    if not name:
        raise kvs_error(StatusCode.INVALID_ARG, "STREAM is empty: name a stream")
    return name


_UNITS: Final = {
    "s": TICKS_PER_SECOND,
    "m": TICKS_PER_MINUTE,
    "h": TICKS_PER_HOUR,
    "d": TICKS_PER_DAY,
}
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SHORT: Final = re.compile(rf"({_NUMBER.pattern})([smhd])", re.IGNORECASE)


def duration_option(name: str, text: str) -> int:
    """Return an option's duration (`24h`, `1.5h`, `7d`, `0` or ISO 8601) in ticks.

    `name` is the option, for the error message. Raises INVALID_ARG for other text. A number without
    a unit is refused too, because it could mean seconds, hours or days.
    """
    if text == "0":
        return 0
    if _NUMBER.fullmatch(text):
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"{name} {text} has no unit: write {text}s for seconds, {text}m for minutes, {text}h"
            f" for hours or {text}d for days",
        )
    try:
        if short := _SHORT.fullmatch(text):
            ticks = int(Fraction(short[1]) * _UNITS[short[2].lower()])
            if ticks > MAX_TICKS:
                raise kvs_error(StatusCode.INVALID_DURATION_VALUE, "too long")
            return ticks
        return parse_duration(text.upper())
    except KvsError as error:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"{name} {text!r} is not a length of time: write a number and its unit, such as 90s,"
            " 15m, 24h or 7d, or ISO 8601, such as PT24H",
        ) from error


def seconds_option(name: str, text: str) -> float:
    """Return an option's duration in seconds.

    The syntax is that of `duration_option`, but a number without a unit means seconds.
    """
    if _NUMBER.fullmatch(text):
        return float(text)
    return duration_option(name, text) / TICKS_PER_SECOND


def instant_option(text: str) -> int:
    """Convert the text of an option to a time, in ticks since 1970.

    `text` is `now`, seconds since 1970, or ISO 8601. ISO 8601 without a time zone is local time.
    Raises INVALID_ARG for other text.
    """
    if text.lower() == "now":
        return instant_to_ticks(datetime.now(UTC))
    if text.isascii() and text.replace(".", "", 1).isdigit():
        whole, _, decimals = text.partition(".")
        return int(whole or "0") * TICKS_PER_SECOND + int(decimals[:7].ljust(7, "0"))
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"{text!r} is not a time: write 2026-01-02T03:04:05Z, seconds since 1970, or now",
        ) from error
    if instant.utcoffset() is None:
        instant = instant.astimezone()
        err.print(f"note: {text} has no time zone: {instant.isoformat()} is used (local time)")
    return instant_to_ticks(instant)
