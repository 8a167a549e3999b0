"""The pictures in the docs: each is one that the command takes, is there, and is small."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from lab.limits import SCREENSHOT_BYTES_MAX
from ui import screenshots
from ui.screenshots import LARGE, SCREENS, SHOTS, SMALL, THEMES, file_name


def test_every_picture_that_the_docs_show_is_there_and_small() -> None:
    shown = screenshots.shown_in_docs()
    assert shown <= {file_name(shot.name, size, theme) for shot in SHOTS for size in (SMALL, LARGE) for theme in THEMES}
    assert {path.name for path in SCREENS.glob("*.png")} == shown
    assert all((SCREENS / name).stat().st_size <= SCREENSHOT_BYTES_MAX for name in shown)


def test_a_picture_is_made_smaller_without_changing_its_size() -> None:
    image = Image.effect_noise((320, 200), 60).convert("RGB")
    large = io.BytesIO()
    image.save(large, "PNG")
    made = screenshots.small(large.getvalue())
    assert len(made) < large.tell()
    assert Image.open(io.BytesIO(made)).size == image.size


def test_a_page_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        screenshots.main(["nowhere"])
    assert refused.value.code == 2
    assert "nowhere" in capsys.readouterr().err


def test_without_a_picture_to_take_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screenshots, "shown_in_docs", set)
    assert screenshots.main(["rules"]) == 2
    assert "use --all" in capsys.readouterr().err
