"""Shared fixtures: one small prepared corpus, a browser, real audio where it lies beside the checkout."""

import atexit
import gc
import os
import shlex
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.browser import Browser, opened_browser
from tests.helpers.parsed_once import parse_once
from tests.helpers.shared import shared_folder
from tests.helpers.summary import pytest_runtest_call, pytest_terminal_summary  # noqa: F401 (hooks)
from tests.helpers.waiting import GUARD_SECONDS
from tests.helpers.warm import warm_python

# Several test processes share the cores; a pool of threads in each makes every operation wait for a busy core.
os.environ["OMP_NUM_THREADS"] = "1"

# W&B gives its own process 30 s to begin.
os.environ["WANDB__SERVICE_WAIT"] = str(GUARD_SECONDS)

# A shell without job control starts what runs in the background with Ctrl-C ignored, and children inherit that: tests
# that press it would wait for ever. A handler of Python's is set back to the default in children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No example is wrong because it took long.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

parse_once()

ROOT = Path(__file__).parents[1]
CORPUS = "corpus, with 'odd' name"


def pytest_configure(config: pytest.Config) -> None:
    """Test processes begin warm too: each would import for ten seconds of a processor what all import."""
    if set(config.getoption("tx", None) or ()) == {"popen"} and not config.option.collectonly:
        warm = ExitStack()
        warm.enter_context(warm_python())
        config.add_cleanup(warm.close)
        config.option.tx = [f"popen//python={shlex.quote(sys.executable)}"] * len(config.option.tx)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What collecting makes stays: to look through it for garbage meanwhile takes a quarter of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """What imports made is not looked through again by every full collection of garbage."""
    gc.collect()
    gc.freeze()
    # Models and configs are many objects in cycles: to look for garbage after every 700 takes twice as long.
    gc.set_threshold(10_000, 20, 20)
    # Or libraries complain of what is left. Not before: pytest, when it ends, collects garbage five times.
    atexit.register(gc.unfreeze)


@pytest.fixture(scope="session", autouse=True)
def _warm_python() -> Iterator[None]:
    """Processes that tests start by sys.executable begin warm."""
    with warm_python():
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real audio to test with: SNAC_EXP_SHARED/data, or shared/data beside the checkout."""
    folder = Path(os.environ.get("SNAC_EXP_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("needs real audio: set SNAC_EXP_SHARED to a folder that holds data/")
    return folder


@pytest.fixture(scope="session")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `audio`, `prepared` and `prepared/codes_demo`: demo speech through the users' own verbs.

    One for all test processes: not to be changed by tests.
    """
    return shared_folder(tmp_path_factory, CORPUS, make_corpus)


@pytest.fixture(scope="session")
def short_corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the first second of two files of each voice: `corpus_dir` of tests that have it all encoded again."""

    def make(folder: Path) -> None:
        from tests.data.sources.kinds import copied

        copied(shared_folder(tmp_path_factory, CORPUS, make_corpus) / "audio", folder / "audio", 2)
        prepare_corpus(folder)

    return shared_folder(tmp_path_factory, "short corpus", make)


def make_corpus(folder: Path) -> None:
    """What `corpus_dir` gives, in a folder of its own."""
    from snac_exp.data.demo.speech import write_demo_speech

    write_demo_speech(folder / "audio", num_minutes=1.5, seed=3, num_train_voices=3, num_validation_voices=1)
    prepare_corpus(folder)


def prepare_corpus(folder: Path) -> None:
    """Make `prepared` and `prepared/codes_demo` of `audio` in a folder."""
    from snac_exp import cli

    prepared = folder / "prepared"
    assert (
        cli.run(
            [
                "prepare",
                f"input={folder / 'audio'}",
                f"output={prepared}",
                "validation_speakers=['val_*']",
                "num_workers=1",
            ]
        )
        == 0
    )
    assert cli.run(["cache-codes", f"data={prepared}", "codec=demo"]) == 0


@pytest.fixture(scope="session")
def _window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests of a process: to start it costs more than most of them."""
    with opened_browser(tmp_path_factory.mktemp("downloads")) as opened:
        yield opened


@pytest.fixture
def browser(_window: Browser) -> Iterator[Browser]:
    """A window of headless Chromium as one that was just opened; skips where there is none."""
    _window.clear()
    yield _window
    _window.rest()
