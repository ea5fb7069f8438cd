"""The public surface: every listed name exists, and is loaded with its first use."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer import aio, endpoint, heap, mkv


@pytest.mark.parametrize("module", [kvs, aio, endpoint, heap, mkv], ids=lambda m: m.__name__)
def test_listed_names_exist(module: object) -> None:
    """Every name in `__all__` exists, and occurs once."""
    names = module.__all__  # type: ignore[attr-defined]
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(set(names)) == len(names)


def test_star_import_gives_the_listed_names() -> None:
    """`from kvsproducer import *` in a fresh interpreter gives exactly `__all__`."""
    code = """if True:
        from kvsproducer import *
        import kvsproducer
        print(set(kvsproducer.__all__) - set(dir()))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unknown_name_is_an_attribute_error() -> None:
    """A misspelled name is an AttributeError, and `dir` lists names that are not loaded yet."""
    with pytest.raises(AttributeError, match="no attribute 'Producr'"):
        _ = kvs.Producr  # type: ignore[attr-defined]
    assert not hasattr(kvs, "view")
    assert {"Producer", "get_media", "put_media"} <= set(dir(kvs))


def test_import_of_main_runs_no_command() -> None:
    """Importing `kvsproducer.__main__`, as tools for whole packages do, runs no command."""
    code = "import kvsproducer.__main__; print('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("still here", "", 0)


# The public names, in alphabetical order. A change here changes the interface, so it needs an entry
# in the changelog.
PUBLIC = """
AckRejected AckType ApiCallbacks AuthCallbacks AwsCredentials BufferDurationPressure BufferFull
Caching CallbacksProvider ClientErrorReported ClientInfo ClientMetrics ClientReady
ClientShutdown ClockSkewDetected Connection ConnectionFailed ConnectionStale CredentialsProvider
DeviceInfo DropReason Duration Event EventType explain Explanation FileCredentials
FileLogHandler FragmentAck FragmentAcked FragmentDropped FragmentStored FragmentSummary Frame
FrameAccount FrameDropped FrameFlags FrameOrderMode FrameSkipped get_media Health Instant
InternalError InvalidConfiguration InvalidFrame InvalidMedia IotCredentials IpFamily KvsError
list_fragments MetricsServer NalAdaptation NotAuthorized now PlatformCallbacks Producer
ProducerCallbacks put_media PutResult ReadFragment ReadFrame ServiceConfig ServiceError
StatusCode StorageError StorageInfo StoragePressure StorageType StorePressurePolicy Stream
StreamCallbacks StreamClosed StreamDataAvailable StreamEnded StreamErrorReported StreamInfo
StreamingType StreamLatencyPressure StreamMetrics StreamNotFound StreamReady StreamShutdown
StreamState StreamStateChanged Throttled ticks TimedOut TimeJumped TimestampCorrected
to_datetime traced TrackInfo TrackResumed TrackSilent TrackType UploadStarted ViewOverflowPolicy
""".split()  # noqa: SIM905  a name a word, not a line


def test_public_names_are_these() -> None:
    """Each is listed here, so that none comes or goes unnoticed."""
    assert sorted(kvs.__all__, key=str.lower) == PUBLIC


def members(owner: type) -> Iterator[tuple[str, object]]:
    """Public methods and properties of a class that this package defines."""
    for name in dir(owner):
        where = next((each for each in owner.__mro__ if name in vars(each)), object)
        if name.startswith("_") or not where.__module__.startswith("kvsproducer"):
            continue
        value = vars(where)[name]
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if inspect.isfunction(function):
            yield name, function


@pytest.mark.parametrize("module", [kvs, aio], ids=lambda m: m.__name__)
def test_public_names_have_docstrings(module: Any) -> None:
    """So have their methods and properties; a dataclass does not get the generated one."""
    bare = []
    for name in module.__all__:
        value = getattr(module, name)
        if not inspect.isclass(value) and not inspect.isfunction(value):
            continue  # type aliases are explained in the source, for the reference pages
        if not vars(value).get("__doc__", value.__doc__) or value.__doc__.startswith(f"{name}("):
            bare.append(name)
        if inspect.isclass(value):
            bare += [f"{name}.{each}" for each, code in members(value) if not inspect.getdoc(code)]
    assert bare == []


# What `help()` has to mention of the entry points, beside prose: units, defaults and statuses.
HELP = [
    (kvs.Producer.__init__, "seconds", "default", "INVALID_ARG"),
    (kvs.Frame, "ticks", "100 ns", "INVALID_ARG"),
    (kvs.StreamInfo, "seconds", "Default", "INVALID_ARG"),
    (kvs.ClientInfo, "seconds", "Default", "INVALID_ARG"),
    (kvs.StorageInfo, "bytes", "Default", "INVALID_STORAGE_SIZE"),
    (kvs.DeviceInfo, "Default", "MAX_STREAM_COUNT"),
    (kvs.ServiceConfig, "seconds", "Default", "INVALID_ARG"),
    (kvs.Connection, "default", "INVALID_ARG"),
    (kvs.put_media, "seconds", "default", "INVALID_ARG"),
    (kvs.get_media, "default", "INVALID_ARG"),
    (kvs.list_fragments, "Default", "INVALID_ARG"),
]


@pytest.mark.parametrize("case", HELP, ids=lambda case: case[0].__qualname__)
def test_help_has_units_defaults_and_statuses(case: tuple[Any, ...]) -> None:
    """A newcomer reads them where the arguments are."""
    value, *words = case
    text = inspect.getdoc(value) or ""
    assert [word for word in words if word not in text] == []
