"""Volumes of a Mac, as its `mount` lists them, and the groups that everybody is in there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from darwin import MOUNTS, Mac
from helpers import Home
from rooms import ROOT, ask, at_rest, changes, cm, make_clone, places_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="a Mac is imitated on Linux only")

# What a line of `mount` says: the mount point, and whether owners count there.
LINES: list[tuple[str, str, bool]] = [
    ("/dev/disk5s1 on /Volumes/Backup (hfs, local, nodev, nosuid, journaled, noowners, mounted by ann)",
     "/Volumes/Backup", False),
    ("/dev/disk6s2 on /Volumes/My (odd) on /x (apfs, local, nodev, nosuid, journaled, noowners)",
     "/Volumes/My (odd) on /x", False),
    ("/dev/disk7s1 on /Volumes/noowners (apfs, local, journaled)", "/Volumes/noowners", True),
    ("//ann@nas._smb._tcp.local/Share%20on on /Volumes/Share on (smbfs, nodev, nosuid, mounted by ann)",
     "/Volumes/Share on", True),
    ("map -hosts on /net (autofs, nosuid, automounted, nobrowse)", "/net", True),
]  # fmt: skip


@pytest.mark.parametrize(("line", "point", "counts"), LINES, ids=[row[1] for row in LINES])
def test_a_line_of_mount_is_read(line: str, point: str, counts: bool) -> None:
    found = cm.volumes_in_listing(f"{MOUNTS}{line}\n")
    assert ("noowners" not in found[point]) == counts
    assert [*found][:2] == ["/", "/dev"] and "read-only" in found["/"]


def line_of(volume: Path, *more: str) -> str:
    return f"/dev/disk5s1 on {volume} ({', '.join(('apfs', 'local', 'nodev', 'nosuid', 'journaled', *more))})"


@pytest.fixture
def volume(home: Home, mac: Mac) -> Path:
    """A directory that `mount` calls a volume on which owners don't count."""
    disk = home.base / "My Disk"
    disk.mkdir(mode=0o700)
    mac.mount(line_of(disk, "noowners"))
    return disk


@linux
def test_no_clone_is_made_where_everyone_owns_everything_unless_that_is_accepted(
    home: Home, codex: Path, mac: Mac, volume: Path
) -> None:
    before = at_rest(home)
    (home.home / "link").symlink_to(volume)
    for root in (volume / "a", home.home / "link" / "b" / "c"):
        told = mac("create", "work", "--root", root)
        assert told.code == 5 and f"{volume} ignores who owns a file" in told.err, root
        assert "diskutil enableOwnership" in told.err and "CODEX_MIRROR_TRUST_DIRECTORY=" in told.err
    assert not [*volume.iterdir()]
    told = mac("create", "work", env={"CODEX_MIRROR_HOME": str(volume / "m")})
    assert told.code == 5 and not (volume / "m" / "clones").exists()
    assert mac("create", "near", "--root", home.base / "My Disk 2").code == 0
    accepted = {"CODEX_MIRROR_TRUST_DIRECTORY": str(volume)}
    assert mac("create", "work", "--root", volume / "a", env=accepted).code == 0
    assert "no-owners" not in mac("doctor", "work", env=accepted).out
    assert "m/registry.json" in changes(before, at_rest(home))


@linux
def test_doctor_names_a_volume_without_owners(home: Home, codex: Path, mac: Mac, volume: Path) -> None:
    make_clone(home, "work", root=str(volume / "a"))
    make_clone(home, "safe")
    told = {row["name"]: {one["id"]: one for one in row["problems"]} for row in mac("doctor", "--json").json()}
    assert str(volume) in told["work"]["no-owners"]["what"] and "no-owners" not in told["safe"]
    assert "no-owners" not in ask(home, "doctor").out
    assert "[no-owners]" not in mac("doctor").out.split("work:")[0]
    mac.mount(line_of(home.base, "noowners"))
    assert mac("doctor").out.count("[no-owners]") == 1  # What is so of the mirror home as well is told once.
    assert all("no-owners" in str(row["problems"]) for row in mac("doctor", "--json").json())


@linux
def test_doctor_names_commands_on_a_volume_without_owners(home: Home, codex: Path, mac: Mac, volume: Path) -> None:
    make_clone(home, "work")
    (volume / "bin").mkdir()
    assert "[no-owners]" not in mac("doctor").out
    assert "[no-owners]" in mac("doctor", env={"CODEX_MIRROR_BIN_DIR": str(volume / "bin")}).out


@linux
def test_the_innermost_volume_counts_and_none_where_mount_fails(
    home: Home, codex: Path, mac: Mac, volume: Path
) -> None:
    (volume / "image").mkdir()
    mac.mount(line_of(volume, "noowners"), line_of(volume / "image"))
    assert mac("create", "one", "--root", volume / "image" / "a").code == 0
    mac.tool("mount", "exit 1")
    assert mac("create", "two", "--root", volume / "b").code == 0


@linux
@pytest.mark.skipif(not ROOT, reason="only root can give a directory to a group")
def test_on_a_mac_admin_is_as_root_and_staff_is_everybody(home: Home, codex: Path, mac: Mac) -> None:
    brew = home.base / "brew"
    brew.mkdir(mode=0o700)
    os.chmod(brew, 0o775)
    told = {}
    for gid in (80, 20):
        os.chown(brew, 0, gid)
        env = {"CODEX_MIRROR_BIN_DIR": str(brew)}
        assert mac("create", f"of{gid}", env=env).code == 0
        told[gid] = "[wrapper-directory]" in mac("doctor", env=env).out
        root = mac("create", f"in{gid}", "--root", brew / "a" / str(gid))
        assert (root.code, "is writable by its group" in root.err) == ((5, True) if gid == 20 else (0, False))
    assert told == {80: False, 20: True}
    with pytest.MonkeyPatch.context() as patch:
        mac.become(patch)
        assert [cm.is_own_group(gid) for gid in (80, 20)] == [True, False]
    assert places_of(home).trusted == ()


@linux
def test_nothing_is_started_from_a_volume_that_mount_calls_noexec(home: Home, codex: Path, mac: Mac) -> None:
    disk = home.base / "disk"
    disk.mkdir(mode=0o700)
    make_clone(home, "work", root=str(disk / "a"))
    mac.mount(line_of(disk, "noexec"))
    told = mac("create", "other", "--root", disk / "b")
    assert told.code == 5 and f"no program can be started in {disk}/b: its file system is mounted noexec" in told.err
    assert "[noexec]" in mac("doctor", "work").out and "[noexec]" not in ask(home, "doctor", "work").out


CLOUDS: list[tuple[str, list[str], bool]] = [
    ("Library/Mobile Documents/com~apple~CloudDocs/x", [], True),
    ("Library/CloudStorage/Dropbox/x", [], True),
    ("Documents/x", [], False),
    ("Documents/x", ["Desktop", "Documents"], True),
    ("Desktop/x/y", ["Desktop", "Documents"], True),
    ("Documents2/x", ["Desktop", "Documents"], False),
    ("Downloads/x", ["Desktop", "Documents"], False),
    ("Library/Application Support/x", ["Desktop", "Documents"], False),
]


@linux
@pytest.mark.parametrize(("root", "kept", "refused"), CLOUDS, ids=[f"{row[0]} {row[1]}" for row in CLOUDS])
def test_no_clone_is_made_where_a_cloud_gets_it_unless_that_is_accepted(
    home: Home, codex: Path, mac: Mac, root: str, kept: list[str], refused: bool
) -> None:
    for name in kept:
        (home.home / "Library/Mobile Documents/com~apple~CloudDocs" / name).mkdir(parents=True)
    place = home.home / root
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    for directory in place.parents:
        if home.home in directory.parents:
            directory.chmod(0o700)
    told = mac("create", "work", "--root", place)
    assert (told.code, "a cloud gets every file" in told.err) == ((5, True) if refused else (0, False)), told
    assert place.exists() != refused
    if refused:
        accepted = {"CODEX_MIRROR_TRUST_DIRECTORY": str(place.parent)}
        assert mac("create", "work", "--root", place, env=accepted).code == 0
        assert "[in-cloud]" in mac("doctor", "work").out
        assert "[in-cloud]" not in mac("doctor", "work", env=accepted).out
    else:
        assert "[in-cloud]" not in mac("doctor", "work").out


@linux
def test_time_machine_leaves_the_pinned_programs_out_and_nothing_hangs_on_it(home: Home, codex: Path, mac: Mac) -> None:
    said = home.base / "tmutil-said"
    mac.tool("tmutil", f'printf "%s\\n" "$*" >>{said}')
    assert mac("create", "work").code == 0
    assert said.read_text() == f"addexclusion {home.mirror}/clones/work/.codex-mirror/runtime\n"
    mac.tool("tmutil", "echo 'tmutil: addexclusion requires Full Disk Access' >&2; exit 1")
    assert mac("create", "other").code == 0
    said.unlink()
    assert ask(home, "create", "third").code == 0
    assert not said.exists()
