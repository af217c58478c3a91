"""`snac-exp VERB`: every verb is found by its file, training too."""

from pathlib import Path

import pytest

from snac_exp import cli
from snac_exp.errors import EXIT_USER_ERROR, ConfigError, DataError, guarded
from snac_exp.verbs.discovery import VERBS_DIR, verb_files, verb_help, verb_module


def test_every_file_in_a_room_is_a_verb_with_its_own_help() -> None:
    files = [path for path in VERBS_DIR.glob("*/*.py") if path.name != "__init__.py"]
    assert sorted(verb_files().values()) == sorted(files)
    assert {"train", "cache-codes", "stop"} <= set(verb_files())
    assert len({verb_help(verb) for verb in verb_files()}) == len(files)


def test_a_verb_may_be_written_with_either_sign() -> None:
    assert verb_module("cache-codes") is verb_module("cache_codes")


@pytest.mark.slow
def test_train_is_a_verb_like_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", "--cfg", "job", "+experiment=phase12_dual_head", "seed=7"]) == 0
    assert "\nseed: 7\n" in capsys.readouterr().out
    assert cli.run(["train", "+typo=1"]) == EXIT_USER_ERROR
    assert "typo" in capsys.readouterr().err


def test_a_misspelt_verb_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'reprot' is not a command of snac-exp.*report"):
        cli.run(["reprot"])


def test_errors_of_the_user_are_one_message_and_defects_keep_their_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse() -> int:
        raise DataError(f"{tmp_path} is empty")

    def fail() -> int:
        raise ZeroDivisionError

    assert guarded(refuse) == EXIT_USER_ERROR
    assert capsys.readouterr().err == f"DataError: {tmp_path} is empty\n"
    with pytest.raises(ZeroDivisionError):
        guarded(fail)


def test_ctrl_c_ends_a_verb_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == cli.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"
