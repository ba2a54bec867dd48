"""A day of work in an isolated clone, by tool calls of the real Codex, has the results of a day in plain Codex."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from mock_model import MockModel, mock_model

from helpers import API_KEYS, Result, run
from real.kit import House, a_house
from rooms import cm

pytestmark = [
    pytest.mark.real,
    pytest.mark.once,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes through /proc"),
    pytest.mark.skipif(not all(map(shutil.which, ("git", "ssh-keygen", "bash"))), reason="needs git, ssh-keygen, bash"),
]

MCP_SERVER = """\
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    tool = {"name": "hello", "description": "says hello", "inputSchema": {"type": "object", "properties": {}}}
    answers = {
        "initialize": {"protocolVersion": asked.get("params", {}).get("protocolVersion"), "capabilities": {"tools": {}},
                       "serverInfo": {"name": "mine", "version": "1"}},
        "tools/list": {"tools": [tool]},
        "tools/call": {"content": [{"type": "text", "text": "hello from the server"}]},
    }
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answers.get(asked["method"], {})}), flush=True)
"""
FILES = {
    ".gitconfig": """\
[user]
\tname = Ada
\temail = ada@home.example
\tsigningKey = ~/.ssh/id.pub
[commit]
\tgpgSign = true
[gpg]
\tformat = ssh
[gpg "ssh"]
\tallowedSignersFile = ~/allowed
[core]
\texcludesFile = ~/.ignored
[includeIf "gitdir:~/proj/"]
\tpath = company
""",
    "company": "[user]\n\temail = ada@company.example\n",
    ".ignored": "secret.env\n",
    ".nvm/versions/node/v22.0.0/bin/node": "#!/bin/sh\necho v22.0.0\n",
    ".cargo/bin/cargo": '#!/bin/sh\nexec "${RUSTUP_HOME:-$HOME/.rustup}/toolchains/stable/bin/cargo" "$@"\n',
    ".rustup/toolchains/stable/bin/cargo": "#!/bin/sh\necho cargo 1.99.0\n",
    ".codex/skills/mine/SKILL.md": "---\nname: mine\ndescription: the skill that was brought along\n---\nDo it.\n",
    "server.py": MCP_SERVER,
    "origin/seen": "seen\n",
}
TOOLS = (".cargo/bin", ".nvm/versions/node/v22.0.0/bin")
DAY = (
    "cd ~proj && git clone -q ../origin app && cd app && git config user.email && git config user.name",
    "cd ~proj/app && touch secret.env new && git status --porcelain",
    "cd ~proj/app && git add new && git commit -q -m 'signed work' && git log -1 --format='%an %ae %s %G?'",
    "node --version; cargo --version",
    "basename $(dirname $(command -v rg))",
)
WANTED = [
    "ada@company.example\nAda\n",
    "?? new\n",
    "Ada ada@company.example signed work G\n",
    "v22.0.0\ncargo 1.99.0\n",
    "codex-path\n",
]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """The home of somebody with toolchains, a company, a skill and an MCP server."""
    with a_house() as house:
        home = house.home.home
        for tail, text in FILES.items():
            (home / tail).parent.mkdir(parents=True, exist_ok=True)
            (home / tail).write_text(text)
            (home / tail).chmod(0o755 if text.startswith("#!") else 0o644)
        (home / ".ssh").mkdir(mode=0o700)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / ".ssh" / "id"], env=house.home.env, check=True)
        (home / "allowed").write_text("ada@company.example " + (home / ".ssh" / "id.pub").read_text())
        # As the installers of such tools have people do it.
        path = ":".join(f"$HOME/{tail}" for tail in TOOLS)
        (home / ".profile").write_text(f'export PATH="{path}:$PATH"\n')
        house.home.put_on_path(*(home / tail for tail in TOOLS))
        for words in (["init", "-q"], ["add", "seen"], ["commit", "-q", "-m", "first"]):
            run(["git", *words], env=house.home.env, cwd=home / "origin", check=True)
        yield house


@pytest.fixture(scope="module")
def model() -> Iterator[MockModel]:
    with mock_model() as model:
        yield model


def configure(house: House, model: MockModel) -> None:
    """The user's own settings: the model, and an MCP server."""
    server = (
        f'[mcp_servers.mine]\ncommand = "{os.path.realpath(sys.executable)}"\nargs = ["{house.home.home}/server.py"]\n'
    )
    (house.home.home / ".codex" / "config.toml").write_text(model.config + server)


def call(number: int, name: str, namespace: str = "", **arguments: str) -> list[dict[str, Any]]:
    """An answer of the model that is one tool call."""
    item = {"type": "function_call", "id": f"c{number}", "call_id": f"k{number}", "name": name}
    return [{**item, "arguments": json.dumps(arguments), **({"namespace": namespace} if namespace else {})}]


def tool_calls(house: House) -> list[list[dict[str, Any]]]:
    """What the model answers in turn: the day's commands, then the MCP server's tool."""
    lines = [line.replace("~proj", f"{house.home.home}/proj") for line in DAY]
    shell = [call(number, "exec_command", cmd=line) for number, line in enumerate(lines)]
    return [*shell, call(len(lines), "hello", "mcp__mine")]


def spend_the_day(house: House, model: MockModel, start: Sequence[Any], env: dict[str, str]) -> list[str]:
    """What the tool calls gave, and whether the skill was told to the model."""
    shutil.rmtree(house.home.home / "proj", ignore_errors=True)
    (house.home.home / "proj").mkdir()
    model.requests.clear()
    model.answers = tool_calls(house)
    options = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "work"]
    result: Result = run([*start, *options], env=env, cwd=house.home.home / "proj", timeout=120)
    assert result.code == 0, result.err
    skill = "the skill that was brought along" in str(model.requests[0])
    return [*model.outputs, f"skill {skill}"]


def check(spent: list[str]) -> None:
    *shell, server, skill = spent
    assert [text.rstrip("\n") + "\n" for text in shell] == WANTED
    assert "hello from the server" in server and skill == "skill True"


def as_1_0_0_made_it(clone: Any) -> None:
    """Takes from a clone what 1.0.0 didn't give it, and links what 1.0.0 linked."""
    own, base = Path(cm.home_of(clone)), Path(cm.base_of(clone))
    user = own.parents[4] / "h"
    for tail in (*cm.LOGIN_FILES, ".gitconfig"):
        (own / tail).unlink()
    for directory in (base / "bin", base / "git", own / ".config" / "git"):
        shutil.rmtree(directory, ignore_errors=True)
    (base / "browser").unlink()
    (own / ".gitconfig").symlink_to(user / ".gitconfig")


@pytest.mark.parametrize("kind", ["plain", "isolated", "1.0.0"])
def test_a_day_of_work_has_the_same_results(house: House, model: MockModel, kind: str) -> None:
    configure(house, model)
    home, env = house.home.home, house.home.env
    if kind == "plain":
        with house.installed() as env:
            codex = Path(os.path.realpath(house.prefix / "bin" / "codex"))
            login = {**env, "HOME": str(home)}
            run([codex, "login", "--with-api-key"], env=login, stdin=API_KEYS[0], check=True)
            check(spend_the_day(house, model, [codex], login))
        return
    name = {"isolated": "work", "1.0.0": "old"}[kind]
    with house.installed() as env:
        house.mirror("create", name, "--settings-from", home / ".codex", env=env, check=True, timeout=300)
    house.log_in(name, API_KEYS[0])
    clone = next(one for one in cm.read_registry(cm.places_from(house.home.env)).clones if one.name == name)
    if kind == "1.0.0":
        shares = [word for share in clone.shared if share not in cm.GIT_COPIES for word in ("--unshare", share)]
        house.mirror("set", name, *shares, check=True)
        as_1_0_0_made_it(clone)
        assert house.mirror("doctor", name, "--fix").code == 0
        house.mirror("set", name, "--share", "default", check=True)
    check(spend_the_day(house, model, [clone.wrapper], house.home.env))


@pytest.mark.parametrize("snapshots", ["true", "false"])
def test_a_tool_call_finds_the_clones_own_codex_and_rg_first(house: House, model: MockModel, snapshots: str) -> None:
    configure(house, model)
    name = f"tools-{snapshots}"
    other = house.home.base / "other"
    other.mkdir(exist_ok=True)
    (other / "codex").write_text("#!/bin/sh\necho codex-cli 9.9.9\n")
    (other / "codex").chmod(0o755)
    with house.installed() as env:
        house.mirror("create", name, "--settings-from", house.home.home / ".codex", env=env, check=True, timeout=300)
    house.log_in(name, API_KEYS[0])
    model.requests.clear()
    model.answers = [call(1, "exec_command", cmd="command -v codex; command -v rg; codex --version")]
    options = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    words = [*options, "-c", f"features.shell_snapshot={snapshots}", "work"]
    env = {**house.home.env, "PATH": f"{house.home.bin}:{other}:{house.home.env['PATH']}", "ZDOTDIR": "/"}
    result = house.codex(name, *words, env=env, timeout=120)
    assert result.code == 0, result.err
    row = house.rows()[name]
    rg = Path(row["runtimeEntryPath"]).parent.parent / "codex-path" / "rg"
    version = f"codex-cli {row['codexVersionPinned']}"
    assert model.outputs[0].splitlines() == [str(house.base_of(name) / "bin" / "codex"), str(rg), version]


# What else people have: their configuration elsewhere, commands in it, hooks, other toolchains, a moved XDG home.
OTHER_FILES = {
    "dots/gitconfig": """\
[user]
\tname = Eve
[include]
\tpath = aliases
[includeIf "hasconfig:remote.*.url:**/origin"]
\tpath = ~/dots/work
[core]
\thooksPath = ~/dots/hooks
\tattributesFile = ~/dots/attributes
[commit]
\ttemplate = ~/dots/template
[filter "upper"]
\tclean = "$HOME/dots/bin/upper"
[merge]
\tconflictStyle = diff3
""",
    "dots/aliases": """\
[alias]
\tmine = !"$HOME/dots/bin/say" ~/dots '~' "$HOME"
\tdeep = "!f() { sh -c 'cat ~/dots/template'; }; f"
""",
    "dots/work": "[user]\n\temail = eve@work.example\n",
    "dots/hooks/commit-msg": '#!/bin/sh\necho "by the hook" >>"$1"\n',
    "dots/attributes": "*.up filter=upper\n",
    "dots/template": "the template\n",
    "dots/bin/upper": "#!/bin/sh\ntr a-z A-Z\n",
    "dots/bin/say": '#!/bin/sh\nprintf "%s\\n" "$@"\n',
    "xdg/git/ignore": "*.skipped\n",
    ".pyenv/shims/python9": '#!/bin/sh\nexec "${PYENV_ROOT:-$HOME/.pyenv}/versions/9/bin/python9" "$@"\n',
    ".pyenv/versions/9/bin/python9": "#!/bin/sh\necho Python 9\n",
    ".local/share/uv/tools/thing/bin/thing": "#!/bin/sh\necho a tool of uv\n",
    ".local/bin/thing": '#!/bin/sh\nexec "${XDG_DATA_HOME:-$HOME/.local/share}/uv/tools/thing/bin/thing"\n',
}
OTHER_DAY = (
    "cd ~proj && git clone -q ../origin app && cd app && git config user.email && git config user.name",
    "cd ~proj/app && git mine && git deep",
    "cd ~proj/app && echo loud >a.up && touch b.skipped && git add . && git status --porcelain && git show :a.up",
    "cd ~proj/app && git commit -q -m work && git log -1 --format='%an %s %b'",
    "python9; thing; bash -lc 'python9' | tr a-z A-Z; git config --get core.hooksPath | sed s,.*/,,",
    "git config --global --add safe.directory '*' && git config --get-all safe.directory",
)
OTHER_RESULTS = [
    "eve@work.example\nEve\n",
    "~/dots\n~\n~\nthe template\n",
    "A  a.up\nLOUD\n",
    "Eve work by the hook \n",
    "Python 9\na tool of uv\nPYTHON 9\nhooks\n",
    "*\n",
]


@pytest.mark.parametrize("kind", ["plain", "isolated"])
def test_a_day_of_somebody_else_has_the_same_results_too(house: House, model: MockModel, kind: str) -> None:
    home = house.home.home
    configure(house, model)
    for tail, text in OTHER_FILES.items():
        (home / tail).parent.mkdir(parents=True, exist_ok=True)
        (home / tail).write_text(text)
        (home / tail).chmod(0o755 if text.startswith("#!") else 0o644)
    variables = {"GIT_CONFIG_GLOBAL": str(home / "dots/gitconfig"), "XDG_CONFIG_HOME": str(home / "xdg")}
    lines = [line.replace("~proj", f"{home}/proj") for line in OTHER_DAY]
    with house.installed() as env:
        codex: list[Any] = [Path(os.path.realpath(house.prefix / "bin" / "codex"))]
        paths = f"{home}/.pyenv/shims:{home}/.local/bin"
        env = {**env, **variables, "HOME": str(home), "PATH": f"{paths}:{env['PATH']}"}
        if kind == "plain":
            (home / ".profile").write_text(f'export PATH="{paths}:$PATH"\n')
            run([*codex, "login", "--with-api-key"], env=env, stdin=API_KEYS[0], check=True)
        else:
            house.mirror("create", "eve", "--settings-from", home / ".codex", env=env, check=True, timeout=300)
            house.log_in("eve", API_KEYS[0])
            codex = ["eve"]
        before = (home / "dots/gitconfig").read_text()
        shutil.rmtree(home / "proj", ignore_errors=True)
        (home / "proj").mkdir()
        model.requests.clear()
        model.answers = [call(number, "exec_command", cmd=line) for number, line in enumerate(lines)]
        options = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "work"]
        result: Result = run([*codex, *options], env=env, cwd=home / "proj", timeout=120)
        assert result.code == 0, result.err
    said = [text.replace(str(home), "~") for text in model.outputs]
    assert said == OTHER_RESULTS
    after = (home / "dots/gitconfig").read_text()
    assert (after == before) == (kind == "isolated"), "outside git itself writes it"
    (home / "dots/gitconfig").write_text(before)
