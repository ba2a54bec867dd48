"""Toolchains of the real HOME work in an isolated clone; what is shared is told, and nobody gets more unasked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from helpers import PROGRAM, Home, tree
from rooms import ask, clone_in, cm, make_clone

# A toolchain's files, and a command line that is to say `works`: each finds its parts as the real one does.
SAYS = "#!/bin/sh\necho works\n"
LAYOUTS: dict[str, tuple[dict[str, str], str]] = {
    "rustup's proxies": (
        {
            ".cargo/bin/cargo": '#!/bin/sh\nexec "${RUSTUP_HOME:-$HOME/.rustup}/toolchains/stable/bin/cargo" "$@"\n',
            ".rustup/toolchains/stable/bin/cargo": SAYS,
        },
        "cargo",
    ),
    "nvm": ({".nvm/nvm.sh": 'PATH=$HOME/.nvm/versions/node/v22/bin:$PATH\n', ".nvm/versions/node/v22/bin/node": SAYS},
            '. "$HOME/.nvm/nvm.sh"; node'),
    "pyenv's shims": (
        {
            ".pyenv/shims/python9": '#!/bin/sh\nexec "${PYENV_ROOT:-$HOME/.pyenv}/versions/9/bin/python9"\n',
            ".pyenv/versions/9/bin/python9": SAYS,
        },
        "python9",
    ),
    "mise's shims": (
        {
            ".local/share/mise/shims/thing": '#!/bin/sh\nexec "$XDG_DATA_HOME/mise/installs/thing/1/bin/thing"\n',
            ".local/share/mise/installs/thing/1/bin/thing": SAYS,
        },
        "thing",
    ),
    "uv's pythons": ({".local/share/uv/python/cpython-9/bin/python9": SAYS},
                     '"$XDG_DATA_HOME/uv/python/cpython-9/bin/python9"'),
    "asdf's shims": (
        {
            ".asdf/shims/node": '#!/bin/sh\nread -r v <"$HOME/.tool-versions" && exec "$HOME/.asdf/installs/$v/node"\n',
            ".tool-versions": "22\n",
            ".asdf/installs/22/node": SAYS,
        },
        '"$HOME/.asdf/shims/node"',
    ),
    "a Python's own packages": (
        {f".local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/mine.py": "print('works')\n"},
        f"{os.path.realpath(sys.executable)} -c 'import mine'",
    ),
    "docker's plugins": ({".docker/cli-plugins/docker-compose": SAYS}, '"$HOME/.docker/cli-plugins/docker-compose"'),
    "go's modules": ({"go/pkg/mod/x.com/auth0/token/works": SAYS}, '"$HOME/go/pkg/mod/x.com/auth0/token/works"'),
    "gradle's own": ({".gradle/wrapper/dists/9/gradle": SAYS, ".gradle/gradle.properties": "token=x"},
                     '[ ! -e "$HOME/.gradle/gradle.properties" ] && "$HOME/.gradle/wrapper/dists/9/gradle"'),
    "the browsers of tests": ({".cache/ms-playwright/chromium/chrome": SAYS},
                              '"$XDG_CACHE_HOME/ms-playwright/chromium/chrome"'),
}  # fmt: skip
PROGRAM_ITSELF = (sys.executable, "-I", "-S", str(PROGRAM))
ON_PATH = (".cargo/bin", ".pyenv/shims", ".local/share/mise/shims")


def install(home: Home, files: dict[str, str]) -> None:
    for tail, text in files.items():
        (home.home / tail).parent.mkdir(parents=True, exist_ok=True)
        (home.home / tail).write_text(text)
        (home.home / tail).chmod(0o755)


def say(home: Home, line: str) -> tuple[str, str]:
    result = ask(home, "exec", "work", "--", "bash", "-lc", line)
    return result.out, result.err


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_toolchain_of_the_real_home_works_in_a_clone(home: Home, codex: Path, layout: str) -> None:
    files, line = LAYOUTS[layout]
    home.put_on_path(*(home.home / tail for tail in ON_PATH))
    install(home, files)
    make_clone(home, "work")
    assert say(home, line) == ("works\n", "")
    before = tree(home.home)
    ask(home, "set", "work", "--share", "none")
    assert "works" not in say(home, line)[0] and tree(home.home) == before


@pytest.mark.parametrize("place", ["h/.xdg/data", "elsewhere"])
@pytest.mark.parametrize("layout", ["mise's shims", "uv's pythons"])
def test_a_toolchain_in_a_moved_data_home_works_in_a_clone(home: Home, codex: Path, layout: str, place: str) -> None:
    files, line = LAYOUTS[layout]
    install(home, files)
    data = home.base / place
    data.parent.mkdir(exist_ok=True)
    (home.home / ".local/share").rename(data)
    home.env["XDG_DATA_HOME"] = str(data)
    home.put_on_path(data / "mise/shims")
    assert ask(home, "create", "work").code == 0
    entry = next(tail for tail in (".local/share/mise", ".local/share/uv/python") if files and tail in " ".join(files))
    assert shared(home) == [*GIT, entry] and say(home, line) == ("works\n", "") and findings(home) == ""
    # Also by a program that is started inside of a clone, and by hand.
    assert ask(home, "exec", "work", "--", *PROGRAM_ITSELF, "create", "inner").code == 0
    assert clone_in(home, "inner").shared == (*GIT, entry)
    before = tree(data)
    assert ask(home, "set", "work", "--unshare", entry).code == 0 and "works" not in say(home, line)[0]
    assert ask(home, "set", "work", "--share", entry).code == 0 and say(home, line) == ("works\n", "")
    assert ask(home, "set", "work", "--share", "none").code == 0 and tree(data) == before


@pytest.mark.parametrize(
    ("variable", "usual", "tail"),
    [
        ("XDG_CACHE_HOME", ".cache", "deno"),
        ("XDG_CONFIG_HOME", ".config", "gh"),
        ("XDG_STATE_HOME", ".local/state", "x"),
    ],
)
def test_what_is_in_a_moved_directory_is_shared_by_its_usual_place(
    home: Home, codex: Path, variable: str, usual: str, tail: str
) -> None:
    install(home, {f"moved/{tail}/works": SAYS})
    home.env[variable] = str(home.home / "moved")
    assert ask(home, "create", "work", "--share", f"{usual}/{tail}").code == 0
    assert say(home, f'"${variable}/{tail}/works"') == ("works\n", "")
    assert os.readlink(home.clone_home("work") / usual / tail) == str(home.home / "moved" / tail)
    assert findings(home) == "" and ask(home, "set", "work", "--share", "none").code == 0
    assert not (home.clone_home("work") / usual / tail).exists()
    made = ask(home, "create", "other").out
    assert (f"{usual}/{tail}" in made) == (tail == "deno")


def test_a_login_in_a_moved_data_home_is_not_shared(home: Home, codex: Path) -> None:
    data = home.base / "data"
    for name in ("mise", "x/mine"):
        (data / name).mkdir(parents=True)
    (data / "mise/credentials.json").touch()
    (home.home / ".m2/repository").mkdir(parents=True)
    (home.home / ".m2/repository/auth.json").write_text('{"auth_mode": "chatgpt"}')
    install(home, {".docker/config.json": "{}", ".gem/credentials": "x", ".mix/auth": "x"})
    (data / "x/mine/auth.json").write_text('{"auth_mode": "chatgpt"}')
    home.env.update({"XDG_DATA_HOME": str(data), "CODEX_HOME": str(data / "codex")})
    assert ask(home, "create", "work").code == 0 and shared(home) == GIT
    (data / "codex").mkdir()
    for entry in (".local/share/x", ".local/share/codex", ".local/share/../share/x/mine"):
        told = ask(home, "set", "work", "--share", entry)
        assert told.code == 5 and "logins are in" in told.err, entry


def shared(home: Home) -> list[str]:
    return list(clone_in(home, "work").shared)


def findings(home: Home) -> str:
    result = ask(home, "doctor", "work", "--json")
    return " ".join(one["what"] for one in result.json()[0]["problems"] if one["id"] == "shares-new")


GIT = [".gitconfig", ".config/git"]


def test_what_is_shared_is_told_in_one_line_and_named_entries_are_only_those(home: Home, codex: Path) -> None:
    install(home, LAYOUTS["rustup's proxies"][0])
    (home.home / ".npmrc").touch()
    wanted = {
        (): [*GIT, ".rustup", ".cargo/bin"],
        ("none",): [],
        (".npmrc",): [".npmrc"],
        ("default", ".npmrc"): [".npmrc", *GIT, ".rustup", ".cargo/bin"],
    }
    for words, entries in wanted.items():
        made = ask(home, "create", "work", *(word for one in words for word in ("--share", one)))
        assert f"  shares   {', '.join(entries) or 'nothing'}\n" in made.out
        assert sorted(shared(home)) == sorted(entries)
        assert f"{', '.join(shared(home)) or '-'}" in ask(home, "list", "--full").out
        assert findings(home) == ""
        ask(home, "remove", "work", "--yes")


def test_an_older_clone_learns_of_new_entries_and_gets_them_when_asked(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    assert shared(home) == GIT and findings(home) == ""
    install(home, LAYOUTS["rustup's proxies"][0])
    assert findings(home) == "a new clone would also share: .rustup, .cargo/bin"
    assert ask(home, "doctor", "work", "--fix").code == 0 and shared(home) == GIT
    own = Path(cm.home_of(clone_in(home, "work")))
    (own / ".rustup" / "toolchains").mkdir(parents=True)  # As a failed attempt leaves it.
    (own / ".cargo" / "bin").mkdir(parents=True)
    (own / ".cargo" / "bin" / "own").touch()
    result = ask(home, "set", "work", "--share", "default")
    assert result.code == 0 and ".cargo/bin" in result.err
    assert shared(home) == [*GIT, ".rustup"] and os.path.islink(own / ".rustup")
    assert os.listdir(own / ".cargo" / "bin") == ["own"] and findings(home) == ""
    assert not (home.home / ".rustup" / ".rustup").exists()


def test_who_shares_nothing_is_not_told_of_more_until_he_wants_it(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    ask(home, "set", "work", "--share", "none")
    install(home, LAYOUTS["rustup's proxies"][0])
    assert shared(home) == [] and findings(home) == ""
    ask(home, "set", "work", "--share", "default")
    assert sorted(shared(home)) == sorted([*GIT, ".rustup", ".cargo/bin"])
    assert not clone_in(home, "work").named_shares
