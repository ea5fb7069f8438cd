"""Fuzz targets for the parsers of external data: `make fuzz`, see `fuzz.__main__`."""
