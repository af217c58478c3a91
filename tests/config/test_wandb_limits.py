"""What W&B would refuse at the start of a run is refused when the recipe is composed, by its key."""

import pytest

from snac_exp.config.limits.wandb import FORBIDDEN_CHARACTERS
from tests.helpers.commands import python_process, verb
from tests.helpers.variants import thorough

BAD = {
    "tracker.tags=[ok,'']": "tracker.tags='' has 0 characters",
    f"tracker.tags=[{'t' * 65}]": f"tracker.tags='{'t' * 65}' has 65 characters; W&B takes tags of 1 to 64",
    f"tracker.project={'p' * 129}": "has 129 characters; W&B takes 1 to 128",
    f"tracker.entity={'e' * 129}": "tracker.entity=",
    f"name={'n' * 97}": "has 97 characters; W&B takes 96 beside time and hash",
}
HOLDS = {f"tracker.project='a{it}b'": f"tracker.project={f'a{it}b'!r} holds {it}; W&B takes no" for it in "/#?%:"}


@pytest.mark.slow
@pytest.mark.parametrize("argument", [*BAD, *list(HOLDS)[:1], *thorough(*list(HOLDS)[1:])])
def test_a_plan_refuses_it_and_names_the_key(argument: str) -> None:
    done = verb("plan", "+experiment=phase12_dual_head", argument)
    assert done.status == 2, done.out
    assert (BAD | HOLDS)[argument] in done.err
    assert verb("plan", "+experiment=phase12_dual_head", argument, "tracker.mode=off").status == 0


@pytest.mark.parametrize("argument", [f"tracker.tags=[{'t' * 64}]", f"tracker.project={'p' * 128}", f"name={'n' * 96}"])
def test_the_longest_is_taken(argument: str) -> None:
    assert verb("plan", "+experiment=phase12_dual_head", argument).status == 0


def test_a_name_is_a_folder_also_without_wandb() -> None:
    assert "at most 200 bytes" in verb("plan", "tracker.mode=off", f"name={'n' * 201}").err


@pytest.mark.slow
def test_the_limits_are_those_of_the_installed_wandb() -> None:
    wandb = pytest.importorskip("wandb")
    for values in ({"project": "p" * 129}, {"run_tags": ["t" * 65]}, {"run_tags": [""]}):
        with pytest.raises(Exception, match=r"128 characters|64 characters"):
            wandb.Settings(**values)
    for character in FORBIDDEN_CHARACTERS:
        with pytest.raises(Exception, match="cannot contain"):
            wandb.Settings(project=f"a{character}b")
    wandb.Settings(project="p" * 128, run_tags=["t" * 64])


@pytest.mark.slow
def test_no_torch_and_no_wandb_is_loaded_to_refuse() -> None:
    code = (
        "import sys\nfrom snac_exp.verbs.training.train import main\n"
        f"status = main(['tracker.tags=[{'t' * 65}]'])\n"
        "sys.exit(0 if status == 2 and not {'torch', 'wandb'} & set(sys.modules) else 1)"
    )
    assert python_process("-c", code, cold=True).status == 0
