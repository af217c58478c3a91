"""W&B's own client against a server on this machine: what arrives is what metrics.jsonl says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snac_exp import cli
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.tracker import Tracker
from tests.helpers.commands import python_process
from tests.tracking.wandb_server import WandbServer

KEY = "a" * 40


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server


def log(tracker: Tracker, *steps: int, factor: float = 1.0) -> None:
    for step in steps:
        tracker.log({"train/loss": factor * step}, step=step, epoch=1)


def losses(lines: list[dict[str, float]]) -> list[tuple[float, float]]:
    return [(line["step"], line["train/loss"]) for line in lines]


@pytest.mark.slow
def test_an_offline_run_that_was_resumed_is_synced_as_one(tmp_path: Path, server: WandbServer) -> None:
    with Tracker.open(tmp_path, mode="offline", project="project") as tracker:
        log(tracker, 1, 2)
        position = tracker.position()
        log(tracker, 3, 4, 5)
    with Tracker.open(tmp_path, mode="offline", project="project", resume_at=position) as tracker:
        log(tracker, 3, 4, factor=10)
    assert server.upserts == []
    python_process("-m", "wandb", "sync", "--yes", str(tmp_path / "wandb")).succeeded()
    assert losses(server.rows) == losses(read_metrics(tmp_path)) == [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0)]
    assert {upsert["name"] for upsert in server.upserts} == {(tmp_path / "wandb_id").read_text().strip()}
    with Tracker.open(tmp_path, mode="offline", project="project", resume_at=position) as tracker:
        log(tracker, 3, 4, 5, factor=100)  # the server has rows 3 and 4: only the fifth is left to tell
    python_process("-m", "wandb", "sync", "--yes", str(tmp_path / "wandb")).succeeded()
    assert losses(server.rows) == [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0), (5, 500.0)]


@pytest.mark.slow
def test_an_online_run_goes_on_where_the_server_is(tmp_path: Path, server: WandbServer) -> None:
    with Tracker.open(tmp_path, mode="online", project="project", tags=["t"], job_type="train") as tracker:
        log(tracker, 1, 2)
        position = tracker.position()
        log(tracker, 3)
    assert losses(server.rows) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    with Tracker.open(tmp_path, mode="online", project="project", resume_at=position) as tracker:
        log(tracker, 3, 4, 5)
    assert losses(server.rows) == losses(read_metrics(tmp_path)) == [(step, float(step)) for step in range(1, 6)]
    first, last = server.upserts[0], server.upserts[-1]
    assert (first["name"], first["tags"], first["jobType"]) == (last["name"], ["t"], "train")


@pytest.mark.slow
def test_a_workspace_is_published(server: WandbServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["dashboard", "project=project", "entity=team", "title=mine"]) == 0
    [view] = server.views
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("team", "project", "mine")
    assert '"name":"Phases"' in view["spec"].replace('": "', '":"')
    assert "published: " in capsys.readouterr().out
