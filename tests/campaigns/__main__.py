"""Kill trainings, damage files, and print what became of it.

usage: python -m tests.campaigns [kills=100] [mutations=10000] [seed=0]

Kills: a small recipe of every part (two heads, averaged weights, divided batches) is killed with SIGKILL before changes
of files, before parts of the loop, and at moments drawn by the seed, resumed, and compared with a run that was not.
Mutations: every test that opens damaged files goes on for more of them. About 6 s a kill and 15 ms a mutation on one
core. Exit status 1 if anything but what is wanted came out.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from tests.campaigns.kills import EQUAL, Kills, campaign
from tests.campaigns.mutations import CAMPAIGN, REFUSED, SAME, TIMES
from tests.conftest import make_corpus
from tests.end_to_end.recipe import CLIP, recipe
from tests.helpers.commands import ROOT
from tests.helpers.warm import warm_python


def main(arguments: list[str]) -> int:
    """Both campaigns."""
    chosen = {"kills": 100, "mutations": 10_000, "seed": 0}
    for item in arguments:
        key, _, value = item.partition("=")
        if key not in chosen or not value.isdigit():
            print(f"{item}: give numbers to {', '.join(chosen)}, like kills=100", file=sys.stderr)
            return 2
        chosen[key] = int(value)
    with tempfile.TemporaryDirectory(prefix="campaign") as name:
        good = [_mutations(Path(name), chosen["mutations"]), _kills(Path(name), chosen["kills"], chosen["seed"])]
    return 0 if all(good) else 1


def _kills(folder: Path, count: int, seed: int) -> bool:
    if count == 0:
        return True
    make_corpus(folder / "corpus")
    without_output = recipe(folder / "corpus", folder)[:-1]
    arguments = [*without_output, *CLIP, "trainer.samples_every_epochs=2", "trainer.summary_utterances=1"]
    kills = Kills(arguments, folder, seed)
    os.environ["OMP_NUM_THREADS"] = "1"
    with warm_python():
        found = campaign(kills, count)
    times = found.pop("kills")
    print(f"\nkills: {times}, in {sum(found.values())} runs (seed {seed})")
    for verdict, number in (*kills.where.most_common(), *found.most_common()):
        print(f"{number:8}  {verdict}")
    return set(found) == {EQUAL}


def _mutations(folder: Path, count: int) -> bool:
    """Once as the tests ask for, to know how many that is; then as many times that as are missing."""
    if count == 0:
        return True
    tests = [path for path in _tests_that_damage() if path.name != "test_mutations.py"]
    whole = _recorded(folder / "once.jsonl", tests, 1)
    base = sum(sum(outcomes.values()) for outcomes in whole.values())
    found = _recorded(folder / "often.jsonl", tests, math.ceil(count / base)) if base < count else whole
    total = sum(found.values(), Counter())
    wrong = {outcome: number for outcome, number in total.items() if outcome not in (SAME, REFUSED)}
    print(f"\nmutations: {sum(total.values())}\n{'same':>8}{'refused':>9}{'else':>6}")
    for name, outcomes in sorted(found.items()):
        other = sum(outcomes.values()) - outcomes[SAME] - outcomes[REFUSED]
        print(f"{outcomes[SAME]:8}{outcomes[REFUSED]:9}{other:6}  {name}")
    for outcome, number in wrong.items():
        print(f"{number:8}  {outcome}")
    return not wrong


def _tests_that_damage() -> list[Path]:
    return [path for path in sorted(ROOT.glob("tests/**/test_*.py")) if "survives(" in path.read_text(encoding="utf-8")]


def _recorded(log: Path, tests: list[Path], times: int) -> dict[str, Counter[str]]:
    """Run tests with more mutations; what was recorded, by test and file."""
    environment = os.environ | {CAMPAIGN: str(log), TIMES: str(times)}
    command = [sys.executable, "-m", "pytest", "--timeout=0", "-m", ""]  # thorough ones too
    done = subprocess.run([*command, *map(str, tests)], cwd=ROOT, env=environment, check=False)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        found[entry["file"]] += Counter(entry["outcomes"])
    if done.returncode:  # a crash of the interpreter ends a test process, and is seen here
        found["tests that failed: see above"]["a test failed"] += 1
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
