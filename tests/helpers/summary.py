"""What every run of the tests ends with: what did not run here and how to have it, and tests that grew slow."""

import os
from collections import defaultdict
from collections.abc import Generator
from typing import Any

import pytest

from tests.helpers.warm import warm_seconds

GROWN_SECONDS = 5.0
_COST, _MARKED = "processor seconds", "slow"


def _processor_seconds() -> float:
    """Of this process, its children and warm processes that have ended; a busy machine does not change them much."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system + warm_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Note what a test costs, its fixtures left out; the note travels with the report from a worker too."""
    began = _processor_seconds()
    try:
        return (yield)
    finally:
        item.user_properties.append((_COST, round(_processor_seconds() - began, 1)))
        item.user_properties.append((_MARKED, item.get_closest_marker("slow") is not None))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say both, where there is something to say."""
    _tell(terminalreporter, "not run here, and how to have it", _skipped(terminalreporter.stats.get("skipped", [])))
    _tell(
        terminalreporter,
        f"over {GROWN_SECONDS:.0f} s of a processor: make it smaller or mark it slow, make check runs it now",
        _grown(terminalreporter.stats.get("passed", [])),
    )


def _tell(reporter: pytest.TerminalReporter, title: str, lines: list[str]) -> None:
    if lines:
        reporter.section(title, "-", yellow=True)
    for line in lines:
        reporter.line(line)


def _skipped(reports: list[pytest.TestReport]) -> list[str]:
    """One line per reason, with the number of tests and their files."""
    found: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        found[reason.removeprefix("Skipped: ")].append(report.nodeid.partition("::")[0])
    return [
        f"{len(files):4} tests: {reason}  ({', '.join(sorted(set(files)))})" for reason, files in sorted(found.items())
    ]


def _grown(reports: list[pytest.TestReport]) -> list[str]:
    facts = [(report.nodeid, dict(report.user_properties)) for report in reports]
    grown = [(known[_COST], name) for name, known in facts if not known.get(_MARKED, True)]
    return [f"{cost:6.1f} s  {name}" for cost, name in sorted(grown, reverse=True) if cost > GROWN_SECONDS]
