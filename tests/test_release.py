"""A release: the same bytes every time, a stamp that matches, and no tag that isn't what it says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from helpers import REPO, Home, Result, run, tree

WORKFLOWS = REPO / ".github" / "workflows"
PROGRAM_TEXT = '"""A stand-in."""\n\n__version__ = "1.2.3"\n'
INSTALLER_TEXT = '#!/bin/sh\nSTAMP_VERSION=""\nSTAMP_SHA256=""\necho "$STAMP_VERSION $STAMP_SHA256"\n'


class Checkout(NamedTuple):
    """A scratch repository with this one's Makefile and .ci/, a stand-in for the program, and one commit on main."""

    root: Path
    env: dict[str, str]

    def git(self, *args: str) -> str:
        return run(["git", *args], env=self.env, cwd=self.root, check=True).out

    def make(self, *args: str, **more: str) -> Result:
        # PYTHON is given, so that nothing looks for one.
        env = {**self.env, "RELEASE_CHECKS": "true", "NOTES": str(self.root.parent / "notes"), **more}
        return run(["make", "--no-print-directory", "PYTHON=none", *args], env=env, cwd=self.root)

    def commit(self, version: str) -> None:
        (self.root / "codex_mirror.py").write_text(PROGRAM_TEXT.replace("1.2.3", version))
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", f"is {version}")


NOTES = '# New\n\n- `list NAME`, which isn\'t $(touch oops)\n- and "more"\n'


@pytest.fixture
def checkout(home: Home) -> Checkout:
    root = home.base / "checkout"
    root.mkdir()
    shutil.copy(REPO / "Makefile", root)
    shutil.copy(REPO / ".gitignore", root)
    shutil.copytree(REPO / ".ci", root / ".ci")
    (home.base / "notes").write_text(NOTES)
    (root / "install.sh").write_text(INSTALLER_TEXT)
    who = {"NAME": "A Releaser", "EMAIL": "releaser@example.com"}
    env = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
    made = Checkout(root, {**home.env, **env, "GIT_CONFIG_NOSYSTEM": "1"})
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("1.2.3")
    return made


# --- make dist ---


def test_two_runs_make_the_same_bytes_and_modes(checkout: Checkout) -> None:
    assert checkout.make("dist").code == 0
    first = tree(checkout.root / "dist")
    shutil.rmtree(checkout.root / "dist")
    os.utime(checkout.root / "codex_mirror.py", (1, 1))
    result = run(["sh", "-c", "umask 077; exec make dist PYTHON=none"], env=checkout.env, cwd=checkout.root)
    assert result.code == 0
    second = tree(checkout.root / "dist")
    assert {name: row for name, row in first.items() if name != "."} == {n: r for n, r in second.items() if n != "."}
    assert set(first) == {".", "codex_mirror.py", "install.sh", "SHA256SUMS"}


def test_the_stamp_is_the_version_and_the_digest_of_the_program_beside_it(checkout: Checkout) -> None:
    checkout.make("dist")
    dist = checkout.root / "dist"
    program = (dist / "codex_mirror.py").read_bytes()
    assert program == (checkout.root / "codex_mirror.py").read_bytes()
    said = run(["sh", dist / "install.sh"], env=checkout.env).out
    assert said == f"1.2.3 {hashlib.sha256(program).hexdigest()}\n"
    lines = [f"{hashlib.sha256((dist / n).read_bytes()).hexdigest()}  {n}\n" for n in ("codex_mirror.py", "install.sh")]
    assert (dist / "SHA256SUMS").read_text() == "".join(lines)


def test_the_installer_of_this_repository_takes_the_stamp() -> None:
    lines = (REPO / "install.sh").read_text().splitlines()
    assert (lines.count('STAMP_VERSION=""'), lines.count('STAMP_SHA256=""')) == (1, 1)


@pytest.mark.parametrize("line", ["", 'STAMP_SHA256=""\nSTAMP_SHA256=""', 'STAMP_SHA256="x"'])
def test_an_installer_that_cannot_be_stamped_is_refused(checkout: Checkout, line: str) -> None:
    (checkout.root / "install.sh").write_text(INSTALLER_TEXT.replace('STAMP_SHA256=""', line))
    result = checkout.make("dist")
    assert result.code == 2 and "STAMP_SHA256" in result.err


# --- make release-check ---


def test_an_annotated_tag_of_the_version_on_main_passes(checkout: Checkout) -> None:
    checkout.git("tag", "-a", "v1.2.3", "-m", "one")
    for args in (["TAG=v1.2.3"], []):
        assert checkout.make("release-check", *args).out == "v1.2.3 is an annotated tag of version 1.2.3 on main\n"


def test_a_tag_stays_good_when_main_has_moved_on(checkout: Checkout) -> None:
    checkout.git("tag", "-a", "v1.2.3", "-m", "one")
    checkout.commit("1.3.0")
    assert checkout.make("release-check", "TAG=v1.2.3").code == 0


COMMIT = "git commit -q --allow-empty -m x"
TAG = "git tag -a v1.2.3 -m x"
BAD_TAGS = [
    ("missing", "v1.2.3", "true", "there is no tag v1.2.3"),
    ("lightweight", "v1.2.3", "git tag v1.2.3", "v1.2.3 isn't an annotated tag"),
    ("of another version", "v1.2.4", "git tag -a v1.2.4 -m x", "v1.2.4 is not the tag of version 1.2.3"),
    ("without v", "1.2.3", "git tag -a 1.2.3 -m x", "1.2.3 is not the tag of version 1.2.3"),
    ("not on main", "v1.2.3", f"git checkout -q -b side && {COMMIT} && {TAG}", "v1.2.3 isn't on main"),
    (
        "not pushed",
        "v1.2.3",
        f"git update-ref refs/remotes/origin/main HEAD && {COMMIT} && {TAG}",
        "v1.2.3 isn't on main",
    ),
    ("no main", "v1.2.3", f"git branch -q -m trunk && {TAG}", "there is no main branch to compare with"),
    ("no name for a tag", 'v"; touch oops; "', "true", 'there is no tag v"; touch oops; "'),
    ("an expression of make", "$(shell touch oops)", "true", "there is no tag $(shell touch oops)"),
]


@pytest.mark.parametrize(("kind", "tag", "before", "says"), BAD_TAGS, ids=[row[0] for row in BAD_TAGS])
def test_a_bad_tag_is_refused(checkout: Checkout, kind: str, tag: str, before: str, says: str) -> None:
    run(["sh", "-c", before], env=checkout.env, cwd=checkout.root, check=True)
    result = checkout.make("release-check", TAG=tag)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(says)
    assert not (checkout.root / "oops").exists()


# --- make release ---


def test_a_release_is_one_commit_and_one_annotated_tag(checkout: Checkout) -> None:
    (checkout.root / "codex_mirror.py").chmod(0o755)
    checkout.git("commit", "-qam", "executable")
    result = checkout.make("release", "VERSION=1.3.0")
    assert result.code == 0, result.err
    assert result.out.endswith("to publish it: git push --atomic origin main v1.3.0\n")
    assert checkout.git("log", "-1", "--format=%s").strip() == "Release 1.3.0"
    assert checkout.git("show", "--format=", "--stat", "HEAD").split()[0] == "codex_mirror.py"
    assert (checkout.root / "codex_mirror.py").read_text() == PROGRAM_TEXT.replace("1.2.3", "1.3.0")
    assert os.stat(checkout.root / "codex_mirror.py").st_mode & 0o777 == 0o755
    assert checkout.make("release-check").code == 0
    assert checkout.git("status", "--porcelain") == ""


def test_the_tag_says_what_changed_for_users_and_the_workflow_publishes_that(checkout: Checkout) -> None:
    checkout.make("release", "VERSION=1.3.0")
    assert checkout.git("tag", "--list", "--format=%(contents)") == f"codex-mirror 1.3.0\n\n{NOTES}\n"
    said = run([".ci/release", "notes", "v1.3.0"], env=checkout.env, cwd=checkout.root, check=True).out
    assert said.strip() == NOTES.strip()
    workflow = (REPO / ".github/workflows/release.yml").read_text()
    assert '.ci/release notes "$TAG" >dist/notes.md' in workflow and "--notes-file dist/notes.md" in workflow


@pytest.mark.parametrize("notes", ["", "/nowhere"])
def test_a_release_that_says_nothing_is_refused(checkout: Checkout, notes: str) -> None:
    result = checkout.make("release", "VERSION=1.3.0", NOTES=notes)
    assert result.code == 2 and result.err.startswith("NOTES must name a file that says what changed for users")
    assert checkout.git("tag") == "" and checkout.git("status", "--porcelain") == ""


def test_a_release_is_made_before_the_remote_has_it(checkout: Checkout) -> None:
    remote = checkout.root.parent / "remote.git"
    checkout.git("init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    checkout.git("remote", "add", "origin", str(remote))
    checkout.git("push", "--quiet", "origin", "main")
    result = checkout.make("release", "VERSION=1.3.0")
    assert (result.code, result.err) == (0, "")
    command = result.out.rpartition("to publish it: ")[2]
    assert checkout.make("release-check", "TAG=v1.3.0").err.startswith("v1.3.0 isn't on main")
    run(["sh", "-c", command], env=checkout.env, cwd=checkout.root, check=True)
    assert checkout.make("release-check", "TAG=v1.3.0").code == 0
    assert checkout.git("ls-remote", str(remote), "v1.3.0", "main").count("\n") == 2


def test_the_first_release_of_a_version_that_is_set_already_is_a_tag_alone(checkout: Checkout) -> None:
    before = checkout.git("rev-parse", "HEAD")
    assert checkout.make("release", "VERSION=1.2.3").code == 0
    assert checkout.git("rev-parse", "HEAD") == before == checkout.git("rev-parse", "v1.2.3^{commit}")


REFUSED = [
    ("no version", "", "true", "VERSION must look like 1.2.3, not ''"),
    ("a bad version", "v2", "true", "VERSION must look like 1.2.3, not 'v2'"),
    ("a command", '1.2.3"; touch oops; "', "true", "VERSION must look like"),
    ("another branch", "2.0.0", "git checkout -q -b side", "a release is made on main"),
    ("changes", "2.0.0", "touch new", "commit or discard your changes first"),
    ("an old tag", "2.0.0", "git tag v2.0.0", "v2.0.0 is a tag already"),
]


@pytest.mark.parametrize(("kind", "version", "before", "says"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_refused_release_changes_nothing(checkout: Checkout, kind: str, version: str, before: str, says: str) -> None:
    run(["sh", "-c", before], env=checkout.env, cwd=checkout.root, check=True)
    snapshot = tree(checkout.root / ".git" / "refs"), tree(checkout.root / "codex_mirror.py")
    result = checkout.make("release", f"VERSION={version}")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(says)
    assert snapshot == (tree(checkout.root / ".git" / "refs"), tree(checkout.root / "codex_mirror.py"))
    assert not (checkout.root / "oops").exists()


def test_a_release_whose_checks_fail_leaves_the_version_as_it_was(checkout: Checkout) -> None:
    result = checkout.make("release", "VERSION=2.0.0", RELEASE_CHECKS="false")
    assert result.code == 2 and result.err.startswith("the checks failed: nothing was committed")
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.git("tag") == ""
    assert '__version__ = "1.2.3"' in (checkout.root / "codex_mirror.py").read_text()


# --- the workflows and the Makefile ---


def test_the_tests_run_on_every_python_and_on_both_systems() -> None:
    text = (WORKFLOWS / "ci.yml").read_text()
    [pythons] = re.findall(r"python: (\[.*\])", text)
    assert json.loads(pythons) == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    assert re.findall(r"os: \[(.*)\]", text) == ["ubuntu-latest", "macos-15, macos-26, macos-15-intel"]
    macs = re.findall(r"- { os: (macos-\S+), python: \"(.*)\" }", text)
    assert macs == [(mac, python) for mac in ("macos-15", "macos-26", "macos-15-intel") for python in ("3.10", "3.14")]
    assert "make test" in text and "make check" in text and "make facts" in text


def test_readme_says_that_nobody_has_run_it_on_macos() -> None:
    """Until somebody has: then README says that, and this goes."""
    assert "nobody has run it on macOS yet" in " ".join((REPO / "README.md").read_text().split())


def test_the_release_workflow_checks_the_tag_before_it_builds_and_builds_before_it_publishes() -> None:
    text = (WORKFLOWS / "release.yml").read_text()
    steps = [text.index(step) for step in ("make release-check", "make dist", "gh release create")]
    assert steps == sorted(steps)
    assert re.search(r"tags: \[\"v\*\"\]", text)


def test_every_run_of_the_tests_on_ubuntu_has_the_same_commands() -> None:
    texts = {name: (WORKFLOWS / name).read_text() for name in ("ci.yml", "release.yml")}
    installed = [line for text in texts.values() for line in re.findall(r"apt-get install .*", text)]
    assert len(installed) == 3 and len(set(installed)) == 1
    assert texts["release.yml"].index(installed[0]) < texts["release.yml"].index("make check test")


def test_what_we_assume_of_codex_is_asked_of_its_newest_every_day() -> None:
    text = (WORKFLOWS / "codex-latest.yml").read_text()
    assert re.search(r'cron: "\d+ \d+ \* \* \*"', text) and "make facts" in text


def test_the_codex_that_facts_are_asked_of_is_found_wherever_it_is_named(checkout: Checkout) -> None:
    for name, text in ((".ci/venv", 'echo "$PWD/python"'), ("python", 'echo "$CODEX_MIRROR_TEST_CODEX"')):
        (checkout.root / name).write_text(f"#!/bin/sh\n{text}\n")
        (checkout.root / name).chmod(0o755)
    sh = run(["sh", "-c", "command -v sh"], env=checkout.env).out.strip()
    for named, found in (("bin/codex", f"{checkout.root}/bin/codex"), ("/x/codex", "/x/codex"), ("sh", sh)):
        result = run([".ci/facts", "python3", named], env=checkout.env, cwd=checkout.root)
        assert (result.code, result.out, result.err) == (0, f"{found}\n", "")
    result = run([".ci/facts", "python3", "nosuch"], env=checkout.env, cwd=checkout.root)
    assert (result.code, result.out, result.err) == (1, "", "there is no command nosuch\n")


@pytest.mark.parametrize("name", ["ci.yml", "release.yml", "codex-latest.yml"])
def test_a_workflow_is_plain_text_with_least_rights(name: str) -> None:
    text = (WORKFLOWS / name).read_bytes().decode("ascii")
    assert "\t" not in text and "\r" not in text
    assert re.search(r"(?m)^permissions:\n  contents: read$", text)
    writers = re.findall(r"(?m)^ +(\w[\w-]*): write$", text)
    assert writers == (["contents"] if name == "release.yml" else [])
    # What somebody else may choose (a branch's or a tag's name) reaches the shell as a variable, never as text.
    assert not [line for line in text.splitlines() if re.search(r"run:.*\$\{\{", line)]
    actions = re.findall(r"uses: (\S+)", text)
    assert actions and all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in actions)


def test_make_alone_prints_every_target(checkout: Checkout) -> None:
    lines = checkout.make().out.splitlines()
    targets = re.findall(r"(?m)^([a-z-]+):", (REPO / "Makefile").read_text())
    assert [line.split()[1] for line in lines] == targets
