"""The pages of the documentation site that are written from the code, and how mkdocs gets them.

mkdocs loads this file as a hook (`mkdocs.yml`), so `make docs` needs no step before it and no
generated page is in the repository. To read such a page without mkdocs, write all of them into a
folder: `python docs/build.py FOLDER` (default: build/pages).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))  # for `generator`

from generator import api, repository
from generator.commands import commands
from generator.differences import differences
from generator.states import states
from generator.status_codes import COMPAT_NOTE, overview, pages

__all__ = ["COMPAT_NOTE", "generated", "pages"]

PAGES: tuple[tuple[str, Callable[[], str]], ...] = (
    # (path below docs/, what returns its text)
    ("reference/command-line.md", commands),
    ("reference/status-codes.md", overview),
    ("reference/examples.md", repository.examples),
    ("explanation/differences.md", differences),
    ("explanation/states.md", states),
)


def generated() -> Iterator[tuple[str, str]]:
    """Yield (path below docs/, text) of each generated page."""
    for path, write in PAGES:
        yield path, write()
    yield from pages()
    yield from api.pages()
    for name, page in repository.FILES.items():
        yield page, repository.from_file(name)


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to those in docs/ (mkdocs calls this by its name)."""
    from mkdocs.structure.files import File

    for path, text in generated():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make links of a page in docs/ to files outside docs/ links of the site."""
    if page.file.generated_by is not None:
        return markdown
    path = page.file.src_uri
    return repository.site_links(markdown, source=f"docs/{path}", page=path)


def main() -> None:
    """Write all generated pages into a folder."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS.parent / "build" / "pages"
    for path, text in generated():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    sys.stdout.write(f"written to {folder}\n")


if __name__ == "__main__":
    main()
