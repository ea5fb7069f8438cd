"""The `kvs` command: put, get, serve, inspect, explain, demo.

Each command has a module of its own. The module `options` has the options that several commands
share, and `console` has their output and error messages. Exit codes: 0 success, 1 failure, 2 wrong
usage, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP. Commands import PyAV, aiohttp and botocore only when
they need them, so that `--help` and `explain` start quickly.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, even during the imports."""
    try:
        import signal

        from kvsproducer.cli.streams import prepare_streams

        prepare_streams()
        from kvsproducer.cli.app import app
        from kvsproducer.cli.console import end_on_signals

        end_on_signals()
        try:
            app(prog_name="kvs")
        finally:  # `timeout` and shells may send a second signal while the first is handled
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # Ctrl-C during the imports
        sys.stderr.write("interrupted\n")
        sys.exit(130)
