"""What the board answers: to whom, which files, and how it says that there is none."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.simulated_runs import config, touch, write_run
from snac_exp import cli
from snac_exp.board.curves import MOST_RUNS
from snac_exp.config.stored import stored_yaml
from snac_exp.errors import ConfigError
from snac_exp.release.listening.address import VARIABLE
from tests.helpers.board import Board, shown
from tests.helpers.browser import free_port
from tests.helpers.waiting import GUARD_SECONDS, first_line, until
from tests.report.folders import make_run, write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    for name, seed, rate in (("one", 0, 1e-3), ("two", 1, 2e-3)):
        make_run(folder / name, seed=seed, config={"lr": {"rate": rate}})
    (folder / "one" / "report.html").write_text("<script>1</script>")
    return folder


@pytest.fixture(scope="module")
def board(folder: Path) -> Iterator[Board]:
    with shown(folder) as board:
        yield board


def ids(board: Board) -> list[str]:
    return [board.rows()[name]["id"] for name in ("one", "two")]


def test_every_answer_forbids_what_the_page_does_not_need(board: Board) -> None:
    pages = ["/", "/board.js", "/style.css"]
    for path in [*pages, "/runs", "/nothing", f"/report/{ids(board)[0]}"]:
        status, headers, _ = board.ask(path)
        assert status == (404 if path == "/nothing" else 200)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        policy = headers.get("content-security-policy", "")
        assert path not in pages or ("default-src 'none'" in policy and "unsafe" not in policy)
    assert board.ask(f"/report/{ids(board)[0]}")[1]["content-security-policy"].startswith("sandbox allow-scripts;")
    assert board.ask("/runs", method="POST")[0] == 405
    assert board.ask("/runs", host="evil.example")[0] == 403
    assert board.ask("/runs", origin="http://evil.example")[0] == 403
    assert board.ask("/runs", content_length="5000")[0] == 413


def test_curves_lie_over_each_other(board: Board) -> None:
    told = board.told("/curves", run=ids(board), metric=["val/objective", "no/such"], log="true")
    first, none = told["charts"]
    assert (first["metric"], first["log"], [curve["run"] for curve in first["curves"]]) == (
        "val/objective",
        True,
        [0, 1],
    )
    assert first["points"]["lines"][0] == {"x": [0, 4, 8], "y": [3.0, 2.5, 2.0]}
    assert "curves" not in none
    assert len({curve["tint"] for curve in first["curves"]}) == 2


def test_curves_of_many_values_are_thinned_out_and_grow(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, stored_yaml(config("a")), [], "running", 1, 600)
    with shown(tmp_path) as board:
        query = {"run": board.rows()["run"]["id"], "metric": "train/loss"}
        (chart,) = board.told("/curves", **query)["charts"]
        assert len(chart["points"]["lines"][0]["x"]) <= 480
        assert "drawn as" in chart["notes"][0]
        before = chart["notes"][0]
        touch(path, 1)
        assert board.told("/curves", **query)["charts"][0]["notes"][0] != before


def test_configs_and_sounds_stand_side_by_side(board: Board) -> None:
    found = board.told("/configs", run=ids(board))
    assert found == {"runs": [0, 1], "rows": [["lr.rate", ["1e-3", "2e-3"]], ["seed", ["0", "1"]]], "problems": {}}
    (clip,) = board.told("/sounds", run=ids(board))["clips"]
    assert (clip["title"], clip["labels"]) == ("clip0", ["reference_48k", "48k", "24k"])
    assert {run["at"] for run in clip["runs"].values()} == {"epoch 2"}
    status, headers, body = board.ask("/" + "/".join(clip["runs"]["1"]["files"]["48k"]))
    assert (status, headers["content-type"], body[:4]) == (200, "audio/wav", b"RIFF")
    status, headers, part = board.ask("/" + "/".join(clip["runs"]["1"]["files"]["48k"]), range="bytes=4-7")
    assert (status, part) == (206, body[4:8])


def test_addresses_lead_nowhere_else(board: Board, folder: Path) -> None:
    one = ids(board)[0]
    for path in (
        "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/board.py", "/page/board.js",
        f"/sound/{one}/epoch002/..%2f..%2fconfig.yaml", f"/sound/{one}/../config.yaml",
        f"/sound/{one}/%2e%2e/config.yaml",
        f"/sound/{one}/epoch000/clip0_48k.wav", f"/sound/{one}/epoch002/%00", "/sound/one/epoch002/clip0_48k.wav",
        f"/report/{ids(board)[1]}", "/report/..%2fone", "/curves?run=nobody", "/configs?run=%2fetc",
    ):  # fmt: skip
        status, _, body = board.ask(path)
        assert (status, b"root:" in body, b"seed" in body) == (404, False, False), path
    many = "&".join(["run=x"] * (MOST_RUNS + 1))
    assert f"at most {MOST_RUNS}" in board.ask(f"/curves?{many}")[2].decode()


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    shown_folder, outside = tmp_path / "shown", tmp_path / "outside"
    run, other = make_run(shown_folder / "run"), make_run(shown_folder / "other")
    write_clip(outside / "epoch009", "secret", 1, 1)
    (run / "report.html").symlink_to(outside / "epoch009" / "secret_48k.wav")
    (run / "samples" / "epoch009").symlink_to(outside / "epoch009")
    shutil.rmtree(other / "samples")
    (other / "samples").symlink_to(outside)
    with shown(shown_folder) as board:
        rows = board.rows()
        assert not rows["run"]["report"]
        found = board.told("/sounds", run=[rows["run"]["id"], rows["other"]["id"]])
        assert found["clips"] == []
        assert all("leads out of" in reason for reason in found["problems"].values())
        assert len(found["problems"]) == 2
        for path in (f"/report/{rows['run']['id']}", f"/sound/{rows['run']['id']}/epoch009/secret_48k.wav"):
            status, _, body = board.ask(path)
            assert status == 404
            assert b"leads out of" in body


def test_a_run_that_goes_is_an_answer_not_a_break(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    make_run(tmp_path / "stays")
    with shown(tmp_path) as board:
        row = board.rows()["run"]
        sound = board.told("/sounds", run=row["id"])["clips"][0]["runs"]["0"]["files"]["48k"]
        shutil.rmtree(run)
        until(lambda: "run" not in board.rows(), "the board has seen it")
        for path in (f"/curves?run={row['id']}", "/" + "/".join(sound), f"/report/{row['id']}"):
            assert board.ask(path)[0] == 404
        assert set(board.rows()) == {"stays"}


def test_others_need_the_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sixteen letters or more"
    with shown(folder, key) as board:
        status, headers, _ = board.ask("/")
        assert (status, headers["www-authenticate"].partition(" ")[0]) == (401, "Basic")
        for given, wanted in (
            (f"Bearer {key}", 200), (f"Basic {base64.b64encode(f'me:{key}'.encode()).decode()}", 200),
            ("Basic %%%", 401), (f"Basic {base64.b64encode(b'me:other').decode()}", 401), (f"Bearer {key}x", 401),
        ):  # fmt: skip
            assert board.ask("/runs", authorization=given)[0] == wanted, given
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=f"set a key for them in the environment, {VARIABLE}"):
        cli.run(["board", str(folder), "host=0.0.0.0"])


def test_what_cannot_be_shown_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, message in (
        ([str(tmp_path / "none")], "there is no folder"),
        ([str(folder), str(tmp_path)], "a board shows one folder, not 2"),
        ([str(folder), "every_seconds=0"], "every_seconds=0.* must be greater than 0"),
        ([str(folder), "prot=1"], "did you mean 'port'"),
        ([str(folder), "port=0"], "port=0 must be between"),
    ):
        with pytest.raises(ConfigError, match=message):
            cli.run(["board", *arguments])
    monkeypatch.setitem(sys.modules, "snac_exp.board.server", None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "snac_exp.board.server")
    monkeypatch.delitem(sys.modules, "snac_exp.release.listening.server", raising=False)
    with pytest.raises(ConfigError, match=r"the board needs uvicorn: pip install 'snac_exp\[serve\]'"):
        cli.run(["board", str(folder)])


@pytest.mark.slow
def test_a_signal_ends_the_command_at_once(folder: Path) -> None:
    command = [sys.executable, "-m", "snac_exp.cli", "board", str(folder), f"port={free_port()}"]
    process = subprocess.Popen(
        command, env=os.environ | {VARIABLE: ""}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    address = first_line(process).split()[0]
    with urllib.request.urlopen(f"{address}/runs", timeout=GUARD_SECONDS) as answer:
        assert json.loads(answer.read())["folder"] == str(folder)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, errors) == (0, "")


def test_what_is_told_after_a_pause_is_not_called_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "one", seed=0, config={})
    monkeypatch.setattr("snac_exp.board.watch.LOOKED_SECONDS", 0.0)  # a pause behind every look
    with shown(tmp_path) as board:
        until(lambda: board.watch.is_behind, "nobody looks")
        make_run(tmp_path / "two", seed=1, config={})
        # The look that the question wakes may find the second run before the answer is written.
        assert board.told("/runs")["reading"] in ([0, 1], [0, 2])
        monkeypatch.setattr("snac_exp.board.watch.LOOKED_SECONDS", GUARD_SECONDS)
        until(lambda: board.told("/runs")["reading"] is None, "all has been read")
        assert {row["path"] for row in board.told("/runs")["rows"]} == {"one", "two"}
