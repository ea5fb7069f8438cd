"""Run the command `kvs` as `python -m kvsproducer`, for example if `kvs` is not on the PATH."""

from kvsproducer.cli import main

if __name__ == "__main__":
    main()
