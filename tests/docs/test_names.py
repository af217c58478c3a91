"""Links, files, groups, recipes, options and commands that the pages name exist."""

import re
from pathlib import Path

import pytest
import yaml

from snac_exp.config.compose import compose_experiment, config_dir
from snac_exp.verbs.discovery import verb_files
from tests.docs.pages import PAGES, ROOT, in_backticks, table_after, text_of

MARKDOWN = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "experiments").rglob("*.md")),
    ROOT / "outputs" / "README.md",
]
MADE_BY_A_RUN = ("conf/local/default.yaml", "conf/local/slurm.yaml", "conf/experiment/NAME.yaml")


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_checkout_that_a_page_names_are_there(page: str) -> None:
    for name in in_backticks(text_of(page)):
        if re.fullmatch(r"(conf|snac_exp|docs|tests|benchmarks|experiments|dashboards)/[\w./-]+", name):
            assert name in MADE_BY_A_RUN or (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_running_text_name_commands_and_keys_that_exist(page: str) -> None:
    for item in in_backticks(text_of(page)):
        command = re.match(r"snac-exp ([a-z][\w-]*)", item)
        if command is not None:
            assert command[1] in verb_files(), item


def test_every_recipe_has_its_place_in_the_readme() -> None:
    cells = table_after(text_of("README"), "recipe")
    recipes = {path.stem for path in (config_dir() / "experiment").glob("*.yaml")}
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(recipes)


@pytest.mark.parametrize(
    ("page", "header", "folder"),
    [
        ("data", "`data=`", "data"),
        ("speech_llm", "`layout=`", "layout"),
        ("sweeps", "file of `conf/sweep/`", "sweep"),
        ("sweeps", "`hydra/launcher=`", "hydra/launcher"),
    ],
)
def test_a_table_of_choices_names_files_of_its_folder(page: str, header: str, folder: str) -> None:
    files = {path.stem for path in (config_dir() / folder).glob("*.yaml")}
    named = {cell.strip("`") for cell in table_after(text_of(page), header)}
    assert len(named) >= 3
    assert named <= files


def test_the_table_of_groups_is_that_of_the_configs() -> None:
    defaults = yaml.safe_load((config_dir() / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    groups = {next(iter(item)) for item in defaults if isinstance(item, dict)} - {"optional local"}
    assert sorted(cell.strip("`") for cell in table_after(text_of("training"), "group")) == sorted(groups)


@pytest.mark.parametrize("option", [cell.strip("`") for cell in table_after(text_of("training"), "option")])
def test_options_worth_knowing_compose(option: str) -> None:
    key, _, value = option.partition("=")
    _, values = compose_experiment(["+experiment=phase12_dual_head", option], complete=False)
    if (config_dir() / key).is_dir():
        assert (config_dir() / key / f"{value}.yaml").is_file()
        return
    for part in key.split("."):
        values = values[part]
    assert values == yaml.safe_load(value)
