"""A menu with clones as they are in real life, made of values alone: the tests look at it, and so do the pictures."""

from __future__ import annotations

from functools import partial

import codex_mirror as cm

NOW = 1795334400.0
PLACES = cm.Places("/home/ada/.codex-mirror", "/home/ada/.local/bin", "/home/ada")
SIZE = cm.Size(24, 80)
HOUR, DAY = 3600.0, 86400.0


def clone(name: str, version: str = "0.169.0", before: str = "") -> cm.Clone:
    root = f"{PLACES.mirror_home}/clones/{name}"
    return cm.Clone(
        id=f"id-{name}",
        name=cm.CloneName(name),
        root=root,
        runtime=runtime(root, version),
        previous=runtime(root, before) if before else None,
        wrapper=f"{PLACES.bin_dir}/{name}",
        created="2026-11-01T08:00:00.000Z",
        updated="2026-11-20T08:00:00.000Z",
    )


def runtime(root: str, version: str) -> cm.Runtime:
    path = f"{root}/.codex-mirror/runtime/{version}-0123abcd"
    return cm.Runtime(path, f"{path}/bin/codex", "binary", version)


def limits(five_hours: float, week: float) -> cm.Usage:
    """What was used of both windows, in percent, as Codex wrote it five minutes ago."""
    windows = (cm.Window(300, five_hours, NOW + 2 * HOUR), cm.Window(10080, week, NOW + 3 * DAY))
    return cm.Usage(windows, NOW - 300, "")


def seen(one: cm.Clone, account: cm.Account, usage: cm.Usage, used: float, *problems: cm.Problem) -> cm.CloneView:
    newer = "" if one.runtime.version == "0.169.0" else "0.169.0"
    return cm.CloneView(one).learn(newer=newer, account=account, usage=usage, used=used, problems=problems)


def chatgpt(email: str, plan: str) -> cm.Account:
    workspace = "5f0c1a2b-3c4d" if email.endswith("example.com") else "9b1d3e4f-5a6b"
    return cm.Account("chatgpt", email, plan, workspace, f"user {email}", since=NOW - DAY)


BROKEN = cm.Problem("start", "error", "its Codex doesn't start: Permission denied", "codex-mirror doctor spare --fix")
TWINS = cm.Problem(
    "same-account", "warning", "same account as 'work': one login may end the other", "codex-mirror login team"
)
NOT_LOGGED_IN = cm.Usage(why="not logged in")
ROWS = (
    seen(
        clone("work", before="0.160.0")._replace(directories=("/home/ada/client", "/home/ada/work")),
        *(chatgpt("ada@example.com", "plus"), limits(38, 12), NOW - 300),
    ),
    seen(clone("client", "0.157.0"), chatgpt("ada@client.example", "business"), limits(85, 40), NOW - 5 * HOUR),
    seen(clone("ci"), cm.Account("api-key", key="sk-…7890", since=NOW - DAY), cm.Usage(), NOW - 2 * DAY),
    seen(clone("team"), chatgpt("ada@example.com", "pro"), limits(100, 3), NOW - 9 * DAY, TWINS),
    seen(clone("spare"), cm.Account("none"), NOT_LOGGED_IN, 0.0, BROKEN),
    seen(clone("new"), cm.Account("none"), NOT_LOGGED_IN, 0.0),
)

# Six plausible clones, for the pictures.
PICTURED = (
    ROWS[0],
    seen(clone("personal"), chatgpt("ada@example.org", "plus"), limits(4, 31), NOW - 2 * HOUR),
    ROWS[1],
    seen(clone("client-2"), chatgpt("ada@client.example", "business"), limits(100, 62), NOW - HOUR),
    ROWS[2],
    ROWS[4],
)


def menu(
    rows: tuple[cm.CloneView, ...] = ROWS, size: cm.Size = SIZE, installed: str = "0.169.0", newest: str = ""
) -> cm.Model:
    """The home once everything is known."""
    model = cm.Model(PLACES, size, here="/home/ada/proj", now=NOW, on_path=True, rows=rows)
    model = model._replace(installed=installed, newest=newest)
    model = model._replace(watched=("/usr/bin/codex",) if installed else (), has_codex_home=True)
    return model if rows else model.follow(partial(cm.main_menu, name="home"))[0]


def many(count: int) -> tuple[cm.CloneView, ...]:
    """Many clones, some of them with all that makes widths hard: wide, combining and acting characters."""
    emails = ["ada@example.com", "日本語ユーザー@例え.jp", "e\u0301ve\u0301@x", "bad\x1b[2J\u202e\ud800@x", "x" * 90]
    names = [f"clone-{number}" if number % 7 else f"{'long-name-' * 6}{number}" for number in range(count)]
    return tuple(
        seen(clone(name), chatgpt(emails[number % len(emails)], "plus"), limits(number % 100, 1), NOW - number * HOUR)
        for number, name in enumerate(names)
    )


def after(model: cm.Model, *keys: str, at: float = 0.0) -> cm.Model:
    """The model after these keys of somebody who reads what is opened; what they ask of the world is left undone."""
    for number, key in enumerate(keys, 1):
        model, _ = cm.press(model.mark_painted(at + number), key, at + number + 0.5)
    return model


def told(model: cm.Model, message: cm.Message) -> cm.Model:
    return cm.update_model(model, message)[0]


def ended(model: cm.Model, words: str, *lines: str, code: int = cm.DONE, notes: tuple[str, ...] = ()) -> cm.Model:
    """A command has ended for which somebody waits."""
    effect = cm.Effect("do", tuple(words.split()), job=model.started)
    return told(model, lambda model: cm.finish(model, effect, cm.Outcome(code, lines, notes)))


def waiting() -> cm.Model:
    """A clone being created, half of its copy done."""
    model = after(menu(), "n", *"next", "enter")
    return told(model, lambda model: cm.progress(model, model.started, "copying: 202 MB of 404 MB"))


def removing(name: str) -> cm.Model:
    """The question before a clone with a login is removed."""
    losses = (
        f"removing '{name}' deletes",
        "its login: ada.king.countess.of.lovelace@analytical-engine.example.com (business)",
        f"12 sessions, 35 MB in {PLACES.mirror_home}/clones/{name}/home",
        f"3 files of its own, 12 kB, such as {PLACES.mirror_home}/clones/{name}/home/notes.md",
    )
    stakes = cm.Stakes(f"id-{name}", cm.Question(losses, f"remove '{name}'?", name))
    return told(after(menu(), "x"), lambda model: cm.ask_question(model, cm.Effect("ask", ("remove", name)), stakes))


def logging_out() -> cm.Model:
    stakes = cm.Stakes("id-work", cm.Question(("Codex will revoke the login of 'work'",), "log 'work' out?"))
    model = after(menu(), "L")
    effect = cm.Effect("ask", ("logout", "work"), job=model.started)
    return told(model, lambda model: cm.ask_question(model, effect, stakes))


def failing() -> cm.Model:
    model = after(menu(), "j", "u")
    effect = cm.Effect("do", ("update", "client"), job=model.started)
    error = cm.MirrorError("no Codex was found on PATH", "npm install -g @openai/codex")
    return told(model, lambda model: cm.fail(model, effect, error))


def diagnosed() -> cm.Model:
    lines = ("✓ work: ok, ada@example.com (plus)", "✗ spare: broken, not logged in", "  ✗ its Codex doesn't start")
    return ended(after(menu(), "D"), "doctor", *lines, "      codex-mirror doctor spare --fix", code=cm.FAILED)


def created() -> cm.Model:
    lines = ("created 'next' with Codex 0.169.0", "  command  /home/ada/.local/bin/next")
    model = waiting()._replace(rows=(*ROWS, cm.CloneView(clone("next"))))
    return ended(model, "create next", *lines, "next: codex-mirror login next")


def sessions(size: cm.Size = SIZE) -> cm.Model:
    """The sessions of a clone."""
    prompts = [
        (300, "/home/ada/client", "The upload form drops files above 2 MB; find out why, and write the test first"),
        (2 * HOUR, "/home/ada/client/api", "Review the open pull request as a stranger would"),
        (5 * HOUR, "/home/ada/work", "Explain how the scheduler picks the next job"),
        (DAY, "/home/ada/work/docs", "Turn these notes into a page for new colleagues"),
        (2 * DAY, "/home/ada/client", "Why is the build slower since Tuesday?"),
        (9 * DAY, "/home/ada", "Write a script that renames my scans by their date"),
    ]
    found = [
        cm.Session(
            NOW - age,
            f"/rollout-2026-11-22T08-00-00-01a222f7-{number:04x}-7cc3-afeb-000000000000.jsonl",
            clone("work"),
            cm.SessionMeta(cwd=cwd),
            prompt,
        )
        for number, (age, cwd, prompt) in enumerate(prompts)
    ]
    return told(
        after(menu(PICTURED, size), "s"),
        lambda model: model.become(sessions=("work", found)),
    )


UNREADABLE = (
    f"the registry {PLACES.mirror_home}/registry.json is not JSON: Expecting value: line 1 column 1 (char 0)\n"
    "to rebuild it, and set the broken one aside: codex-mirror doctor --fix"
)


def every_screen() -> dict[str, cm.Model]:
    """One of each kind of screen and dialog, by name."""
    return {
        "table": menu(),
        "table-before-anything-is-known": menu(tuple(cm.CloneView(row.clone) for row in ROWS), installed=""),
        "table-broken": after(menu()._replace(broken=UNREADABLE), "j"),
        "table-found": after(menu(), "/", *"ada"),
        "table-of-100": after(menu(rows=many(100)), "G"),
        "table-large": after(menu(), "end", "up", "tab"),
        "table-sorted": after(menu(), "o", "o"),
        "home": menu(rows=()),
        "home-without-codex": menu(rows=(), installed="", newest="0.171.0 (106 MB)"),
        "menu": after(menu(), "m"),
        "create": after(menu(), "n", *"wörk"),
        "waiting": waiting(),
        "created": created(),
        "removing": removing("work"),
        "logging-out": logging_out(),
        "log-in": after(menu(), "l"),
        "failed": failing(),
        "diagnosed": diagnosed(),
        "keys": after(menu(), "?"),
        "exit": after(menu(), "m", "end", "enter"),
        "leaving": after(waiting(), "q"),
        "rename": after(menu(), "R"),
        "settings": after(menu(), "t", "down"),
        "setting": after(menu(), "t", "down", "down", "enter"),
        "sessions": sessions(),
        "hand-over": after(sessions(), "h"),
        "update-all": after(menu(), "U"),
        "command": after(menu(), ":", *"wrok", "enter"),
        "messages": after(failing(), "esc", "!"),
        "path": after(menu(), "m", "down", "down", "down", "down", "enter"),
    }
