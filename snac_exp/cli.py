"""`snac-exp VERB key=value …`: every command of the package, with one grammar for all."""

import sys
from collections.abc import Sequence

from snac_exp import __version__
from snac_exp.config.compose import config_dir
from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError, guarded
from snac_exp.verbs.discovery import verb_files, verb_help, verb_module
from snac_exp.verbs.files import with_files

HELP_FLAGS = ("-h", "--help")
EXIT_INTERRUPTED = 130  # as shells say of what SIGINT ended


def main() -> None:
    """Entry point of the console script."""
    try:
        sys.exit(guarded(lambda: with_files(lambda: run(sys.argv[1:]))))
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def run(arguments: Sequence[str]) -> int:
    """Run one verb; returns its exit status."""
    if not arguments or arguments[0] in (*HELP_FLAGS, "help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"snac_exp {__version__}")
        return 0
    verb, *rest = arguments
    # Files and configs of verbs have underscores, commands have hyphens; either is understood.
    name = verb.replace("_", "-")
    if name not in verb_files():
        raise ConfigError(f"'{verb}' is not a command of snac-exp{nearest(verb, verb_files())}")
    if any(item in HELP_FLAGS for item in rest):
        print(_help(name))
        return 0
    status: int = verb_module(name).main(rest)
    return status


def _overview() -> str:
    lines = [
        "usage: snac-exp VERB key=value …      (snac-exp VERB --help tells its keys)",
        "       snac-exp --version",
        "",
    ]
    return "\n".join([*lines, *(f"  {verb:13} {verb_help(verb).splitlines()[0]}" for verb in verb_files())])


def _help(verb: str) -> str:
    """The verb's docstring and its primary config, whose comments explain every key."""
    config = config_dir() / f"{verb.replace('-', '_')}.yaml"
    if not config.exists():
        return verb_help(verb)
    text = config.read_text(encoding="utf-8")
    return f"{verb_help(verb)}\n\nkeys and their defaults (conf/{config.name}):\n\n{text}"


if __name__ == "__main__":
    main()
