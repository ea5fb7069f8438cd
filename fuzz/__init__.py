"""Fuzz targets for what reads bytes from outside: `make fuzz`, see `fuzz.__main__`."""
