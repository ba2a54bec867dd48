"""Pins: copy a runtime once, link it ever after, know when a byte of it changed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import Home, discard, fake_codex, npm_install, tree
from rooms import NEW_MIRROR_HOME, ask, at_rest, caller_in, changes, clone_in, cm, make_clone, places_of

HOST = "bin/codex-code-mode-host"


def runtime_of(home: Home, name: str) -> Path:
    return Path(clone_in(home, name).runtime.path)


def inodes(runtime: Path) -> dict[str, int]:
    return {
        str(path.relative_to(runtime)): path.stat().st_ino
        for path in runtime.rglob("*")
        if path.is_file() and path.name != cm.MANIFEST
    }


def update(home: Home, name: str, source: Path | str) -> Path:
    cm.update_clone(caller_in(home), name, cm.Wanted(str(source)))
    return runtime_of(home, name)


def complaints_about(runtime: Any) -> list[str]:
    return list(cm.complaints_about_runtime(runtime, cm.manifest_of(runtime.path)))


def damaged_in(runtime: Any) -> list[str]:
    return [path for path, _ in cm.damaged_files(runtime, cm.manifest_of(runtime.path))]


@pytest.fixture
def package(home: Home) -> Path:
    return fake_codex(home.base / "package")


def test_a_pin_is_a_complete_read_only_copy_with_its_manifest(home: Home, package: Path) -> None:
    before = tree(package)
    make_clone(home, "work", source=str(package))
    runtime = runtime_of(home, "work")
    found = tree(runtime)
    wanted = {path: what for path, what in before.items() if what[0] == "file"}
    assert {path: what[2] for path, what in found.items() if what[0] == "file" and path != cm.MANIFEST} == {
        path: what[2] for path, what in wanted.items()
    }
    for path, (kind, mode, _) in found.items():
        if kind == "dir":
            assert mode == "0o700"
        elif path != cm.MANIFEST:
            assert mode == ("0o555" if wanted[path][1] == "0o755" else "0o444")
    manifest = {file.path: file for file in cm.manifest_of(str(runtime))}
    assert manifest.keys() == wanted.keys()
    for path, file in manifest.items():
        facts = (runtime / path).stat()
        content = (runtime / path).read_bytes()
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert (file.size, file.mtime_ns, file.mode) == (len(content), facts.st_mtime_ns, stat.S_IMODE(facts.st_mode))
        assert file.source == cm.identity_of(str(package / path))
    # Nothing of the source was linked or changed: it may be a package manager's store.
    assert tree(package) == before and not set(inodes(runtime).values()) & set(inodes(package).values())
    assert not complaints_about(clone_in(home, "work").runtime)


@pytest.mark.parametrize(("mode", "pinned"), [(0o700, 0o555), (0o500, 0o555), (0o655, 0o555), (0o600, 0o444)])
def test_a_program_stays_one_also_where_only_its_owner_may_start_it(
    home: Home, package: Path, mode: int, pinned: int
) -> None:
    (package / "codex-path/rg").chmod(mode)
    make_clone(home, "work", source=str(package))
    rg = runtime_of(home, "work") / "codex-path/rg"
    assert stat.S_IMODE(rg.stat().st_mode) == pinned
    rg.chmod(mode)
    assert cm.move_pinned_file(str(rg), str(home.base / "rg")).mode == pinned
    assert stat.S_IMODE((home.base / "rg").stat().st_mode) == pinned


def test_clones_of_one_version_share_every_file_whoever_the_source_is(home: Home, package: Path) -> None:
    make_clone(home, "one", source=str(package))
    shared = inodes(runtime_of(home, "one"))
    copy = home.base / "copy"
    shutil.copytree(package, copy)
    for name, source in (("two", package), ("three", copy), ("four", "one")):
        make_clone(home, name, source=str(source))
        assert inodes(runtime_of(home, name)) == shared, name
    shutil.rmtree(package)
    make_clone(home, "five", source="two")
    assert inodes(runtime_of(home, "five")) == shared
    assert [damaged_in(clone.runtime) for clone in cm.read_registry(places_of(home)).clones] == [[]] * 5


def test_a_file_is_linked_by_the_identity_of_its_source_without_reading_it(
    home: Home, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clone(home, "one", source=str(package))
    read: list[str] = []
    digest_of = cm.digest_of
    monkeypatch.setattr(cm, "digest_of", lambda path: read.append(path) or digest_of(path))
    make_clone(home, "two", source=str(package))
    assert read == [] and inodes(runtime_of(home, "one")) == inodes(runtime_of(home, "two"))


def twin(home: Home, package: Path, name: str = "twin") -> Path:
    """A package whose files have the same names, sizes and times, as npm makes them, and one other byte each."""
    other = home.base / name
    shutil.copytree(package, other)
    for path in other.rglob("*"):
        if path.is_file() and path.name != "codex-package.json":
            facts, content = path.stat(), path.read_bytes()
            path.write_bytes(content[:-1] + b"#" if content.endswith(b"\n") else content)
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return other


def test_files_of_equal_names_sizes_and_times_are_never_confused(home: Home, package: Path) -> None:
    other = twin(home, package)
    same = [(path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(package.rglob("*")) if path.is_file()]
    assert same == [(p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(other.rglob("*")) if p.is_file()]
    for name, source in (("one", package), ("two", other), ("three", package), ("four", other)):
        make_clone(home, name, source=str(source))
        for path in source.rglob("*"):
            if path.is_file():
                assert (runtime_of(home, name) / path.relative_to(source)).read_bytes() == path.read_bytes()
    assert inodes(runtime_of(home, "one")) == inodes(runtime_of(home, "three"))
    assert inodes(runtime_of(home, "two")) == inodes(runtime_of(home, "four"))
    one, two = inodes(runtime_of(home, "one")), inodes(runtime_of(home, "two"))
    assert {path for path in one if one[path] == two[path]} == {"codex-package.json"}


def test_a_source_that_changed_in_place_is_copied_anew(home: Home, package: Path) -> None:
    make_clone(home, "one", source=str(package))
    host = package / HOST
    facts, content = host.stat(), host.read_bytes()
    host.write_bytes(content[:-1] + b"#")
    os.utime(host, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    make_clone(home, "two", source=str(package))
    assert (runtime_of(home, "two") / HOST).read_bytes() == content[:-1] + b"#"
    assert (runtime_of(home, "one") / HOST).read_bytes() == content


def spoil(path: Path, *, size: bool = False) -> bytes:
    """Writes into a pinned file as a careless root would."""
    content = path.read_bytes()
    path.chmod(0o755)
    path.write_bytes(content + b"#\n" if size else content[:-1] + b"#")
    path.chmod(0o555)
    return content


@pytest.mark.parametrize("size", [False, True], ids=["same size", "other size"])
def test_a_pinned_file_that_was_changed_in_place_is_not_linked_into_another_clone(
    home: Home, package: Path, size: bool
) -> None:
    make_clone(home, "one", source=str(package))
    content = spoil(runtime_of(home, "one") / HOST, size=size)
    make_clone(home, "two", source=str(package))
    assert (runtime_of(home, "two") / HOST).read_bytes() == content
    with pytest.raises(cm.MirrorError, match=f"{HOST} differs from what was pinned") as caught:
        make_clone(home, "three", source="one")
    assert caught.value.code == cm.REFUSED
    assert [clone.name for clone in cm.read_registry(places_of(home)).clones] == ["one", "two"]


def test_a_clone_on_another_file_system_gets_real_copies_and_shares_them_there(
    home: Home, package: Path, elsewhere: Path
) -> None:
    make_clone(home, "here", source=str(package))
    for name in ("there", "there2"):
        make_clone(home, name, source=str(package), root=str(elsewhere / name))
    assert {path.stat().st_dev for path in runtime_of(home, "there").rglob("*")} == {elsewhere.stat().st_dev}
    assert inodes(runtime_of(home, "there")) == inodes(runtime_of(home, "there2"))
    for path, what in tree(runtime_of(home, "here")).items():
        if path != cm.MANIFEST:
            assert tree(runtime_of(home, "there"))[path] == what
    make_clone(home, "here2", source=str(package))
    assert inodes(runtime_of(home, "here")) == inodes(runtime_of(home, "here2"))
    for name in ("there", "there2"):
        assert ask(home, "remove", name, "--yes").code == 0
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_no_more_links_can_be_made_there_are_copies(
    home: Home, package: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    make_clone(home, "one", source=str(package))
    link = os.link

    def refuse(source: Any, target: Any, **more: Any) -> None:
        if "/runtime/" in os.fspath(target):
            raise OSError(number, os.strerror(number))
        link(source, target, **more)

    monkeypatch.setattr(os, "link", refuse)
    make_clone(home, "two", source=str(package))
    one, two = runtime_of(home, "one"), runtime_of(home, "two")
    assert not set(inodes(one).values()) & set(inodes(two).values())
    assert {path: what for path, what in tree(one).items() if path != cm.MANIFEST} == {
        path: what for path, what in tree(two).items() if path != cm.MANIFEST
    }
    assert damaged_in(clone_in(home, "two").runtime) == []


def overwrite_unseen(path: Path) -> None:
    """Changes bytes, and puts the mtime back."""
    facts = path.stat()
    with path.open("r+b") as file:
        file.write(b"?")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize(
    ("meanwhile", "is_pinned"),
    [
        (lambda path: os.link(path, path.parents[2] / "backup"), True),
        (lambda path: path.chmod(0o700), True),
        (overwrite_unseen, False),
        (lambda path: path.touch(), False),
        (lambda path: shutil.copy2(path, path.with_name("new")) and os.replace(path.with_name("new"), path), False),
    ],
    ids=["another name", "another mode", "other bytes", "touched", "replaced"],
)
def test_what_changes_while_it_is_copied_is_refused_and_another_name_is_no_change(
    home: Home, package: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Path], object], is_pinned: bool
) -> None:
    copy_file, program = cm.copy_file, package / "bin" / "codex"

    def copy_and_meet(source: str, target: str, *more: Any, **options: Any) -> None:
        copy_file(source, target, *more, **options)
        if source == str(program):
            meanwhile(program)

    monkeypatch.setattr(cm, "copy_file", copy_and_meet)
    if not is_pinned:
        with pytest.raises(cm.MirrorError, match=f"{program} changed while it was being copied"):
            make_clone(home, "work", source=str(package))
        return
    make_clone(home, "work", source=str(package))
    make_clone(home, "next", source=str(package))  # Known by the identity that it has now.
    assert inodes(runtime_of(home, "work")) == inodes(runtime_of(home, "next"))


def test_other_troubles_with_links_are_told(home: Home, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clone(home, "one", source=str(package))
    before = at_rest(home)
    link = os.link

    def refuse(source: Any, target: Any, **more: Any) -> None:
        if "/runtime/" in os.fspath(target):
            raise OSError(errno.EIO, "Input/output error", target)
        link(source, target, **more)

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        make_clone(home, "two", source=str(package))
    assert changes(before, at_rest(home)) == {}


def test_removing_one_clone_leaves_the_bytes_and_modes_of_every_other(home: Home, package: Path) -> None:
    for name in ("one", "two", "three"):
        make_clone(home, name, source=str(package))
    kept = {name: tree(runtime_of(home, name)) for name in ("two", "three")}
    links = {
        path.stat().st_nlink
        for path in runtime_of(home, "two").rglob("*")
        if path.is_file() and path.name != cm.MANIFEST
    }
    assert links == {3}
    cm.remove_clone(caller_in(home), "one")
    assert {name: tree(runtime_of(home, name)) for name in kept} == kept
    update(home, "two", fake_codex(home.base / "newer", "0.170.0"))
    update(home, "two", fake_codex(home.base / "newest", "0.171.0"))
    assert tree(runtime_of(home, "three")) == kept["three"]


def test_an_update_shares_what_did_not_change_and_keeps_the_runtime_before(home: Home, package: Path) -> None:
    make_clone(home, "work", source=str(package))
    before = runtime_of(home, "work")
    snapshot, old = tree(before), inodes(before)
    after = update(home, "work", fake_codex(home.base / "newer", "0.170.0"))
    new = inodes(after)
    assert tree(before) == snapshot and clone_in(home, "work").previous.path == str(before)
    same = {path for path in old if old[path] == new[path]}
    assert {"codex-path/rg"} <= same and not same & {"bin/codex", HOST, "codex-package.json"}


# --- what changed ---

DAMAGES: list[tuple[str, Callable[[Path], object], bool]] = [
    ("untouched", lambda path: None, False),
    ("other bytes", spoil, True),
    ("longer", lambda path: spoil(path, size=True), True),
    ("gone", Path.unlink, True),
    ("a link", lambda path: (path.rename(f"{path}.x"), path.symlink_to(f"{path}.x")), True),
    ("a directory", lambda path: (path.unlink(), path.mkdir()), True),
    ("no program any more", lambda path: path.chmod(0o444), True),
    ("a FIFO", lambda path: (path.unlink(), os.mkfifo(path)), True),
    ("another time only", lambda path: os.utime(path, (1, 1)), False),
    ("restored from a backup", lambda path: shutil.copy(path, f"{path}.x") and os.replace(f"{path}.x", path), False),
]


@pytest.mark.parametrize(("kind", "deed", "damaged"), DAMAGES, ids=[row[0] for row in DAMAGES])
def test_a_file_that_isn_t_what_was_pinned_is_named(
    home: Home, package: Path, kind: str, deed: Callable[[Path], object], damaged: bool
) -> None:
    make_clone(home, "work", source=str(package))
    clone, path = clone_in(home, "work"), runtime_of(home, "work") / HOST
    deed(path)
    assert complaints_about(clone.runtime) == ([str(path)] if damaged else [])
    assert damaged_in(clone.runtime) == ([str(path)] if damaged else [])


def test_bytes_that_changed_behind_every_sign_are_found_by_reading_them(home: Home, package: Path) -> None:
    make_clone(home, "work", source=str(package))
    clone, path = clone_in(home, "work"), runtime_of(home, "work") / HOST
    facts = path.stat()
    spoil(path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert complaints_about(clone.runtime) == []
    assert damaged_in(clone.runtime) == [str(path)]


def test_a_program_that_lost_its_mode_is_mended_and_linked_into_no_other_clone(home: Home, package: Path) -> None:
    for name in ("one", "two"):
        make_clone(home, name, source=str(package))
    path = runtime_of(home, "one") / HOST
    path.chmod(0o444)
    make_clone(home, "three", source=str(package))
    assert (runtime_of(home, "three") / HOST).stat().st_mode & 0o777 == 0o555
    assert ask(home, "doctor", "one", "--fix").code == 0
    both = [(runtime_of(home, name) / HOST).stat() for name in ("one", "two")]
    assert [facts.st_mode & 0o777 for facts in both] == [0o555, 0o555] and both[0].st_ino == both[1].st_ino


def spoil_unseen(path: Path) -> bytes:
    facts, content = path.stat(), spoil(path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return content


def test_update_from_mends_also_what_shows_no_sign_and_reads_what_it_links(home: Home, package: Path) -> None:
    for name in ("one", "two"):
        make_clone(home, name, source=str(package))
    content = spoil_unseen(runtime_of(home, "one") / HOST)
    assert ask(home, "update", "one", "--from", package).out == "one: 0.169.0 pinned again\n"
    assert (runtime_of(home, "one") / HOST).read_bytes() == content
    assert clone_in(home, "one").previous is None and ask(home, "doctor", "one", "--deep").code == 0
    assert ask(home, "update", "one", "--from", package).out == "one: already at 0.169.0\n"


def test_another_build_of_the_same_version_is_pinned_when_it_is_named(home: Home, package: Path) -> None:
    other = twin(home, package)
    make_clone(home, "work", source=str(package))
    assert ask(home, "update", "work", "--from", other).out == "work: 0.169.0 pinned again\n"
    assert (runtime_of(home, "work") / HOST).read_bytes() == (other / HOST).read_bytes()
    assert ask(home, "update", "work", "--from", other).out == "work: already at 0.169.0\n"
    assert ask(home, "rollback", "work").out == "work: 0.169.0 restored\n"
    assert (runtime_of(home, "work") / HOST).read_bytes() == (package / HOST).read_bytes()


def test_the_runtime_before_is_examined_and_mended_too_and_helps_others(home: Home, package: Path) -> None:
    newer = fake_codex(home.base / "newer", "0.170.0")
    for name in ("one", "two"):
        make_clone(home, name, source=str(package))
    update(home, "one", newer)
    before = Path(clone_in(home, "one").previous.path) / HOST
    content = before.read_bytes()
    # A copy of its own in the other's runtime, so that there are good bytes: it was on another disk once.
    good = runtime_of(home, "two") / HOST
    shutil.copy2(good, f"{good}.x")
    os.replace(f"{good}.x", good)
    update(home, "two", newer)
    spoil(before)
    discard(package)
    found = ask(home, "doctor", "one", "--deep")
    assert found.code == 1 and str(before) in found.out
    assert ask(home, "doctor", "one", "--deep", "--fix").code == 0 and before.read_bytes() == content


def test_a_whole_runtime_is_not_pinned_again_for_a_lost_file_of_the_one_before(home: Home, package: Path) -> None:
    make_clone(home, "work", source=str(package))
    runtime = update(home, "work", fake_codex(home.base / "newer", "0.170.0"))
    before = Path(clone_in(home, "work").previous.path) / HOST
    spoiled = before.read_bytes() + b"#"
    before.chmod(0o755)
    before.write_bytes(spoiled)
    discard(package)
    result = ask(home, "doctor", "work", "--deep", "--fix")
    assert result.code == 1 and f"no undamaged copy of {before} was found" in result.err, result
    assert runtime_of(home, "work") == runtime and before.read_bytes() == spoiled


def test_a_file_that_both_runtimes_of_a_clone_share_is_mended_once(home: Home, package: Path) -> None:
    make_clone(home, "work", source=str(package))
    update(home, "work", fake_codex(home.base / "newer", "0.170.0"))
    home.put_on_path(package / "bin")
    both = [Path(one.path) / "codex-path/rg" for one in cm.runtimes_kept(clone_in(home, "work"))]
    content = spoil(both[0])
    result = ask(home, "doctor", "work", "--fix")
    assert result.code == 0 and "restored the pinned content of" in result.err, result
    assert [path.read_bytes() for path in both] == [content, content] and os.path.samefile(*both)


def test_nothing_is_mended_through_a_linked_directory(home: Home, package: Path) -> None:
    make_clone(home, "work", source=str(package))
    home.put_on_path(package / "bin")
    helpers, elsewhere = runtime_of(home, "work") / "codex-path", home.base / "elsewhere"
    elsewhere.mkdir()
    discard(helpers)
    helpers.symlink_to(elsewhere)
    result = ask(home, "doctor", "work", "--fix")
    assert result.code == 1 and f"{helpers} is not a directory of the runtime" in result.err
    assert list(elsewhere.iterdir()) == []


def test_a_missing_entry_is_all_that_is_told(home: Home, package: Path) -> None:
    make_clone(home, "work", source=str(package))
    clone = clone_in(home, "work")
    Path(clone.runtime.entry).unlink()
    assert complaints_about(clone.runtime) == [clone.runtime.entry]


GOOD = ["bin/codex", 365, "0" * 64, 1, 1, [1, 1, 1, 1, 1]]
MANIFESTS: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("torn", b'{"files": [["a"'),
    ("a list", b"[]"),
    ("no files", b"{}"),
    ("files by name", b'{"files": {}}'),
    ("a row of numbers", b'{"files": [7]}'),
    ("a short row", b'{"files": [["a", 1]]}'),
    ("not UTF-8", b"\xff"),
    *(
        (f"field {n} of another type", json.dumps({"files": [[*GOOD[:n], {}, *GOOD[n + 1 :]]]}).encode())
        for n in range(6)
    ),
    ("an identity of texts", json.dumps({"files": [[*GOOD[:5], ["a"] * 5]]}).encode()),
    ("a path with NUL", json.dumps({"files": [["a\0b", *GOOD[1:]]]}).encode()),
    ("half a character", json.dumps({"files": [["\ud800", *GOOD[1:]]]}).encode()),
    ("a path above", json.dumps({"files": [["../../../../home/.codex/auth.json", *GOOD[1:]]]}).encode()),
    ("an absolute path", json.dumps({"files": [["/etc/passwd", *GOOD[1:]]]}).encode()),
]


@pytest.mark.parametrize(("kind", "content"), MANIFESTS, ids=[row[0] for row in MANIFESTS])
def test_a_manifest_that_is_none_hinders_nobody(home: Home, package: Path, kind: str, content: bytes) -> None:
    make_clone(home, "work", source=str(package))
    (runtime_of(home, "work") / cm.MANIFEST).write_bytes(content)
    clone = clone_in(home, "work")
    told = [*damaged_in(clone.runtime), *complaints_about(clone.runtime)]
    assert all(path.startswith(clone.runtime.path) for path in told)
    make_clone(home, "play", source=str(package))
    assert complaints_about(clone_in(home, "play").runtime) == []
    assert ask(home, "doctor", "work", "--deep", "--fix").code in (0, 1)


@pytest.mark.parametrize(
    ("field", "value"), [(1, 10**30), (1, 0o4555), (1, -1), (3, 10**30), (4, 10**30), (4, -(10**30))]
)
def test_a_manifest_with_numbers_that_we_don_t_write_hinders_nobody(
    home: Home, package: Path, field: int, value: int
) -> None:
    make_clone(home, "work", source=str(package))
    home.put_on_path(package / "bin")
    runtime = runtime_of(home, "work")
    manifest = json.loads((runtime / cm.MANIFEST).read_bytes())
    for row in manifest["files"]:
        row[field] = value
    (runtime / cm.MANIFEST).write_text(json.dumps(manifest))
    spoil(runtime / HOST)
    assert ask(home, "doctor", "work", "--deep", "--fix").code in (0, 1)
    make_clone(home, "play", source=str(package))
    assert complaints_about(clone_in(home, "play").runtime) == []
    assert all(path.stat().st_mode & 0o7000 == 0 for path in runtime.rglob("*") if path.is_file())


def test_a_link_inside_a_package_stays_a_link_inside_it(home: Home, package: Path) -> None:
    (package / "codex").symlink_to("bin/codex")
    (package / "absolute").symlink_to(package / "bin" / "codex")
    make_clone(home, "work", source=str(package))
    runtime = runtime_of(home, "work")
    assert os.readlink(runtime / "codex") == os.readlink(runtime / "absolute") == "bin/codex"
    shutil.rmtree(package)
    assert (runtime / "absolute").read_bytes() == (runtime / "bin" / "codex").read_bytes()


def test_what_links_out_of_a_package_lead_to_is_copied_and_circles_end(home: Home, package: Path) -> None:
    helpers = {path: (package / path).read_bytes() for path in ("codex-path/rg", HOST)}
    (package / "codex-path").rename(package / ".path")
    (package / "codex-path").symlink_to(".path")
    (package / HOST).rename(home.base / "host")
    (package / HOST).symlink_to(home.base / "host")
    (package / "codex-resources").rename(home.base / "resources")
    (package / "codex-resources").symlink_to("../resources")
    (package / "codex-resources" / "circle").symlink_to(home.base)
    (home.base / "resources" / "back").symlink_to("../resources")
    (home.base / "resources" / "circle").unlink()
    make_clone(home, "work", source=str(package))
    runtime = runtime_of(home, "work")
    shutil.rmtree(package)
    assert {path: (runtime / path).read_bytes() for path in helpers} == helpers
    assert os.readlink(runtime / "codex-path") == ".path" and not (runtime / HOST).is_symlink()
    names = {path.name for path in (runtime / "codex-resources").iterdir()}
    assert names == ({"bwrap"} if os.uname().sysname == "Linux" else set())


def test_a_package_whose_codex_only_starts_another_one_is_refused(home: Home, package: Path) -> None:
    wrapped = home.base / "wrapped"
    shutil.copytree(package, wrapped)
    (wrapped / "bin" / "codex").rename(wrapped / "bin" / ".codex-wrapped")
    (wrapped / "bin" / "codex").write_text(f'#!/bin/sh\nexec {package}/bin/codex "$@"\n')
    (wrapped / "bin" / "codex").chmod(0o755)
    before = at_rest(home)
    with pytest.raises(cm.MirrorError, match="only starts another program") as caught:
        make_clone(home, "work", source=str(wrapped))
    assert caught.value.code == cm.REFUSED and str(package / "bin/codex") in caught.value.message
    assert set(changes(before, at_rest(home))) <= NEW_MIRROR_HOME


def test_progress_goes_up_to_the_whole_and_no_further(home: Home, package: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    context = caller_in(home, report=lambda what, done, total: seen.append((what, done, total)))
    for name in ("one", "two"):
        seen.clear()
        cm.create_clone(context, cm.NewClone(name, codex=cm.Wanted(str(package))))
        total = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
        assert {one[2] for one in seen} == {total} and seen[-1][1] == total
        assert [one[1] for one in seen] == sorted(one[1] for one in seen)


def test_a_disk_that_is_too_full_is_told_before_anything_is_copied(
    home: Home, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cm, "free_bytes", lambda path: 10)
    make_clone_fails = pytest.raises(cm.MirrorError, match=r"not enough disk space: .* needed in .*, 10 B free")
    before = at_rest(home)
    with make_clone_fails:
        make_clone(home, "work", source=str(package))
    assert set(changes(before, at_rest(home))) <= NEW_MIRROR_HOME


# --- which runtimes may go ---


def copied_runtime(clone: Any, name: str) -> Path:
    """A runtime that nothing needs any more, as an update leaves it."""
    target = Path(clone.runtime.path).with_name(name)
    shutil.copytree(clone.runtime.path, target)
    return target


def written(path: Path, text: str) -> None:
    path.parent.chmod(0o755)
    path.unlink(missing_ok=True)
    path.write_text(text)


OLD = "0.1.0-abcdef12"
RUNTIMES: list[tuple[str, str, Callable[[Path], object], bool]] = [
    ("one of ours", OLD, lambda path: None, True),
    ("one of ours, half gone", OLD, lambda path: (path / "bin/codex").unlink(), True),
    ("a patched copy", "my-patched", lambda path: None, False),
    (
        "one with another program in it",
        OLD,
        lambda path: written(path / "bin/codex", "#!/bin/sh\necho patched\n"),
        False,
    ),
    ("one with a file more", OLD, lambda path: written(path / "notes.txt", "mine"), False),
    ("one with a link more", OLD, lambda path: (path / "link").symlink_to("/etc"), False),
    ("one without a record", OLD, lambda path: (path / ".manifest.json").unlink(), False),
    ("one with a broken record", OLD, lambda path: written(path / ".manifest.json", "{"), False),
    ("a directory of that name", OLD, lambda path: (shutil.rmtree(path), path.mkdir()), False),
    ("a file of that name", OLD, lambda path: (shutil.rmtree(path), path.write_text("x")), False),
    ("a directory called bin", "bin", lambda path: None, False),
    ("a link to one", "linked", lambda path: (shutil.rmtree(path), path.symlink_to("/etc")), False),
]


@pytest.mark.parametrize(("kind", "name", "change", "goes"), RUNTIMES, ids=[row[0] for row in RUNTIMES])
def test_only_a_runtime_that_is_as_we_pinned_it_is_removed(
    home: Home, codex: Path, kind: str, name: str, change: Callable[[Path], object], goes: bool
) -> None:
    clone = make_clone(home, "work")
    path = copied_runtime(clone, name)
    change(path)
    before = tree(path)
    for words in (("doctor", "--fix"), ("update", "work")):
        npm_install(home.base / "npm", fake_codex(home.base / words[0], "0.171.0"))
        assert ask(home, *words).code == 0
        assert tree(path) == ({} if goes else before)
        told = [one for row in ask(home, "doctor", "--json").json() for one in row["problems"]]
        assert [str(path) in one["what"] for one in told if one["id"] == "runtime-unused"] == [True] * (not goes)


def test_while_the_clone_s_own_runtime_is_missing_none_is_unneeded(home: Home, codex: Path) -> None:
    """Another may have to take its place."""
    clone = make_clone(home, "work")
    path = copied_runtime(clone, "0.1.0-abcdef12")
    assert cm.unneeded_runtimes(clone) == cm.unused_runtimes(clone) == [str(path)]
    Path(clone.runtime.entry).unlink()
    assert cm.unneeded_runtimes(clone) == cm.unused_runtimes(clone) == []
