"""What we write for a shell, held to bash 3.2: macOS has no other as /bin/sh and /bin/bash.

That bash is old, and isn't here to be asked: each construct that it doesn't know, or gets wrong, stands in a table.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers import REPO, Home, run
from rooms import ask, cm

# What came after 3.2, each with the version that brought it, and a line that has it.
NEWER: list[tuple[str, str, str]] = [
    ("associative arrays (4.0)", r"\b(declare|local|typeset)\s+-[a-zA-Z]*A", "declare -A names"),
    ("global declarations (4.2)", r"\b(declare|typeset)\s+-[a-zA-Z]*g", "declare -g x=1"),
    ("name references (4.3)", r"\b(declare|local|typeset)\s+-[a-zA-Z]*n", "local -n other=$1"),
    ("mapfile (4.0)", r"\b(mapfile|readarray)\b", "mapfile -t lines"),
    ("coprocesses (4.0)", r"\bcoproc\b", "coproc cat"),
    ("case of letters (4.0)", r"\$\{\w+(\[[^]]*\])?(\^|,)", "echo ${name,,}"),
    ("transformations (4.4)", r"\$\{[\w@*\[\]]+@[A-Za-z]\}", "echo ${name@Q}"),
    ("negative lengths (4.2)", r"\$\{\w+:(?![-+=?])[^}:]*:\s*-", "echo ${name:0:-1}"),
    ("negative indices (4.2)", r"\$\{\w+\[\s*-", "echo ${list[-1]}"),
    ("both outputs appended (4.0)", r"&>>", "ls &>> log"),
    ("both outputs piped (4.0)", r"\|&", "ls |& cat"),
    ("cases that fall through (4.0)", r";;&|;&", "x) ;;&"),
    ("steps of braces (4.0)", r"\{\d+\.\.\d+\.\.\d+\}", "echo {1..9..2}"),
    ("numbers of descriptors (4.1)", r"\bexec\s+\{\w+\}", "exec {log}>file"),
    ("is a variable set (4.2)", r"(\[\[?|\btest)\s+-v\s", "[[ -v name ]]"),
    ("times of printf (4.2)", r"printf.*%\([^)]*\)T", "printf '%(%F)T' -1"),
    ("waiting for any (4.3)", r"\bwait\s+-[nfp]", "wait -n"),
    ("parts of seconds, whole counts (4.0, 4.1)", r"\bread\b.*\s-(t\s*\d*\.\d|N)", "read -t 0.5 x"),
    ("text to begin with (4.0)", r"\bread\b.*\s-i\b", "read -e -i x y"),
    ("options of the shell (4.0)", r"\bshopt\s.*(globstar|autocd|lastpipe|inherit_errexit)", "shopt -s globstar"),
    ("variables (4.0, 5.0)", r"\$\{?(BASHPID|EPOCH\w+|SRANDOM|PROMPT_DIRTRIM)", "echo $EPOCHSECONDS"),
    ("letters by number (4.2)", r"\$'[^']*\\[uU]", r"echo $'\u2713'"),
    ("the line that is typed (4.0)", r"READLINE_(LINE|POINT)", "bind -x '\"x\": READLINE_LINE=y'"),
    # In 3.2, too, but wrong: the parenthesis of the pattern ends the substitution.
    ("a case in a substitution", r"\$\((?:[^()']|'[^']*')*\bcase\b[^()]*\)", "x=$(case $y in z) echo;; esac)"),
]
# compopt (4.0) may be tried: without it the completion is only less exact.
TRIED = r"\bcompopt\b(?!.*2>/dev/null)"


def trespasses(text: str) -> list[str]:
    """What of a script bash 3.2 can't do; comments don't count."""
    code = re.sub(r"(?m)(^|\s)#(?![!]).*$", "", text)
    rows = [*NEWER, ("compopt that isn't only tried (4.0)", TRIED, "")]
    return [what for what, pattern, _ in rows if re.search(pattern, code)]


@pytest.mark.parametrize(("what", "pattern", "line"), NEWER, ids=[row[0] for row in NEWER])
def test_each_of_these_is_noticed(what: str, pattern: str, line: str) -> None:
    assert trespasses(f"echo\n{line}\n") == [what]
    assert trespasses(f"echo\n# {line}\n") == []


def test_compopt_may_be_tried() -> None:
    assert trespasses("compopt +o default 2>/dev/null") == []
    assert trespasses("compopt +o default") != []


@pytest.fixture
def written(home: Home, codex: Path) -> dict[str, str]:
    """All that is written for sh or bash, each by the name that tells what it is."""
    for words in (
        ("create", "work"),
        ("create", "shared", "--home", "shared", "--no-env", "X"),
        *(("path", "setup", "--shell", shell) for shell in ("bash", "sh")),
        ("shim", "install", "--shell", "bash"),
    ):
        ask(home, *words)
    texts = {f"completion {name}": ask(home, "completion", "bash").out for name in ("bash",)}
    texts |= {f"env {name}": ask(home, "env", name).out for name in ("work", "shared")}
    texts["env --unset"] = ask(home, "env", "work", "--unset").out
    for path in home.base.rglob("*"):
        if path.is_file() and path.suffix != ".jsonl" and "/npm/" not in f"{path}" and "/runtime/" not in f"{path}":
            text = path.read_bytes().decode("utf-8", "replace")
            if text.startswith(("#!/bin/sh", "#!/bin/bash")) or path.name in (".profile", ".bashrc", ".bash_profile"):
                texts[str(path.relative_to(home.base))] = text
    return texts


def test_what_we_write_for_a_shell_is_understood_by_macos_s(written: dict[str, str]) -> None:
    assert {"bin/work", "h/.bashrc", "h/.profile", "completion bash", "env work"} <= {*written}
    assert {name: found for name, text in written.items() if (found := trespasses(text))} == {}


SCRIPTS = [path for path in (REPO / "install.sh", *sorted((REPO / ".ci").iterdir())) if path.is_file()]
SCRIPTS = [path for path in SCRIPTS if path.read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_our_own_scripts_are_understood_by_macos_s_shell(path: Path) -> None:
    assert trespasses(path.read_text()) == []


def test_shellcheck_knows_them_for_plain_sh(written: dict[str, str], home: Home) -> None:
    if not cm.find_on_path("shellcheck", home.env["PATH"] + ":/usr/bin"):
        pytest.skip("shellcheck is not on this machine")
    for name, text in written.items():
        file = home.base / "checked.sh"
        file.write_text(text if text.startswith("#!") else f"#!/bin/{'bash' if 'bash' in name else 'sh'}\n{text}")
        said = run(["/usr/bin/env", "shellcheck", "--severity=error", file], env={"PATH": "/usr/bin:/usr/local/bin"})
        assert (said.code, said.out) == (0, ""), name
