"""`python -m ui.screenshots`: pictures of every screen, taken of the app itself, so that the docs stay true.

It runs the default scenario with both engines into a folder of its own, starts the app on it, visits each page in a
headless Chromium, light and dark, and writes those pictures to docs/screens/ that a page of the docs shows. With --all
it writes all of them, in both sizes, wherever --to says, to be looked at.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli.app_server import ROOT, free_port, running
from lab.errors import LabError, Unavailable, UsageError
from lab.limits import SCREENSHOT_BYTES_MAX

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENS: Final = ROOT / "docs" / "screens"
SCENARIO: Final = ROOT / "scenarios" / "sdlc_quick.yaml"
THEMES: Final = ("light", "dark")
SMALL, LARGE = (1280, 720), (1920, 1080)
WAIT_MS: Final = 60_000
SETTLED_MS: Final = 1_200
"""Charts fade in."""
MESH_AFTER_MS: Final = 9_000
"""Long enough for the lanes to be full and the curves to say something."""
COLOURS: Final = (256, 128, 64)
"""As many as leave the picture small enough: flat surfaces need few."""
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
"""It sees nothing but our own pages; as root, in a container, Chromium needs its own sandbox off."""


@dataclass(frozen=True)
class Shot:
    """One picture: where to go (`{runs}`: the ids of both runs), and what to do before it is taken."""

    name: str
    path: str
    ready: Callable[[Page], object]


def _shows(words: str) -> Callable[[Page], object]:
    return lambda page: page.get_by_text(words).first.wait_for()


def _stressed(page: Page) -> None:
    """Five hundred tasks at once, some of them done."""
    page.get_by_role("button", name=re.compile("Send 500")).first.click()
    page.locator(".state-word", has_text="Running").wait_for()
    page.wait_for_timeout(MESH_AFTER_MS)


def _charts(page: Page) -> None:
    page.get_by_text("Headline figures").first.wait_for()
    page.locator(".js-plotly-plot .scatterlayer .trace").nth(3).wait_for()


def _played(page: Page) -> None:
    slider = page.get_by_role("slider", name="Moment of the run")
    slider.press("End")
    slider.blur()
    page.locator(".replay[data-state=ended]").wait_for()


def _edited(page: Page) -> None:
    page.locator(".cm-line").nth(5).wait_for()
    page.locator(".js-plotly-plot .trace, [data-testid=stMainBlockContainer] .vega-embed").first.wait_for()


def _drawn(page: Page) -> None:
    page.locator("svg .node").nth(5).wait_for()


def _asked(page: Page) -> None:
    page.locator(".js-plotly-plot .scatterlayer .trace").nth(2).wait_for()


SHOTS: Final = (
    Shot("mesh", "/", _stressed),
    Shot("run", "/run?run={runs}", _charts),
    Shot("studio", "/studio?scenario=sdlc_quick", _edited),
    Shot("whatif", "/whatif?scenario=sdlc_quick&card=redis-away", _asked),
    Shot("rules", "/rules", _played),
    Shot("states", "/rules?rules=Task+states", _drawn),
    Shot("runs", "/runs", _shows("sdlc")),
    Shot("tasks", "/tasks", lambda page: page.get_by_test_id("stMainBlockContainer").wait_for()),
)


def main(words: Sequence[str] | None = None) -> int:
    """Take the pictures. Returns the exit status."""
    options = _options(words)
    wanted = [shot for shot in SHOTS if not options.pages or shot.name in options.pages]
    try:
        with tempfile.TemporaryDirectory(prefix="meshlab-screens-") as folder:
            written = take(wanted, Path(options.to), Path(folder), everything=options.all)
    except LabError as error:
        print(f"python -m ui.screenshots: {error}", file=sys.stderr)
        return error.exit_status
    for path in written:
        print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
    return 0


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m ui.screenshots", description="Pictures of every screen of the app.")
    names = [shot.name for shot in SHOTS]
    parser.add_argument("pages", nargs="*", choices=[*names, []], help=f"only these: {', '.join(names)}")
    parser.add_argument("--all", action="store_true", help="all of them in both sizes, not only those that docs show")
    parser.add_argument("--to", default=str(SCREENS), metavar="DIR", help="where they go (default: docs/screens)")
    return parser.parse_args(words)


def take(shots: Sequence[Shot], target: Path, folder: Path, *, everything: bool) -> list[Path]:
    """Write the pictures into `target`; `folder` is for the runs. Raises LabError if something is missing."""
    sizes = (SMALL, LARGE) if everything else (SMALL,)
    named = [
        (shot, size, theme, target / file_name(shot.name, size, theme))
        for shot in shots
        for size in sizes
        for theme in THEMES
    ]
    shown = shown_in_docs()
    named = [one for one in named if everything or one[3].name in shown]
    if not named:
        raise UsageError("no page of the docs shows any of these pictures; use --all")
    target.mkdir(parents=True, exist_ok=True)
    runs = folder / "runs"
    ids = _two_runs(runs)
    environment = {**os.environ, "MESHLAB_RUNS": str(runs), "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none"}
    with running(free_port(0), environment) as app, _browser() as browser:
        for shot, size, theme, path in named:
            url = app.url + shot.path.format(runs=",".join(ids))
            path.write_bytes(small(picture(browser, url, size, theme, shot.ready)))
    return [path for *_, path in named]


def file_name(name: str, size: tuple[int, int], theme: str) -> str:
    """mesh-dark.png; in the large size mesh-dark-1920.png."""
    return f"{name}-{theme}.png" if size == SMALL else f"{name}-{theme}-{size[0]}.png"


def shown_in_docs() -> set[str]:
    """The names of the pictures that the README or a page of the docs shows."""
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    return {name for page in pages for name in re.findall(r"screens/([\w-]+\.png)", page.read_text("utf-8"))}


def _two_runs(runs: Path) -> list[str]:
    """The default scenario with both engines, as a user would run it: the ids of its records."""
    command = [sys.executable, "-m", "cli.main", "run", str(SCENARIO), "--engine", "both", "--quiet", "--json"]
    ended = subprocess.run([*command, "--out", str(runs)], cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise Unavailable(f"{SCENARIO.name} could not be run with both engines: {ended.stderr.strip()}")
    told = json.loads(ended.stdout)
    return [Path(told[engine]["record"]).name for engine in ("sim", "live")]


class _browser:
    """A headless Chromium, ended with the context."""

    def __enter__(self) -> Browser:
        try:
            from playwright.sync_api import sync_playwright
        except ImportError as error:
            raise Unavailable("the Playwright client is not installed; it comes with what the tests need") from error
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        if program is None:
            raise Unavailable("there is no Chromium on the PATH (Debian: apt-get install chromium)")
        self._driver = sync_playwright().start()
        self._opened: Browser = self._driver.chromium.launch(executable_path=program, args=list(FLAGS))
        return self._opened

    def __exit__(self, *_: object) -> None:
        self._opened.close()
        self._driver.stop()


def picture(browser: Browser, url: str, size: tuple[int, int], theme: str, ready: Callable[[Page], object]) -> bytes:
    """A PNG of the page at `url` in a window of `size` pixels, once it is ready and still."""
    from playwright.sync_api import Error

    scheme: Any = theme
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    try:
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.goto(url)
        page.get_by_test_id("stMainBlockContainer").wait_for()
        ready(page)
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        page.wait_for_timeout(SETTLED_MS)
        return page.screenshot()
    except Error as error:
        raise Unavailable(
            f"{url} ({theme}) never became what it should show: {error.message.splitlines()[0]}"
        ) from error
    finally:
        context.close()


def small(png: bytes) -> bytes:
    """The same picture in as few colours as make it small enough for the repository."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in COLOURS:
        made = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
        if made.tell() <= SCREENSHOT_BYTES_MAX:
            return made.getvalue()
    raise Unavailable(f"a picture has more than {SCREENSHOT_BYTES_MAX:,} bytes even in {COLOURS[-1]} colours")


if __name__ == "__main__":
    sys.exit(main())
