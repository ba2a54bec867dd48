"""A menu with clones as they are in real life, made of values alone: the tests look at it, and so does the picture."""

from __future__ import annotations

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
    status = "not_logged_in" if account.kind == "none" else "logged_in"
    health = cm.Health(one.name, status, True, one.runtime.path, one.wrapper, account, problems)
    return cm.CloneView(one, newer, account, usage, used, health)


def chatgpt(email: str, plan: str) -> cm.Account:
    return cm.Account(
        "chatgpt",
        email,
        plan,
        "5f0c1a2b-3c4d" if email.endswith("example.com") else "9b1d3e4f-5a6b",
        f"user {email}",
        since=NOW - DAY,
    )


BROKEN = cm.Problem(
    "start", "error", "its Codex doesn't start well: Permission denied", "codex-mirror doctor spare --fix"
)
TWINS = cm.Problem(
    "same-account", "warning", "same account as 'work': one login may end the other", "codex-mirror login team"
)
ROWS = (
    seen(clone("work", before="0.160.0"), chatgpt("ada@example.com", "plus"), limits(38, 12), NOW - 300),
    seen(clone("client", "0.157.0"), chatgpt("ada@client.example", "business"), limits(85, 40), NOW - 5 * HOUR),
    seen(clone("ci"), cm.Account("api-key", key="sk-…7890", since=NOW - DAY), cm.Usage(), NOW - 2 * DAY),
    seen(clone("team"), chatgpt("ada@example.com", "pro"), limits(0, 3), NOW - 9 * DAY, TWINS),
    seen(clone("spare"), cm.Account("none"), cm.Usage(), 0.0, BROKEN),
)


def menu(rows: tuple[cm.CloneView, ...] = ROWS, size: cm.Size = SIZE) -> cm.Screen:
    """The main screen once everything is known."""
    context = cm.Context(PLACES, {}, terminal=True)
    screen = cm.first_screen(context, size, False, False, NOW)
    return screen._replace(rows=rows, installed="0.169.0", on_path=True)


def many(count: int) -> tuple[cm.CloneView, ...]:
    """Many clones, some of them with all that makes widths hard: wide, combining and acting characters."""
    emails = ["ada@example.com", "日本語ユーザー@例え.jp", "e\u0301ve\u0301@x", "bad\x1b[2J\u202e\ud800@x", "x" * 90]
    names = [f"clone-{number}" if number % 7 else f"{'long-name-' * 6}{number}" for number in range(count)]
    return tuple(
        seen(clone(name), chatgpt(emails[number % len(emails)], "plus"), limits(number % 100, 1), NOW - number * HOUR)
        for number, name in enumerate(names)
    )


def after(screen: cm.Screen, *keys: str) -> cm.Screen:
    """The screen after these keys; what they ask of the world is left undone."""
    for key in keys:
        screen, _ = cm.pressed(screen, key)
    return screen


def waiting() -> cm.Screen:
    """A clone being created, half of its copy done."""
    screen = after(menu(), "c", *"new", "enter", "enter")
    return cm.progressed(screen, screen.started, "copying", 202_000_000, 404_000_000)


def removing(name: str) -> cm.Screen:
    """The question before a clone with a login is removed."""
    screen = after(menu(), "m", "x")
    wish = cm.MenuWish("do", ("remove",), (name,), job=screen.started)
    losses = (
        f"removing '{name}' loses",
        "its login: ada.king.countess.of.lovelace@analytical-engine.example.com (business)",
        f"12 sessions, 35 MB in {PLACES.mirror_home}/clones/{name}/home",
        f"3 files of its own, 12 kB, such as {PLACES.mirror_home}/clones/{name}/home/notes.md",
    )
    return cm.questioned(screen, wish, cm.Stakes(f"id-{name}", cm.Question(losses, f"remove '{name}'?", name)))


def logging_out() -> cm.Screen:
    screen = after(menu(), "m", "o")
    wish = cm.MenuWish("do", ("logout",), ("work",), job=screen.started)
    question = cm.Question(("Codex will revoke the login of 'work'",), "log 'work' out?")
    return cm.questioned(screen, wish, cm.Stakes("id-work", question))


def failing() -> cm.Screen:
    screen = after(menu(), "m", "u")
    wish = cm.MenuWish("do", ("update",), ("work",), job=screen.started)
    return cm.command_failed(screen, wish, cm.MirrorError("no Codex was found on PATH", "npm install -g @openai/codex"))


def diagnosed() -> cm.Screen:
    screen = after(menu(), "d", "a")
    lines = ("✓ work: ok, ada@example.com (plus)", "✗ spare: broken, not logged in", "  ✗ its Codex doesn't start well")
    outcome = cm.Outcome(cm.FAILED, (*lines, "      codex-mirror doctor spare --fix"))
    return cm.command_ended(screen, cm.MenuWish("do", ("doctor",), job=screen.started), outcome)


def created() -> cm.Screen:
    screen = waiting()
    lines = ("created 'new' with Codex 0.169.0", "  command  /home/ada/.local/bin/new", "next: codex-mirror login new")
    wish = cm.MenuWish("do", ("create",), ("new",), job=screen.started)
    return cm.command_ended(screen, wish, cm.Outcome(lines=lines))


UNREADABLE = (
    f"the registry {PLACES.mirror_home}/registry.json is not JSON: Expecting value: line 1 column 1 (char 0); "
    "codex-mirror doctor --fix makes it again from the clones"
)


def every_screen() -> dict[str, cm.Screen]:
    """One of each kind of screen and dialog, by name."""
    table = after(menu(), "m")
    return {
        "main": menu(),
        "main-before-anything-is-known": cm.first_screen(cm.Context(PLACES, {}), SIZE, False, False, NOW),
        "main-without-clones": menu(rows=()),
        "table": after(table, "j"),
        "table-of-100": after(menu(rows=many(100)), "m", "G"),
        "table-filtered": after(table, "/", *"ada"),
        "actions": after(table, "enter", "down", "down"),
        "field": after(menu(), "c", *"wörk", "enter"),
        "confirm": after(menu(), "c", *"new", "enter"),
        "waiting": waiting(),
        "created": created(),
        "removing": removing("work"),
        "logging-out": logging_out(),
        "failed": failing(),
        "diagnosed": diagnosed(),
        "keys": after(table, "?"),
        "exit": after(menu(), "x"),
        "broken": menu()._replace(broken=UNREADABLE),
        "table-broken": after(menu()._replace(broken=UNREADABLE), "m", "j"),
        "path": after(menu(), "p"),
        "rename": after(table, "n"),
        "settings": after(table, "t"),
    }
