"""The cache of folders in stores: whole, current, within its bound, and nothing goes that somebody has open."""

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from snac_exp.errors import ConfigError, DataError
from snac_exp.system.remote import cache as module
from snac_exp.system.remote.cache import RemoteCache
from tests.helpers.commands import train, verb


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """fsspec's store in memory, empty before and after."""
    memory = fsspec.filesystem("memory")
    memory.rm("/", recursive=True)
    yield memory
    memory.rm("/", recursive=True)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of every pause, none of which takes any."""
    seconds: list[float] = []
    monkeypatch.setattr("snac_exp.system.remote.patience.time.sleep", seconds.append)
    return seconds


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[RemoteCache]:
    """A cache of 1000 bytes."""
    yield RemoteCache(tmp_path / "cache", 1000)
    let_go()


def let_go() -> None:
    """As if this process had ended."""
    for lock in module._held.values():
        lock.close()
    module._held.clear()


def local(cache: RemoteCache, name: str) -> Path:
    return cache.local(f"memory://{name}", lambda file: file.endswith(".npq"), deep=True)


def names(cache: RemoteCache) -> list[str]:
    return sorted(path.name.rsplit("-", 1)[0] for path in cache.folder.iterdir() if path.name != "locks")


def test_wanted_files_come_as_they_are_and_once(store: fsspec.AbstractFileSystem, cache: RemoteCache) -> None:
    store.pipe({"/a/one.npq": b"1", "/a/deep/two.npq": b"", "/a/other.txt": b"no"})
    found = local(cache, "a")
    assert {path.relative_to(found).as_posix(): path.read_bytes() for path in found.rglob("*.npq")} == {
        "one.npq": b"1",
        "deep/two.npq": b"",
    }
    assert not list(found.rglob("*.txt"))
    inode = (found / "one.npq").stat().st_ino
    let_go()
    assert local(cache, "a") == found
    assert (found / "one.npq").stat().st_ino == inode


def test_a_changed_object_is_another_entry_and_the_old_one_stays_while_it_is_open(
    store: fsspec.AbstractFileSystem, cache: RemoteCache
) -> None:
    store.pipe("/a/one.npq", b"x" * 600)
    old = local(cache, "a")
    store.pipe("/a/one.npq", b"y" * 600)
    with pytest.raises(DataError, match=r"do not fit .* may hold 0\.00 GB"):
        local(cache, "a")
    assert (old / "one.npq").read_bytes() == b"x" * 600
    let_go()
    assert (local(cache, "a") / "one.npq").read_bytes() == b"y" * 600
    assert not old.exists()


def test_those_opened_longest_ago_make_room(store: fsspec.AbstractFileSystem, cache: RemoteCache) -> None:
    for number, name in enumerate("abc"):
        store.pipe(f"/{name}/x.npq", bytes(300))
        os.utime(local(cache, name), (number, number))
    let_go()
    os.utime(local(cache, "a"), (9, 9))
    let_go()
    store.pipe("/d/x.npq", bytes(300))
    local(cache, "d")
    assert names(cache) == ["a", "c", "d"]
    (local(cache, "c") / "codes.arrow").write_bytes(bytes(400))  # what is made of an entry counts
    os.utime(local(cache, "c"), (0, 0))
    let_go()
    store.pipe("/e/x.npq", bytes(300))
    local(cache, "e")
    assert names(cache) == ["a", "d", "e"]


def test_what_is_larger_than_the_cache_is_refused_before_it_comes(
    store: fsspec.AbstractFileSystem, cache: RemoteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pipe("/a/x.npq", bytes(1001))
    monkeypatch.setattr(module, "_download", pytest.fail)
    with pytest.raises(DataError, match="SNAC_EXP_REMOTE_CACHE_GB"):
        local(cache, "a")
    assert names(cache) == []


@pytest.mark.parametrize("times", [2, 99])
def test_a_full_disk_is_tried_again_and_then_told(
    store: fsspec.AbstractFileSystem,
    cache: RemoteCache,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    store.pipe("/a/x.npq", b"content")
    copy, failed = shutil.copyfileobj, 0

    def full(source: object, target: object, length: int) -> None:
        nonlocal failed
        failed += 1
        if failed <= times:
            target.write(b"con")  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copy(source, target, length)  # type: ignore[type-var]

    monkeypatch.setattr("snac_exp.system.remote.store.shutil.copyfileobj", full)
    if times == 2:
        assert (local(cache, "a") / "x.npq").read_bytes() == b"content"
        assert len(pauses) == 2
        assert pauses[0] < pauses[1]
    else:
        with pytest.raises(DataError, match=r"5 attempts failed.*No space left on device; free disk space"):
            local(cache, "a")
        assert names(cache) == []


def test_what_a_killed_download_left_goes_and_damage_comes_again(
    store: fsspec.AbstractFileSystem, cache: RemoteCache
) -> None:
    (cache.folder / ".a-0123.abcdefgh.tmp").mkdir(parents=True)
    (cache.folder / ".a-0123.abcdefgh.tmp" / ".promised").write_bytes(bytes(900))
    store.pipe("/a/x.npq", bytes(300))
    found = local(cache, "a")
    assert names(cache) == ["a"]
    (found / "x.npq").write_bytes(bytes(200))
    with pytest.raises(DataError, match="while it was in use"):
        local(cache, "a")
    let_go()
    assert (local(cache, "a") / "x.npq").read_bytes() == bytes(300)


def test_what_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAC_EXP_REMOTE_CACHE_GB", "much")
    with pytest.raises(ConfigError, match="SNAC_EXP_REMOTE_CACHE_GB=much"):
        RemoteCache.of_this_machine()
    monkeypatch.setenv("SNAC_EXP_REMOTE_CACHE_GB", "1")
    monkeypatch.setenv("SNAC_EXP_REMOTE_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="nostore://"):
        RemoteCache.of_this_machine().local("nostore://x", lambda _: True)


class StandIn(MemoryFileSystem):
    """A store under the address of another; notes how it was opened. What is new in it is told by the field `sign`."""

    asked: ClassVar[list[dict[str, object]]] = []
    store: ClassVar[dict[str, Any]] = {}
    cachable, sign = False, "e_tag"

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.asked.append(options)

    def info(self, path: str, **options: object) -> dict[str, Any]:
        found = super().info(path, **options)
        found[self.sign] = found.pop("created", None) and hashlib.sha256(self.cat_file(path)).hexdigest()
        return found

    def find(self, path: str, **options: Any) -> dict[str, Any]:
        return {name: self.info(name) for name in super().find(path, maxdepth=options["maxdepth"])}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(f"memory://{path.rpartition('://')[2]}"))


class StandInHub(StandIn):
    """Files of a repository, as huggingface_hub's own file system tells of them."""

    sign = "blob_id"


@pytest.mark.parametrize("protocol", ["gs", "az", "hf"])
def test_stores_that_none_of_us_has_are_opened_by_the_libraries_they_need(
    protocol: str, cache: RemoteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gs:// and az:// by obstore, which counts no attempts of its own; hf:// by huggingface_hub."""
    registered: list[str] = []
    monkeypatch.setattr("obstore.fsspec.register", registered.append)
    stand_in = StandInHub if protocol == "hf" else StandIn
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, protocol, stand_in)  # type: ignore[attr-defined]
    monkeypatch.setattr(StandIn, "asked", [])
    monkeypatch.setattr(StandIn, "store", {})
    StandIn().pipe("/bucket/codes/one.npq", b"1")
    url = f"{protocol}://bucket/codes"
    first = cache.local(url, lambda name: name.endswith(".npq"))
    assert (first / "one.npq").read_bytes() == b"1"
    StandIn().pipe("/bucket/codes/one.npq", b"2")
    second = cache.local(url, lambda name: name.endswith(".npq"))
    assert ((first / "one.npq").read_bytes(), (second / "one.npq").read_bytes()) == (b"1", b"2")
    options = [item for item in StandIn.asked if item]
    if protocol == "hf":
        assert (registered, options) == ([], [])
    else:
        assert set(registered) == {protocol}
        assert options
        assert options == [{"retry_config": {"max_retries": 0}}] * len(options)


@pytest.mark.parametrize("protocol", ["s3", "gs", "az"])
def test_a_store_whose_library_is_missing_is_one_error_that_names_it(
    protocol: str, cache: RemoteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.fsspec", None)
    with pytest.raises(ConfigError, match=rf"^{protocol}://bucket/codes: {protocol}:// needs obstore; pip install"):
        cache.local(f"{protocol}://bucket/codes", lambda _: True)


def test_addresses_are_refused_where_paths_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for done in (
        verb("prepare", "input=s3://bucket/speech", f"output={tmp_path / 'p'}"),
        verb("tokens", "convert", f"input={tmp_path}", "output=s3://bucket/tokens"),
        train("output_dir=s3://bucket/runs"),
    ):
        assert done.status == 2
        assert "is a path on this machine" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_ends_early_is_tried_again_and_then_told(
    store: fsspec.AbstractFileSystem, cache: RemoteCache, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not the store's own library notices."""
    store.pipe("/a/x.npq", b"content")
    monkeypatch.setattr("snac_exp.system.remote.store.shutil.copyfileobj", lambda _, target, __: target.write(b"con"))
    with pytest.raises(DataError, match=r"memory://a/x\.npq: .*5 attempts failed.*3 of 7 bytes came"):
        local(cache, "a")
    assert len(pauses) == 4
    assert names(cache) == []
