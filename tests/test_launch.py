"""Launch: the environment of a clone, the same through the wrapper and through `run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers import PROGRAM, Home, run
from rooms import ROOT, ask, at_rest, changes, clone_in, clone_like, cm, make_clone, places_of, raw

# What a shell makes of its own accord.
SHELL_S_OWN = {"PWD", "OLDPWD", "SHLVL", "_"}
PRINTER = "#!/bin/sh\n/usr/bin/env -0\n"


def lay_out(clone: Any) -> None:
    """The parts of it that a start needs: a Codex that prints its environment, and its directories."""
    entry = Path(clone.runtime.entry)
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_text(PRINTER)
    entry.chmod(0o755)
    Path(cm.codex_home_of(clone)).mkdir(parents=True, exist_ok=True)


def environment(result: Any) -> dict[str, str]:
    variables = dict(one.split("=", 1) for one in result.out.split("\0")[:-1])
    return {name: value for name, value in variables.items() if name not in SHELL_S_OWN}


def old_layout(home: Home) -> Any:
    """A runtime of 0.120, whose helper must be on PATH."""
    clone = clone_like(home)
    package = clone.runtime.path
    return clone._replace(runtime=clone.runtime._replace(entry=f"{package}/codex/codex", version="0.120.0"))


def of_javascript(home: Home) -> Any:
    clone = clone_like(home)
    return clone._replace(
        runtime=clone.runtime._replace(entry=f"{clone.runtime.path}/package/bin/codex.js", kind="npm-package")
    )


CLONES: dict[str, Callable[[Home], Any]] = {
    "isolated": clone_like,
    "shared": lambda home: clone_like(home, home="shared"),
    "with all kept": lambda home: clone_like(home, keep_env=cm.HIDDEN_VARIABLES),
    "with some kept": lambda home: clone_like(home, keep_env=("OPENAI_PROJECT", "PATH", "x; y")),
    "shared with some kept": lambda home: clone_like(home, home="shared", keep_env=("CODEX_API_KEY", "CODEX_CI")),
    "of 0.120": old_layout,
    "of JavaScript": of_javascript,
    "with its command elsewhere": lambda home: clone_like(home, wrapper=str(home.base / "else where" / "work")),
    "at an odd place": lambda home: clone_like(home, root=f"{home.base}/a 'b' $(c)\n\udcff")._replace(
        runtime=cm.Runtime(
            f"{home.base}/a 'b' $(c)\n\udcff/.codex-mirror/runtime/1-abcdef12",
            f"{home.base}/a 'b' $(c)\n\udcff/.codex-mirror/runtime/1-abcdef12/bin/codex",
            "binary",
            "1.0.0",
        )
    ),
}  # fmt: skip

Env = dict[str, str]


def without(env: Env, *names: str) -> Env:
    return {name: value for name, value in env.items() if name not in names}


def nested_in(kind: str) -> Callable[[Home, Env], Env]:
    def nested(home: Home, env: Env) -> Env:
        return dict(cm.launch_environment(clone_like(home, "outer", home=kind), places_of(home), env))

    return nested


XDG = {name: f"/x/{name}" for name in cm.XDG_DIRECTORIES}
SET = {**dict.fromkeys(cm.HIDDEN_VARIABLES, "x y"), "CODEX_HOME": "/c"}
EMPTY = dict.fromkeys(SET, "")
KEYS = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "u", "SSH_AUTH_SOCK": "s"}
ODD = {"ODD": "a\nb'\"$(c)\udcff ", "EMPTY": "", "IFS": "CO_", "ENV": "/x"}
TEXTS = {
    "GIT_SSH_COMMAND": "ssh -i ~/.ssh/k -o IdentityFile=~/.ssh/l -F \"$HOME\"/c -o 'X ${HOME}/d'",
    "GIT_EDITOR": "~/bin/edit -l $HOME/x --y=$HOMEBREW/z a~/b ~other/c ~",
    "EDITOR": "vi",
    "VISUAL": "",
    "PAGER": "$HOME/a ~/b  ~/c\n~/d ${HOME}${HOME}$HOME/e *~/f",
    "GIT_CONFIG_COUNT": "3",
    **{f"GIT_CONFIG_KEY_{number}": "core.hooksPath" for number in range(3)},
    **{f"GIT_CONFIG_VALUE_{number}": text for number, text in enumerate(("~/hooks", "x", "!f ~/x"))},
    "OTHER": "~/stays",
}
CALLERS: dict[str, Callable[[Home, Env], Env]] = {
    "a plain one": lambda home, env: env,
    "one with every variable set": lambda home, env: {**env, **SET},
    "one with every variable empty": lambda home, env: {**env, **EMPTY},
    "one with XDG directories": lambda home, env: {**env, **XDG, "XDG_RUNTIME_DIR": "/run/x"},
    "an isolated clone": nested_in("isolated"),
    "a shared clone": nested_in("shared"),
    "an isolated clone, with XDG": lambda home, env: nested_in("isolated")(home, {**env, **XDG}),
    "one of the real home by name": lambda home, env: {**env, "CODEX_MIRROR_USER_HOME": str(home.home), **XDG},
    "one without PATH": lambda home, env: without(env, "PATH"),
    "one with an empty PATH": lambda home, env: {**env, "PATH": ""},
    "one with keys of its own": lambda home, env: {**env, **KEYS},
    "one with odd values": lambda home, env: {**env, **ODD},
    "one with texts for a shell": lambda home, env: {**env, **TEXTS},
}  # fmt: skip


@pytest.mark.parametrize("context", CALLERS)
@pytest.mark.parametrize("clone_kind", CLONES)
def test_the_wrapper_and_run_give_the_same_environment(home: Home, clone_kind: str, context: str) -> None:
    clone = CLONES[clone_kind](home)
    env = CALLERS[context](home, dict(home.env))
    if clone.runtime.kind == "npm-package":
        if not env.get("PATH"):
            pytest.skip("node is found through PATH")
        node = home.base / "node"
        node.mkdir()
        (node / "node").write_text('#!/bin/sh\nexec /bin/sh "$@"\n')
        (node / "node").chmod(0o755)
        env["PATH"] = f"{node}:{env['PATH']}"
    lay_out(clone)
    wrapper = home.base / "wrapper"
    wrapper.write_bytes(cm.wrapper_content(clone, places_of(home)))
    wrapper.chmod(0o755)
    places = cm.places_from(env)
    # Without a PATH each shell takes one of its own.
    ignored = {*SHELL_S_OWN, "IFS"} | (set() if "PATH" in env else {"PATH", "CODEX_MIRROR_PATH"})
    wanted = without(cm.launch_environment(clone, places, env), *ignored)
    if clone.runtime.kind == "npm-package":
        assert cm.launch_program(clone, places, env, ["x"]).argv == ("node", clone.runtime.entry, "x")
    shown = environment(run([wrapper], env=env, cwd=home.home, check=True))
    assert without(shown, *ignored) == wanted


def test_home_in_what_a_shell_reads_later_is_the_real_one_in_an_isolated_clone(home: Home) -> None:
    env = {**home.env, **TEXTS}
    places, given = cm.places_from(env), str(home.home)
    for kind in ("isolated", "shared"):
        clone = clone_like(home, home=kind)
        launched = cm.launch_environment(clone, places, env)
        told = {name: launched[name].replace(given, "@") for name in TEXTS}
        assert kind == "isolated" or told == TEXTS
        inner = cm.launch_environment(clone_like(home, home="shared"), places, launched)
        assert {name: inner[name] for name in TEXTS} == {name: launched[name] for name in TEXTS}
        if kind == "isolated":
            assert told == TEXTS | {
                "GIT_SSH_COMMAND": "ssh -i @/.ssh/k -o IdentityFile=@/.ssh/l -F \"@\"/c -o 'X @/d'",
                "GIT_EDITOR": "@/bin/edit -l @/x --y=$HOMEBREW/z a~/b ~other/c ~",
                "PAGER": "@/a @/b  @/c\n~/d @@@/e *~/f",
                "GIT_CONFIG_VALUE_0": "@/hooks",
                "GIT_CONFIG_VALUE_2": "!f @/x",
            }
            assert cm.launch_environment(clone, places, launched) == launched


def hidden_everything(home: Home) -> Mapping[str, str]:
    return {**home.env, **dict.fromkeys(cm.HIDDEN_VARIABLES, "planted"), "CODEX_HOME": "/theirs", "XDG_DATA_HOME": "/d"}


def test_an_isolated_clone_sees_a_home_of_its_own_and_no_other_login(home: Home) -> None:
    clone = clone_like(home)
    base = f"{home.mirror}/clones/work/.codex-mirror"
    own = f"{base}/home"
    env = cm.launch_environment(clone, places_of(home), {**hidden_everything(home), "OPENAI_API_KEY": "k"})
    assert env == {
        **{name: home.env[name] for name in ("PATH", "TMPDIR", "LANG", "CODEX_MIRROR_OFFLINE")},
        "OPENAI_API_KEY": "k",
        "HOME": own,
        "CODEX_HOME": f"{own}/.codex",
        "XDG_CONFIG_HOME": f"{own}/.config",
        "XDG_DATA_HOME": f"{own}/.local/share",
        "XDG_STATE_HOME": f"{own}/.local/state",
        "XDG_CACHE_HOME": f"{own}/.cache",
        "CODEX_MIRROR_CLONE": "work",
        "CODEX_MIRROR_HOME": str(home.mirror),
        "CODEX_MIRROR_BIN_DIR": str(home.bin),
        "CODEX_MIRROR_USER_HOME": str(home.home),
        "CODEX_MIRROR_USER_XDG_DATA_HOME": "/d",
        "CODEX_MIRROR_PATH": f"{base}/bin:{Path(clone.runtime.entry).parent.parent}/codex-path:{home.env['PATH']}",
        **({"BROWSER": f"{base}/browser"} if os.uname().sysname == "Linux" else {}),
    }


def test_a_shared_clone_sees_the_real_home_and_no_other_login(home: Home) -> None:
    clone = clone_like(home, home="shared")
    env = cm.launch_environment(clone, places_of(home), hidden_everything(home))
    assert env["HOME"] == str(home.home) and env["XDG_DATA_HOME"] == "/d" and "planted" not in env.values()
    assert env["CODEX_HOME"] == str(home.clone_home("work") / ".codex")


def test_a_shared_clone_gets_the_real_home_back_from_inside_an_isolated_one(home: Home) -> None:
    inside = nested_in("isolated")(home, dict(home.env))
    env = cm.launch_environment(clone_like(home, home="shared"), cm.places_from(inside), inside)
    assert env["HOME"] == str(home.home) and not env.keys() & cm.XDG_DIRECTORIES.keys()


def test_a_clone_in_a_clone_knows_the_same_places(home: Home) -> None:
    inside = nested_in("isolated")(home, dict(home.env))
    assert cm.places_from(inside) == places_of(home)


# CODEX.md's table: what a clone must hide, and what it must leave alone.
HIDDEN = """CODEX_SQLITE_HOME CODEX_ACCESS_TOKEN OPENAI_FEDERATION_RULE_ID OPENAI_IDENTITY_TOKEN_FILE
    OPENAI_IDENTITY_TOKEN_SOURCE OPENAI_SPIFFE_ID OPENAI_SPIFFE_AUDIENCE
    OPENAI_WORKLOAD_IDENTITY_CONTEXT CODEX_API_KEY OPENAI_ORGANIZATION OPENAI_PROJECT CODEX_MANAGED_BY_NPM
    CODEX_MANAGED_BY_BUN CODEX_MANAGED_BY_PNPM CODEX_MANAGED_BY_VITE_PLUS CODEX_MANAGED_PACKAGE_ROOT
    CODEX_REFRESH_TOKEN_URL_OVERRIDE CODEX_REVOKE_TOKEN_URL_OVERRIDE CODEX_THREAD_ID CODEX_SESSION_ID
    CODEX_TOOL_CALL_ID CODEX_CI CODEX_INSTALL_DIR CODEX_RELEASE CODEX_NON_INTERACTIVE""".split()
LEFT = "OPENAI_API_KEY OPENAI_BASE_URL HTTPS_PROXY SSL_CERT_FILE SSH_AUTH_SOCK SPIFFE_ENDPOINT_SOCKET TERM PATH".split()


def test_what_is_hidden_is_the_whole_table_and_nothing_else() -> None:
    assert sorted(cm.HIDDEN_VARIABLES) == sorted(HIDDEN) and not set(LEFT) & set(cm.HIDDEN_VARIABLES)


@pytest.mark.parametrize("name", HIDDEN)
def test_a_hidden_variable_may_be_kept_for_a_clone(home: Home, name: str) -> None:
    env = {**home.env, name: "x"}
    assert name not in cm.launch_environment(clone_like(home), places_of(home), env)
    assert cm.launch_environment(clone_like(home, keep_env=(name,)), places_of(home), env)[name] == "x"
    assert cm.checked_variable(name) == name


@pytest.mark.parametrize("name", [*LEFT, "", "A B", "codex_api_key", "CODEX_HOME", "HOME"])
def test_what_isn_t_hidden_can_t_be_kept(name: str) -> None:
    with pytest.raises(cm.MirrorError, match="is not a hidden variable") as caught:
        cm.checked_variable(name)
    assert caught.value.code == cm.USAGE


def test_only_what_would_change_the_login_and_is_set_is_named(home: Home) -> None:
    env = {**dict.fromkeys(HIDDEN, "x"), "CODEX_ACCESS_TOKEN": "", "OPENAI_API_KEY": "x"}
    named = cm.hidden_login_variables(clone_like(home, keep_env=("OPENAI_PROJECT",)), env)
    assert named == [
        *("CODEX_API_KEY", "OPENAI_FEDERATION_RULE_ID", "OPENAI_IDENTITY_TOKEN_FILE"),
        *("OPENAI_IDENTITY_TOKEN_SOURCE", "OPENAI_SPIFFE_ID", "OPENAI_SPIFFE_AUDIENCE"),
        *("OPENAI_WORKLOAD_IDENTITY_CONTEXT", "OPENAI_ORGANIZATION"),
    ]


LAYOUTS = [
    ("/r/bin/codex", "binary", ""),
    ("/r/codex/codex", "binary", "/r/path"),
    ("/codex/codex/codex/codex", "binary", "/codex/codex/path"),
    ("/codex/x/bin/codex", "binary", ""),
    ("/r/package/bin/codex.js", "npm-package", ""),
    ("/r/codex", "binary", ""),
]


@pytest.mark.parametrize(("entry", "kind", "path"), LAYOUTS)
def test_only_the_layout_of_0_120_needs_its_helper_on_path(entry: str, kind: str, path: str) -> None:
    assert cm.helper_path(cm.Runtime("/r", entry, kind, "1")) == path


def test_the_words_are_passed_on_as_they_are(home: Home) -> None:
    words = ["a b", "", "--", "-h", os.fsdecode(b"\xff")]
    program = cm.launch_program(clone_like(home), places_of(home), home.env, words)
    assert program.argv == (clone_like(home).runtime.entry, *words)


SERVERS: list[tuple[str, bool]] = [  # The words of a command line, and whether they would start the background server.
    ("agents", True),
    ("agents --help", True),
    ("-c model=x agents", True),
    ("exec agents", True),
    ("agents -- --remote x", True),
    ("agents -- --no-daemon", True),
    ("", False),
    ("resume", False),
    ("exec -- agents", False),
    ("exec fix-agents", False),
    ("exec two\\nagents", False),
    ("--no-daemon agents", False),
    ("agents --no-daemon", False),
    ("--remote unix:///x agents", False),
    ("--remote=unix:///x agents", False),
    ("remote-control agents", False),
    ("queue agents", False),
]


@pytest.mark.parametrize(("line", "starts"), SERVERS)
def test_what_would_start_the_background_server_is_told_not_to_by_wrapper_and_run(
    home: Home, line: str, starts: bool
) -> None:
    words = [word.replace("\\n", "\n") for word in line.split()]
    clone = clone_like(home)
    lay_out(clone)
    Path(clone.runtime.entry).write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    for version, knows in (("0.155.0", False), ("0.156.0", True), ("0.171.0", True), ("1.2.3", True)):
        one = clone._replace(runtime=clone.runtime._replace(version=version))
        wanted = ["--no-daemon", *words] if starts and knows else words
        wrapper = home.base / "wrapper"
        wrapper.write_bytes(cm.wrapper_content(one, places_of(home)))
        wrapper.chmod(0o755)
        program = cm.launch_program(one, places_of(home), home.env, words)
        assert list(program.argv) == [clone.runtime.entry, *wanted]
        assert run([wrapper, *words], env=home.env).out == "".join(f"{word}\0" for word in wanted or [""])


# --- the clone's own variables ---


VALUES = {
    "PROXY": "http://127.0.0.1:7901",
    "QUOTES": "it's \"x\" '' \\' `touch pwned` $(touch pwned) ${HOME} !!",
    "LINES": "a\n\nexport OTHER='x'\nb\n",
    "BYTES": "\udcff\udc80 \u20ac \t",
    "EMPTY": "",
    "_9": "=a=b",
}


def test_own_variables_are_inert_the_same_everywhere_and_shown_by_name_alone(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    words = [word for name, value in VALUES.items() for word in ("--env", f"{name}={value}")]
    assert ask(home, "set", "work", *words).code == 0
    clone = clone_in(home, "work")
    assert Path(cm.variables_file(clone)).stat().st_mode & 0o777 == 0o600
    assert cm.clone_variables(clone) == VALUES
    printing = ["python3", "-c", "import os, json; print(json.dumps(dict(os.environ)))"]
    seen = [
        raw(home, "exec", "work", "--", sys.executable, *printing[1:]).json(),
        run(["sh", "-c", f'eval "$(cat)"; exec {sys.executable} -c "$0"', printing[2]], env=home.env,
            stdin=os.fsencode(raw(home, "env", "work", "--shell", "sh").out)).json(),
    ]  # fmt: skip
    Path(clone.runtime.entry).unlink()
    Path(clone.runtime.entry).write_text(f"#!/bin/sh\nexec {sys.executable} -c '{printing[2]}'\n")
    Path(clone.runtime.entry).chmod(0o755)
    seen += [run([shell, clone.wrapper], env=home.env).json() for shell in ("sh", "bash")]
    seen += [raw(home, "run", "work").json()]
    assert [{name: env.get(name) for name in VALUES} for env in seen] == [VALUES] * len(seen)
    assert not (home.home / "pwned").exists() and "OTHER" not in seen[0]
    shown = ask(home, "list", "--full").out
    assert ", ".join(VALUES) in shown and "7901" not in shown + ask(home, "list", "--json").out
    ask(home, "export", "work", "-o", home.base / "x.tar")
    assert ask(home, "set", "work", "--no-env", "LINES", "--env", "PROXY=y").code == 0
    assert cm.clone_variables(clone) == {**{k: v for k, v in VALUES.items() if k != "LINES"}, "PROXY": "y"}
    ask(home, "set", "work", *(word for name in VALUES if name != "LINES" for word in ("--no-env", name)))
    assert not Path(cm.variables_file(clone)).exists()
    assert ask(home, "set", "work", "--no-env", "PROXY").code == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((f"{name}=x", 5) for name in ("HOME", "PATH", "CODEX_HOME", "CODEX_ACCESS_TOKEN", "OPENAI_ORGANIZATION")),
        *((f"{name}=x", 5) for name in ("XDG_CONFIG_HOME", "CODEX_MIRROR_HOME", "cm_codex", "IFS", "CODEX_NEW_ONE")),
        *((f"{name}=x", 5) for name in ("OPTIND", "UID", "PPID", "BASHOPTS", "path", "status", "BROWSER", "fish_pid")),
        *((f"{name}=x", 5) for name in ("BASH_ENV", "fish_user_paths")),
        *((text, 2) for text in ("1A=x", "A B=x", "A-B=x", "=x", "A", "a\nb=x", "$(x)=y", "\u00e9=x")),
    ],
)
def test_a_variable_that_decides_where_or_as_whom_it_runs_is_refused(
    home: Home, codex: Path, text: str, code: int
) -> None:
    make_clone(home, "work")
    before = at_rest(home)
    assert ask(home, "set", "work", "--env", text).code == code
    assert changes(before, at_rest(home)) == {}


@pytest.mark.skipif(not ROOT, reason="giving a file to another user needs root")
@pytest.mark.parametrize("how", ["another user's", "writable by all", "a link", "a directory"])
def test_variables_that_others_may_have_written_are_none(home: Home, codex: Path, how: str) -> None:
    make_clone(home, "work")
    ask(home, "set", "work", "--env", "PROXY=x")
    path = Path(cm.variables_file(clone_in(home, "work")))
    if how == "another user's":
        os.chown(path, 12345, 12345)
    elif how == "writable by all":
        path.chmod(0o666)
    else:
        path.rename(path.with_name("moved"))
        path.symlink_to("moved") if how == "a link" else path.mkdir()
    assert cm.clone_variables(clone_in(home, "work")) == {}
    before = at_rest(home)
    clone = clone_in(home, "work")
    started = [
        run([shell, one], env=home.env) for shell in ("sh", "bash") for one in (clone.wrapper, cm.wrapper_copy(clone))
    ]
    started += [
        ask(home, *words)
        for words in (("run", "work"), ("exec", "work", "true"), ("env", "work"), ("set", "work", "--env", "B=c"))
    ]
    for ended in started:
        assert ended.code == 5 and "others may have written" in ended.err and str(path) in ended.err, ended
        assert f"python3 {PROGRAM} doctor work" in ended.err
    [problem] = [
        one for one in ask(home, "doctor", "work", "--json").json()[0]["problems"] if one["severity"] == "error"
    ]
    assert problem["id"] == "variables-open" and str(path) in problem["what"]
    assert changes(before, at_rest(home)) == {}
    if how == "writable by all":
        path.chmod(0o600)
        assert ask(home, "run", "work", "--version").code == 0
