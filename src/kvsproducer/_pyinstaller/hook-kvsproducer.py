"""What PyInstaller cannot see by reading imports: modules that are imported by name, and data.

Public names are loaded when they are first used, and the texts of the status codes are a file.
"""

from PyInstaller.utils.hooks import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
    collect_data_files,
    collect_submodules,
)

hiddenimports = collect_submodules("kvsproducer", filter=lambda name: "_pyinstaller" not in name)
datas = collect_data_files("kvsproducer")
