"""PyInstaller hook: adds the modules and data files that PyInstaller does not find itself.

`kvsproducer` imports the modules of its public names by name on first use, and reads the texts of
the status codes from a data file.
"""

from PyInstaller.utils.hooks import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
    collect_data_files,
    collect_submodules,
)

hiddenimports = collect_submodules("kvsproducer", filter=lambda name: "_pyinstaller" not in name)
datas = collect_data_files("kvsproducer")
