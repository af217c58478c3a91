"""The board as a person finds it: in a browser, at two widths and in both themes, with runs that really ran."""

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulated_runs import config, status, write_run, write_runs
from snac_exp.config.stored import stored_yaml
from snac_exp.system.files import write_signed_json
from snac_exp.tracking.labels.stored import update_labels
from snac_exp.tracking.run_folder import RunFolder
from tests.helpers.board import Board, shown
from tests.helpers.browser import Browser
from tests.helpers.commands import train
from tests.helpers.tiny_runs import one_thread, tiny  # noqa: F401 (fixtures)
from tests.helpers.variants import thorough
from tests.report.chromium import Viewer
from tests.report.folders import make_run

pytestmark = pytest.mark.slow
EVIL = "<script>document.title='broken'</script><img src=x onerror=alert(1)>"
ROWS = "[...document.querySelectorAll('#rows tr')]"
TITLES = f"{ROWS}.map(row => row.querySelector('.title').textContent)"
LIVE = "return document.getElementById('live').textContent === 'Live'"


@pytest.fixture
def window(browser: Browser) -> Browser:
    return browser


def on(window: Browser, board: Board, more: str = "") -> Browser:
    """The board, opened anew and read to its end."""
    window.open("about:blank")
    Viewer(window).complaints()  # of a board that was shown before
    window.open(board.address + more)
    window.wait(LIVE)
    return window


def titles(window: Browser) -> list[str]:
    found: list[str] = window.run(f"return {TITLES}")
    return found


def typed(window: Browser, field: str, text: str) -> None:
    window.run(
        f"const field = document.getElementById('{field}'); field.value = {text!r};"
        "for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind))"
    )


def chosen(window: Browser, number: int) -> None:
    """Tick the first runs and open the view that compares them."""
    window.run(f"{ROWS}.slice(0, {number}).forEach(row => row.querySelector('input').click())")
    window.run("document.getElementById('compare').click()")
    window.wait("return document.querySelectorAll('#charts .plot, #charts .empty').length > 1")
    window.wait(
        "return document.querySelectorAll('#differences > *').length && document.querySelectorAll('#clips > *').length"
    )


@pytest.mark.thorough
def test_real_runs_show_their_figures_curves_configs_and_sound(
    tiny: list[str],  # noqa: F811
    tmp_path: Path,
    window: Browser,
) -> None:
    small = [*tiny, "trainer.num_sample_clips=1", "trainer.max_steps_per_epoch=1"]
    for seed in range(2):
        train(*small, f"seed={seed}").succeeded()
    with shown(tmp_path / "outputs") as board:
        rows = list(board.rows().values())
        assert [(row["state"], row["step"], row["num_steps"], row["recipe"]) for row in rows] == [
            ("finished", 2, 2, "phase12_dual_head")
        ] * 2
        on(window, board)
        assert sorted(titles(window)) == sorted(Path(row["path"]).name for row in rows)
        warnings = "[...document.querySelectorAll('#rows .warning')].map(one => one.textContent)"
        assert sorted(window.run(f"return {warnings}")) == sorted(row["warning"] for row in rows)
        assert all("head_48k is " in row["warning"] for row in rows)
        chosen(window, 2)
        names = window.run(
            "return [...document.querySelectorAll('#differences tbody th')].map(cell => cell.textContent)"
        )
        assert "seed" in names
        assert window.run("return document.querySelectorAll('#charts .chart:first-child g').length") == 2
        sounds = "[...document.querySelectorAll('#clips audio')]"
        window.run(f"{sounds}.forEach(audio => {{ audio.preload = 'metadata'; audio.load(); }})")
        window.wait(
            f"return {sounds}.length >= 4 && {sounds}.every(audio => audio.readyState >= 1 && audio.duration > 0)"
        )
        assert window.run("return document.querySelectorAll('#chosen a').length") == 2
        assert Viewer(window).complaints() == []


def test_a_run_that_goes_on_is_seen_to(tmp_path: Path, window: Browser) -> None:
    run = tmp_path / "run"
    write_run(run, stored_yaml(config("a")), ["+experiment=demo"], "running", 1, 4)
    with shown(tmp_path) as board:
        on(window, board)
        steps = f"{ROWS}.map(row => row.cells[3].textContent.split(' / ')[0])"
        assert window.wait(f"const found = {steps}; return found.length === 1 && found") == ["500"]
        (run / "metrics.jsonl").unlink()
        write_signed_json(run / "status.json", status("running", 750))
        assert window.wait(f"const found = {steps}; return found[0] !== '500' && found") == ["750"]
        write_run(tmp_path / "another", stored_yaml(config("a")), [], "finished", 2, 4)
        assert set(window.wait(f"return {ROWS}.length === 2 && {TITLES}")) == {"run", "another"}
        os.rename(run, tmp_path.with_name(f"{tmp_path.name} elsewhere"))
        assert window.wait(f"return {ROWS}.length === 1 && {TITLES}") == ["another"]
        (tmp_path / "another" / "status.json").write_text("{")
        # Of a run that is being written, or moved, an error may have been shown before.
        window.wait("return document.querySelector('#rows .error')?.textContent.includes('status.json')")
        window.wait(LIVE)  # unless the machine kept the page from asking for a while, and all is read anew
    assert window.wait("return document.getElementById('live').textContent.startsWith('No answer')")


@pytest.mark.parametrize("number", [250, *thorough(2000)])
def test_many_runs_are_sorted_filtered_and_kept_in_the_address(number: int, tmp_path: Path, window: Browser) -> None:
    write_runs(tmp_path, number, 1)
    with shown(tmp_path) as board:
        board.rows()
        on(window, board)
        assert window.run(f"return {ROWS}.length") == 100
        assert window.run("return document.getElementById('page-said').textContent") == f"1 to 100 of {number:,}"
        window.run("document.querySelector('[data-key=best]').click()")
        best = window.run(f"return {ROWS}.map(row => Number(row.cells[4].textContent))")
        assert best == sorted(best)
        typed(window, "override", "seed=7")
        typed(window, "recipe", "phase10_decoder_only")
        wanted = [
            row for row in board.rows().values()
            if row["recipe"] == "phase10_decoder_only" and "seed=7" in "\n".join(row["overrides"])
        ]  # fmt: skip
        counted = f"{len(wanted)} of {number:,} runs"
        assert window.run("return document.getElementById('counted').textContent") == counted
        typed(window, "column", "train/loss")
        window.wait("return document.querySelector('#rows .metric')?.textContent !== ''")
        window.run("document.querySelector('[data-state=failed]').click()")
        address = window.run("return location.hash")
        before = titles(window)
        assert 0 < len(before) < len(wanted)
        on(window, board, address)
        assert titles(window) == before
        typed(window, "text", "nothing has this name")
        assert "No run matches" in window.run("return document.getElementById('empty').innerText")
        window.run("document.querySelector('#empty button').click()")
        assert window.run("return document.getElementById('counted').textContent") == f"{number:,} runs"


def test_names_are_data(tmp_path: Path, window: Browser) -> None:
    for number in range(2):
        config = {"note": f"{EVIL}{number}", "tracker": {"mode": "off", "tags": [EVIL]}}
        odd = {"overrides": [f"+experiment={EVIL}", f"x={EVIL}{number}"], "config": config}
        failed: dict[str, Any] = {"state": "failed", "error": f"Error: {EVIL}"}
        path = make_run(tmp_path / f"{EVIL.replace('/', '_')}{number}", status=failed, **odd)
        update_labels(RunFolder(path), lambda labels: labels.tagged([], ["kept"], []).noted(f"{EVIL} note"))
    with shown(tmp_path) as board:
        on(window, board)
        typed(window, "tag", "kept")
        tags = "[...document.querySelectorAll('#rows .tag')].map(tag => tag.textContent)"
        assert window.run(f"return {tags}") == 2 * [EVIL, "kept"]
        assert window.run("return document.querySelector('#rows .note').textContent") == f"{EVIL} note"
        chosen(window, 2)
        text = window.run("return document.body.textContent")
        assert f"{EVIL}0" in text
        assert window.run("return document.title") == "Compare 2 runs"
        assert window.run("return document.querySelectorAll('main script, main img').length") == 0
        assert Viewer(window).complaints() == []


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_nothing_sticks_out_and_all_can_be_read(width: int, theme: str, tmp_path: Path, window: Browser) -> None:
    write_runs(tmp_path / "simulated", 20, 2)
    make_run(tmp_path / "one")
    make_run(tmp_path / "two", seed=1)
    viewer = Viewer(window)
    with shown(tmp_path) as board:
        for view in ("", "#view=compare"):
            viewer.screen(width, theme)
            on(window, board, view)
            if view:
                window.run("history.back()")
                window.wait(f"return {ROWS}.length > 0")
                chosen(window, 3)
            assert viewer.sideways() == (0, [])
            assert viewer.smallest_text() >= 12
            unnamed = (
                "[...document.querySelectorAll('button, input, select, audio, a')].filter(one => one.checkVisibility()"
            )
            unnamed += " && !(one.ariaLabel || one.textContent.trim() || one.labels?.length))"
            assert window.run(f"return {unnamed}.map(one => one.outerHTML)") == []
            assert viewer.complaints() == []


def test_an_empty_folder_says_what_to_do(tmp_path: Path, window: Browser) -> None:
    with shown(tmp_path) as board:
        on(window, board)
        assert "There is no run in" in window.run("return document.getElementById('empty').innerText")
        window.run("document.getElementById('to-compare').click()")
        assert "No run is chosen" in window.run("return document.getElementById('none-chosen').innerText")
