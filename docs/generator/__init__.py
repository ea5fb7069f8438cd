"""The pages of the documentation site that are written from the code.

Each module writes one kind of page; `docs/build.py` lists them and hands them to mkdocs.
"""
