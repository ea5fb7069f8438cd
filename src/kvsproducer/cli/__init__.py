"""The `kvs` command: put, get, serve, inspect, explain, demo.

One module per command, `options` for what they share, `console` for how they speak. Exit codes: 0
all is stored / said / fine, 1 a failure, 2 bad usage, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP. Heavy
imports (PyAV, aiohttp, botocore) happen inside the commands that need them, so that help and
`explain` are quick.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """The console entry point; it loads everything else where Ctrl-C has its answer."""
    try:
        import signal

        from kvsproducer.cli.streams import prepare_streams

        prepare_streams()
        from kvsproducer.cli.app import app
        from kvsproducer.cli.console import end_on_signals

        end_on_signals()
        try:
            app(prog_name="kvs")
        finally:  # `timeout` and shells send a second signal while the first is answered
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # loading takes a moment, and people have second thoughts
        sys.stderr.write("interrupted\n")
        sys.exit(130)
