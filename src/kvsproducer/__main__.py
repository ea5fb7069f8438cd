"""`python -m kvsproducer` runs `kvs`, also where the command is not on the PATH."""

from kvsproducer.cli import main

if __name__ == "__main__":
    main()
