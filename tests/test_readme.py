"""The README holds: its command lines do what it shows, and what it names is there."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pty
import re
import select
import shlex
import shutil
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import rollouts

from helpers import ACCESS_TOKEN, PROGRAM, REFRESH_TOKEN, REPO, Home, discard, look_for_secrets, run, start, tree
from rooms import Tree, cm

README = (REPO / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (REPO / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECURITY = (REPO / ".github" / "SECURITY.md").read_text(encoding="utf-8")
PAGES = [REPO / "README.md", *sorted((REPO / ".github").glob("*.md"))]
RAW_FILES = cm.REPOSITORY.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
PATIENCE = 60  # Seconds for one command of the README.
ANYTHING = "…"  # A line of the README that stands for what Codex itself says.


# --- the README, read ---


class Typed(NamedTuple):
    """A command of a console block, and the lines that it is shown to print."""

    command: str
    shown: tuple[str, ...]


def blocks() -> Iterator[tuple[str, str]]:
    """The fenced blocks in their order, each with its language."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def typed_in(block: str) -> Iterator[Typed]:
    command, *rest = re.split(r"^\$ ", block, flags=re.MULTILINE)
    assert not command, "a console block begins with a command"
    for part in rest:
        first, *shown = part.rstrip("\n").split("\n")
        yield Typed(first, tuple(shown))


def code_spans(text: str) -> list[str]:
    """What stands in backticks in the running text, each in one line; the commands' table has a test of its own."""
    for left_out in (r"^```.*?^```$", r"<!-- commands -->.*?<!-- /commands -->"):
        text = re.sub(left_out, "", text, flags=re.MULTILINE | re.DOTALL)
    return list(dict.fromkeys(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)))


# --- the place where its commands are typed ---

# Each stands before the real one on PATH. What they need to know is in the environment.
STAND_INS = {
    # Serves this checkout's files at the address of the repository's, and a release made of them, and nothing else.
    "curl": f"""
        for word; do
            case $word in
                {RAW_FILES}*) file=$README_REPO/${{word#{RAW_FILES}}} ;;
                {cm.REPOSITORY}/releases/latest/download/*) file=$README_BASE/released/dist/${{word##*/}} ;;
                {cm.REPOSITORY}/releases/download/v{cm.__version__}/*) file=$README_BASE/released/dist/${{word##*/}} ;;
            esac
        done
        while [ "$#" -gt 1 ] && [ "$1" != --output ]; do shift; done
        [ -f "${{file:-}}" ] || {{ echo "refused: $*" >>"$README_BASE/refused"; exit 22; }}
        if [ "$1" = --output ]; then cp "$file" "$2"; else cat "$file"; fi""",
    "git": f"""
        if [ "$1" != clone ]; then exec /usr/bin/env PATH="${{PATH#*:}}" git "$@"; fi
        [ "$*" = "clone {cm.REPOSITORY}" ] || exit 128
        mkdir codex-mirror && cp "$README_REPO"/codex_mirror.py "$README_REPO"/install.sh codex-mirror""",
    "make": 'grep -q "^$1:" "$README_REPO/Makefile"',
    # The other machine: another home, with the program and Codex on its PATH.
    "ssh": """
        [ "$1" = host ] && shift
        export HOME="$README_BASE/host" PATH="$README_BASE/host-path:$README_CODEX:/usr/bin:/bin"
        CODEX_MIRROR_HOME="$HOME/.codex-mirror" CODEX_MIRROR_BIN_DIR="$HOME/.local/bin" exec "$@" """,
}


class Desk(NamedTuple):
    """Someone's machine: their home, and the environment of their shell."""

    home: Home
    env: dict[str, str]
    remembered: dict[str, Tree]

    def codex_home(self, name: str) -> Path:
        return self.home.home / ".codex-mirror/clones" / name / ".codex-mirror/home/.codex"

    def homes(self) -> Tree:
        """All that the clones' homes hold, without what every start of Codex leaves."""
        whole = tree(self.home.home / ".codex-mirror" / "clones")
        return {path: what for path, what in whole.items() if "/home/" in path and "/.codex/tmp" not in path}

    def show(self, command: str) -> str:
        """Types a command on a terminal, and gives the lines that it leaves there, for a home called /home/you."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        process = start(["sh", "-euc", command], env={**self.env, "TERM": "xterm"}, cwd=self.home.home, **streams)
        os.close(theirs)
        shown, deadline = b"", time.monotonic() + PATIENCE
        with suppress(OSError):  # What Linux says when nobody has the terminal open any more.
            while select.select([ours], [], [], max(deadline - time.monotonic(), 0))[0]:
                if not (part := os.read(ours, 1 << 16)):
                    break
                shown += part
        os.close(ours)
        code = process.wait(max(deadline - time.monotonic(), 1))
        look_for_secrets(command, shown)
        text = re.sub("\r[^\r]*\x1b\\[K", "", os.fsdecode(shown).replace("\r\n", "\n"))
        assert code == 0, f"{command} ended with {code}:\n{text}"
        return text.replace(str(self.home.home), "/home/you")


@pytest.fixture
def desk(home: Home, codex: Path) -> Desk:
    """A home with a Codex, and with nothing of ours yet; the repository, GitHub and the other machine are faked."""
    stand_ins, host_path = home.base / "stand-ins", home.base / "host-path"
    for directory in (stand_ins, host_path, home.base / "host"):
        directory.mkdir()
    for name, body in STAND_INS.items():
        (stand_ins / name).write_text(f"#!/bin/sh\n{body.strip()}\n")
        (stand_ins / name).chmod(0o755)
    shutil.copytree(REPO / ".ci", home.base / "released/.ci")
    for name in ("codex_mirror.py", "install.sh"):
        shutil.copy(REPO / name, home.base / "released")
    run([home.base / "released/.ci/dist"], env=home.env, check=True)
    (stand_ins / "python3").symlink_to(os.path.realpath(sys.executable))
    launcher = home.home / ".local/bin/codex-mirror"
    (host_path / "codex-mirror").symlink_to(launcher)
    (home.home / ".gitconfig").write_text("[user]\n\tname = You\n\temail = you@example.com\n")
    (home.home / ".npmrc").write_text("fund=false\n")
    home.put_on_path(stand_ins, launcher.parent)
    more = {
        "CODEX_MIRROR_HOME": home.home / ".codex-mirror",
        "CODEX_MIRROR_BIN_DIR": launcher.parent,
        "FAKE_CODEX_AUTH": home.base / "next-login",
        "README_REPO": REPO,
        "README_BASE": home.base,
        "README_CODEX": codex.parent,
    }
    return Desk(home, {**home.env, **{name: str(value) for name, value in more.items()}}, {})


def login_of(email: str, plan: str) -> str:
    """An auth.json as Codex writes it after a login in the browser."""
    workspace, age = {"team": ("5f0c1a2b-3c4d", 190)}.get(plan, ("9b1d3e4f-5a6b", 70))
    auth = {"chatgpt_plan_type": plan, "chatgpt_user_id": email, "chatgpt_account_id": workspace}
    parts = [{}, {"email": email, "https://api.openai.com/auth": auth}, "x"]
    token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts)
    tokens = {"id_token": token, "access_token": ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN, "account_id": plan}
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
    return json.dumps({"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": since})


def somebody_logs_in(email: str, plan: str) -> Callable[[Desk], None]:
    return lambda desk: void((desk.home.base / "next-login").write_text(login_of(email, plan)))


def void(_: object) -> None:
    return None


def a_session_was_held(desk: Desk) -> None:
    """It leaves what was asked, and that 36 % of the five hours are used."""
    now, shape = time.time(), rollouts.Shape()
    window = {"used_percent": 36.0, "window_minutes": 300, "resets_at": int(now) + 3600}
    limits = {"limit_id": "codex", "primary": window, "secondary": None}
    payload = {"type": "token_count", "info": None, "rate_limits": limits}
    lines = [shape.meta(rollouts.an_id(), str(desk.home.home)), shape.says("user", "explain this repository")]
    lines.append(shape.line("event_msg", payload, now))
    rollouts.write(desk.codex_home("work"), rollouts.an_id(), lines, at=now)


def an_alias_has_a_home(desk: Desk) -> None:
    old = desk.home.home / ".codex-work"
    (old / "sessions").mkdir(parents=True)
    (old / "config.toml").write_text('model = "gpt-5"\n')
    (old / "sessions" / "rollout-x.jsonl").write_text("{}\n")
    (old / "auth.json").write_text(login_of("old@example.com", "plus"))


def all_is_lost(desk: Desk) -> None:
    """The mirror home and the clones' commands; codex-mirror itself is there, or was installed again."""
    discard(desk.home.home / ".codex-mirror")
    for command in (desk.home.home / ".local/bin").iterdir():
        if command.name != "codex-mirror":
            command.unlink()


def the_checkout_s_clone_goes(desk: Desk) -> None:
    """It was made from a fresh checkout, and is made once more with the installed program."""
    if (desk.home.home / ".codex-mirror/clones/work").exists():
        run(["codex-mirror", "remove", "work", "--yes"], env=desk.env, check=True)


def completions_are_there(desk: Desk) -> None:
    assert list((desk.home.home / ".local/share").rglob("completions/*codex-mirror*"))


def homes_are_backed_up(desk: Desk) -> None:
    desk.remembered["backup"] = desk.homes()


def homes_are_back(desk: Desk) -> None:
    assert desk.homes() == desk.remembered["backup"]


def the_map_is_right(desk: Desk) -> None:
    """Each place of the tree in the README is there."""
    [drawn] = re.findall(r"(?:^ {4}.*\n){5,}", README, re.MULTILINE)
    above: list[str] = []
    for line in drawn.splitlines():
        depth, place = (len(line) - len(line.lstrip())) // 4 - 1, line.split()[0]
        above = [*above[:depth], place.replace("<name>", "work").replace("<version>-<id>", "*").removeprefix("~/")]
        assert list(desk.home.home.glob("/".join(above))), line


# What happens before, and what must be so after, a command or a block with these words.
BEFORE: dict[str, Callable[[Desk], None]] = {
    "codex-mirror create work": the_checkout_s_clone_goes,
    "codex-mirror login work": somebody_logs_in("you@example.com", "team"),
    "codex-mirror login personal": somebody_logs_in("me@example.org", "plus"),
    "codex-mirror list": a_session_was_held,
    "codex-mirror import ~/.codex-work": an_alias_has_a_home,
    "tar -C ~ -x": all_is_lost,
    "--uninstall": the_map_is_right,
}
AFTER: dict[str, Callable[[Desk], None]] = {
    "--completions": completions_are_there,
    "tar -C ~ -c": homes_are_backed_up,
    "tar -C ~ -x": homes_are_back,
}


def do_what_belongs_to(text: str, deeds: dict[str, Callable[[Desk], None]], desk: Desk) -> None:
    for words, deed in deeds.items():
        if words in text:
            deed(desk)


def same_lines(shown: tuple[str, ...], printed: str) -> bool:
    pattern = "".join("(.*\n)+" if line == ANYTHING else re.escape(line) + "\n" for line in shown)
    return re.fullmatch(pattern, re.sub(r" +$", "", printed, flags=re.MULTILINE)) is not None


# --- what it shows ---


def test_every_block_of_the_readme_works_in_its_order_and_shows_what_is_printed(desk: Desk) -> None:
    deeds = {words for words in (*BEFORE, *AFTER) if not any(words in block for _, block in blocks())}
    assert not deeds, "these belong to nothing in the README"
    for language, block in blocks():
        {"sh": run_block, "console": type_block}[language](desk, block)
    check_the_end(desk)


def run_block(desk: Desk, block: str) -> None:
    do_what_belongs_to(block, BEFORE, desk)
    run(["sh", "-euc", block], env=desk.env, cwd=desk.home.home, check=True, timeout=PATIENCE)
    do_what_belongs_to(block, AFTER, desk)


def type_block(desk: Desk, block: str) -> None:
    for command, shown in typed_in(block):
        do_what_belongs_to(command, BEFORE, desk)
        printed = desk.show(command)
        assert same_lines(shown, printed), f"{command} printed:\n{printed}"


def check_the_end(desk: Desk) -> None:
    """What the exit codes of the commands don't show."""
    home, base = desk.home.home, desk.home.base
    clones = {path.name for path in (home / ".codex-mirror/clones").iterdir()}
    assert clones == {"work", "personal", "client", "sealed", "own", "second", "office"}
    assert not (base / "refused").exists(), (base / "refused").read_text()
    assert not (home / ".codex-work/auth.json").exists() and (desk.codex_home("office") / "auth.json").exists()
    assert (desk.codex_home("office") / "sessions/rollout-x.jsonl").exists()
    assert (base / "host/.codex-mirror/clones/work").is_dir() and (home / "work.tar.gz").is_file()
    # After the uninstall the clones' commands are there, and work; what the installer made is gone.
    assert {path.name for path in (home / ".local/bin").iterdir()} == clones
    assert [path.name for path in (home / ".local").iterdir()] == ["bin"] and not (home / ".config").exists()
    assert run(["work", "--version"], env=desk.env).out == "codex-cli 0.169.0\n"


# --- what it names ---


def complaint_about_command(line: str) -> str:
    """What the program's own parser has against this command line, or nothing; a command's bare name is fine."""
    words = shlex.split(line)[1:]
    if any(tuple(words) == command.words for command in cm.COMMANDS) or set(words) <= {*cm.VERSION_FLAG.flags}:
        return ""
    try:
        command, rest = cm.command_named(cm.split_behind_options(words)[1])
        cm.parse_arguments(command, rest, "codex-mirror")
    except cm.MirrorError as error:
        return str(error.message)
    except cm.HelpAsked:
        pass
    return ""


def complaint_about_span(span: str) -> str:
    """What is wrong with something in backticks, going by the program, install.sh, the Makefile and the repository."""
    sources = PROGRAM.read_text(encoding="utf-8") + (REPO / "install.sh").read_text(encoding="utf-8")
    word, *rest = span.split()
    if span.startswith("codex-mirror "):
        lines = [span.replace("COMMAND", " ".join(one.words)) for one in cm.COMMANDS] if "COMMAND" in span else [span]
        return ", ".join(filter(None, map(complaint_about_command, lines)))
    if word == "make" and span != "make":
        targets = re.findall(r"^([a-z-]+):.*##", (REPO / "Makefile").read_text(), re.MULTILINE)
        return "" if rest[:1] and rest[0] in targets else "the Makefile has no such target"
    if re.match(r"--[a-z]", word) or re.fullmatch(r"CODEX(_[A-Z]+)+", word):
        return (
            "" if re.search(rf"(?<![\w-]){word}(?![\w-])", sources) else "neither the program nor install.sh knows it"
        )
    if re.match(r"(tests|\.ci|\.github)/", word):
        return "" if (REPO / word).exists() else "there is no such file"
    return ""


def test_every_command_option_variable_and_file_in_its_text_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    spans = [(page.name, span) for page in PAGES for span in code_spans(page.read_text(encoding="utf-8"))]
    complaints = [f"{page}: `{span}`: {what}" for page, span in spans if (what := complaint_about_span(span))]
    assert complaints == [] and len(spans) > 50


def complaint_about_link(page: Path, link: str) -> str:
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return f"{page.name}: {link} is not there"
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE) if heading else []
    anchors = [re.sub(r"[^\w -]", "", words.lower()).replace(" ", "-") for words in headings]
    return f"{page.name}: {link} names no heading" if heading and heading not in anchors else ""


def test_every_link_into_the_repository_leads_to_a_file_and_its_heading() -> None:
    links = [
        (page, link) for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    ]
    inside = [(page, link) for page, link in links if not link.startswith("https://")]
    assert [what for page, link in inside if (what := complaint_about_link(page, link))] == []
    assert {".github/menu.svg", "LICENSE"} < {link for _, link in inside}


def test_the_architecture_of_contributing_names_every_room_in_the_order_of_the_floor_plan() -> None:
    parts = re.split(r"^[IV]+ (\w+).*\n", cm.__doc__.split("\n\nWhere everything lies")[0], flags=re.MULTILINE)[1:]
    rooms_of = dict(zip(parts[::2], parts[1::2], strict=True))
    plan = {part: re.findall(r"^ {4}(\S+(?: \S+)*)  ", rooms, re.MULTILINE) for part, rooms in rooms_of.items()}
    bullets = re.findall(r"^- \*\*(\w+)\*\*[^:]*: ([^.]*)\.$", CONTRIBUTING, re.MULTILINE)
    told = {part: " ".join(rooms.split()).split(", ") for part, rooms in bullets if part in plan}
    assert told == plan


@pytest.mark.parametrize(
    ("page", "name"), [(README, "commands"), (CONTRIBUTING, "bench"), (SECURITY, "figures")], ids=lambda one: one[:8]
)
def test_the_places_that_are_filled_by_others_are_marked(page: str, name: str) -> None:
    assert len(re.findall(rf"<!-- {name} -->.*?<!-- /{name} -->", page, re.DOTALL)) == 1


def test_the_readme_leads_from_its_first_line_to_a_clone_within_a_screen() -> None:
    first, *_ = re.findall(r"^curl .*", README, re.MULTILINE)
    assert first == cm.INSTALL_LINE
    lines = README.splitlines()
    assert lines.index(first) < 15 and lines.index("$ codex-mirror create work") < 40
    assert lines.index("## Commands") > lines.index("## Operations")
    assert not re.findall(r"^## (Architecture|Speed|Releases|Roadmap)", README, re.MULTILINE)
