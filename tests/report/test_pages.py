"""Both pages as a browser shows them: sounds, pictures, console, width, size of text; screenshots are kept.

Screenshots go to SNAC_EXP_SCREENSHOTS, or else to pytest's temporary folder.
"""

import os
from pathlib import Path

import pytest

from snac_exp import cli
from tests.helpers.browser import Browser
from tests.report.chromium import Viewer
from tests.report.folders import make_run, summary, write_clip
from tests.report.test_compare import sweep

SCREENS = [(390, "light"), (390, "dark"), (1400, "light"), (1400, "dark")]
TELLING = SCREENS[::3]  # each width and each theme once
LONG = "a name, with an " + "unbreakably_" * 12 + "long part"


@pytest.fixture
def viewer(browser: Browser) -> Viewer:
    return Viewer(browser)


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    return Path(os.environ.get("SNAC_EXP_SCREENSHOTS", tmp_path / "screenshots"))


def check(
    viewer: Viewer,
    page: Path,
    screenshots: Path,
    num_sounds: int,
    num_pictures: int,
    shortest: float,
    longest: float,
    screens: list[tuple[int, str]] = TELLING,
) -> None:
    """Everything that must hold on every screen and in both themes; seconds of the shortest and the longest sound."""
    for width, theme in screens:
        viewer.show(page, width, theme)
        sounds = viewer.sounds()
        assert len(sounds) == num_sounds
        assert (min(sounds), max(sounds)) == pytest.approx((shortest, longest), abs=0.01)
        pictures = viewer.pictures()
        assert len(pictures) == num_pictures
        assert min(pictures, default=1) > 0
        assert viewer.sideways() == (0, []), (width, theme)
        assert viewer.smallest_text() >= 12
        assert viewer.complaints() == []
        picture = screenshots / f"{page.stem}_{width}_{theme}.png"
        viewer.screenshot(picture)
        assert picture.stat().st_size > 20_000


@pytest.mark.slow
def test_the_report_on_every_screen(tmp_path: Path, viewer: Viewer, screenshots: Path) -> None:
    run = make_run(
        tmp_path / "run",
        clips=2,
        config={"name": LONG, "data": {"path": f"/{LONG}/" * 3}},
        status={"state": "failed", "error": f"Traceback\n{LONG}\n{LONG}"},
        summary=summary() | {f"{LONG}/l1": 1.0},
        overrides=[LONG],
    )
    assert cli.run(["report", str(run)]) == 0
    # A reference, and two heads at three epochs; a picture each, and the large one of each clip.
    check(viewer, run / "report.html", screenshots, 2 * 7, 2 * 8, 0.3, 0.3, SCREENS)
    themes = []
    for theme in ("light", "dark"):
        viewer.show(run / "report.html", 1400, theme)
        themes.append(viewer.browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert themes[0] != themes[1]
    read_by_keyboard(viewer)


def read_by_keyboard(viewer: Viewer) -> None:
    """Arrow keys walk along the first chart."""
    read = "const cursor = document.querySelector('.chart .cursor'); return [cursor.hidden, cursor.innerText, "
    read += "document.querySelector('.chart b').innerText]"
    for key, shown in (("ArrowRight", [False, "step 0", "3"]), ("End", [False, "step 8", "2"])):
        press(viewer, key)
        assert viewer.browser.run(read) == shown
    press(viewer, "Escape")
    assert viewer.browser.run(read)[::2] == [True, "3.000 → 2.000"]


def press(viewer: Viewer, key: str) -> None:
    """A key on the first chart."""
    event = f"new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}})"
    viewer.browser.run(f"document.querySelector('.chart .plot').dispatchEvent({event})")


@pytest.mark.slow
def test_a_sweep_of_four(tmp_path: Path, viewer: Viewer, screenshots: Path) -> None:
    folder, output = sweep(tmp_path), tmp_path / "out"
    assert cli.run(["compare", str(folder), f"output={output}"]) == 0
    # Of both clips all four runs have the same reference: that, and two heads of four runs.
    check(viewer, output / "comparison.html", screenshots, 2 * 9, 2 * 10, 0.3, 0.3)
    rows = "return [...document.querySelectorAll('#results tbody tr th')].map(cell => cell.innerText.trim())"
    before = viewer.browser.run(rows)
    viewer.browser.run("document.querySelectorAll('#results th button')[0].click()")
    after = viewer.browser.run(rows)
    assert (before[0], before[2], before[3]) == (after[2], after[0], after[3])  # the one without a value stays last


@pytest.mark.slow
def test_a_sound_is_taken_over_at_the_same_moment(tmp_path: Path, viewer: Viewer) -> None:
    run = make_run(tmp_path / "run", clips=0)
    for epoch in (0, 1):
        write_clip(run / "samples" / f"epoch{epoch:03d}", "clip0", epoch, 0, seconds=30.0)
    assert cli.run(["report", str(run)]) == 0
    viewer.show(run / "report.html", 1400)
    click(viewer, ".cells tbody tr:nth-child(2) td:nth-of-type(1) .cell")
    viewer.browser.wait("return document.querySelectorAll('audio')[1].currentTime > 0.2")
    slowly = "for (const audio of document.querySelectorAll('audio')) audio.playbackRate = 0.1"  # none ends meanwhile
    viewer.browser.run(f"{slowly}; document.querySelectorAll('audio')[1].currentTime = 12")
    click(viewer, ".cells tbody tr:nth-child(3) td:nth-of-type(2) .cell")
    viewer.browser.wait("return document.querySelectorAll('audio')[4].currentTime > 12")
    state = "return [...document.querySelectorAll('audio')].map(audio => audio.paused)"
    assert viewer.browser.run(state) == [True, True, True, True, False]
    assert viewer.browser.run("return document.querySelector('.now').textContent") == "24k, epoch 1"
    click(viewer, "[data-play]")
    assert all(viewer.browser.run(state))
    assert viewer.complaints() == []


@pytest.mark.slow
def test_the_key_of_a_blind_comparison(tmp_path: Path, viewer: Viewer, screenshots: Path) -> None:
    runs = [make_run(tmp_path / name, seed=seed) for name, seed in (("apple", 0), ("berry", 1))]
    output = tmp_path / "out"
    assert cli.run(["compare", *map(str, runs), f"output={output}", "blind=true", "seed=1"]) == 0
    page = (output / "comparison.html").rename(output / "blind.html")
    check(viewer, page, screenshots, 2 * (1 + 3), 0, 0.3, 0.3)
    verdict = "return document.querySelector('.verdict').textContent"
    assert viewer.browser.run(verdict) == ""
    click(viewer, ".quiz [data-answer=A]")
    said = viewer.browser.run(verdict)
    assert said.startswith(("Right, X is A. A = ", "No, X is B. A = "))
    assert {"apple", "berry"} == {part.rpartition(" = ")[2] for part in said.partition(". ")[2].split("; ")}


def click(viewer: Viewer, css: str) -> None:
    """A person's click: only that may begin a sound."""
    viewer.browser.run(f"document.querySelector({css!r}).scrollIntoView({{block: 'center'}})")
    element = viewer.browser.find(css)
    viewer.browser.ask("POST", f"/session/{viewer.browser.session}/element/{element}/click", {})
