"""Pages whose text is a file of the repository: README, ARCHITECTURE, the examples and so on.

Their links, and the links of pages in docs/ to files outside docs/, are written for a reader of the
repository. `site_links` turns them into links between pages of the site.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path

__all__ = ["FILES", "examples", "from_file", "site_links"]

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = "reference/examples.md"
FILES = {
    # file of the repository -> page
    "README.md": "index.md",
    "ARCHITECTURE.md": "explanation/architecture.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)


def from_file(name: str) -> str:
    """Return the text of a page that is the file `name` of the repository."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return site_links(text, source=name, page=FILES[name])


def site_links(text: str, *, source: str, page: str) -> str:
    """Return Markdown of the repository's file `source` with links that are right on `page`.

    A link to a file that has no page becomes plain text.
    """

    def changed(found: re.Match[str]) -> str:
        image, label, target = found.groups()
        path, mark, heading = target.partition("#")
        if not path or "://" in target or target.startswith("mailto:"):
            return found.group()
        meant = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if meant in ("examples", "examples/README.md"):
            to: str | None = EXAMPLES
        elif meant.startswith("examples/"):
            to, mark, heading = EXAMPLES, "#", _anchor(posixpath.basename(meant))
        elif meant.startswith("docs/"):
            to = meant.removeprefix("docs/")
        else:
            to = FILES.get(meant)
        if to is None:
            return label
        relative = posixpath.relpath(to, posixpath.dirname(page) or ".")
        return f"{image}[{label}]({relative}{mark}{heading})"

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(changed, part) for part in parts)


def examples() -> str:
    """Return the page of all example programs."""
    lines = [
        "# Example programs",
        "",
        "These programs are in the folder `examples/` of the project; its tests run each of them.",
        "Most take the name of a stream and a number of seconds. Region, credentials and endpoint",
        "come from the environment, as in boto3.",
        "",
    ]
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(code)) or ""
        summary = docstring.split("\n\n", 1)[0].replace("\n", " ")
        lines += [f"## {path.name} {{ #{_anchor(path.name)} }}", "", summary, ""]
        lines += ["```python", code.rstrip(), "```", ""]
    return "\n".join(lines)


def _anchor(file_name: str) -> str:
    return file_name.removesuffix(".py").replace("_", "-")
