"""Git configuration: git in an isolated clone does what it does outside, also after either side was edited."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers import UTF8_LOCALE, Home, home_in_passwd, run, tree
from rooms import ask, clone_in, clone_like, cm, make_clone, places_of, skip_without

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

SHELLS = {
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "zsh": ["zsh", "--emulate", "sh"],
}

# --- reading ---

READ: list[tuple[str, list[tuple[str, str]]]] = [
    ("[user]\n\tname = A B  ; c\n", [("user.name", "A B")]),
    ('[user] name = "A # B" # c\n', [("user.name", "A # B")]),
    ("[a]\nx = 1 \\\n 2\n\ty=\nz\n", [("a.x", "1  2"), ("a.y", "")]),
    ('[a "B.\\"c"]\n\tX-y = a\\tb\\\\c"  d "\n', [('a.B."c.x-y', "a\tb\\c  d ")]),
    ("\ufeff[A.bC]\nd = e\r\nf = g\r\n", [("a.bc.d", "e"), ("a.bc.f", "g")]),
    ('[a]\nb = \\\n  1 \\\n\nc = d "\\\n " \\\n', [("a.b", "1 "), ("a.c", "d   ")]),
    ("# [no]\n;no=1\n[a]b=c\n[d]\n", [("a.b", "c")]),
    ("[a]\nb = c\n<<<<<<<\n[d]\ne = f\n", [("a.b", "c")]),
    ('[a]\nb = "' + "\\\n" * 1000, [("a.b", "")]),
    ('[a]\nb = "c \\\r\n d"\r\n', [("a.b", "c  d")]),
]


@pytest.mark.parametrize(("text", "wanted"), READ)
def test_a_configuration_is_read_as_git_reads_it(text: str, wanted: list[tuple[str, str]]) -> None:
    assert [(entry.name, entry.value) for entry in cm.git_entries(text) if entry.key] == wanted


HOME_IN_VALUES = [
    ("core.excludesfile", "~/.ignore", "/h/.ignore"),
    ("core.excludesfile", "/a/~/b", "/a/~/b"),
    ("core.sshcommand", "ssh -i ~/k -F $HOME/c -o X=${HOME}/y", "ssh -i /h/k -F /h/c -o X=/h/y"),
    ("alias.x", "!~/bin/x; cd ~ && echo $HOMER HEAD~", "!/h/bin/x; cd /h && echo $HOMER HEAD~"),
    ("alias.x", "![[ a =~ b ]]", "![[ a =~ b ]]"),
    ("alias.x", "log ~/x", "log ~/x"),
    ("credential.helper", "store --file ~/x", "store --file ~/x"),
    ("credential.https://x.helper", "!~/prog", "!/h/prog"),
    ("http.cookiefile", "~/c", "~/c"),
    ("http.https://x/.cookiefile", "~/c", "~/c"),
    ("url.~/x.insteadof", "~/y", "~/y"),
    ("pretty.mine", "~/%h", "~/%h"),
    ("safe.directory", "~/p", "/h/p"),
    ("safe.directory", "~other/p", "~other/p"),
    ("filter.x.clean", "'$HOME/f' %f", "'$HOME/f' %f"),
    ("user.signingkey", "$HOME/k", "/h/k"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "wanted"), HOME_IN_VALUES)
def test_home_at_the_beginning_of_a_word_is_the_real_one(name: str, value: str, wanted: str) -> None:
    entry = cm.GitEntry(name, "", name.rpartition(".")[2], value, 0, 0)
    assert cm.git_value_outside(entry, cm.GitScope("/h", "/h/.gitconfig", str, str)) == wanted


def test_a_home_with_spaces_is_one_word_for_a_shell_and_itself_elsewhere() -> None:
    scope = cm.GitScope("/a b", "/a b/.gitconfig", str, str)
    names = ("core.editor", "merge.mine.driver", "diff.pdf.textconv", "diff.external", "filter.x.process")
    names += ("interactive.difffilter", "sendemail.tocmd", "core.excludesfile", "gpg.ssh.allowedsignersfile")
    values = [cm.git_value_outside(cm.GitEntry(name, "", "x", "~/x", 0, 0), scope) for name in names]
    assert values == ["/a\\ b/x"] * 7 + ["/a b/x"] * 2


# Texts of a shell that says HOME in one way or another; each prints its words, one a line.
SAID = r"""printf '%s\n' "$HOME/a" ${HOME}/b '~/c' "~/d" '$HOME/e' ~/f ~ "x $HOME" "${HOME}y" $HOMER \$HOME \~/g
x=~/a:~/b; printf '%s\n' "$x" HEAD~ a~/b # it's "$HOME ~/x
printf '%s\n' "$(printf '%s\n' "$HOME/in" ~/in '~/in')" "`printf '%s\n' ~/tick`" "(~/x)" # ' "
sh -c 'printf "%s\n" ~/inner "$HOME/inner" '"'~/lit'"; sh -c "printf '%s\n' ~/two '~/three'"
bash -ec '[[ a =~ b ]] || printf "%s\n" "$HOME"'; case ~/a in ~/*) printf '%s\n' ~/case "$HOME" ;; esac
f() { printf '%s\n' "$1" ~/f; }; f "$HOME/it's" && (cd ~ && pwd); ${HOME:+printf} '%s\n' "${x:-$HOME}"
"""


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox", "zsh"])
@pytest.mark.parametrize("odd", ["plain", "a b", "it's", 'a"b', "$x`y`", "a;b&c", "(d) [e]*", "back\\slash", "ü#~"])
def test_a_shell_says_the_same_of_the_real_home_that_it_says_outside(tmp_path: Path, shell: str, odd: str) -> None:
    skip_without(SHELLS[shell][0])
    home = tmp_path / odd
    home.mkdir()
    written = cm.shell_text_outside(SAID, str(home))
    env = {"PATH": os.environ["PATH"], "LC_ALL": UTF8_LOCALE}
    outside, inside = (
        run([*SHELLS[shell], "-c", text], env={**env, "HOME": str(where)}, cwd=tmp_path).out.splitlines()
        for text, where in ((SAID, home), (written, tmp_path))
    )
    # Without quotes a shell splits what it replaces; ours is one word, which is what was meant.
    assert "\n".join(outside).replace("\n", " ") == "\n".join(inside).replace("\n", " ") != ""


def test_texts_of_a_shell_are_read_in_good_time() -> None:
    for text in (
        "a#" * 300_000,
        "(" * 500_000,
        "'" * 99_999,
        '"$(' * 200_000,
        "~" * 500_000,
        " -c '" * 50_000,
        "`" * 300_001,
    ):
        cm.shell_text_outside(text, "/h")


def test_a_condition_about_home_is_about_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    scope = cm.GitScope(str(tmp_path / "link"), str(tmp_path / "x" / "config"), str, str)
    for kind, subsection, wanted in (
        ("includeif", "gitdir:~/a/", f'[includeIf "gitdir:{tmp_path}/real/a/"]'),
        ("includeif", "gitdir/i:./a", f'[includeIf "gitdir/i:{tmp_path}/x/a"]'),
        ("includeif", "gitdir:a/", ""),
        ("url", "gitdir:~/a/", ""),
    ):
        assert cm.git_heading_outside(cm.GitEntry(kind, subsection, "", "", 0, 0), scope) == wanted


# --- with git ---


def git(home: Home, *words: Any, cwd: Path | None = None, clone: str = "", **env: str) -> str:
    """What git says, outside or in a clone."""
    start = ["git", *words]
    if clone:
        return ask(home, "exec", clone, "--", *start, cwd=cwd or home.home, env=env).out
    return run(start, env={**home.env, **env}, cwd=cwd or home.home).out


CONFIG = """\
[user]
\tname = Ada
\temail = ada@home.example
[core]
\texcludesFile = ~/.ignored
\thooksPath = ~/hooks
[init]
\ttemplateDir = ~/template
[include]
\tpath = .gitconfig.d/plain
\tpath = ~/.gitconfig.d/rewritten
\tpath = nowhere
[includeIf "gitdir:~/proj/"]
\tpath = company
[includeIf "gitdir/i:~/PROJ/app/"]
\tpath = ~/caseless
[includeIf "gitdir:./beside/"]
\tpath = beside.inc
[includeIf "onbranch:topic"]
\tpath = topic
[includeIf "hasconfig:remote.*.url:https://remote.example/**"]
\tpath = remote
[alias]
\thome = !ls ~/.ignored
[safe]
\tdirectory = ~/proj/app
"""
FILES = {
    ".gitconfig": CONFIG,
    ".gitconfig.d/plain": "[a]\n\tplain = ~tilde stays\n[include]\n\tpath = nested\n",
    ".gitconfig.d/nested": "[a]\n\tnested = 1\n",
    ".gitconfig.d/rewritten": "[commit]\n\ttemplate = ~/message\n[include]\n\tpath = deeper\n",
    ".gitconfig.d/deeper": "[a]\n\tdeeper = 1\n",
    "company": "[user]\n\temail = ada@company.example\n",
    "caseless": "[a]\n\tcaseless = 1\n",
    "beside.inc": "[a]\n\tbeside = 1\n",
    "topic": "[a]\n\ttopic = 1\n",
    "remote": "[a]\n\tremote = 1\n",
    ".ignored": "secret.env\n",
    "message": "Message\n",
    "hooks/pre-commit": "#!/bin/sh\necho hooked >&2\nexit 1\n",
    "template/description": "from the template\n",
    ".config/git/config": "[a]\n\txdg = 1\n",
    ".config/git/ignore": "xdg.ignored\n",
    ".config/git/credentials": "https://ada:planted@x.example\n",
}


def write_files(top: Path, files: dict[str, str]) -> None:
    for tail, text in files.items():
        (top / tail).parent.mkdir(parents=True, exist_ok=True)
        (top / tail).write_text(text)
        (top / tail).chmod(0o755 if text.startswith("#!") else 0o644)


@pytest.fixture
def app(home: Home, codex: Path) -> Path:
    """A repository below the directory that the user's configuration has a condition for, and a clone `work`."""
    write_files(home.home, FILES)
    app = home.home / "proj" / "app"
    app.mkdir(parents=True)
    git(home, "init", "-q", "-b", "topic", cwd=app)
    git(home, "remote", "add", "origin", "https://remote.example/app", cwd=app)
    write_files(app, {"secret.env": "x", "xdg.ignored": "x", "seen": "x"})
    make_clone(home, "work")
    return app


ASKED = (
    ["config", "user.email"],
    ["config", "--path", "--get-regexp", "^(a|commit|core|init|safe)\\."],
    ["status", "--porcelain"],
    ["home"],
    ["var", "GIT_AUTHOR_IDENT"],
    ["rev-parse", "--git-path", "hooks"],
)
WHERE = {"a company's repository": "proj/app", "beside the configuration": "beside", "the home": "."}


@needs_git
@pytest.mark.parametrize("where", WHERE)
def test_git_says_in_a_clone_what_it_says_outside(home: Home, app: Path, where: str) -> None:
    directory = home.home / WHERE[where]
    if not directory.exists():
        directory.mkdir()
        git(home, "init", "-q", cwd=directory)
    for words in ASKED:
        outside, inside = (
            git(home, *words, cwd=directory, clone=clone, GIT_AUTHOR_DATE="1 +0") for clone in ("", "work")
        )
        assert inside == outside, words
    assert (git(home, "config", "user.email", cwd=app, clone="work")) == "ada@company.example\n"
    assert "secret.env" not in git(home, "status", "--porcelain", cwd=app, clone="work")
    own = Path(cm.home_of(clone_in(home, "work")))
    assert sorted(os.listdir(own / ".config" / "git")) == ["config", "ignore"]


@needs_git
def test_a_configuration_behind_links_and_in_another_xdg_directory_counts_as_outside(home: Home, codex: Path) -> None:
    dots = home.home / "dots"
    write_files(dots, {"gitconfig": '[includeIf "gitdir:./app/"]\n\tpath = dots/inc\n', "inc": "[a]\n\tb = 1\n"})
    (home.home / ".gitconfig").symlink_to("dots/gitconfig")
    config = '[include]\n\tpath = ../more\n[includeIf "gitdir:~/dots/"]\n\tpath = ../tilde\n'
    files = {"git/config": config, "more": "[a]\n\tmore = ~/m\n", "tilde": "[a]\n\ttilde = 1\n"}
    write_files(home.home / "x", files)
    xdg = {"XDG_CONFIG_HOME": str(home.home / "x")}
    (dots / "app").mkdir()
    git(home, "init", "-q", cwd=dots / "app")
    make_clone(home, "work")
    for words in (["config", "a.b"], ["config", "a.tilde"], ["config", "--path", "a.more"]):
        outside = git(home, *words, cwd=dots / "app", **xdg)
        assert outside and git(home, *words, cwd=dots / "app", clone="work", **xdg) == outside


# --- where the user's own variables say that it is ---

ELSEWHERE = {
    "dots/gitconfig": "[user]\n\tname = Dot\n[core]\n\texcludesFile = ~/dots/ignored\n[include]\n\tpath = more\n",
    "dots/more": "[a]\n\tmore = ~/m\n",
    "dots/ignored": "seen\n",
    "x/git/config": "[a]\n\txdg = 2\n\tmore = ~/x\n",
    "x/git/ignore": "xdg.ignored\n",
}
OTHER_PLACES: dict[str, dict[str, str]] = {
    "a file of its own": {"GIT_CONFIG_GLOBAL": "dots/gitconfig"},
    "a file and a directory": {"GIT_CONFIG_GLOBAL": "dots/gitconfig", "XDG_CONFIG_HOME": "x"},
    "a directory": {"XDG_CONFIG_HOME": "x"},
    "a directory with nothing": {"XDG_CONFIG_HOME": "dots"},
    "none": {"GIT_CONFIG_GLOBAL": "/dev/null"},
    "an empty name": {"GIT_CONFIG_GLOBAL": ""},
    "a file that isn't there": {"GIT_CONFIG_GLOBAL": "dots/nowhere"},
    "nothing": {},
}


def variables_of(home: Home, place: str) -> dict[str, str]:
    return {name: str(home.home / value) if value else "" for name, value in OTHER_PLACES[place].items()}


def heard(home: Home, cwd: Path, env: dict[str, str], clone: str = "") -> list[str]:
    asked = (*ASKED[:3], ["config", "--global", "--list"], ["config", "user.name"])
    home_of_git = cm.home_of(clone_in(home, clone)) if clone else str(home.home)
    return [
        text.replace(f"{home_of_git}/", "~/").replace(f"{home.home}/", "~/")
        for text in (git(home, *words, cwd=cwd, clone=clone, **env) for words in asked)
    ]


@needs_git
def test_git_goes_by_the_users_own_variables_whichever_the_start_has(home: Home, app: Path) -> None:
    """Each start after another one, so that nothing of the place of before stays."""
    write_files(home.home, ELSEWHERE)
    before = tree(home.home)
    for place in (*OTHER_PLACES, *reversed(OTHER_PLACES)):
        env = variables_of(home, place)
        outside, inside = (heard(home, app, env, clone) for clone in ("", "work"))
        outside[3] = ""  # Its paths are as written outside.
        listed, inside[3] = inside[3], ""
        assert inside == outside, place
        assert ("user.name=Dot" in listed) == ("dots/gitconfig" in str(env))
    assert cm.git_kept(clone_in(home, "work")) == []
    assert cm.own_files(clone_in(home, "work")) == []
    after = tree(home.home)
    assert {path for path in after if after[path] != before.get(path)} <= {".", "proj/app/.git", "proj/app/.git/index"}


@needs_git
@pytest.mark.parametrize("place", ["a file of its own", "a directory", "none"])
def test_what_is_edited_in_the_clone_stays_there_also_where_another_file_counts(
    home: Home, app: Path, place: str
) -> None:
    write_files(home.home, ELSEWHERE)
    before = tree(home.home / "dots"), tree(home.home / "x"), (home.home / ".gitconfig").read_bytes()
    env = variables_of(home, place)
    git(home, "config", "--global", "mine.one", "1", clone="work", **env)
    for other in ({}, env, variables_of(home, "a directory"), env):
        assert git(home, "config", "mine.one", clone="work", **other) == "1\n"
    assert git(home, "config", "user.name", clone="work", **env) == git(home, "config", "user.name", **env)
    assert (tree(home.home / "dots"), tree(home.home / "x"), (home.home / ".gitconfig").read_bytes()) == before
    write_files(home.home, {"dots/gitconfig": ELSEWHERE["dots/gitconfig"].replace("Dot", "Later")})
    assert git(home, "config", "user.name", clone="work", **env) == git(home, "config", "user.name", **env)


@pytest.mark.parametrize("place", OTHER_PLACES)
def test_the_wrapper_hides_the_variable_and_knows_by_it_whether_the_copies_are_fresh(
    home: Home, app: Path, place: str
) -> None:
    write_files(home.home, ELSEWHERE)
    clone, env = clone_in(home, "work"), variables_of(home, place)
    Path(clone.runtime.entry).unlink()
    Path(clone.runtime.entry).write_text('#!/bin/sh\n[ -z "${GIT_CONFIG_GLOBAL+x}" ] && exec "$@"\n')
    Path(clone.runtime.entry).chmod(0o755)
    stale = f'. "{cm.git_state_file(clone)}"; echo "$cm_stale"'
    said = lambda: run([clone.wrapper, "sh", "-c", stale], env={**home.env, **env}, check=True).out  # noqa: E731
    assert said() == ("" if place == "nothing" else "yes") + "\n"
    start(home, **env)
    assert said() == "\n"
    inner = [clone.wrapper, clone.wrapper, "sh", "-c", stale]
    assert run(inner, env={**home.env, **env}, check=True).out == "\n", "also of a start in a clone"


@needs_git
def test_without_shares_no_variable_brings_a_configuration(home: Home, app: Path) -> None:
    write_files(home.home, ELSEWHERE)
    env = variables_of(home, "a file of its own")
    ask(home, "create", "none", "--share", "none")
    ask(home, "create", "own", "--home", "shared")
    assert git(home, "config", "--global", "--list", clone="none", **env) == ""
    assert git(home, "config", "user.name", clone="own", **env) == "Dot\n"
    assert "GIT_CONFIG_GLOBAL can't be set" in ask(home, "set", "none", "--env", "GIT_CONFIG_GLOBAL=/x").err


@needs_git
def test_doctor_names_what_a_repository_of_its_own_looks_for_below_home(home: Home, app: Path) -> None:
    """Nobody can mend that for the clone: its hooks would not run there, and nobody would know."""
    inner = app / "inner"
    inner.mkdir()
    git(home, "config", "core.hooksPath", "~/dots/hooks", cwd=app)
    git(home, "config", "core.sshCommand", "ssh -i ~/.ssh/it\\'s", cwd=app)
    git(home, "config", "include.path", "../beside", cwd=app)
    git(home, "config", "alias.x", "log ~/x", cwd=app)
    before = (app / ".git" / "config").read_bytes()

    def told() -> list[str]:
        return re.findall(r"\[git-repository\]\n +(.*)", ask(home, "doctor", cwd=inner).out)

    assert [fix.rpartition(" ")[0] for fix in told()] == [
        "git config core.hookspath",
        "git config core.sshcommand 'ssh -i",
    ]
    assert (app / ".git" / "config").read_bytes() == before
    for fix in told():
        run(["sh", "-c", fix], env=home.env, cwd=inner, check=True)
    assert told() == [] and git(home, "config", "core.hooksPath", cwd=app) == f"{home.home}/dots/hooks\n"
    (app / ".git" / "config").write_text(f"[a]\n\tb = ~/{'x' * 9999}\n" + "[core]\n\thooksPath = ~/y\n" * 99)
    assert len(told()) == 5, "a stranger's repository fills no screen"
    ask(home, "set", "work", "--share", "none")
    assert told() == [], "nobody's git is meant to be as outside"


# --- edits ---


def derived(home: Home) -> Path:
    return Path(cm.home_of(clone_in(home, "work"))) / ".gitconfig"


def start(home: Home, **env: str) -> None:
    ask(home, "exec", "work", "--", "true", env=env)


@needs_git
def test_later_edits_of_the_user_are_there_at_the_next_start(home: Home, app: Path) -> None:
    edits = {
        ".gitconfig": CONFIG.replace("Ada", "Eve"),
        "company": "[user]\n\temail = ~/odd\n",
        "nowhere": "[a]\nn=~/n\n",
    }
    write_files(home.home, edits)
    for words in (["config", "user.name"], ["config", "user.email"], ["config", "--path", "a.n"]):
        assert git(home, *words, cwd=app, clone="work") == git(home, *words, cwd=app) != ""
    (home.home / ".gitconfig").unlink()
    assert git(home, "config", "a.xdg", clone="work") == "1\n"
    assert git(home, "config", "user.name", clone="work") == git(home, "config", "user.name") == ""
    assert not (home.clone_home("work") / ".gitconfig").exists(), "a copy goes with the file that it was made of"


@needs_git
def test_an_edit_in_the_clone_stays_there_and_takes_later_ones_of_the_user(home: Home, app: Path) -> None:
    real = (home.home / ".gitconfig").read_bytes()
    git(home, "config", "--global", "--add", "safe.directory", "/elsewhere", clone="work")
    git(home, "config", "--global", "user.name", "Clone", clone="work")
    assert (home.home / ".gitconfig").read_bytes() == real
    assert git(home, "config", "--global", "user.email", clone="work") == "ada@home.example\n"
    write_files(home.home, {".gitconfig": CONFIG.replace(".ignored\n", ".other\n", 1)})
    assert git(home, "config", "core.excludesfile", clone="work") == f"{home.home}/.other\n"
    assert git(home, "config", "user.name", clone="work") == "Clone\n"
    assert "/elsewhere" in git(home, "config", "--get-all", "safe.directory", clone="work")
    assert cm.git_kept(clone_in(home, "work")) == []
    write_files(home.home, {".gitconfig": CONFIG.replace("Ada", "Eve").replace("ada@home", "eve@home")})
    assert git(home, "config", "user.name", clone="work") == "Clone\n"
    assert "git-kept" in ask(home, "doctor", "work", "--json").out
    left = os.listdir(cm.git_directory(clone_in(home, "work")))
    assert not [name for name in left if name.startswith(("ours", "before", "theirs"))]
    derived(home).unlink()
    assert git(home, "config", "user.name", clone="work") == "Eve\n"
    assert cm.git_kept(clone_in(home, "work")) == []


# --- when it is derived ---


def set_time(path: Path, seconds: float) -> None:
    os.utime(path, (seconds, seconds))


MADE_STALE = {
    "nothing": (lambda top: None, ""),
    "a newer file": (lambda top: set_time(top / ".gitconfig", 2e9), "yes"),
    "an older file": (lambda top: set_time(top / ".gitconfig", 1e9), "yes"),
    "a newer include": (lambda top: set_time(top / ".gitconfig.d" / "nested", 2e9), "yes"),
    "a file that came": (lambda top: (top / "nowhere").touch(), "yes"),
    "a file that went": (lambda top: (top / "company").unlink(), "yes"),
    "a keyring that came": (lambda top: (top / ".gnupg").mkdir(), "yes"),
    "a copy that went": (lambda top: next(top.parent.glob("m/clones/work/.*/home/.gitconfig")).unlink(), "yes"),
}


@pytest.mark.parametrize("what", MADE_STALE)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_sees_whether_the_copies_are_fresh(home: Home, app: Path, shell: str, what: str) -> None:
    skip_without(SHELLS[shell][0])
    change, wanted = MADE_STALE[what]
    change(home.home)
    state = cm.git_state_file(clone_in(home, "work"))
    assert cm.is_git_fresh(clone_in(home, "work"), home.env) == (not wanted)
    assert not cm.is_git_fresh(clone_in(home, "work"), {**home.env, "XDG_CONFIG_HOME": "/x"})
    assert run([*SHELLS[shell], "-c", f'. "{state}"; echo "$cm_stale"'], env=home.env).out.strip() == wanted


DAMAGED = ("", "5", "null", '[["", ""], [], []]', '[["", ""], {}, [["x"]]]', '[["", ""]]', "[" * 100_000)


@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: line[:20])
def test_where_it_cant_be_read_what_the_copies_were_derived_from_they_are_derived_anew(
    home: Home, app: Path, line: str
) -> None:
    clone = clone_in(home, "work")
    state = Path(cm.git_state_file(clone))
    before = state.read_text()
    state.write_text(f"# {line}\n{before.partition(chr(10))[2]}")
    start(home)
    assert state.read_text() == before and cm.is_git_fresh(clone, home.env)


def test_the_wrapper_starts_nothing_where_the_copies_are_fresh_and_derives_them_where_not(
    home: Home, app: Path
) -> None:
    noted = home.base / "noted"
    write_files(home.base / "c", {"codex-mirror": f'#!/bin/sh\necho "$@" >>{noted}\n'})
    home.put_on_path(home.base / "c")
    wrapper = clone_in(home, "work").wrapper
    run([wrapper, "--version"], env=home.env, check=True)
    assert not noted.exists()
    (home.home / "nowhere").touch()
    assert run([wrapper, "--version"], env=home.env, check=True).out == "codex-cli 0.169.0\n"
    assert noted.read_text() == "env work --shell sh\n"
    start(home)
    run([wrapper, "--version"], env=home.env, check=True)
    assert noted.read_text() == "env work --shell sh\n"


def test_where_times_are_cut_off_a_newer_file_is_still_seen(
    home: Home, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.utime

    def cut(path: str, *, ns: tuple[int, int]) -> None:
        real(path, ns=(ns[0] // 10**9 * 10**9,) * 2)

    os.utime(home.home / ".gitconfig", ns=(5, 1_500_000_000_123_456_789))
    monkeypatch.setattr(cm.os, "utime", cut)
    clone = clone_in(home, "work")
    cm.refresh_git(clone, places_of(home), home.env)
    said = f'. "{cm.git_state_file(clone)}"; echo "$cm_stale"'
    assert run(["sh", "-c", said], env=home.env).out == "\n", Path(cm.git_state_file(clone)).read_text()
    monkeypatch.undo()
    set_time(home.home / ".gitconfig", 2e9)
    assert run(["sh", "-c", said], env=home.env).out == "yes\n"


# --- what stays out, and older clones ---


def test_without_shares_there_is_no_git_configuration_and_unsharing_takes_it_away(home: Home, app: Path) -> None:
    ask(home, "create", "none", "--share", "none")
    bare = clone_in(home, "none")
    assert not Path(cm.home_of(bare), ".gitconfig").exists() and not os.path.exists(cm.git_directory(bare))
    assert derived(home).exists()
    ask(home, "set", "work", "--unshare", ".gitconfig", "--unshare", ".config/git")
    assert not derived(home).exists() and not os.path.exists(cm.git_state_file(clone_in(home, "work")))
    ask(home, "set", "work", "--share", ".gitconfig")
    assert "ada@home.example" in derived(home).read_text()
    before = derived(home).read_bytes()
    ask(home, "set", "work", "--home", "shared")
    start(home)
    ask(home, "set", "work", "--home", "isolated")
    assert derived(home).read_bytes() == before
    ask(home, "set", "work", "--unshare", ".gitconfig")
    assert not derived(home).exists() and not os.path.exists(cm.git_directory(clone_in(home, "work")))


def test_nothing_is_derived_or_taken_away_behind_a_link_that_leads_out_of_the_clone(home: Home, app: Path) -> None:
    (home.home / ".config/git/ignore").touch()
    clone, theirs = clone_in(home, "work"), home.base / "theirs"
    own = home.clone_home("work") / ".config/git"
    own.rename(theirs)
    own.symlink_to(theirs)
    before = tree(theirs)
    assert "config" in before
    (theirs / "ignore").unlink(missing_ok=True)
    (home.home / ".config/git/config").write_text("[user]\n\tname = New\n[core]\n\teditor = ~/x\n")
    cm.refresh_git(clone, places_of(home), home.env)
    assert tree(theirs)["config"] == before["config"] and not os.path.lexists(theirs / "ignore")
    assert ask(home, "set", "work", "--unshare", ".config/git").code == 0
    assert tree(theirs)["config"] == before["config"]


def test_nothing_is_derived_into_a_directory_that_stands_in_the_place_of_the_clone_s(home: Home, app: Path) -> None:
    clone, theirs = clone_in(home, "work"), home.base / "theirs"
    own = Path(cm.git_directory(clone))
    own.rename(theirs)
    own.symlink_to(theirs)
    before = tree(theirs)
    (home.home / ".gitconfig").write_text("[user]\n\tname = New\n[core]\n\teditor = ~/x\n")
    cm.refresh_git(clone, places_of(home), home.env)
    assert tree(theirs) == before


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_what_a_shell_reads_of_the_copies_is_inert_whatever_files_and_variables_are_called(
    home: Home, shell: str
) -> None:
    there = home.base / "a'b $(touch pwned) ; touch pwned"
    there.touch()
    outer = {"XDG_CONFIG_HOME": f"{there}'", "GIT_CONFIG_GLOBAL": str(there)}
    reader = cm.GitReader(clone_like(home), places_of(home)._replace(user_home=f"{there}-home"), outer)
    file = cm.GitFile(str(there), there.stat().st_mtime_ns, str(there), b"")
    state, clone = home.base / "state", clone_like(home, root=f"{there}-clone")
    reference = Path(cm.git_reference(clone, file))
    reference.parent.mkdir(parents=True)
    reference.touch()
    os.utime(reference, ns=(there.stat().st_mtime_ns, there.stat().st_mtime_ns))
    state.write_bytes(cm.git_freshness(clone, [file], reader, outer, True))
    users = {f"{cm.USERS}{name}": value for name, value in outer.items()}
    for env, stale in ((users, ""), ({**users, f"{cm.USERS}XDG_CONFIG_HOME": "x"}, "yes")):
        said = run([shell, "-c", '. "$0"; printf %s "$cm_stale"', state], env={**home.env, **env}, cwd=home.base)
        assert said == (0, stale, "") and not (home.base / "pwned").exists()


def test_a_copy_that_was_edited_stays_when_it_is_no_longer_shared(home: Home, app: Path) -> None:
    derived(home).write_text("[user]\n\tname = Clone\n")
    assert ask(home, "set", "work", "--unshare", ".gitconfig").code == 0
    assert derived(home).read_text() == "[user]\n\tname = Clone\n"


def test_a_clone_of_1_0_0_gets_copies_from_doctor_and_keeps_links_that_are_not_ours(home: Home, app: Path) -> None:
    clone = clone_in(home, "work")
    own = Path(cm.home_of(clone))
    shutil.rmtree(cm.git_directory(clone))
    shutil.rmtree(own / ".config" / "git")
    (own / ".gitconfig").unlink()
    (own / ".gitconfig").symlink_to(home.home / ".gitconfig")
    (own / ".config" / "git").symlink_to(home.home / ".config" / "git")
    before = tree(home.home)
    assert "git-config" in ask(home, "doctor", "work", "--json").out
    assert git(home, "config", "user.email", cwd=app, clone="work") == "ada@home.example\n"
    assert "git-config" not in ask(home, "doctor", "work", "--fix", "--json").out
    assert git(home, "config", "user.email", cwd=app, clone="work") == "ada@company.example\n"
    assert (own / ".config" / "git").is_dir() and not (own / ".config" / "git").is_symlink()
    (own / ".gitconfig").unlink()
    (own / ".gitconfig").symlink_to("/dev/null")
    shutil.rmtree(own / ".config" / "git")
    (own / ".config" / "git").symlink_to(home.home / ".config" / "git")
    ask(home, "doctor", "work", "--fix")
    assert os.readlink(own / ".gitconfig") == "/dev/null" and tree(home.home) == before


HELPERS = [
    ("[credential]\n\thelper = store\n", "store"),
    ("", ""),
    ('[credential]\n\thelper = cache\n[credential "https://x.y"]\n\thelper =\n\thelper = !gh auth git-credential\n'
     "[include]\n\tpath = more\n", "cache, !gh auth git-credential, libsecret"),
    ('[credential "https://x.example"]\n\thelper = store\n\thelper =\n[credential]\n\thelper = store\n', "store"),
    ("[credential]\n\thelper =\n\tusername = ada\n[a]\n\thelper = b\n", ""),
]  # fmt: skip


@pytest.mark.parametrize(("config", "named"), HELPERS)
def test_create_says_which_of_git_s_logins_stay_outside(home: Home, codex: Path, config: str, named: str) -> None:
    write_files(home.home, {".gitconfig": config, "more": "[credential]\n\thelper = libsecret\n"})
    said = ask(home, "create", "work").err
    assert (f"the logins of your git ({named}) aren't shared" in said) == bool(named), said
    assert ("--home shared" in said) == bool(named)


def test_a_copy_that_nobody_edited_is_nothing_to_lose(home: Home, app: Path) -> None:
    clone = clone_in(home, "work")
    assert cm.own_files(clone) == []
    derived(home).write_text("[a]\nb = 1\n")
    assert cm.own_files(clone) == [str(derived(home))]


@pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg")
def test_commits_are_signed_with_the_keys_of_the_real_home(home: Home, codex: Path) -> None:
    gnupg = home.home / ".gnupg"
    gnupg.mkdir(mode=0o700)
    made = ["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-gen-key", "ada@x.example"]
    try:
        run(made, env=home.env, check=True)
        config = (
            "[user]\n\tname = Ada\n\temail = ada@x.example\n\tsigningKey = ada@x.example\n[commit]\n\tgpgSign = true\n"
        )
        (home.home / ".gitconfig").write_text(config)
        make_clone(home, "work")
        app = home.home / "app"
        app.mkdir()
        git(home, "init", "-q", cwd=app, clone="work")
        said = ask(home, "exec", "work", "--", "git", "commit", "-q", "--allow-empty", "-m", "x", cwd=app)
        assert said.code == 0, said.err
        for clone in ("", "work"):
            assert git(home, "log", "--format=%G?", cwd=app, clone=clone) == "G\n"
        assert not (Path(cm.home_of(clone_in(home, "work"))) / ".gnupg").exists()
    finally:
        run(["gpgconf", "--kill", "all"], env=home.env)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_a_program_that_signs_is_started_whatever_it_and_the_home_are_called(home: Home) -> None:
    program = home.base / "it's $(touch pwned); x" / "g p g"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf %s "$HOME|$1"\n')
    program.chmod(0o755)
    reader = cm.GitReader(clone_like(home), places_of(home)._replace(user_home='/h o\'m "e" $(x)'), {})
    script = home.base / "script"
    script.write_text(reader.programs[reader.signer(str(program))])
    said = run(["sh", script, "--sign it"], env=home.env, cwd=home.base)
    assert said == (0, '/h o\'m "e" $(x)|--sign it', "") and not (home.base / "pwned").exists()


def test_commits_are_signed_with_ssh_keys_of_the_real_home(home: Home, codex: Path) -> None:
    if not home_in_passwd():
        pytest.skip("ssh-keygen wants a user with a name")
    key = home.home / ".ssh" / "id"
    key.parent.mkdir(mode=0o700)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], env=home.env, check=True)
    allowed = "ada@x.example " + key.with_suffix(".pub").read_text()
    config = (
        "[user]\n\tname = Ada\n\temail = ada@x.example\n\tsigningKey = ~/.ssh/id.pub\n[commit]\n\tgpgSign = true\n"
        '[gpg]\n\tformat = ssh\n[gpg "ssh"]\n\tallowedSignersFile = ~/allowed\n'
    )
    write_files(home.home, {"allowed": allowed, ".gitconfig": config})
    make_clone(home, "work")
    app = home.home / "app"
    app.mkdir()
    git(home, "init", "-q", cwd=app, clone="work")
    git(home, "commit", "-q", "--allow-empty", "-m", "x", cwd=app, clone="work")
    assert [git(home, "log", "--format=%G?", cwd=app, clone=clone) for clone in ("", "work")] == ["G\n", "G\n"]


def test_a_clone_that_shares_the_home_has_no_copies(home: Home) -> None:
    clone = clone_like(home, home="shared", shared=())
    assert not cm.shared_git(clone)
