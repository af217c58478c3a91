"""What something was made from, what that was made from, and so on: gathered from what all of these say themselves."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snac_exp.config.structure import structure
from snac_exp.data.prepared.manifest import MANIFEST_NAME, Manifest
from snac_exp.errors import ConfigError, SnacExpError
from snac_exp.lineage.meaning import meaning_of
from snac_exp.lineage.parents import GONE, TOKENS, Parent, described, parents_of
from snac_exp.tracking.json_files import read_object
from snac_exp.tracking.run_folder import RunFolder

LINEAGE_FILE = "lineage.json"  # of an exported folder


@dataclass(frozen=True)
class Link:
    """One thing in a chain, and what it was made from.

    role: what it is to the thing that was made from it, mostly a key of that one's config. parent: as it was then, or
    as it is now where nobody noted it. state: empty, `gone`, `changed` since then, or `unreadable`, and then the fact
    `error` says why.
    """

    role: str
    parent: Parent
    state: str = ""
    parents: tuple["Link", ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        values = {"role": self.role, **self.parent.to_json(), "state": self.state}
        return values | {"parents": [link.to_json() for link in self.parents]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Link":
        """The link of these values; ConfigError, KeyError or TypeError if they are none."""
        parent = structure(Parent, {name: values[name] for name in Parent.__dataclass_fields__})
        parents = tuple(map(cls.from_json, values["parents"]))
        return cls(str(values["role"]), parent, str(values["state"]), parents)


def chain(path: str) -> Link:
    """The chain behind a run, a checkpoint, an exported folder, a code cache, targets or a prepared folder.

    Raises:
        ConfigError: nothing is there.
    """
    if not Path(path).expanduser().exists():
        raise ConfigError(f"there is no {path}: give a run, a checkpoint, an exported folder or a code cache")
    return _link("", Parent("", path), frozenset())


def _link(role: str, noted: Parent, above: frozenset[str]) -> Link:
    """A thing as it was noted, compared with what is there. above: what was made from it, which ends a circle."""
    place = str(Path(noted.path).expanduser().absolute())
    try:
        now = described(noted.path, tokens=noted.kind in ("", TOKENS))
        if now.kind == GONE:
            return Link(role, noted, GONE)
        changed = noted.digest is not None and noted.digest != now.digest
        shown = noted if changed else now
        parents = () if place in above else tuple(_parents(now, above | {place}))
    except (SnacExpError, OSError) as error:
        facts = {**noted.facts, "error": str(error).splitlines()[0]}
        return Link(role, replace(noted, facts=facts), "unreadable")
    return Link(role, shown, "changed" if changed else "", parents)


def _parents(what: Parent, above: frozenset[str]) -> Iterator[Link]:
    find = _OF_KIND.get(what.kind)
    return iter(()) if find is None else find(what, above)


def _of_run(what: Parent, above: frozenset[str]) -> Iterator[Link]:
    run = RunFolder(Path(what.path).expanduser())
    values = run.values()
    # A run of an earlier version noted nothing: what lies there now is what is known.
    noted = meaning_of(run).parents or parents_of(values)
    codec = _codec_of(run, values.get("codec"))
    for role, parent in noted.items():
        link = _link(role, parent, above)
        if role == "codec.path":
            link = replace(link, parent=replace(link.parent, facts=link.parent.facts | codec.facts))
        yield link
    if "codec.path" not in noted:
        yield Link("codec", codec)


def _codec_of(run: RunFolder, codec: Any) -> Parent:
    """A run's codec: where it is from unless it has a path, and its fingerprint, which caches of its codes have too."""
    values = codec if isinstance(codec, Mapping) else {}
    environment = read_object(run.environment) if run.environment.exists() else {}
    facts = {"from": _origin(values), "fingerprint": environment.get("codec_fingerprint")}
    told = {name: str(value) for name, value in facts.items() if value is not None}
    return Parent("codec", str(values.get("name")), None, told)


def _origin(codec: Mapping[str, Any]) -> str | None:
    """Where a codec is from, as a config says, in the order in which it is looked for."""
    if codec.get("scratch"):
        return "random weights"
    if codec.get("path"):
        return None
    return "this package" if codec.get("bundled") else f"the hub, {codec.get('hub_id')}"


def _of_file(what: Parent, above: frozenset[str]) -> Iterator[Link]:
    run = RunFolder.of_checkpoint(Path(what.path).expanduser())
    if run is not None and run.exists:
        yield _link("written by", Parent("run", str(run.path)), above)


def _of_cache(what: Parent, above: frozenset[str]) -> Iterator[Link]:
    yield Link("codec", Parent("codec", what.facts["codec"], None, {"fingerprint": what.facts["codec_fingerprint"]}))
    # Caches lie in the folder that they were made of, unless output= said otherwise.
    prepared = Path(what.path).expanduser().absolute().parent
    if (prepared / MANIFEST_NAME).is_file() and Manifest.read(prepared).digest == what.facts["manifest"]:
        yield _link("manifest", Parent("prepared folder", str(prepared)), above)
    else:
        elsewhere = Parent("prepared folder", "not beside its codes", facts={"manifest": what.facts["manifest"]})
        yield Link("manifest", elsewhere, GONE, (_place("audio", what.facts["audio"]),))


def _of_prepared(what: Parent, above: frozenset[str]) -> Iterator[Link]:
    yield _place("audio", what.facts["audio"])


def _of_targets(what: Parent, above: frozenset[str]) -> Iterator[Link]:
    if "source" in what.facts:
        yield _place("audio", what.facts["source"])


def _of_exported(what: Parent, above: frozenset[str]) -> Iterator[Link]:
    file = Path(what.path).expanduser() / LINEAGE_FILE
    if not file.is_file():
        return
    try:
        yield Link.from_json(read_object(file))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{file} is damaged: {error}; export again") from error


def _place(role: str, folder: str) -> Link:
    """A folder of audio, which is not looked through."""
    return Link(role, Parent("folder", folder), "" if Path(folder).is_dir() else GONE)


_OF_KIND: Mapping[str, Callable[[Parent, frozenset[str]], Iterator[Link]]] = {
    "run": _of_run,
    "file": _of_file,
    "code cache": _of_cache,
    "prepared folder": _of_prepared,
    "targets": _of_targets,
    "exported codec": _of_exported,
    "codec": _of_exported,
}
