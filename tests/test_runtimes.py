"""Runtimes: find the installed Codex behind any shim; here on built trees, elsewhere on what real installers make."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import PLATFORM_PACKAGE, TRIPLE, TRIPLES, Home, fake_codex, npm_install, run, tree
from rooms import NEW_MIRROR_HOME, caller_in, cm, make_clone, make_deep, places_of

HELPERS = ["bin/codex-code-mode-host", "codex-path/rg"] + (
    ["codex-resources/bwrap"] if os.uname().sysname == "Linux" else []
)


def write(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def link(path: Path, target: Path | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def old_package(directory: Path, version: str = "0.120.0") -> Path:
    """The layout of 0.120: `codex/codex` and `path/rg`, and the version only in npm's package.json above."""
    made = fake_codex(directory.parent / "made", version)
    (directory / "codex").mkdir(parents=True)
    shutil.move(made / "bin" / "codex", directory / "codex" / "codex")
    write(directory / "path" / "rg", "#!/bin/sh\n")
    shutil.rmtree(made)
    return directory


# --- every layout that an installer makes; each gives the command and the package that must be found ---


def npm(home: Home) -> tuple[Path, Path]:
    command = npm_install(home.base / "npm", fake_codex(home.base / "made"))
    return command, command.resolve().parents[1] / "node_modules/@openai" / PLATFORM_PACKAGE / "vendor" / TRIPLE


def beside(home: Home) -> tuple[Path, Path]:
    """As yarn and bun have it: the platform's package is a sibling."""
    modules = home.base / "global" / "node_modules"
    command, _nested = npm(home)
    shutil.copytree(command.resolve().parents[1], modules / "@openai" / "codex")
    platform = modules / "@openai" / "codex" / "node_modules" / "@openai" / PLATFORM_PACKAGE
    shutil.move(platform, modules / "@openai" / PLATFORM_PACKAGE)
    shutil.rmtree(home.base / "npm")
    link(modules / ".bin" / "codex", "../@openai/codex/bin/codex.js")
    return link(
        home.base / "b" / "codex", "../global/node_modules/.bin/codex"
    ), modules / "@openai" / PLATFORM_PACKAGE / "vendor" / TRIPLE


def pnpm_store(home: Home) -> tuple[Path, Path]:
    """The store of pnpm: the native package is in a directory of its own, reached through a link beside codex.js."""
    command, nested = npm(home)
    store = home.base / "p" / "global" / "5" / ".pnpm"
    native = store / "@openai+codex@0.169.0-x" / "node_modules" / "@openai" / "codex"
    shutil.copytree(nested.parents[1], native)
    main = store / "@openai+codex@0.169.0" / "node_modules" / "@openai" / "codex"
    shutil.copytree(command.resolve().parents[1] / "bin", main / "bin")
    link(main.parent / PLATFORM_PACKAGE, os.path.relpath(native, main.parent))
    shutil.rmtree(home.base / "npm")
    return main / "bin" / "codex.js", native / "vendor" / TRIPLE


def pnpm_10(home: Home) -> tuple[Path, Path]:
    script, package = pnpm_store(home)
    tail = script.relative_to(home.base / "p")
    text = f"""#!/bin/sh
basedir=$(dirname "$(echo "$0" | sed -e 's,\\\\,/,g')")
export NODE_PATH="/x/.pnpm/node_modules"
if [ -x "$basedir/node" ]; then
  exec "$basedir/node"  "$basedir/{tail}" "$@"
else
  exec node  "$basedir/{tail}" "$@"
fi
"""
    return write(home.base / "p" / "codex", text), package


def pnpm_12(home: Home) -> tuple[Path, Path]:
    script, package = pnpm_store(home)
    text = f"""#!/bin/sh
basedir_abs=$(cd "$(dirname "$0")" && pwd -P)
exec node  "$basedir_abs"/'../{script.relative_to(home.base / "p")}' "$@"
# cmd-shim-target={script}
"""
    return write(home.base / "p" / "bin" / "codex", text), package


def standalone(home: Home) -> tuple[Path, Path]:
    root = home.base / "codex-home" / "packages" / "standalone"
    package = fake_codex(root / "releases" / f"0.169.0-{TRIPLE}")
    link(root / "current", package)
    link(package / "codex", "bin/codex")
    return link(home.base / "b" / "codex", root / "current" / "bin" / "codex"), package


def standalone_by_its_old_name(home: Home) -> tuple[Path, Path]:
    command, package = standalone(home)
    command.unlink()
    return link(command, home.base / "codex-home/packages/standalone/current/codex"), package


def caskroom(home: Home) -> tuple[Path, Path]:
    package = fake_codex(home.base / "Caskroom" / "codex" / "0.169.0")
    return link(home.base / "b" / "codex", "../Caskroom/codex/0.169.0/bin/codex"), package


def plain_package(home: Home) -> tuple[Path, Path]:
    package = fake_codex(home.base / "unpacked")
    return package / "bin" / "codex", package


def of_0_120(home: Home) -> tuple[Path, Path]:
    command, nested = npm(home)
    shutil.rmtree(nested)
    write(nested.parents[1] / "package.json", json.dumps({"name": "@openai/codex", "version": "0.120.0-linux-x64"}))
    return command, old_package(nested)


def shell_shim(home: Home) -> tuple[Path, Path]:
    package = fake_codex(home.base / "opt")
    return write(home.base / "b" / "codex", f'#!/bin/sh\nexec {package}/bin/codex "$@"\n'), package


def python_shim(home: Home) -> tuple[Path, Path]:
    package = fake_codex(home.base / "opt")
    text = f"#!/usr/bin/env python3\nimport os, sys\nos.execv('{package}/bin/codex', ['codex', *sys.argv[1:]])\n"
    return write(home.base / "b" / "codex", text), package


def multi_call(home: Home) -> tuple[Path, Path]:
    """As mise and volta do it: one program under many names, which decides by its name."""
    package = fake_codex(home.base / "opt")
    write(home.base / "mise", f'#!/bin/sh\ncase ${{0##*/}} in codex) exec {package}/bin/codex "$@" ;; esac\nexit 9\n')
    return link(home.base / "shims" / "codex", "../mise"), package


def compiled_shim(home: Home) -> tuple[Path, Path]:
    """As nix has it: a small program of its own under the very name, which the file system tells nothing about."""
    package = fake_codex(home.base / "opt")
    code = home.base / "shim.c"
    code.write_text(f'#include <unistd.h>\nint main(int n, char **a) {{ return execv("{package}/bin/codex", a); }}\n')
    (home.base / "b").mkdir()
    if not (compiler := shutil.which("cc")):
        pytest.skip("needs a C compiler")
    run([compiler, "-o", home.base / "b" / "codex", code], env={**home.env, "PATH": os.environ["PATH"]}, check=True)
    return home.base / "b" / "codex", package


def shim_with_a_past(home: Home) -> tuple[Path, Path]:
    """What a comment names is not what is started."""
    _, package = npm(home)
    other = write(home.base / "old" / "bin" / "codex.js", "")
    write(other.parents[1] / "package.json", json.dumps({"name": "@openai/codex", "version": "0.1.0"}))
    text = f'#!/bin/sh\n# before: exec node "{other}" "$@"\nexec {package}/bin/codex "$@"\n'
    return write(home.base / "b" / "codex", text), package


ASKED = [shell_shim, python_shim, multi_call, compiled_shim, shim_with_a_past]
LAYOUTS = [npm, beside, pnpm_10, pnpm_12, standalone, standalone_by_its_old_name, caskroom, plain_package, of_0_120]


def version_of(layout: Callable[[Home], Any]) -> str:
    return "0.120.0" if layout is of_0_120 else "0.169.0"


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_the_file_system_alone_tells_what_is_behind_a_command(home: Home, layout: Callable[[Home], Any]) -> None:
    command, package = layout(home)
    before = tree(home.base)
    found = cm.package_of_command(str(command))
    entry = "codex/codex" if layout is of_0_120 else "bin/codex"
    assert found == cm.CodexPackage(str(package), entry, "binary", version_of(layout)) and tree(home.base) == before
    home.put_on_path(command.parent)
    assert cm.installed_without_starting(home.env) == found


@pytest.mark.parametrize("layout", [*LAYOUTS, *ASKED], ids=lambda layout: layout.__name__)
def test_the_native_package_is_found_and_what_was_started_leaves_nothing(
    home: Home, layout: Callable[[Home], Any]
) -> None:
    command, package = layout(home)
    if layout in ASKED:
        assert cm.package_of_command(str(command)) is None
    if layout is python_shim:
        home.put_on_path(Path(shutil.which("python3") or "/usr/bin/python3").parent)
    home.put_on_path(command.parent)
    before = tree(home.base)
    for wanted in ("", str(command)):
        with cm.begin_change(caller_in(home), "test") as change:
            found = cm.find_package(change, home.env, wanted)
        assert (found.package, found.kind, found.missing) == (str(package), "binary", ())
        assert found.version == version_of(layout)
    after = {path: what for path, what in tree(home.base).items() if path not in NEW_MIRROR_HOME}
    assert after == before


def test_without_a_native_package_the_one_of_javascript_is_found(home: Home) -> None:
    command, nested = npm(home)
    shutil.rmtree(nested.parents[1])
    found = cm.package_of_command(str(command))
    assert found == cm.CodexPackage(str(command.resolve().parents[1]), "bin/codex.js", "npm-package", "0.169.0")


# --- what is not whole ---


def remove(*helpers: str) -> Callable[[Path], object]:
    return lambda package: [(package / helper).unlink() for helper in helpers]


def make_directory(helper: str) -> Callable[[Path], object]:
    return lambda package: ((package / helper).unlink(), (package / helper).mkdir())


INCOMPLETE: list[tuple[str, Callable[[Path], object], list[str]]] = [
    *((f"without {helper}", remove(helper), [helper]) for helper in HELPERS),
    ("without all", remove(*HELPERS), HELPERS),
    ("with a helper that is a directory", make_directory(HELPERS[1]), [HELPERS[1]]),
]


@pytest.mark.parametrize(("kind", "spoil", "missing"), INCOMPLETE, ids=[row[0] for row in INCOMPLETE])
def test_an_incomplete_package_is_refused_by_the_names_of_what_is_missing(
    home: Home, kind: str, spoil: Callable[[Path], object], missing: list[str]
) -> None:
    package = fake_codex(home.base / "package")
    spoil(package)
    with cm.begin_change(caller_in(home), "test") as change:
        with pytest.raises(cm.MirrorError, match="is incomplete; missing: ") as caught:
            cm.find_package(change, home.env, str(package))
        assert caught.value.code == cm.REFUSED and "--codex latest" in caught.value.hint
        assert all(helper in caught.value.message for helper in missing)
        assert list(cm.find_package(change, home.env, str(package), True).missing) == missing


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        *(("0.135.0", []), ("0.140.0", []), ("0.142.5", []), ("0.143.0-alpha.2", [])),
        *(("0.143.0", HELPERS[:1]), ("0.144.6", HELPERS[:1]), ("0.171.0", HELPERS[:1]), ("1.0.0", HELPERS[:1])),
    ],
)
def test_a_package_of_before_the_code_mode_host_is_whole_without_it_and_no_other_is(
    home: Home, version: str, missing: list[str]
) -> None:
    package = fake_codex(home.base / "package", version)
    (package / HELPERS[0]).unlink()
    found = cm.native_package(str(package))
    assert found and (list(found.missing), found.version) == (missing, version)


def bare_caskroom(home: Home) -> Path:
    made = fake_codex(home.base / "made")
    binary = write(home.base / "Caskroom" / "codex" / "0.143.0" / f"codex-{TRIPLE}", (made / "bin/codex").read_text())
    return link(home.base / "b" / "codex", binary)


def flat_standalone(home: Home) -> Path:
    made = fake_codex(home.base / "made")
    release = home.base / "releases" / f"0.130.0-{TRIPLE}"
    write(release / "codex-resources" / "rg", "#!/bin/sh\n")
    return link(home.base / "b" / "codex", write(release / "codex", (made / "bin" / "codex").read_text()))


@pytest.mark.parametrize("layout", [bare_caskroom, flat_standalone], ids=lambda layout: layout.__name__)
def test_a_bare_binary_is_refused_and_named_with_all_that_it_lacks(home: Home, layout: Callable[[Home], Path]) -> None:
    command = layout(home)
    home.put_on_path(command.parent)
    with cm.begin_change(caller_in(home), "test") as change:
        with pytest.raises(cm.MirrorError, match="is incomplete") as caught:
            cm.find_package(change, home.env, "")
        assert all(helper in caught.value.message for helper in HELPERS)
        taken = cm.find_package(change, home.env, "", True)
    assert os.path.join(taken.package, taken.entry) == str(command.resolve()) and taken.version == "0.169.0"


# --- which one ---


def test_the_first_codex_on_path_that_leads_to_one_is_taken(home: Home) -> None:
    newer = fake_codex(home.base / "newer", "0.170.0")
    write(home.base / "a" / "codex", "not a program", 0o644)
    link(home.base / "c" / "codex", "nowhere")
    link(home.base / "d" / "codex", newer / "bin" / "codex")
    home.put_on_path(*(home.base / name for name in "acd"), npm(home)[0].parent)
    assert cm.installed_without_starting(home.env).version == "0.170.0"


def test_a_wrapper_of_ours_and_a_clone_s_own_codex_are_passed_by(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    link(home.base / "x" / "codex", clone.runtime.entry)
    link(home.base / "y" / "codex", clone.wrapper)
    shutil.copy(clone.wrapper, write(home.base / "z" / "codex", ""))
    home.put_on_path(*(home.base / name for name in "xyz"))
    assert [*cm.installed_commands(home.env)] == [str(codex)]
    assert not cm.clone_directory_of(str(codex)) and cm.clone_directory_of(clone.runtime.entry)
    with cm.begin_change(caller_in(home), "test") as change:
        for wanted in ("work", clone.wrapper):
            assert cm.find_package(change, home.env, wanted).package == clone.runtime.path


def test_a_shim_that_leads_into_a_clone_is_passed_by(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    write(home.base / "x" / "codex", f'#!/bin/sh\nexec {clone.runtime.entry} "$@"\n')
    home.put_on_path(home.base / "x")
    with cm.begin_change(caller_in(home), "test") as change:
        assert not cm.find_package(change, home.env, "").package.startswith(str(home.mirror))


def test_where_no_codex_is_none_is_found(home: Home) -> None:
    with cm.begin_change(caller_in(home), "test") as change:
        assert cm.find_package(change, home.env, "") is None


# --- by name ---


def archive(home: Home, *, top: str = "") -> Path:
    package = fake_codex(home.base / "made")
    path = home.base / f"codex-package-{TRIPLE}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(package, top or ".")
    return path


NAMED: list[tuple[str, Callable[[Home], object]]] = [
    ("a package", lambda home: fake_codex(home.base / "made")),
    ("a prefix of npm", lambda home: npm(home)[0].parents[1]),
    ("a package of npm", lambda home: npm(home)[0].resolve().parents[1]),
    ("a platform's package", lambda home: npm(home)[1].parents[1]),
    ("a codex.js", lambda home: npm(home)[0].resolve()),
    ("a command", lambda home: npm(home)[0]),
    ("a Codex home", lambda home: (standalone(home), home.base / "codex-home")[1]),
    ("a directory with one", lambda home: fake_codex(home.base / "dir" / "codex-0.169.0").parent),
    ("an archive", archive),
    ("an archive with a directory", lambda home: archive(home, top="codex-0.169.0")),
    ("a link to a package", lambda home: link(home.base / "l", fake_codex(home.base / "made"))),
]


@pytest.mark.parametrize(("kind", "name"), NAMED, ids=[row[0] for row in NAMED])
def test_from_takes_whatever_holds_one(home: Home, kind: str, name: Callable[[Home], object]) -> None:
    with cm.begin_change(caller_in(home), "test") as change:
        found = cm.find_package(change, home.env, str(name(home)))
        assert (found.entry, found.kind, found.version, found.missing) == ("bin/codex", "binary", "0.169.0", ())
        assert run([os.path.join(found.package, found.entry), "--version"], env=home.env).out == "codex-cli 0.169.0\n"


NOTHING: list[tuple[str, Callable[[Home], object], str]] = [
    ("nothing", lambda home: home.base / "nowhere", "doesn't exist"),
    ("an empty directory", lambda home: home.bin, "no Codex was found"),
    ("a directory in itself", lambda home: link(home.base / "d" / "a", ".").parent, "no Codex was found"),
    ("a text", lambda home: write(home.base / "codex", "hello", 0o644), ""),
    ("an archive that is none", lambda home: write(home.base / "x.tar.gz", "hello"), "not a .tar.gz archive"),
    ("a FIFO", lambda home: os.mkfifo(home.base / "f") or home.base / "f", "is neither a file nor a directory"),
    ("a command that does something else", lambda home: "/bin/ls", "no Codex was found"),
    ("a command that fails", lambda home: "/bin/false", "failed with exit code 1"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "says"), NOTHING, ids=[row[0] for row in NOTHING])
def test_from_something_else_is_told_in_one_line(
    home: Home, kind: str, name: Callable[[Home], object], says: str
) -> None:
    with cm.begin_change(caller_in(home), "test") as change, pytest.raises((cm.MirrorError, OSError)) as caught:
        cm.find_package(change, home.env, str(name(home)))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_from_a_very_deep_directory_is_told_in_one_line_too(home: Home) -> None:
    make_deep(home.base / "deep", 1100)
    try:
        with (
            cm.begin_change(caller_in(home), "test") as change,
            pytest.raises(cm.MirrorError, match="no Codex was found"),
        ):
            cm.find_package(change, home.env, str(home.base / "deep"))
    finally:
        run(["/bin/rm", "-rf", home.base / "deep"], env=home.env)


def test_whoever_is_asked_sees_none_of_our_variables_and_no_home_of_anyone(home: Home) -> None:
    package = fake_codex(home.base / "opt")
    seen = home.base / "seen"
    command = write(home.base / "codex", f'#!/bin/sh\nenv >{seen}\nexec {package}/bin/codex "$@"\n')
    env = {**home.env, **dict.fromkeys(cm.HIDDEN_VARIABLES, "planted"), "CODEX_HOME": str(home.home / ".codex")}
    with cm.begin_change(caller_in(home), "test") as change:
        cm.find_package(change, env, str(command))
    text = seen.read_text()
    assert (
        "planted" not in text and f"CODEX_HOME={home.mirror}/scratch-" in text and not (home.home / ".codex").exists()
    )


VERSIONS = [
    ("0.170.0", "0.169.0", True),
    ("0.169.0", "0.170.0", False),
    ("0.169.0", "0.169.0", False),
    ("0.10.0", "0.9.0", True),
    ("1.0.0", "0.999.0", True),
    ("0.169.0", "0.169.0-alpha.1", True),
    ("0.169.0-alpha.1", "0.169.0", False),
    ("0.170.0-alpha.1", "0.169.0", True),
    ("0.169.0-alpha.10", "0.169.0-alpha.9", True),
    ("0.169.0-beta.1", "0.169.0-alpha.9", True),
    ("0.169.0-rc", "0.169.0-rc.1", False),
    ("0.169.1", "0.169.0-alpha.1", True),
    ("", "0.169.0", False),
    ("0.169.0", "", True),
    ("x", "y", False),
    ("9" * 5000 + ".0.0", "0.169.0", True),
    ("0.169.0", f"0.169.0-alpha.{'9' * 5000}", True),
]


@pytest.mark.parametrize(("one", "other", "newer"), VERSIONS)
def test_a_version_is_newer_by_its_numbers_and_after_its_pre_releases(one: str, other: str, newer: bool) -> None:
    assert cm.is_newer(one, other) == newer


ANSWERS = [
    (cm.CapturedOutput(None, b"", b"x"), "did not answer in time"),
    (cm.CapturedOutput(3, b"", b""), "failed with exit code 3"),
    (cm.CapturedOutput(3, b"out", b"\n \nerr\nmore"), "failed with exit code 3: err"),
    (cm.CapturedOutput(3, b"out", b""), "failed with exit code 3: out"),
    (cm.CapturedOutput(-11, b"", b"\xff"), "was ended by signal 11: \ufffd"),
    (cm.CapturedOutput(1, b"", b"x" * 1000), "failed with exit code 1: " + "x" * 200),
    *(
        (
            cm.CapturedOutput(1, b"", b"Error: c.toml:3:7: %s, expected a map" % quoted),
            f"failed with exit code 1: {said}",
        )
        for quoted, said in (
            (b'invalid type: string "TOKEN=sk-1"', 'Error: c.toml:3:7: invalid type: string "…", expected a map'),
            (b'invalid value: string "a \\"sk-1\\" b"', 'Error: c.toml:3:7: invalid value: string "…", expected a map'),
            (b"invalid type: integer `3`", "Error: c.toml:3:7: invalid type: integer `3`, expected a map"),
            (b'invalid type: string "sk-' + b"1" * 999, 'Error: c.toml:3:7: invalid type: string "…"'),
        )
    ),
]


@pytest.mark.parametrize(("answer", "said"), ANSWERS)
def test_how_a_program_failed_is_told_in_a_line(answer: Any, said: str) -> None:
    assert cm.failure_text(answer) == said


def test_the_places_of_the_tests_are_their_own(home: Home) -> None:
    assert places_of(home).mirror_home == str(home.mirror)


# --- a Mac, which was never here: what `uname` tells there, as others recorded it, and what npm's packages hold ---

KERNEL = "Darwin Kernel Version 25.4.0: Thu Mar 19 19:30:44 PDT 2026; root:xnu-12377.101.15~1/RELEASE_"
MACS = [
    ("Apple's processor", "arm64", "ARM64_T6000", ["darwin-arm64", "darwin-x64"]),
    ("a virtual Mac on it", "arm64", "ARM64_VMAPPLE", ["darwin-arm64", "darwin-x64"]),
    ("an Intel Python on it", "x86_64", "ARM64_T8101", ["darwin-arm64", "darwin-x64"]),
    ("Intel's", "x86_64", "X86_64", ["darwin-x64"]),
]


def be_mac(monkeypatch: pytest.MonkeyPatch, machine: str, kernel: str) -> None:
    facts = os.uname_result(("Darwin", "mac", "25.4.0", KERNEL + kernel, machine))
    monkeypatch.setattr(os, "uname", lambda: facts)


def test_a_script_of_the_user_s_that_starts_a_clone_is_no_installed_codex(home: Home) -> None:
    codex = npm_install(home.base / "npm", fake_codex(home.base / "package"))
    home.put_on_path(codex.parent)
    clone = make_clone(home, "work")
    npm_install(home.base / "npm", fake_codex(home.base / "newer", "0.170.0"))
    script = write(home.base / "scripts" / "codex", f'#!/bin/sh\nexec "{clone.runtime.entry}" "$@"\n')
    home.put_on_path(script.parent)
    assert make_clone(home, "other").runtime.version == "0.170.0"


def test_every_machine_has_the_package_that_npm_and_the_triple_that_the_release_names() -> None:
    assert {machine: (triple, f"codex-{name}") for machine, (name, triple) in cm.MACHINES.items()} == TRIPLES


@pytest.mark.parametrize(("kind", "machine", "kernel", "names"), MACS, ids=[row[0] for row in MACS])
def test_a_mac_takes_its_own_codex_or_one_that_rosetta_runs(
    home: Home, monkeypatch: pytest.MonkeyPatch, kind: str, machine: str, kernel: str, names: list[str]
) -> None:
    be_mac(monkeypatch, machine, kernel)
    assert [name for name, _ in cm.platforms()] == names
    assert cm.platform_names() == cm.MACHINES["Darwin", "arm64" if len(names) == 2 else "x86_64"]
    script = write(home.base / "npm" / "@openai" / "codex" / "bin" / "codex.js", "#!/usr/bin/env node\n")
    write(script.parents[1] / "package.json", '{"name": "@openai/codex", "version": "0.169.0"}', 0o644)
    for present in (["darwin-arm64"], ["darwin-x64"], ["darwin-arm64", "darwin-x64"]):
        for name, triple in cm.MACHINES.values():
            inside = script.parents[1] / "node_modules" / "@openai" / f"codex-{name}" / "vendor" / triple
            shutil.rmtree(inside, ignore_errors=True)
            if name in present:
                fake_codex(inside)
                (inside / "codex-resources" / "bwrap").unlink(missing_ok=True)
        wanted = next((name for name in names if name in present), None)
        for found in (cm.package_of_command(str(script)), cm.package_in_directory(str(script.parents[1]))):
            assert (f"/codex-{wanted}/" in found.package) if wanted else (found.kind == "npm-package")
            assert found.missing == ()


# What npm's 0.171.0-darwin-arm64 unpacks to, without `codex-resources/voice/`; no bwrap is in it.
DARWIN_PACKAGE = """README.md bin/codex bin/codex-code-mode-host codex-path/rg
    codex-resources/voice/bin/codex-voice-host codex-resources/voice/lib/libffi.8.dylib"""


def test_npm_s_package_for_macos_is_whole_without_what_only_linux_has(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_mac(monkeypatch, "arm64", "ARM64_T6000")
    top = home.base / "package"
    write(top / "package.json", '{"name": "@openai/codex", "version": "0.171.0-darwin-arm64"}', 0o644)
    inside = top / "vendor" / "aarch64-apple-darwin"
    for name in DARWIN_PACKAGE.split():
        write(inside / name, "\xcf\xfa\xed\xfe")
    described = {"layoutVersion": 1, "version": "0.171.0", "target": "aarch64-apple-darwin", "entrypoint": "bin/codex"}
    write(inside / "codex-package.json", json.dumps(described), 0o644)
    whole = cm.CodexPackage(str(inside), "bin/codex", "binary", "0.171.0")
    for named in (top, top / "vendor", inside):
        assert cm.package_in_directory(str(named)) == whole
    (inside / "codex-package.json").unlink()
    assert cm.package_of_binary(str(inside / "bin" / "codex")).missing == (
        "bin/codex-code-mode-host",
        "codex-path/rg",
    )
