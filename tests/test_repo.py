"""The house style, held: sizes, no I/O in the core, no cycle, one module that knows PyAV."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "kvsproducer"
SOURCES = sorted(SRC.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 70
# Rooms that never touch the outside: `open`, clocks and sleeps are banned there, imports or not.
SANS_IO = [SRC / "status", SRC / "codecs", SRC / "mkv", SRC / "client"]
SANS_IO_FILES = [SRC / "wire.py", SRC / "endpoint" / "put_media.py"]
READS_ITS_DATA_FILE = {SRC / "status" / "catalogue.py"}
BANNED_CALLS = {"open", "print", "input", "exec", "eval"}
BANNED_ATTRIBUTES = {("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tracked_files() -> list[Path]:
    """What git knows or would add; on a plain copy of the sources, every file that is there."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        return [p for p in ROOT.rglob("*") if p.is_file() and ".venv" not in p.parts]
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The length of a function from its `def` to its end, docstring aside."""
    assert function.end_lineno is not None
    length = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        assert first.end_lineno is not None
        length -= first.end_lineno - first.lineno + 1
    return length


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=relative)
def test_files_and_functions_fit(path: Path) -> None:
    """No file over 800 lines, no function over 70; the tests are read as the sources are."""
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
    long = [f"{f.name}: {code_lines(f)}" for f in functions(path)]
    assert [name for name in long if int(name.split(": ")[1]) > MAX_FUNCTION_LINES] == []


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_modules_open_with_a_docstring(path: Path) -> None:
    """A module says what it is before anything else."""
    assert ast.get_docstring(ast.parse(path.read_text()))


def sans_io_files() -> list[Path]:
    inside = [path for path in SOURCES if any(room in path.parents for room in SANS_IO)]
    return [p for p in inside + SANS_IO_FILES if p not in READS_ITS_DATA_FILE]


@pytest.mark.parametrize("path", sans_io_files(), ids=relative)
def test_core_makes_no_built_in_io_calls(path: Path) -> None:
    """The core has no clock, no file and no console: built-ins that reach them are not called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            assert node.func.id not in BANNED_CALLS, f"{path.name}:{node.lineno}"
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            called = (node.func.value.id, node.func.attr)
            assert called not in BANNED_ATTRIBUTES, f"{path.name}:{node.lineno}"


# What one class owns, by the name under which others know it, and what changes it.
OWNED = {
    "buffer": set(),
    "view": {"append", "append_mark", "take", "drop_tail", "trim", "clear"}
    | {"rewind", "change_header"},
    "ledger": {"confirm", "drop", "drop_held", "evict", "refuse", "store", "abandon"}
    | {"settle_unacked", "drop_unacked"},
    "store": {"charge", "release"},
    "item": set(),
    "wire": set(),
}


def touched(node: ast.AST) -> Iterator[str]:
    """What a statement assigns to or changes by a call, if it is an attribute: `owner.name`."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = [leaf for target in node.targets for leaf in ast.walk(target)]  # type: ignore[misc]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        targets = [node.func]
    for target in targets:
        if isinstance(target, ast.Attribute):
            base = target.value
            owner = getattr(base, "attr", getattr(base, "id", "")).lstrip("_")
            changed = not isinstance(node, ast.Call) or target.attr in OWNED.get(owner, ())
            if owner in OWNED and changed:
                yield f"{owner}.{target.attr}"


CORE = [path for path in SOURCES if (SRC / "client") in path.parents]


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_only_the_buffer_changes_what_it_owns(path: Path) -> None:
    """Items, books and the store's budget change together, in client/buffer; others look."""
    if path.parent.name == "buffer":
        return
    found = [name for node in ast.walk(ast.parse(path.read_text())) for name in touched(node)]
    assert found == []


def test_what_others_own_is_seen() -> None:
    """The test above sees assignments in every form, and calls."""
    code = "core.buffer.lost = a, item.flags = 1\nself._view.current += 2\nview.take()\nview.full"
    found = [name for node in ast.walk(ast.parse(code)) for name in touched(node)]
    assert sorted(found) == ["buffer.lost", "item.flags", "view.current", "view.take"]


def imported_names(path: Path) -> Iterator[str]:
    """Every module that a file imports, and everything that may be a module in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", ["av", "prometheus_client"])
def test_one_module_knows_a_package_of_an_extra(package: str) -> None:
    """Each is a border: one module knows it."""
    users = {
        relative(path)
        for path in SOURCES
        for name in imported_names(path)
        if name.split(".")[0] == package
    }
    assert len(users) == 1, users


def test_no_import_cycle() -> None:
    """Modules import one another in one direction only, in functions and for types too."""

    def name_of(path: Path) -> str:
        parts = path.relative_to(SRC.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    # The package itself gives all names on, each with its first use.
    names = {name_of(path) for path in SOURCES} - {"kvsproducer"}
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        mine = name_of(path)
        if mine not in names:
            continue
        targets = names.intersection(imported_names(path))
        # A package's __init__ re-exports its modules; that they live in it is no cycle.
        graph[mine] = {t for t in targets if not mine.startswith(t + ".") and t != mine}
    visiting: list[str] = []
    done: set[str] = set()

    def visit(node: str) -> None:
        assert node not in visiting, " -> ".join([*visiting[visiting.index(node) :], node])
        if node in done:
            return
        visiting.append(node)
        for target in sorted(graph[node]):
            visit(target)
        visiting.pop()
        done.add(node)

    for node in sorted(graph):
        visit(node)


TEXT = {".py", ".md", ".toml", ".yml", ".txt", ".tsv", ".json", ".cfg", ""}
# A path of somebody's machine; system folders that every Linux has are fine.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|farm|root|home/\w+)/")


def attributes_read(tree: ast.AST) -> set[str]:
    """Names of the attributes that code reads."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in nodes if isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize(("path", "name"), [
    ("client/stream_info.py", "StreamInfo"), ("client/device_info.py", "DeviceInfo"),
    ("client/device_info.py", "ClientInfo"), ("client/device_info.py", "StorageInfo"),
    ("service/config.py", "ServiceConfig"), ("service/connection.py", "Connection"),
])  # fmt: skip
def test_no_option_is_dead(path: str, name: str) -> None:
    """Each is read in another module than its own, or by a property that is."""
    own = SRC / path
    read = set().union(*(attributes_read(ast.parse(p.read_text())) for p in SOURCES if p != own))
    classes = [node for node in ast.parse(own.read_text()).body if isinstance(node, ast.ClassDef)]
    body = next(node for node in classes if node.name == name).body
    for each in body:
        if isinstance(each, ast.FunctionDef) and each.decorator_list and each.name in read:
            read |= attributes_read(each)
    options = {
        n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    assert options
    assert options - read == set()


def test_no_machine_path_and_no_large_file() -> None:
    """Nothing in the tree names a machine's folders, and no file is over 1 MB."""
    for path in tracked_files():
        assert path.stat().st_size <= 1_000_000, relative(path)
        if path.suffix in TEXT and path != Path(__file__).resolve():
            found = MACHINE_PATH.search(path.read_text(errors="replace"))
            assert found is None, f"{relative(path)}: {found.group() if found else ''}"


def test_import_is_light() -> None:
    """Importing the package loads none of botocore, aiohttp, PyAV and Prometheus's client."""
    heavy = ["botocore", "aiohttp", "av", "prometheus_client"]
    probe = f"import sys, kvsproducer; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tests_mirror_src() -> None:
    """Every source module has its test module in the same place under tests/."""
    missing = [
        relative(path)
        for path in SOURCES
        if path.stem not in {"__init__", "__main__"}
        and not (ROOT / "tests" / path.relative_to(SRC).parent / f"test_{path.stem}.py").is_file()
    ]
    assert missing == []


# Text in these folders and files is plain English. The list grows until it holds all of them.
PLAIN_ENGLISH = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "benchmarks",
    "docs",
    "examples",
    "fuzz",
    "src/kvsproducer/__main__.py",
    "src/kvsproducer/_pyinstaller",
    "src/kvsproducer/aio.py",
    "src/kvsproducer/cli",
    "src/kvsproducer/client",
    "src/kvsproducer/codecs",
    "src/kvsproducer/compat",
    "src/kvsproducer/duration.py",
    "src/kvsproducer/endpoint",
    "src/kvsproducer/heap",
    "src/kvsproducer/limits.py",
    "src/kvsproducer/mkv",
    "src/kvsproducer/observe",
    "src/kvsproducer/producer",
    "src/kvsproducer/quiet.py",
    "src/kvsproducer/reader",
    "src/kvsproducer/service",
    "src/kvsproducer/sources",
    "src/kvsproducer/status",
    "src/kvsproducer/trace.py",
    "src/kvsproducer/utils.py",
    "src/kvsproducer/version.py",
    "src/kvsproducer/wire.py",
    "tests/_pyinstaller",
    "tests/cli",
    "tests/client",
    "tests/codecs",
    "tests/compat",
    "tests/conftest.py",
    "tests/e2e",
    "tests/endpoint",
    "tests/endpoints.py",
    "tests/forks.py",
    "tests/golden",
    "tests/h264_fields.py",
    "tests/heap",
    "tests/interop",
    "tests/iot.py",
    "tests/mkv",
    "tests/observe",
    "tests/pages.py",
    "tests/peers.py",
    "tests/producer",
    "tests/program.py",
    "tests/reader",
    "tests/service",
    "tests/sources",
    "tests/status",
    "tests/status_codes",
    "tests/test_aio.py",
    "tests/test_docs.py",
    "tests/test_duration.py",
    "tests/test_examples.py",
    "tests/test_fuzz.py",
    "tests/test_life_of_a_frame.py",
    "tests/test_limits.py",
    "tests/test_public.py",
    "tests/test_quiet.py",
    "tests/test_status_codes.py",
    "tests/test_times.py",
    "tests/test_trace.py",
    "tests/test_utils.py",
    "tests/test_version.py",
    "tests/test_wire.py",
    "tests/test_without_posix.py",
    "tests/waiting.py",
]
PLAIN_ENGLISH_EXCEPT = {
    "tests/test_repo.py": "the list itself",
}
# Words and phrases of the project's old private dialect, and what to write instead. Such a
# list catches a symptom. The rule is: subject, verb, object, and say who does what.
DIALECT = {
    r"(?:is|are|was|were|be|been|being) told|told|tells?": "say who reports what, and how: "
    "'raises', 'returns', 'reports', 'calls on_event'",
    r"nobody|no one": "name the subject: 'no caller', 'no thread', 'no request'",
    r"somebody|someone|somebody else": "name the subject: 'the caller', 'another process'",
    r"whoever|who (?:waits?|asks?|calls?)": "name the subject: 'the caller', 'the client'",
    r"(?<!there )(?:is|are|was|were) (?-i:none)": "'there is no ...', 'does not exist'",
    r"(?<!there )(?<!There )(?:is|are|was|were|be) no (?!longer|more)": "'is not a ...'",
    r"what (?:is|was) to|(?:is|was|are) not to come": "'the next ...', 'that must ...'",
    r"for ever": "'without a limit', 'until ...', 'hangs'",
    r"for want of": "'because there is no ...', 'because it needs ...'",
    r"at the door": "'when it is put', 'at the entry of put_frame'",
    r"(?:of|from|to) the world|the (?:outside )?world (?:can|may|does)": "'network', 'caller', "
    "'service', 'operating system'",
    r"strangers?": "'other programs', 'arbitrary clients', 'invalid requests'",
    r"floods?": "'many ...', 'a high rate of ...'",
    r"(?:gives?|gave|given|giving) way": "'is replaced', 'is evicted', 'is dropped'",
    r"(?:falls?|fell|fallen|falling|goes|went) silent": "'stops sending', 'stops responding'",
    r"(?:made|makes|make|become|becomes) whole": "'repaired', 'completed'",
    r"in doubt": "'unknown', 'if unsure', 'not known to be ...'",
    r"by (?:itself|themselves|himself)": "'alone', 'without a call', 'automatically'",
    r"(?:let|lets|letting) go": "'release', 'close', 'drop the reference'",
    r"no more of|nothing more of": "'ignores the rest', 'stops reading'",
    r"(?:is|are|was|were) said": "'is reported', 'is logged', 'the message contains'",
    r"(?:meet|meets|met) with": "'the last error', 'fails with'",
    r"(?:error|check|bug|fault|failure)s? of our(?:s| own)": "'internal error'",
    r"in (?:its|their) (?:stead|place) of": "'instead of'",
    r"however (?:it|they) (?:ends?|goes|go|went)": "'for whatever reason'",
    r"(?:the|this|our) house": "'the project', 'the package'",
    r"that is how|this is how it": "say directly what happens",
    r"comes? to nothing": "'has no effect', 'fails'",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each text of a file with its first line: Markdown, strings, comments, names."""
    if path.suffix in {".md", ".tsv"}:
        yield 1, path.read_text()
        return
    comment: list[str] = []
    first = previous = before = 0
    with tokenize.open(path) as lines:
        tokens = list(tokenize.generate_tokens(lines.readline))
    for index, token in enumerate(tokens):
        kind = tokenize.tok_name[token.type]
        row = token.start[0]
        if kind == "COMMENT":
            # A phrase may go on in the comment line below.
            if comment and row != previous + 1:
                yield first, "\n".join(comment)
                comment = []
            first, previous = (first if comment else row), row
            comment.append(token.string.lstrip("# "))
        elif kind == "STRING" or kind.endswith("STRING_MIDDLE"):
            yield row, token.string
        elif kind == "NAME" and before and tokens[before].string in {"def", "class"}:
            yield row, token.string.replace("_", " ")
        before = index
    if comment:
        yield first, "\n".join(comment)


def dialect(path: Path) -> Iterator[str]:
    """Yield a line for each phrase of the old dialect in a file: place, phrase, replacement."""
    for first, text in texts(path):
        text = re.sub(r"\n +", "\n", text)
        for phrase, instead in DIALECT.items():
            pattern = r"\b(?:" + phrase.replace(" ", r"[ \n]") + r")\b"
            for found in re.finditer(pattern, text, re.IGNORECASE):
                line = first + text[: found.start()].count("\n")
                yield f"{relative(path)}:{line}: {found.group()!r}: write {instead}"


def test_text_is_plain_english() -> None:
    """No docstring, comment, message, test name or page uses the words of the old dialect."""
    folders = [ROOT / name for name in PLAIN_ENGLISH]
    found = [
        line
        for path in tracked_files()
        if path.suffix in {".py", ".md", ".tsv"} and relative(path) not in PLAIN_ENGLISH_EXCEPT
        if any(folder == path or folder in path.parents for folder in folders)
        for line in dialect(path)
    ]
    assert found == [], "\n" + "\n".join(found)
