"""A webhook on this machine: what it is told, and what becomes of a run when it does not listen."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from recipe import recipe as small
from recipe import run_dir

from snac_exp.config.compose import compose_experiment
from snac_exp.config.limits.alerts import MAX_LIMIT_SECONDS
from snac_exp.config.schema import Experiment
from snac_exp.config.schema.alerts import Alerts as Settings
from snac_exp.errors import DivergenceError
from snac_exp.runs.ending import tell_ending, tell_silent_head
from snac_exp.tracking.alerts.alerts import MAX_CHARACTERS, Alerts
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.training.optimization.levels import LevelGuard
from tests.helpers.commands import python_process, verb
from tests.helpers.webhook import VARIABLE, Webhook


def settings(**options: Any) -> Settings:
    return Settings(**({"url_variable": VARIABLE, "limit_seconds": MAX_LIMIT_SECONDS} | options))


def told(**options: Any) -> list[str]:
    """What the console says of one alert of a failure."""
    said: list[str] = []
    alerts = Alerts(settings(**options), said.append)
    alerts.send("failed", "my-run", "<!channel> of a & b", Path("/runs/x"))
    alerts.close()
    return said


def test_each_form_has_its_own_shape(webhook: Webhook) -> None:
    assert [told(form=form) for form in ("slack", "discord", "json")] == [[], [], []]
    slack, discord, plain = webhook.got
    assert set(slack) == {"text"}
    assert "&lt;!channel&gt; of a &amp; b" in slack["text"]
    assert set(discord) == {"content", "allowed_mentions"}
    assert discord["content"].startswith("my-run: failed\n<!channel> of a & b\n/runs/x on ")
    assert discord["allowed_mentions"] == {"parse": []}
    assert (plain["event"], plain["name"], plain["folder"]) == ("failed", "my-run", "/runs/x")


def test_a_long_error_is_cut(webhook: Webhook) -> None:
    alerts = Alerts(settings(form="discord"))
    alerts.send("failed", "n", 5000 * "e", Path("x"))
    alerts.close()
    assert len(webhook.got[-1]["content"]) == MAX_CHARACTERS


@pytest.mark.parametrize("first", [(500, {}), (503, {"Retry-After": "0"}), (429, {"Retry-After": "0"})])
def test_what_passes_is_tried_again(first: tuple[int, dict[str, str]], webhook: Webhook) -> None:
    webhook.answers = [first, first]
    assert told() == []
    assert len(webhook.got) == 1


@pytest.mark.parametrize(
    ("answers", "options", "reason"),
    [
        (3 * [(500, {})], {"attempts": 3}, "the server answered 500, at attempt 3"),
        ([(404, {})], {}, "the server answered 404, which is for good"),
        (
            [(302, {"Location": "http://127.0.0.1:1/"})],
            {},
            "the server answered 302, a redirect, which is not followed",
        ),
        ([(429, {"Retry-After": "3600"})], {}, "the server answered 429, at attempt 1"),
        ([None], {"attempts": 1, "timeout_seconds": 0.2}, "TimeoutError, at attempt 1"),
    ],
)
def test_what_does_not_arrive_is_told_once_without_the_address(
    answers: list[Any], options: dict[str, Any], reason: str, webhook: Webhook
) -> None:
    webhook.answers = list(answers)
    assert told(**options) == [f"alert not delivered: {reason}; see to the webhook in {VARIABLE}"]
    assert webhook.got == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/secret", "nonsense://secret", "http://[secret", "", "http://a b/secret"]
)
def test_no_address_that_fails_is_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, url)
    (said,) = told(attempts=1)
    assert "secret" not in said


def test_an_event_that_is_not_asked_for_is_not_told(webhook: Webhook) -> None:
    assert told(on=["finished"]) == []
    assert webhook.got == []


def recipe(*arguments: str) -> tuple[Experiment, dict[str, Any]]:
    events = "[failed,diverged,preempted,finished,silent_head]"
    patient = [f"alerts.{name}_seconds={MAX_LIMIT_SECONDS}" for name in ("timeout", "limit")]
    return compose_experiment(
        [*arguments, "alerts=json", f"alerts.url_variable={VARIABLE}", f"alerts.on={events}", *patient]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "stopped_by", "failure", "event"),
    [
        ("failed", None, ValueError("of this"), "failed"),
        ("failed", None, DivergenceError("of that"), "diverged"),
        ("finished", None, None, "finished"),
        ("preempted", "SIGTERM", None, "preempted"),
        ("preempted", "SIGUSR2", None, None),
    ],
)
def test_how_a_run_ended_is_told(
    state: str, stopped_by: str | None, failure: Exception | None, event: str | None, webhook: Webhook, tmp_path: Path
) -> None:
    experiment, values = recipe("+experiment=demo")
    folder = RunFolder.create(values, [], tmp_path / "run")
    folder.set_status(state, error=None if failure is None else f"ValueError: {failure}", stopped_by=stopped_by)
    tell_ending(experiment, folder, failure)
    assert [item["event"] for item in webhook.got] == ([] if event is None else [event])
    assert all(webhook.url not in path.read_text() for path in folder.path.rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_silent_head_is_told_once_in_a_run(webhook: Webhook, tmp_path: Path) -> None:
    """Not when it gets worse, not at the end, not after a resume."""
    experiment, values = recipe("+experiment=demo")
    folder = RunFolder.create(values, [], tmp_path / "run")
    for path in (folder.path, folder.path):
        alerts = Alerts(experiment.alerts)
        guard = LevelGuard(None, experiment.loss, partial(tell_silent_head, experiment, RunFolder(path), alerts))
        for step in (1, 2):
            values = {"head_24k/level_db": -3.0, "head_48k/level_db": -10.0 * step}
            guard.look(values, step, lambda _: None, is_last=step == 2)
        alerts.close()
    (told,) = webhook.got
    assert (told["event"], told["name"], told["folder"]) == ("silent_head", "demo", str(folder.path))
    assert told["text"].startswith("head_48k is 10.0 dB below its target")


@pytest.mark.slow
@pytest.mark.parametrize("value", ["'https://hooks.example/secret'", "'a b'", "''"])
def test_an_address_in_a_config_is_refused_and_not_shown(value: str) -> None:
    done = verb("plan", "+experiment=demo", "alerts=slack", f"alerts.url_variable={value}")
    assert done.status == 2
    assert "alerts.url_variable is the NAME of an environment variable" in done.err
    assert "secret" not in done.out + done.err


@pytest.mark.slow
def test_a_check_asks_for_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNAC_EXP_WEBHOOK", raising=False)
    done = verb("check", "+experiment=demo", "alerts=slack")
    assert done.status == 2
    assert "the environment variable SNAC_EXP_WEBHOOK holds no http(s) address" in done.err


@pytest.mark.slow
def test_a_run_that_fails_tells_the_webhook_and_no_file_holds_its_address(
    webhook: Webhook, corpus_dir: Path, tmp_path: Path
) -> None:
    arguments = [*small(corpus_dir, tmp_path), "tracker.mode=offline", "alerts=json"]
    environment = {"WANDB_PROJECT": "p" * 129, "SNAC_EXP_WEBHOOK": webhook.url}
    done = python_process("train.py", *arguments, environment=environment)
    assert done.status == 2, done.out
    folder = run_dir(tmp_path)
    assert [(item["event"], item["folder"]) for item in webhook.got] == [("failed", str(folder))]
    assert "W&B did not start the run" in webhook.got[0]["text"]
    assert [path for path in folder.rglob("*") if path.is_file() and webhook.url.encode() in path.read_bytes()] == []
    assert webhook.url not in done.out + done.err
