"""`python -m kvsproducer` is `kvs`, for where the command is not on the PATH."""

from kvsproducer.cli import main

main()
