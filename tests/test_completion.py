"""Completions: what could stand at the cursor, and the three real shells that ask for it and offer it."""

from __future__ import annotations

import base64
import fcntl
import json
import py_compile
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from helpers import PROGRAM, Home, Mirror, make_launcher, run, tree
from rooms import cm, places_of, write_registry

# Runs a program on a terminal of its own; what stands on stdin is typed there.
ON_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
SHELLS = ("bash", "zsh", "fish")
CLONES = {"work", "wide", "c"}
ALWAYS = {"--json", "-y", "--yes", "-q", "--quiet", "--redact", "--debug", "-h", "--help"}


# --- the program and its clones ---


def row(home: Home, name: str, root: str = "", version: str = "0.169.0") -> dict[str, Any]:
    """A row of the registry, for a clone that is there in the registry only."""
    root = root or f"{home.mirror}/clones/{name}"
    runtime = f"{root}/.codex-mirror/runtime/0.169.0-00000000"
    return {
        "id": f"id-{name}",
        "name": name,
        "rootPath": root,
        "runtimePath": runtime,
        "runtimeEntryPath": f"{runtime}/bin/codex",
        "runtimeKind": "binary",
        "wrapperPath": f"{home.bin}/{name}",
        "codexVersionPinned": version,
        "createdAt": "2026-11-22T08:00:00.000Z",
        "updatedAt": "2026-11-22T08:00:00.000Z",
    }


@pytest.fixture
def clones(home: Home) -> Home:
    """A home whose registry has three clones; the first has an evil root and an evil version."""
    home.mirror.mkdir(mode=0o700)
    root, version = f"{home.base}/r $(touch pwned)\n'work'", "0.169.0\n--evil\t\x1b[31m$(touch pwned)`touch pwned`"
    write_registry(home, [row(home, "work", root, version), row(home, "wide"), row(home, "c")])
    return home


def install(home: Home, name: str = "codex-mirror", program: Path = PROGRAM) -> Path:
    """Puts a command of that name on the PATH of `home`, started as install.sh starts it."""
    library = home.base / "lib"
    library.mkdir(exist_ok=True)
    copy = Path(shutil.copy(program, library / "codex_mirror.py"))
    py_compile.compile(str(copy), doraise=True)
    command = make_launcher(home.base / "cmd" / name, library)
    home.put_on_path(command.parent)
    return command


# --- the shells ---


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine")


class Shell(NamedTuple):
    """A real shell with our completions: `offers(home, script, lines)` is what it offers at the end of each line."""

    name: str
    offers: Callable[[Home, str, list[str]], list[set[str]]]


def bash_offers(home: Home, script: str, lines: list[str]) -> list[set[str]]:
    """As readline calls the function that `complete` names for the line's command."""
    asked = f"{script}\n"
    for line in lines:
        name, current = line.split()[0], re.split(r"[\s'\"=:;|&()<>@]", line)[-1]
        asked += f"""
spec=$(complete -p -- {shlex.quote(name)}); spec=${{spec##*-F }}
COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_WORDS=({name}) COMP_CWORD=1
${{spec%% *}} {shlex.quote(name)} {shlex.quote(current)} {shlex.quote(name)}
printf '%s\\n' ${{COMPREPLY[@]+"${{COMPREPLY[@]}}"}}
echo ///
"""
    return answers(run(["bash", "--noprofile", "--norc", "-c", asked], env=home.env, cwd=home.home, check=True))


def fish_offers(home: Home, script: str, lines: list[str]) -> list[set[str]]:
    """Fish tells a script what it would offer."""
    (home.base / "script.fish").write_text(script, encoding="utf-8", errors="surrogateescape")
    asked = f"source {shlex.quote(str(home.base / 'script.fish'))}\n"
    asked += "".join(f"complete -C {cm.fish_quote(line)}\necho ///\n" for line in lines)
    result = run(["fish", "--no-config", "-c", asked], env=home.env, cwd=home.home, check=True)
    return [{offer.split("\t")[0] for offer in offers} for offers in answers(result)]


COMPINIT = "compinit -u -D\n"
# A widget that sets each line in turn, lets zsh complete it as Tab would, and notes what was added and what came of it.
ZSH_DRIVER = r"""
compadd() {
  local -a found
  if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
    builtin compadd -A found "$@"
    print -rl -- "offer "${^found} >>"$answers"
    if (( ${@[(I)-d]} )); then found=${@[${@[(I)-d]} + 1]}; print -rl -- "shown "${(P)^found} >>"$answers"; fi
  fi
  builtin compadd "$@"
}
drive() {
  for BUFFER in "${lines[@]}"; do
    CURSOR=${#BUFFER}
    zle complete-word
    print -r -- "line $BUFFER" >>"$answers"
    print /// >>"$answers"
  done
  BUFFER=exit
  zle accept-line
}
zle -N zle-line-init drive
"""


def zsh_answers(home: Home, script: str, lines: list[str]) -> list[set[str]]:
    """What zsh would offer, and the line as it stands after Tab, on a terminal of its own."""
    dots, found = home.base / "z", home.base / "answers"
    dots.mkdir(exist_ok=True)
    found.write_text("")
    quoted = " ".join(map(shlex.quote, lines))
    rc = f"answers={shlex.quote(str(found))}; lines=({quoted}); autoload -Uz compinit\n{script}{ZSH_DRIVER}"
    (dots / ".zshrc").write_text(rc, encoding="utf-8", errors="surrogateescape")
    env = {**home.env, "ZDOTDIR": str(dots), "TERM": "dumb"}
    shown = run([sys.executable, "-c", ON_TERMINAL, "zsh", "-d", "-i"], env=env, cwd=home.home, stdin="", check=True)
    groups = answers(shown._replace(out=found.read_text()))
    assert len(groups) == len(lines), shown
    return groups


def zsh_offers(home: Home, script: str, lines: list[str]) -> list[set[str]]:
    return [
        {answer.removeprefix("offer ").rstrip("/") for answer in group if answer.startswith("offer ")}
        for group in zsh_answers(home, COMPINIT + script, lines)
    ]


def answers(result: Any) -> list[set[str]]:
    """The lines between `///`; a shell that completes says nothing else."""
    assert result.err == "", result
    return [set(group.split("\n")) - {""} for group in result.out.split("///\n")[:-1]]


OFFERS = {"bash": bash_offers, "zsh": zsh_offers, "fish": fish_offers}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Shell:
    needs(request.param)
    return Shell(request.param, OFFERS[request.param])


def script_for(home: Home, shell: str, *, command: Path | str = "", path: str = "", cwd: Path | None = None) -> str:
    """What our command prints for this shell; found on PATH when its directory is in it."""
    argv = [command or home.base / "cmd/codex-mirror", "completion", shell]
    env = {**home.env, "PATH": path or home.env["PATH"]}
    result = run(argv, env=env, cwd=cwd or home.home, check=True)
    assert result.err == ""
    return result.out


# --- what could stand at the cursor ---

FIRST_WORDS = {command.words[0] for command in cm.COMMANDS}

# The words behind the program's name, what the shell adds, and the words that are offered, whatever was typed of them.
TABLE: list[tuple[str, str, set[str]]] = [
    ("", "", FIRST_WORDS | {"help"}),
    ("ru", "", FIRST_WORDS | {"help"}),
    ("--debug --json ", "", FIRST_WORDS | {"help"}),
    ("help ", "", FIRST_WORDS | {*cm.TOPICS}),
    ("-", "", {"-V", "-v", "--version", *ALWAYS}),
    ("-y --json -", "", {"-V", "-v", "--version", *ALWAYS} - {"-y", "--yes", "--json"}),
    ("nonsense ", "", set()),
    ("path ", "", {"status", "setup", "remove"}),
    ("wrapper ", "", {"install"}),
    ("path nonsense ", "", set()),
    ("--json list ", "", CLONES),
    ("-q run work --", "files", set()),
    ("-q path ", "", {"status", "setup", "remove"}),
    ("run ", "", CLONES),
    ("run wo", "", CLONES),
    ("run -", "", ALWAYS - {"--json"}),
    ("run --quiet ", "", CLONES),
    ("run work ", "files", set()),
    ("run work --", "files", set()),
    ("run work -- ", "files", set()),
    ("run work -- --", "files", set()),
    ("run work list --", "files", set()),
    ("exec work ", "files", set()),
    ("exec work -- git --", "files", set()),
    ("login work --", "files", set()),
    ("remove work ", "", ALWAYS | {"--force", "--dry-run"}),
    ("remove work --force ", "", ALWAYS | {"--dry-run"}),
    ("remove work -y ", "", {"--force", "--dry-run", *ALWAYS} - {"-y", "--yes"}),
    ("remove work -- ", "", set()),
    ("remove -- ", "", CLONES),
    ("remove -- -", "", CLONES),
    ("remove -- work ", "", set()),
    ("update work ", "", CLONES - {"work"}),
    ("update work c ", "", {"wide"}),
    ("rename ", "", CLONES),
    ("rename work ", "", ALWAYS | {"--dry-run"}),
    ("doctor ", "", CLONES),
    ("list ", "", CLONES),
    ("list c ", "", ALWAYS | {"--full"}),
    ("help path ", "", {"status", "setup", "remove"}),
    ("create --root ", "directories", set()),
    ("create --root=", "directories", set()),
    ("create --root=/tm", "directories", set()),
    ("create --nonsense=", "", set()),
    ("create --json=", "", set()),
    ("create --from ", "files", CLONES),
    ("create --settings-from ", "directories", CLONES),
    ("create --home ", "", {"isolated", "shared"}),
    ("create --home=", "", {"isolated", "shared"}),
    ("create --keep-env CODEX", "", {*cm.HIDDEN_VARIABLES}),
    ("create --share ", "", {"none", ".gitconfig"}),
    ("path setup --rc-file ", "files", set()),
    ("path setup --bin-dir ", "directories", set()),
    ("path setup --shell ", "", {"bash", "zsh", "fish", "sh"}),
    ("path setup --shell=zsh ", "", ALWAYS | {"--bin-dir", "--rc-file", "--dry-run"}),
    ("env work --shell ", "", {"bash", "zsh", "fish", "sh", "json"}),
    ("completion ", "", {*SHELLS}),
]


def offered(home: Home, words: list[str]) -> tuple[str, list[str]]:
    more, offers = cm.completions_for(cm.COMMANDS, words, places_of(home))
    return more, [word for word, _ in offers]


@pytest.mark.parametrize(("line", "more", "expected"), TABLE)
def test_what_could_stand_at_the_cursor(clones: Home, line: str, more: str, expected: set[str]) -> None:
    for name in (".gitconfig", ".codex", "$(touch pwned)", "a b"):
        (clones.home / name).mkdir()
    added, words = offered(clones, line.split(" "))
    assert (added, sorted(words)) == (more, sorted(expected))


def test_a_dash_alone_is_a_value_and_no_option(clones: Home) -> None:
    assert offered(clones, ["import", "-", ""]) == offered(clones, ["import", "file", ""]) != ("files", [])


CROWDS = [
    # how many clones there are, what is typed, and the logins that are read
    (cm.DESCRIBED_CLONES, "", cm.DESCRIBED_CLONES),
    (cm.DESCRIBED_CLONES, "x", cm.DESCRIBED_CLONES),
    (cm.DESCRIBED_CLONES + 1, "", 0),
    (cm.DESCRIBED_CLONES + 1, "n", 0),
    (cm.DESCRIBED_CLONES + 1, "n5", 2),
    (cm.DESCRIBED_CLONES + 1, "x", 0),
]


@pytest.mark.parametrize(("count", "word", "expected"), CROWDS)
def test_of_a_crowd_only_the_logins_of_a_few_that_fit_are_read(
    home: Home, monkeypatch: pytest.MonkeyPatch, count: int, word: str, expected: int
) -> None:
    read: list[str] = []
    monkeypatch.setattr(cm, "account_of", lambda clone: read.append(clone.name) or cm.Account("none"))
    home.mirror.mkdir(mode=0o700)
    write_registry(home, [row(home, f"n{number}") for number in range(count)])
    for typed, words in ((word, ["run"]), (f"--in={word}", ["resume"])):
        read.clear()
        _, offers = cm.completions_for(cm.COMMANDS, [*words, typed], places_of(home))
        described = {
            name: "not logged in" if name in read else "Codex 0.169.0" for name in map("n{}".format, range(count))
        }
        assert (len(read), dict(offers)) == (expected, described)


def test_an_option_that_adds_up_is_offered_again(home: Home) -> None:
    _, words = offered(home, ["create", "--share", ".npmrc", "--root", "/x", "-"])
    assert "--share" in words and "--root" not in words


@pytest.mark.parametrize("command", cm.COMMANDS, ids=lambda command: " ".join(command.words))
def test_every_row_of_the_table_is_offered_with_each_of_its_options_once(home: Home, command: Any) -> None:
    for depth, word in enumerate(command.words):
        assert word in offered(home, [*command.words[:depth], ""])[1]
    flags = [flag for argument in command.arguments for flag in argument.flags if flag.startswith("-")]
    common = ALWAYS - ({"--json"} if command.words[0] in ("run", "exec", "login") else set())
    assert sorted(offered(home, [*command.words, "-"])[1]) == sorted([*flags, *common])


KNOWN_PLACEHOLDERS = {
    *cm.VALUES_ON_DISK,
    *cm.KNOWN_VALUES,
    "NEW",
    "SHELL",
    "ID",
    "TEXT",
    "N",
    "SECONDS",
    "VAR=VALUE",
    "-",
}


@pytest.mark.parametrize("command", cm.COMMANDS, ids=lambda command: " ".join(command.words))
def test_every_placeholder_in_the_table_is_one_that_completes(command: Any) -> None:
    placeholders = [
        word for argument in command.arguments for word in str(argument.options.get("metavar", "-")).split("|")
    ]
    assert set(placeholders) <= KNOWN_PLACEHOLDERS


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("codex-mirror", ["codex-mirror"]),
        ("codex-mirror ", ["codex-mirror", ""]),
        ("codex-mirror run wo", ["codex-mirror", "run", "wo"]),
        ("codex-mirror run 'wo", ["codex-mirror", "run", "wo"]),
        ('codex-mirror run "a b', ["codex-mirror", "run", "a b"]),
        ("codex-mirror run a\\ b", ["codex-mirror", "run", "a b"]),
        ("codex-mirror run a\\", ["codex-mirror", "run", "a\\"]),
        ("codex-mirror run 'a ", ["codex-mirror", "run", "a "]),
        ("codex-mirror --root=/a:b  --x ", ["codex-mirror", "--root=/a:b", "--x", ""]),
        ("codex-mirror # x", ["codex-mirror", "#", "x"]),
        ("codex-mirror $(rm x) ", ["codex-mirror", "$(rm", "x)", ""]),
    ],
)
def test_an_unfinished_line_is_read_as_the_shell_would(line: str, words: list[str]) -> None:
    assert cm.split_unfinished_line(line) == words


def test_clones_come_with_their_account_on_one_line_without_control_characters(clones: Home) -> None:
    """The login is a file that others may have written."""
    email = "me\n--evil\t\x1b[31m$(touch pwned)`touch pwned`@x.example"
    claims = base64.urlsafe_b64encode(json.dumps({"email": email}).encode()).decode()
    logins = {"wide": {"OPENAI_API_KEY": "sk-secret-and-long-0001"}, "c": {"tokens": {"id_token": f"e30.{claims}.s"}}}
    for name, login in logins.items():
        login_file = Path(f"{clones.mirror}/clones/{name}/.codex-mirror/home/.codex/auth.json")
        login_file.parent.mkdir(parents=True)
        login_file.write_text(json.dumps(login))
    result = Mirror(clones)("completion", "fish", "--", "run", "", check=True)
    first, *lines = result.out.splitlines()
    assert (first, result.err) == ("\t", "")
    assert lines == [
        "work\tnot logged in",
        "wide\tAPI key sk-…0001",
        "c\tme\\x0a--evil\\x09\\x1b[31m$(touch pwned)`touch pwned`@x.example",
    ]


def test_it_takes_no_lock_settles_nothing_and_changes_nothing(clones: Home) -> None:
    """Another change is under way, and an earlier one was killed."""
    journal = {"version": 1, "id": "0123abcd", "what": "create x", "made": [], "staged": [], "doomed": []}
    (clones.mirror / "journal.json").write_text(json.dumps(journal))
    with open(clones.mirror / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = tree(clones.base)
        result = Mirror(clones)("completion", "fish", "--", "run", "", check=True)
        assert {line.split("\t")[0] for line in result.out.splitlines()} - {""} == CLONES
        assert tree(clones.base) == before


# --- the three shells ---

# Lines, and what every shell offers there.
FEW: list[tuple[str, set[str]]] = [
    ("path s", {"status", "setup"}),
    ("run w", {"work", "wide"}),
    ("run $(touch pwned) x", set()),
]
MANY: list[tuple[str, set[str]]] = [
    *FEW,
    ("r", {"run", "rollback", "rename", "remove", "resume"}),
    ("wr", {"wrapper"}),
    ("update work w", {"wide"}),
    ("update 'work' w", {"wide"}),
    ("remove work --forc", {"--force"}),
    ("remove work --force --forc", set()),
    ("create --home ", {"isolated", "shared"}),
    ("completion ", {*SHELLS}),
    ("list -", {"--full", *ALWAYS}),
    ("nonsense x", set()),
    ("run '$(touch pwned)' x", set()),
]


def check_offers(
    home: Home, shell: Shell, script: str, *, name: str = "codex-mirror", expected: list[tuple[str, set[str]]] = FEW
) -> None:
    """The shell offers what is expected, and a hostile word did nothing."""
    lines = [f"{name} {line}" for line, _ in expected]
    assert list(zip(lines, shell.offers(home, script, lines), strict=True)) == [
        (f"{name} {line}", offers) for line, offers in expected
    ]
    assert not [path for path in tree(home.base) if path.endswith("/pwned")]


def test_a_shell_offers_what_the_program_says(clones: Home, shell: Shell) -> None:
    install(clones)
    check_offers(clones, shell, script_for(clones, shell.name), expected=MANY)


def test_fish_and_zsh_show_what_each_word_means(clones: Home) -> None:
    needs("fish"), needs("zsh")
    install(clones)
    asked = script_for(clones, "fish") + "complete -C 'codex-mirror lis'"
    assert run(["fish", "--no-config", "-c", asked], env=clones.env).out == "list\tshow the clones\n"
    [found] = zsh_answers(clones, COMPINIT + script_for(clones, "zsh"), ["codex-mirror lis"])
    assert "shown list  -- show the clones" in found


UNUSUAL = {
    "bash": "set -uf; shopt -s failglob nullglob nocasematch extglob; IFS=-w; export POSIXLY_CORRECT=1",
    "zsh": "compinit -u -D; setopt ksh_arrays sh_word_split no_unset glob_subst noglob; IFS=-w",
    "fish": "set -g word x; set -g before y; set -g IFS -",
}


def test_a_shell_with_unusual_settings_offers_the_same(clones: Home, shell: Shell) -> None:
    install(clones)
    check_offers(clones, shell, f"{UNUSUAL[shell.name]}\n{script_for(clones, shell.name)}")


def test_loading_it_twice_is_loading_it_once(clones: Home, shell: Shell) -> None:
    install(clones)
    check_offers(clones, shell, script_for(clones, shell.name) * 2)


def test_a_command_of_another_name_is_completed_under_that_name(clones: Home, shell: Shell) -> None:
    check_offers(clones, shell, script_for(clones, shell.name, command=install(clones, "cm+1.2")), name="cm+1.2")


def test_a_command_that_is_not_on_the_path_is_started_by_its_own(clones: Home, shell: Shell) -> None:
    path = clones.env["PATH"]
    command = install(clones)
    script = script_for(clones, shell.name, command="./codex-mirror", path=path, cwd=command.parent)
    command.rename(command.with_name("moved"))
    assert shell.offers(clones, script, ["codex-mirror wr"]) == [set()]
    command.with_name("moved").rename(command)
    clones.env["PATH"] = path
    check_offers(clones, shell, script)


HOSTILE_DIRECTORY = "a $(touch pwned) `touch pwned` 'b' \"c\" \\ ; é\n#"


def test_the_file_copied_anywhere_completes_with_the_python_that_ran_it(clones: Home, shell: Shell) -> None:
    """`python3 …/codex_mirror.py` is no command of its own: then it is for one that the user calls codex-mirror."""
    directory = clones.home / HOSTILE_DIRECTORY
    directory.mkdir()
    shutil.copy(PROGRAM, directory / "codex_mirror.py")
    argv = [sys.executable, "codex_mirror.py", "completion", shell.name]
    script = run(argv, env=clones.env, cwd=directory, check=True).out
    check_offers(clones, shell, script)
    [offers] = shell.offers(clones, script, ["codex_mirror.py wr"])
    assert offers == {"wrapper"}


def test_a_command_with_an_unspeakable_name_completes_codex_mirror(clones: Home, shell: Shell) -> None:
    command = install(clones, "x;touch pwned;")
    check_offers(clones, shell, script_for(clones, shell.name, command=command, path="/usr/bin:/bin"))


def test_a_new_row_of_the_command_table_shows_up_by_itself(clones: Home, shell: Shell) -> None:
    start = "\nCOMMANDS: tuple[Command, ...] = (\n"
    row = """
    Command(
        ("polish", "brass"),
        "make it shine",
        list_clones,
        (NAME_OF_CLONE, Argument(("--wax",), "which wax", {"choices": ("bee", "palm"), "default": ""})),
    ),
"""
    changed = clones.base / "changed.py"
    changed.write_text(PROGRAM.read_text(encoding="utf-8").replace(start, start + row[1:]), encoding="utf-8")
    install(clones, program=changed)
    expected = {
        "codex-mirror pol": {"polish"},
        "codex-mirror polish ": {"brass"},
        "codex-mirror polish brass w": {"work", "wide"},
        "codex-mirror polish brass work --w": {"--wax"},
        "codex-mirror polish brass work --wax ": {"bee", "palm"},
    }
    found = shell.offers(clones, script_for(clones, shell.name), list(expected))
    assert dict(zip(expected, found, strict=True)) == expected


def test_when_the_program_or_its_registry_is_broken_nothing_is_said(clones: Home, shell: Shell) -> None:
    command = install(clones)
    script = script_for(clones, shell.name)
    (clones.mirror / "registry.json").write_text("{")
    assert shell.offers(clones, script, ["codex-mirror run ", "codex-mirror wr"]) == [set(), {"wrapper"}]
    command.write_text("#!/bin/sh\necho trouble >&2\nexit 1\n")
    assert shell.offers(clones, script, ["codex-mirror run ", "codex-mirror wr"]) == [set(), set()]
    command.unlink()
    assert shell.offers(clones, script, ["codex-mirror run ", "codex-mirror wr"]) == [set(), set()]


# --- on a terminal ---


def bash_lines(home: Home, script: str, lines: list[str]) -> list[str]:
    """The lines as they stand in readline after Tab; a key of our own notes each and begins the next."""
    if not run(["bash", "-c", "echo $((BASH_VERSINFO[0] > 3))"], env=home.env).out.startswith("1"):
        pytest.skip("bash 3.2, as macOS has it, doesn't tell the line that is typed")
    (home.base / "rc").write_text(
        f"""{script}
bind 'set bell-style none'; bind 'set enable-bracketed-paste off'
note() {{
  printf '%s\\n' "$READLINE_LINE" >>{shlex.quote(str(home.base / "answers"))}
  READLINE_LINE= READLINE_POINT=0
}}
bind -x '"\\C-xn": note'
"""
    )
    typed = "".join(f"{line}\t\x18n" for line in lines) + "exit\n"
    argv = ["bash", "--noprofile", "--rcfile", str(home.base / "rc"), "-i"]
    shown = run([sys.executable, "-c", ON_TERMINAL, *argv], env=home.env, cwd=home.home, stdin=typed)
    found = (home.base / "answers").read_text().splitlines()
    assert len(found) == len(lines), shown
    return found


def zsh_lines(home: Home, script: str, lines: list[str]) -> list[str]:
    groups = zsh_answers(home, COMPINIT + script, lines)
    return [answer.removeprefix("line ") for group in groups for answer in group if answer.startswith("line ")]


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_tab_writes_words_and_files_as_the_shell_itself_would(clones: Home, name: str) -> None:
    needs(name)
    for entry in ("wide", "folder", "my $(touch pwned) directory"):
        (clones.home / entry).mkdir()
    for entry in ("file", "x `touch pwned`"):
        (clones.home / entry).touch()
    install(clones)
    expected = {
        "codex-mirror rem": "codex-mirror remove ",
        "cd . && A=1 codex-mirror rem": "cd . && A=1 codex-mirror remove ",
        "codex-mirror run wi": "codex-mirror run wide ",
        "codex-mirror run wide fi": "codex-mirror run wide file ",
        "codex-mirror run wide -- fi": "codex-mirror run wide -- file ",
        "codex-mirror exec c -- cat --x fi": "codex-mirror exec c -- cat --x file ",
        "codex-mirror create --root fo": "codex-mirror create --root folder/",
        "codex-mirror create --root=fo": "codex-mirror create --root=folder/",
        "codex-mirror create --root fi": "codex-mirror create --root fi",
        "codex-mirror create --from fi": "codex-mirror create --from file ",
        "codex-mirror create --from=fi": "codex-mirror create --from=file ",
        "codex-mirror create --from wo": "codex-mirror create --from work ",
        "codex-mirror create --from x": "codex-mirror create --from x\\ \\`touch\\ pwned\\` ",
        "codex-mirror create --root my": "codex-mirror create --root my\\ \\$\\(touch\\ pwned\\)\\ directory/",
        "codex-mirror path setup --shell=z": "codex-mirror path setup --shell=zsh ",
        "codex-mirror list fi": "codex-mirror list fi",
    }
    lines = {"bash": bash_lines, "zsh": zsh_lines}[name]
    script = script_for(clones, name)
    assert dict(zip(expected, lines(clones, script, list(expected)), strict=True)) == expected
    assert not [path for path in tree(clones.base) if path.endswith("/pwned")]


def test_fish_offers_files_where_a_file_is_due(clones: Home) -> None:
    needs("fish")
    for entry in ("wide", "folder", "file"):
        (clones.home / entry).mkdir()
    (clones.home / "fine").touch()
    install(clones)
    expected = {
        "codex-mirror run wide -- fi": {"file/", "fine"},
        "codex-mirror create --root fi": {"file/"},
        "codex-mirror create --root=fi": {"--root=file/"},
        "codex-mirror create --from=fi": {"--from=file/", "--from=fine"},
        "codex-mirror create --from wi": {"wide", "wide/"},
        "codex-mirror path setup --shell=z": {"--shell=zsh"},
        "codex-mirror run wi": {"wide"},
        "codex-mirror list fiq": set(),
    }
    found = fish_offers(clones, script_for(clones, "fish"), list(expected))
    assert dict(zip(expected, found, strict=True)) == expected


# --- where shells look for it by themselves ---


def test_zsh_finds_it_in_its_function_path(clones: Home) -> None:
    """As install.sh leaves it, with a mark at the end; Tab works the first time and every time."""
    needs("zsh")
    install(clones)
    functions = clones.base / "functions"
    functions.mkdir()
    (functions / "_codex-mirror").write_text(script_for(clones, "zsh") + "# Written by an installer.\n")
    load = f"fpath=({functions} $fpath); compinit -u -D"
    groups = zsh_answers(clones, load, ["codex-mirror wr"] * 3)
    assert ["line codex-mirror wrapper " in group for group in groups] == [True] * 3


def test_fish_finds_it_in_its_completions(clones: Home) -> None:
    needs("fish")
    install(clones)
    completions = clones.home / ".config/fish/completions"
    completions.mkdir(parents=True)
    (completions / "codex-mirror.fish").write_text(script_for(clones, "fish"))
    result = run(["fish", "-c", "complete -C 'codex-mirror wr'"], env=clones.env, check=True)
    assert result.out.startswith("wrapper\t")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_only_words_behind_dashes_are_a_query(clones: Home, name: str) -> None:
    mirror = Mirror(clones)
    assert "codex-mirror" in mirror("completion", name, "--json", check=True).json()["lines"][0]
    assert mirror("completion", name, "--help", check=True).out.startswith("usage: ")
    assert mirror("completion", name, "run").code == 2
    assert mirror("completion", name, "--", "--json", check=True).out != ""
    assert offered(clones, ["completion", name, "-"]) == offered(clones, ["list", "--full", "-"])


def test_an_unknown_shell_is_a_usage_error(home: Home) -> None:
    result = Mirror(home)("completion", "tcsh")
    assert (result.code, result.out) == (2, "") and "tcsh" in result.err
