#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# ///
"""codex-mirror keeps clones of the official Codex CLI, each with its own pinned copy, HOME, login and sessions.

The file is one house. A room may use only the rooms above it; `grep -n '^# --- ' codex_mirror.py` prints its plan.

I Words (pure)
    Vocabulary           the nouns, the one error and the exit codes
    Names and places     what may be called what, and where everything lives
    Text                 fit for a terminal: control characters made visible, cell widths, columns, durations, sizes
    Keys                 what a terminal sends, as keys, and a line that is edited with them
    Shell text           every byte written for a shell to read at its start: wrapper, login files, rc block
II Tools
    Files                look at files and directories, and change nothing
    Ownership            whose a thing is, where it lies and how one got there: what may be written, run and deleted
    Disk                 safe primitives: atomic write, discard, linked copy, private directories
    Locks                one writer at a time, first come, first served; and the lock that the earlier program knows
    Processes            capture a program with a time limit, replace this one, find one on PATH
    Process list         which Codex is running, as /proc or macOS's `ps` tells it, and who has a file open
    Volumes              what macOS says of the volumes that it has mounted, and where a clone may not lie
    Archives             pack and unpack .tar.gz files without trusting them
III Clones
    Registry             the list of clones: the one truth
    Launch               the environment of a clone: what is set, what is hidden
    Wrappers             one command per clone, in a directory that isn't ours
    Moved homes          is a mirror home a copy, or has it another name than its clones know
    Directories          which clone a directory has, and the `codex` that starts it
    Change logs          what was changed, in the log of each clone and in the mirror home's
    Recovery             finish a change that was committed, clear away one that was not, also a killed one's
    Journal              one change at a time, all or nothing
    Runtimes             find the installed Codex behind any shim
    Pins                 copy a runtime once, link it ever after, know when a byte of it changed
    Sources              where Codex can be fetched: what the user's npm says of it, and what sources answer
    Connections          an answer from a source: certificates checked, through the user's proxies, with limits
    Downloads            fetch a Codex, checked while it comes
    Wanted Codex         which Codex a clone is to have; what isn't here is fetched before its change begins
    Shell PATH           is the wrapper directory on PATH; the managed block in the rc files
    Settings             what a config.toml says, statement by statement and value by value
    Pin settings         the settings that hold a clone's pin and its login
    Carried settings     which settings of a Codex home come along into another, and how, so that the pin holds
    Accounts             who a clone is logged in as, from its own files
    Dangerous settings   what settings from elsewhere run, send or unlock, and which secrets are in them
    Sessions             the session files of clones: which there are, whose, where, and what was asked first
    Session lines        what of a session another account may have, line by line
    Limits               what is left of an account's rate limits, from the session files that it made
    Git configuration    a git configuration, read and rewritten so that it means the same below another HOME
    Git copies           what a clone has of the user's git configuration, and derives anew where that has changed
    Home directory       the private home of a clone: its directories, what it shares, what is copied into it
    Shared settings      the settings that a clone has in common with the real home, as links that stay live
    Running clones       a clone's Codex that is running, and its server: told, left alone, or ended
    Clones               create, rename, remove
    Updates              update, roll back, wrappers again, and which clone a directory has
    Clone changes        set: what a clone shares, sees and has of its own
    Moving home          bind the clones of a mirror home that was moved to its new place
    Export and import    a clone as one file, and a Codex home as a clone
    Handover             a session as another account may go on with it, line by line, and put there by the journal
    App server           ask a clone's own Codex what is left, and end it only where no login can be lost
    Leftovers            what killed changes, lost rows and removed clones left behind
    Inspection           the facts about clones and the mirror home, collected
    Repair               what can be put right without losing anything
    Diagnosis            doctor's one table: what a fact means, what helps, and which repair puts it right
IV Front
    Reports              what is told of clones: rows, notices, findings; for people and as JSON
    Run and login        the commands that start Codex or another program: keyword arguments in, Outcome out
    Directory commands   which clone a directory has: use, which, shim
    Session commands     what is left and what was said: usage, sessions, handover, resume
    Commands             the others, one function a subcommand
    Path commands        the rc files, or GitHub's, with the directories of the commands: status, setup, remove
    Import commands      export, and import, which asks before the settings of others are let in
    Command rows         what a row of the command table says of a command and its arguments
    Completion           what could stand where the cursor is, from those rows; and the scripts that ask for it
    Command table        the one table of commands, from which all the rest comes
    Suggestions          what somebody meant who typed what there isn't
    Command line         the parser and the help that are derived from it
    Model                what the menu knows and shows, as values, and what an update may ask of the world; pure
    Table                the table of clones, and the selected one's details, as spans of styled text; pure
    Dialogs              what the menu asks, and which command each answer begins, from the command table; pure
    Update               what a key means on each screen: one table for behaviour, footer and help; pure
    News                 what workers have found out or done, folded into the model; pure
    View                 the model drawn as rows of spans; pure
    Effects              what an update asks of the world: the commands' own handlers, in the background
    Terminal             the only room that knows curses: reading keys, painting, lending the terminal
    Main                 argv, exits, signals, the one print

Where everything lies:

    ~/.codex-mirror/                 the mirror home (CODEX_MIRROR_HOME)
        registry.json                the truth: one row a clone
        registry.json.previous       the truth before the last change
        journal.json                 the change that is under way, or was when its program was killed
        .codex-mirror-home           its mark: no other directory is taken for one; and a .gitignore of *
        events.log                   which clones were made, renamed, removed; logs/events.log of a clone has all else
        lock, login.lock             held by the writer, and by a login in the browser
        clones/<name>/.codex-mirror/ a clone: clone.json, runtime/<version>-<id>/, home/, logs/
    ~/.local/bin/<name>              its wrapper (CODEX_MIRROR_BIN_DIR)
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 10):  # noqa: UP036  (macOS's own is 3.9, which comes so far; what follows it would not say why)
    needs = "codex-mirror needs Python 3.10 or newer, and this is {}.{}".format(*sys.version_info)
    sys.exit(needs + "\nhint: start it with a newer one, such as python3.13, or with uv run, which finds one")

if __name__ == "__main__" and not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # A json.py lying beside this file is not ours.

import contextlib
import errno
import io
import json
import os
import re
import signal
import stat
import time
from collections import namedtuple
from functools import cache, lru_cache, partial, wraps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO, NamedTuple, NewType, NoReturn, TypeAlias, TypeVar

    AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

    CloneName = NewType("CloneName", str)
else:
    CloneName = str

    class NamedTuple(tuple):
        """`typing.NamedTuple`, but a class is made ready when its first value is made; the checks are left to mypy.

        Making all fifty ready, and importing `typing`, took a fifth of the time of `list`.
        """

        def __init_subclass__(cls):
            cls._fields = tuple(cls.__annotations__)
            cls._field_defaults = {name: vars(cls)[name] for name in cls._fields if name in vars(cls)}

        def __new__(cls, *values, **named):
            ready = namedtuple(cls.__name__, cls._fields, defaults=cls._field_defaults.values())
            for name, value in vars(ready).items():
                if name != "__new__" and (name in cls._fields or name not in vars(cls)):
                    setattr(cls, name, value)
            cls.__new__ = ready.__new__  # The last of them: another thread may be making a value, too.
            return cls(*values, **named)


__version__ = "1.1.0"

REPOSITORY = "https://github.com/Mohit-Patil/codex-mirror"

# --- Vocabulary -----------------------------------------------------------------------------------

DONE, FAILED, USAGE, NOT_FOUND, REFUSED, BUSY, BUG, INTERRUPTED = 0, 1, 2, 3, 5, 6, 70, 130


class MirrorError(Exception):
    """Something that we can explain: what is wrong, what to do about it, the exit code, and lines to copy."""

    def __init__(self, message: str, hint: str = "", code: int = FAILED, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message, self.hint, self.code, self.lines = message, hint, code, lines


class Places(NamedTuple):
    """Where this user's clones, wrappers and real home are, and the directories that he trusts though others could
    change them; and his XDG directories by their usual places, where they are others. Absolute paths; bytes that aren't
    UTF-8 as surrogates."""

    mirror_home: str
    bin_dir: str
    user_home: str
    trusted: tuple[str, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()


class Runtime(NamedTuple):
    """A pinned Codex inside a clone; `kind` is `binary`, or `npm-package`, which needs Node."""

    path: str
    entry: str
    kind: str
    version: str


class Account(NamedTuple):
    """Who is logged in since when (whole Unix seconds); `kind` is `none`, one of LOGIN_KINDS, `keyring` (whether there
    is one, and whose, only the keyring knows) or `unknown` (not to be read), and `key` is masked."""

    kind: str
    email: str = ""
    plan: str = ""
    workspace: str = ""
    user: str = ""
    key: str = ""
    since: int = 0


class Clone(NamedTuple):
    """One row of the registry, checked; `row` is the row as read, with the keys that we don't know."""

    id: str
    name: CloneName
    root: str
    runtime: Runtime
    previous: Runtime | None
    wrapper: str
    created: str
    updated: str
    home: str = "isolated"
    shared: tuple[str, ...] = ()
    keep_env: tuple[str, ...] = ()
    account: Account | None = None
    made_root: bool = False
    directories: tuple[str, ...] = ()
    is_default: bool = False
    shared_settings: tuple[str, ...] = ()
    settings_links: tuple[str, ...] = ()
    named_shares: bool = False
    row: Mapping[str, Any] = {}


class Window(NamedTuple):
    """One rate limit: its length, what is used in percent, and when it resets (Unix seconds)."""

    minutes: int
    used: float
    resets_at: float


class Usage(NamedTuple):
    """The newest rate limits of an account, as of `as_of` (Unix seconds); no windows when nothing is known, and `why`
    then. `reached` is what the server says is used up, in words, and `credits` how the credits stand."""

    windows: tuple[Window, ...] = ()
    as_of: float = 0.0
    plan: str = ""
    reached: str = ""
    credits: str = ""
    why: str = ""


class Problem(NamedTuple):
    """One thing that doctor found; `severity` is `error`, `warning` or `info`, and `fix` a command or advice."""

    id: str
    severity: str
    what: str
    fix: str = ""


class Health(NamedTuple):
    """What doctor says of one clone."""

    name: str
    auth_status: str
    writable: bool
    runtime_path: str
    wrapper_path: str
    account: Account
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not any(problem.severity == "error" for problem in self.problems)


class Program(NamedTuple):
    """A program ready to start: its words, its whole environment, and where, if not here."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = ""


class Table(NamedTuple):
    """Rows of cells under a heading."""

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Outcome(NamedTuple):
    """What a command did: `lines` and `table` are for people, `data` is the JSON document or makes it when it is asked
    for, `notes` go to stderr. Without `data` the document has the lines and notes, and the keys that it is `about`."""

    code: int = DONE
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    table: Table | None = None
    data: object = None
    program: Program | None = None
    stream: Callable[[BinaryIO], None] | None = None
    about: Mapping[str, object] = {}


class Question(NamedTuple):
    """What to ask before something is lost: the losses, the question, a word that must be typed, if any; whether stdin
    is taken by something else, so that only the terminal itself can answer; and what helps where there is none."""

    losses: tuple[str, ...]
    text: str
    word: str = ""
    stdin_taken: bool = False
    hint: str = "add --yes if that is meant"


class Context(NamedTuple):
    """Who called a command, and from where: what a handler may know of the world besides its own arguments; `fetched`
    is what had to be here before a change could begin."""

    places: Places
    env: Mapping[str, str]
    program: str = "codex-mirror"
    terminal: bool = False
    width: int = 80
    report: Callable[[str, int, int], None] = lambda what, done, total: None
    note_change: Callable[[str], None] = lambda what: None
    choose: Callable[[Sequence[str], str], int] = lambda lines, prompt: -1
    dry_run: bool = False
    fetched: Mapping[str, Any] = {}


# --- Names and places -----------------------------------------------------------------------------

OWN_HOME = "set CODEX_MIRROR_HOME to a directory of your own"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
CLONE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}\Z")
RUNTIME_NAME = r".+-[0-9a-f]{8,}"
DEVICES = frozenset("con prn aux nul".split()) | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
SHELL_WORDS = frozenset(
    "abbr alias and argparse autoload begin bg bind bindkey block break breakpoint builtin bye caller case cd "
    "chdir command commandline compadd comparguments compcall compctl compdescribe compfiles compgen compgroups "
    "complete compopt compquote compset comptags comptry compvalues contains continue coproc count declare dirs "
    "disable disown do done echo echotc echoti elif else emit emulate enable end esac eval exec exit export false "
    "fc fg fi float for foreach function functions getln getopts hash help history if in integer jobs kill let "
    "limit local log logout mapfile math nocorrect noglob not or path popd print printf private pushd pushln pwd "
    "r random read readarray readonly realpath rehash repeat return sched select set set_color setopt shift shopt "
    "source status string suspend switch test then time times trap true ttyctl type typeset ulimit umask unalias "
    "unfunction unhash unlimit unset unsetopt until vared wait whence where which while zcompile zformat zle "
    "zmodload zparseopts zregexparse zstyle".split()
)
OWN_NAMES = ("codex", "codex-mirror")
PLACES_OF_OURS = ("CODEX_MIRROR_HOME", "CODEX_MIRROR_BIN_DIR")


def complaint_about_name(text: str) -> str:
    """What is wrong with this as the name of any clone, or nothing."""
    if not text:
        return "a clone needs a name"
    if len(text) > 64:
        return "a clone's name has at most 64 characters"
    if not NAME.match(text):
        return (
            f"{text!r} can't be a clone's name: use letters, digits, '.', '_' and '-', and begin with a letter or digit"
        )
    if ".." in text:
        return f"{text!r} can't be a clone's name: '..' means the directory above"
    if text.lower().split(".")[0] in DEVICES:
        return f"{text!r} can't be a clone's name: Windows reserves it"
    return ""


def clone_name(text: str) -> CloneName:
    """The only maker of a `CloneName`."""
    text = text.strip()
    if complaint := complaint_about_name(text):
        raise MirrorError(complaint, "use a name such as 'work' or 'client-2'", USAGE)
    return CloneName(text)


def new_clone_name(text: str) -> CloneName:
    """A name that a new clone's command may have."""
    name = clone_name(text)
    if name.lower() in OWN_NAMES:
        raise MirrorError(f"'{name}' is the name of the program itself", "choose another name", REFUSED)
    if name in SHELL_WORDS:
        raise MirrorError(
            f"'{name}' is a shell keyword, so the shell would never start the clone", "choose another name", REFUSED
        )
    return name


XDG_DIRECTORIES = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "XDG_CACHE_HOME": ".cache",
}


def home_from(env: Mapping[str, str]) -> str:
    """The user's real home, also when HOME is unset, or when we were started inside a clone; `/`, as containers have
    it, for a user without one who says where everything of ours is. Raises MirrorError."""
    home = env.get("CODEX_MIRROR_USER_HOME") or env.get("HOME") or ""
    if not os.path.isabs(home):
        import pwd

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            if not all(os.path.isabs(env.get(name, "")) for name in PLACES_OF_OURS):
                hint = f"set HOME, or {' and '.join(PLACES_OF_OURS)}"
                raise MirrorError("HOME is not set, and this user has no home directory", hint, REFUSED) from None
            home = "/"
    return normal_path(home)


def is_inside_isolated(env: Mapping[str, str]) -> bool:
    """Is this the environment of an isolated clone?"""
    return env.get("CODEX_MIRROR_USER_HOME", "") not in ("", env.get("HOME"))


def places_from(env: Mapping[str, str]) -> Places:
    """Where everything is, as the environment says it."""
    home = home_from(env)

    def place(variable: str, default: str) -> str:
        return path_from(env.get(variable) or os.path.join(home, default), Places("", "", home))

    named = [path for path in env.get("CODEX_MIRROR_TRUST_DIRECTORY", "").split(":") if os.path.isabs(path)]
    trusted = tuple(dict.fromkeys(one for path in named for one in (normal_path(path), os.path.realpath(path))))
    mirror_home, bin_dir = place("CODEX_MIRROR_HOME", ".codex-mirror"), place("CODEX_MIRROR_BIN_DIR", ".local/bin")
    prefix = "CODEX_MIRROR_USER_" if is_inside_isolated(env) else ""
    told = {usual: env.get(prefix + name, "") for name, usual in XDG_DIRECTORIES.items()}
    given = [(usual, normal_path(path)) for usual, path in told.items() if os.path.isabs(path)]
    moved = tuple((usual, path) for usual, path in given if path != os.path.join(home, usual))
    return Places(mirror_home, bin_dir, home, trusted, moved)


def share_source(share: str, places: Places) -> str:
    """Where what a clone shares lies: at the same place in the real home, or for what belongs in a directory that the
    user has moved (XDG), in that, where it is there."""
    below = (os.path.join(path, share[len(usual) + 1 :]) for usual, path in places.moved if is_below(share, usual))
    return next(filter(os.path.lexists, below), os.path.join(places.user_home, share))


def path_from(text: str, places: Places) -> str:
    """A path that someone typed, absolute; `~` is the real home, also inside a clone."""
    return normal_path(os.path.abspath(places.user_home + text[1:] if text == "~" or text.startswith("~/") else text))


def normal_path(path: str) -> str:
    """An absolute path in the one way to write it: `normpath` keeps two slashes in front, as `$HOME/x` has them where
    HOME is `/`."""
    return os.path.normpath("/" + path.lstrip("/"))


def is_offline(env: Mapping[str, str]) -> bool:
    """Has the user forbidden every request of ours?"""
    return env.get("CODEX_MIRROR_OFFLINE", "0") not in ("", "0")


def registry_file(places: Places) -> str:
    return os.path.join(places.mirror_home, "registry.json")


def journal_file(places: Places) -> str:
    return os.path.join(places.mirror_home, "journal.json")


def lock_file(places: Places) -> str:
    return os.path.join(places.mirror_home, "lock")


def reserve_file(places: Places) -> str:
    return os.path.join(places.mirror_home, "reserve")


def clones_directory(places: Places) -> str:
    """The directory of the clones that have no `--root` of their own."""
    return os.path.join(places.mirror_home, "clones")


def shim_directory(places: Places) -> str:
    """The directory that has nothing but the `codex` which starts the clone of the current directory."""
    return os.path.join(places.mirror_home, "shim")


def with_tilde(path: str, home: str) -> str:
    """The path as people write it: below `~` where it lies in their home."""
    return "~" + path[len(home) :] if home != "/" and (path == home or is_below(path, home)) else path


def base_in_root(root: str) -> str:
    """The directory inside a clone's root that is ours."""
    return f"{root.rstrip('/')}/.codex-mirror"


def base_of(clone: Clone) -> str:
    return base_in_root(clone.root)


def home_of(clone: Clone) -> str:
    return f"{base_of(clone)}/home"


def codex_home_of(clone: Clone) -> str:
    return f"{base_of(clone)}/home/.codex"


def login_file(codex_home: str) -> str:
    return os.path.join(codex_home, "auth.json")


def config_file(codex_home: str) -> str:
    return os.path.join(codex_home, "config.toml")


def updater_file(clone: Clone) -> str:
    return os.path.join(codex_home_of(clone), "app-server-daemon", "settings.json")


def runtimes_of(clone: Clone) -> str:
    return os.path.join(base_of(clone), "runtime")


def wrapper_copy(clone: Clone) -> str:
    """The wrapper's text again, at a place that neither `rename` nor another wrapper directory changes."""
    return os.path.join(base_of(clone), "bin", "codex")


def browser_script(clone: Clone) -> str:
    """What stands in BROWSER inside an isolated clone on Linux."""
    return os.path.join(base_of(clone), "browser")


def git_directory(clone: Clone) -> str:
    """What the clone's copies of the user's git configuration are made with."""
    return os.path.join(base_of(clone), "git")


def git_state_file(clone: Clone) -> str:
    """Lines for sh that set `cm_stale` where those copies are no longer fresh; only where there are any."""
    return os.path.join(git_directory(clone), "state")


def variables_file(clone: Clone) -> str:
    """Where the clone's own variables are, as lines for sh; only where some are set."""
    return os.path.join(base_of(clone), "env")


def runtimes_kept(clone: Clone) -> list[Runtime]:
    """The runtime in use, and the one before it that `rollback` would take."""
    return [clone.runtime, *([clone.previous] if clone.previous else [])]


def is_below(path: str, directory: str) -> bool:
    """Does this normalized path lie below that directory, going by the names alone?"""
    return path.startswith(directory.rstrip("/") + "/")


def directories_above(path: str) -> Iterator[str]:
    """The path itself and every directory above it."""
    while True:
        yield path
        if path in ("", "/", above := os.path.dirname(path)):
            return
        path = above


def complaint_about_root(root: str, places: Places) -> str:
    """Why a clone can't live there, going by the name alone, or nothing."""
    if not os.path.isabs(root) or os.path.normpath(root) != root or "\0" in root:
        return "its root is not an absolute, plain path"
    base, is_inside = base_in_root(root), is_below(root, clones_directory(places))
    surrounds = not is_inside and (base == places.mirror_home or is_below(places.mirror_home, base))
    if surrounds or root in ("/", "//", places.user_home):  # In a home lies the mirror home, or lay once.
        return f"its root would put the clone into {base}, which is not for clones"
    if is_inside:
        return ""
    if root == places.mirror_home:
        return "its root is the mirror home itself"
    if is_below(root, places.mirror_home):
        return "its root lies inside the mirror home, but not below clones/"
    return ""


# --- Text -----------------------------------------------------------------------------------------

# Patterns that stand as texts are made ready when they are first used: not every command needs them.
INVISIBLE = "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
# Latin letters, arrows, box lines and our signs: one cell each, told without looking up every character.
NARROW = "[\x20-\x7e\xa1-\xac\xae-\u02ff\u2013-\u2026\u2190-\u21ff\u2500-\u259f\u25b8\u2713\u2717]*"


def escape_invisible(text: str) -> str:
    """The text with every control character, direction mark and stray byte written out, so that it can't act."""
    return text if text.isprintable() else re.sub(INVISIBLE, escaped_character, text)


def escaped_character(match: re.Match[str]) -> str:
    """The character as an escape: a stray byte as \\xNN, others by their number."""
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def mask_emails(text: str) -> str:
    """The text with the e-mail addresses in it made unreadable."""
    # A word that is none is passed as a whole: tried again from each of its characters, a long one would take minutes.
    word = r"([\w.+-])[\w.+-]*(@[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,}|(?![\w.+-]))"
    return re.sub(word, lambda found: f"{found[1]}…@…" if found[2] else found[0], text)


def mask_emails_in_data(value: Any) -> Any:
    """JSON data with the e-mail addresses in its texts made unreadable."""
    if isinstance(value, dict):
        return {key: mask_emails_in_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask_emails_in_data(item) for item in value]
    return mask_emails(value) if isinstance(value, str) else value


def is_same_name(one: str, other: str) -> bool:
    """Would these be one name where neither case nor the forms of letters count?"""
    return folded_name(one) == folded_name(other)


def folded_name(name: str) -> str:
    """A name as file systems compare it that tell neither case nor the forms of a letter apart."""
    import unicodedata

    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def cell_width(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii() or re.fullmatch(NARROW, text):
        return len(text)
    import unicodedata

    return sum(
        0
        if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf")
        else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def cut_or_pad(text: str, width: int) -> str:
    """The text in exactly `width` cells: cut with an ellipsis, or filled with spaces."""
    taken = cell_width(text)
    if taken <= width:
        return text + " " * (width - taken)
    if width <= 0:
        return ""
    kept, left = 0, width - 1
    for character in text:
        if (cells := cell_width(character)) > left:
            break
        kept, left = kept + 1, left - cells
    return text[:kept] + "…" + " " * left


def cut_text(text: str, start: int, end: int) -> str:
    """The text between two cells: a mark goes with the letter that it stands on, half of a wide letter is a space."""
    if text.isascii():
        return text[max(start, 0) : end]
    if start <= 0 and cell_width(text) <= end:
        return text
    kept, at = [], 0
    for character in text:
        width = cell_width(character)
        if at >= start + (not width) and at + width <= end:
            kept.append(character)
        elif at < end and at + width > start:
            kept.append(" " * (min(at + width, end) - max(at, start)))
        at += width
    return "".join(kept)


def wrap_text(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells, broken between words where that can be; indents are kept."""
    text = escape_invisible(text)
    if cell_width(text) <= width:
        return [text]
    indent = text[: len(text) - len(text.lstrip())][: max(width - 10, 0)]
    lines, line, taken = [], "", 0
    for word in re.findall(r"\s*\S+", text):
        if line and taken + cell_width(word) > width:
            lines.append(line)
            line, taken, word = indent, cell_width(indent), word.lstrip()
        for character in word:
            cells = cell_width(character)
            if line and taken + cells > width:
                lines.append(line)
                line, taken = "", 0
            line += character
            taken += cells
    return [*lines, line]


def wrap_texts(texts: Sequence[str], width: int, height: int) -> list[str]:
    """The texts in at most so many lines: where that is too few the longest text is cut, and so on."""
    parts = [wrap_text(text, width) for text in texts]
    while sum(map(len, parts)) > max(height, 0):
        longest = max(reversed(parts), key=len)
        rest = longest.pop()
        longest[-1:] = [cut_or_pad(f"{line} {rest.lstrip()}", width) for line in longest[-1:]]
    return [line for part in parts for line in part]


class Span(NamedTuple):
    """Text in one style: `plain`, `dim`, `bold`, `accent`, `title`, `chosen`, `bad`, `warn` or `cursor`."""

    text: str
    style: str = "plain"


Row = tuple[Span, ...]


def width_of(row: Row) -> int:
    return sum(cell_width(span.text) for span in row)


def cut_row(row: Row, start: int, end: int) -> Row:
    """The cells from `start` up to `end`."""
    spans, at = [], 0
    for span in row:
        width = cell_width(span.text)
        if at < end and at + width > start:
            spans.append(Span(cut_text(span.text, start - at, end - at), span.style))
        at += width
    return tuple(spans)


def fill_row(row: Row, width: int) -> Row:
    """The row in exactly this many cells."""
    row, taken = cut_row(row, 0, width), width_of(row)
    return (*row, Span(" " * (width - taken))) if taken < width else row


ASCII_SIGNS = str.maketrans("─│┌┐└┘…→✓✗▸█░↑↓·•○", "-|++++~>+x>#.^v-*o")


def in_ascii(row: Row) -> Row:
    """The row for a terminal that knows only ASCII, cell for cell."""
    texts = (span.text.translate(ASCII_SIGNS) for span in row)
    plain = ("".join(sign if sign.isascii() else "?" * cell_width(sign) for sign in text) for text in texts)
    return tuple(Span(text, span.style) for text, span in zip(plain, row, strict=True))


def lay_over(rows: Sequence[Row], box: Sequence[Row], columns: int) -> list[Row]:
    """A box in the middle of the rows, which are dimmed around it."""
    dimmed = [tuple(Span(span.text, "dim") for span in row) for row in rows[:-1]] + [rows[-1]]
    width = max(map(width_of, box))
    left, first = max((columns - width) // 2, 0), max((len(rows) - 1 - len(box)) // 2, 0)
    for index, row in enumerate(box[: len(rows) - 1], first):
        below = dimmed[index]
        dimmed[index] = (*fill_row(cut_row(below, 0, left), left), *row, *cut_row(below, left + width, columns))
    return dimmed


def fit(text: str, width: int) -> str:
    """Any text in exactly this many cells, with nothing in it that acts."""
    return cut_or_pad(escape_invisible(text), width)


def shorten(text: str, width: int) -> str:
    """Any text in at most this many cells."""
    return fit(text, width).rstrip()


def align_table(table: Table, width: int = 0) -> list[str]:
    """The table as lines of equal columns; a terminal's `width` cuts the last column."""
    rows = [table.heading, *table.rows]
    widths = [max(cell_width(row[column]) for row in rows) for column in range(len(table.heading))]
    lines = ["  ".join(cut_or_pad(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [line if not width or cell_width(line) <= width else cut_or_pad(line, width) for line in lines]


def size_text(count: float) -> str:
    """Bytes for people, in decimal units: `404 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.0f} TB"


def duration_text(seconds: float) -> str:
    """A length of time in its largest unit: `3 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def timestamp_text(moment: float) -> str:
    """Unix seconds as ISO 8601 UTC with milliseconds, as the registry has them."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment * 1000) % 1000:03d}Z"


def timestamp_from(text: str) -> float:
    """ISO 8601 UTC as Unix seconds, with as many digits as there are; 0 when it is something else."""
    if len(text) < 19:
        return 0.0
    digits = text[20:].rstrip("Z") if text[19:20] == "." else ""
    import datetime  # `time.strptime` would load three modules, and take as long as all the rest of `usage`.

    try:
        whole = datetime.datetime.fromisoformat(text[:19] + "+00:00").timestamp()
        return whole + (int(digits) / 10 ** len(digits) if digits else 0)
    except (ValueError, OverflowError):
        return 0.0


def count_text(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def short_list(items: Sequence[str], most: int = 3) -> str:
    """A few items by name, the others by number."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def error_line(error: MirrorError | OSError) -> str:
    """An error in one line; it names the user's file, not our temporary one."""
    if isinstance(error, MirrorError):
        return error.message
    if not isinstance(error.filename, (str, bytes)):
        return error.strerror or str(error)
    path = re.sub(r"/\.([^/]+)\.codex-mirror-([0-9a-f]{8}|new)\Z", r"/\1", os.fsdecode(error.filename))
    return f"{path}: {error.strerror}"


def error_line_with_hint(error: MirrorError | OSError) -> str:
    hint = error.hint if isinstance(error, MirrorError) else ""
    return f"{error_line(error)} ({hint})" if hint else error_line(error)


NO_FILE_SYSTEM = "that file system can't do it, so keep clones and commands on another one; "


def hint_for(error: OSError) -> str:
    """What to do about an error that the system reports."""
    first = {
        errno.ENOSPC: "free some space on that disk; ",
        errno.EDQUOT: "free some space on that disk; ",
        errno.EACCES: "check the permissions there; ",
        errno.EPERM: "check the permissions there; ",
        errno.EROFS: "that file system is read-only; ",
        errno.EILSEQ: "names must be UTF-8 there: rename it; ",
        errno.ENOENT: "check that the directory exists",
        errno.ENOTDIR: "name another place: a part of that path is a file",
        errno.EISDIR: "name a file: that is a directory",
        errno.ENAMETOOLONG: "use a shorter name",
        **dict.fromkeys((errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK), NO_FILE_SYSTEM),
    }
    hint = first.get(error.errno or 0, "; ")
    return f"{hint}codex-mirror doctor shows what is left to fix".lstrip("; ") if hint.endswith("; ") else hint


def version_key(version: str) -> tuple[list[int], bool, list[tuple[int, str]]]:
    """What versions are ordered by: a pre-release comes before its release."""
    release, _, rest = version[:200].partition("-")  # Python refuses numbers of thousands of digits.
    parts = [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|[a-z]+", rest)]
    return [int(part) for part in re.findall(r"\d+", release)], not rest, parts


def is_newer(one: str, other: str) -> bool:
    return version_key(one) > version_key(other)


def is_at_least(version: str, other: str) -> bool:
    """Is this version that one, or a newer?"""
    return not is_newer(other, version)


def nearest_word(word: str, words: Iterable[str], least: float = 0.7) -> str:
    """The word that was probably meant, in whatever case, or the first that begins like this; or nothing."""
    import difflib

    typed, known = word.lower(), {word.lower(): word for word in words}
    begun = [one for one in known if len(typed) > 2 and one.startswith(typed)]
    return next((known[one] for one in (*difflib.get_close_matches(typed, known, 1, least), *begun)), "")


# --- Keys -----------------------------------------------------------------------------------------

PASTED, LONGEST_LINE = "pasted:", 4096
# What a terminal sends: a paste, no key at all (F1 of Linux, a mouse, an answer), a sequence, or a character.
TOKEN = (
    rb"(?s)\x1b\[200~(?P<paste>.*?)(?:\x1b\[201~|\Z)"
    rb"|\x1b(?:\[\[.|\[M.{0,3}|[]P_][^\x07\x1b]+(?:\x07|\x1b\\)?)"
    rb"|\x1b[\[O](?P<sequence>[0-9;?<>=]*[@-~])"
    rb"|(?P<alt>\x1b(?![\x00-\x07\x09-\x1f]))?"
    rb"(?P<key>[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})|."
)
# The beginning of one of them that isn't whole yet, up to the end of what came; and those that may take long.
TOKEN_BEGUN = (
    rb"(?s)(?:\x1b(?:\[200~(?!.*\x1b\[201~).*|[\[O][0-9;?<>=]*|\[\[|\[M.{0,2}|[]P_][^\x07\x1b]*\x1b?)?"
    rb"|\x1b?(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2}))\Z"
)
LONG_BEGUN = rb"\x1b(?:\[200~|[]P_].)"
SEQUENCES = {
    **{b"A": "up", b"B": "down", b"C": "right", b"D": "left", b"H": "home", b"F": "end", b"M": "enter", b"Z": "up"},
    **{b"1~": "home", b"7~": "home", b"4~": "end", b"8~": "end", b"3~": "delete", b"5~": "pgup", b"6~": "pgdn"},
    b"15~": "f5",
}
CONTROLS = {"\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace", "\x1b": "esc"}


def keys_in(data: bytes, final: bool) -> tuple[list[str], bytes]:
    """What a terminal sent, as words, and the rest that isn't a whole key yet; with `final` nothing more will come."""
    keys: list[str] = []
    begun = re.compile(TOKEN_BEGUN)
    for found in re.compile(TOKEN).finditer(data):
        if not final and begun.match(data, found.start()):
            return keys, data[found.start() :]
        keys += [key] if (key := key_of(found)) else []
    return keys, b""


def key_of(found: re.Match[bytes]) -> str:
    """The word for what a terminal sent; nothing for what isn't a key."""
    if found["paste"] is not None:
        return PASTED + found["paste"].decode("utf-8", "ignore")
    if found["sequence"]:
        return SEQUENCES.get(re.sub(rb"\A(?:1;\d+|([1-8]);\d+)(?=.\Z)", rb"\1", found["sequence"]), "")
    key = (found["key"] or b"").decode("utf-8", "ignore")
    key = CONTROLS.get(key) or (f"ctrl-{chr(ord(key) + 96)}" if key and key < " " else key)
    return f"alt-{key}" if found["alt"] and key else key


class TypedLine(NamedTuple):
    """A line being typed, and the place of the cursor in it; a mark goes with the letter that it stands on."""

    text: str = ""
    at: int = 0

    @property
    def before(self) -> int:
        return next((at for at in range(self.at - 1, 0, -1) if cell_width(self.text[at])), 0)

    @property
    def after(self) -> int:
        end = len(self.text)
        return next((at for at in range(self.at + 1, end) if cell_width(self.text[at])), end)

    def without(self, start: int, end: int) -> TypedLine:
        return TypedLine(self.text[:start] + self.text[end:], start)

    def edit(self, key: str) -> TypedLine:
        """The line after a key, or with a paste at the cursor: without control characters, of bearable length."""
        if key in EDITS:
            return EDITS[key](self)
        text = key.removeprefix(PASTED) if key.startswith(PASTED) else key if len(key) == 1 else ""
        text = re.sub(INVISIBLE, "", re.sub(r"\s+", " ", text))[: LONGEST_LINE - len(self.text)]
        return TypedLine(self.text[: self.at] + text + self.text[self.at :], self.at + len(text))

    def row(self, width: int) -> Row:
        """The line as it is drawn, so much of it that the cursor is in sight."""
        before, under, after = self.text[: self.at], self.text[self.at : self.after] or " ", self.text[self.after :]
        start = max(cell_width(before) + cell_width(under) - width, 0)
        return cut_row((Span(before), Span(under, "cursor"), Span(after)), start, start + width)


EDITS: Mapping[str, Callable[[TypedLine], TypedLine]] = {
    "left": lambda line: line._replace(at=line.before),
    "right": lambda line: line._replace(at=line.after),
    **dict.fromkeys(("home", "ctrl-a"), lambda line: line._replace(at=0)),
    **dict.fromkeys(("end", "ctrl-e"), lambda line: line._replace(at=len(line.text))),
    "backspace": lambda line: line.without(line.before, line.at),
    "delete": lambda line: line.without(line.at, line.after),
    "ctrl-u": lambda line: line.without(0, line.at),
    "ctrl-k": lambda line: line.without(line.at, len(line.text)),
    "ctrl-w": lambda line: line.without(len(re.sub(r"\S+\s*\Z", "", line.text[: line.at])), line.at),
}


# --- Shell text -----------------------------------------------------------------------------------

WRAPPER_MARK = "# codex-mirror wrapper of clone "
WRAPPER_CODE = r"""
# Below this line every wrapper is the same.
[ -z "${CODEX_MIRROR_CLI:-}" ] || exec "$CODEX_MIRROR_CLI" run "$cm_clone" -- "$@"
cm_tool() { # how codex-mirror is started here
  command -v codex-mirror >/dev/null && echo codex-mirror || echo "${cm_program:-codex-mirror}"
}
if [ ! -O "$cm_codex_home/" ] || [ ! -f "$cm_codex" ]; then
  if [ -e "$cm_codex_home" ] && [ ! -O "$cm_codex_home" ] || [ ! -O "$0" ]; then
    echo "$cm_clone: this clone belongs to another user; only they can use it, and not with sudo" >&2
    exit 5
  fi
  echo "$cm_clone: a part of this clone is missing; to fix it: $(cm_tool) doctor $cm_clone --fix" >&2
  exit 1
fi
if [ -t 2 ]; then
  for cm_variable in $cm_logins; do
    eval "cm_value=\${$cm_variable:-}"
    [ -z "$cm_value" ] || echo "$cm_clone: hiding $cm_variable, which would change the login" >&2
  done
fi
if [ -e "$cm_env" ]; then
  case $(ls -ld "$cm_env") in -????-??-*) cm_own=$cm_env ;; *) cm_own='' ;; esac
  if [ ! -O "$cm_own" ]; then
    echo "$cm_clone: others may have written its variables, in $cm_env; see: $(cm_tool) doctor $cm_clone" >&2
    exit 5
  fi
  . "$cm_env"
fi
unset $cm_hidden
[ "${CODEX_MIRROR_USER_HOME:-${HOME:-}}" = "${HOME:-}" ] && cm_inside='' || cm_inside=yes
[ -n "${GIT_CONFIG_GLOBAL-none}" ] || GIT_CONFIG_GLOBAL=/dev/null
for cm_variable in XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_CACHE_HOME BROWSER ZDOTDIR GIT_CONFIG_GLOBAL; do
  case $cm_home:$cm_inside in # From outside the user's own are kept for later; from inside a clone they come back.
    ?*:) cm_from=$cm_variable cm_to=CODEX_MIRROR_USER_$cm_variable ;;
    :yes) cm_from=CODEX_MIRROR_USER_$cm_variable cm_to=$cm_variable ;;
    *) continue ;;
  esac
  eval "cm_value=\${$cm_from:-}"
  unset "$cm_to"
  [ -z "$cm_value" ] || export "$cm_to=$cm_value"
done
if [ -n "$cm_home" ]; then
  export HOME="$cm_home" XDG_CONFIG_HOME="$cm_home/.config" XDG_DATA_HOME="$cm_home/.local/share"
  export XDG_STATE_HOME="$cm_home/.local/state" XDG_CACHE_HOME="$cm_home/.cache"
  unset ZDOTDIR GIT_CONFIG_GLOBAL
  [ -z "$cm_browser" ] || export BROWSER="$cm_browser"
elif [ -n "$cm_inside" ]; then
  export HOME="$CODEX_MIRROR_USER_HOME"
fi
cm_texts='GIT_SSH_COMMAND GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_PAGER GIT_EXTERNAL_DIFF VISUAL EDITOR PAGER' cm_number=0
while eval "[ -n \"\${GIT_CONFIG_VALUE_$cm_number+x}\" ]"; do
  cm_texts="$cm_texts GIT_CONFIG_VALUE_$cm_number" cm_number=$((cm_number + 1))
done
case $cm_user_home in *[!A-Za-z0-9_./@:+,-]*) cm_texts='' ;; esac
for cm_variable in ${cm_home:+$cm_texts}; do # Where a shell or git reads ~ and $HOME later, they stay the real home.
  eval "cm_value=\" \${$cm_variable:-}\""
  for cm_mark in ' ~/' '=~/' '$HOME/' '$HOME"' '${HOME}'; do
    while case $cm_value in *"$cm_mark"*) ;; *) false ;; esac; do
      cm_value=${cm_value%%"$cm_mark"*}${cm_mark%%['~$']*}$cm_user_home${cm_mark##*['~E}']}${cm_value#*"$cm_mark"}
    done
  done
  [ "$cm_value" = ' ' ] || export "$cm_variable=${cm_value# }"
done
export CODEX_HOME="$cm_codex_home" CODEX_MIRROR_CLONE="$cm_clone" CODEX_MIRROR_HOME="$cm_mirror_home"
export CODEX_MIRROR_BIN_DIR="$cm_bin_dir" CODEX_MIRROR_USER_HOME="$cm_user_home"
[ -z "$cm_path" ] || export PATH="$cm_path${PATH:+:$PATH}"
case "${PATH:-}:" in
  "$cm_front:"*) export CODEX_MIRROR_PATH="$PATH" ;; # for the clone's login files, after /etc/profile
  *) export CODEX_MIRROR_PATH="$cm_front${PATH:+:$PATH}" ;;
esac
if [ -n "$cm_home" ] && [ -O "$cm_git" ]; then
  . "$cm_git"
  if [ -n "$cm_stale" ] && command -v codex-mirror >/dev/null; then
    codex-mirror env "$cm_clone" --shell sh </dev/null >/dev/null 2>&1 # derives it anew
  elif [ -n "$cm_stale" ] && [ -t 2 ]; then
    echo "$cm_clone: your git configuration has changed; to update the clone: $(cm_tool) env $cm_clone" >&2
  fi
fi
cm_agents=
for cm_word in "$@"; do
  case $cm_word in
    --) break ;;
    agents) cm_agents=$cm_no_daemon ;;
    --no-daemon | --remote | --remote=* | queue | remote-control) cm_agents='' cm_no_daemon='' ;;
  esac
done
[ -z "$cm_agents" ] || set -- "$cm_agents" "$@"
exec $cm_interpreter "$cm_codex" "$@"
"""

# What login shells in a clone read: /etc/profile has set PATH anew, and Codex runs tool calls in login shells.
LOGIN_NOTE = "# Written by codex-mirror: puts the PATH with which the clone was started in front again.\n"
LOGIN_SH = (
    LOGIN_NOTE
    + """\
case ":${PATH:-}:" in
  *":${CODEX_MIRROR_PATH:-${PATH:-}}:"*) ;;
  *) export PATH="$CODEX_MIRROR_PATH${PATH:+:$PATH}" ;;
esac
"""
)
LOGIN_FISH = (
    LOGIN_NOTE
    + """\
if status is-login; and set -q CODEX_MIRROR_PATH
    set -l cm_path (string split : $CODEX_MIRROR_PATH) # fish has it split, but older ones
    test "$PATH[1]" = "$cm_path[1]"; or set -gx PATH $cm_path $PATH
end
"""
)
LOGIN_FILES = {".profile": LOGIN_SH, ".zprofile": LOGIN_SH, ".config/fish/conf.d/codex-mirror.fish": LOGIN_FISH}
# Starts the user's own browser from inside a clone, for a login: one that is started with the clone's HOME would begin
# a profile of its own there.
BROWSER_SCRIPT = """\
#!/bin/sh
# Written by codex-mirror: opens an address in the browser of the real home.
[ -n "${CODEX_MIRROR_USER_HOME:-}" ] || exit 1
HOME=$CODEX_MIRROR_USER_HOME
for cm_variable in XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_CACHE_HOME BROWSER; do
  eval "cm_value=\\${CODEX_MIRROR_USER_$cm_variable:-}"
  unset "$cm_variable"
  [ -z "$cm_value" ] || export "$cm_variable=$cm_value"
done
unset CODEX_HOME
cm_ifs=$IFS IFS=:
for cm_browser in ${BROWSER:-xdg-open}; do
  IFS=$cm_ifs
  case $cm_browser in
    *%s*) ;;
    *) $cm_browser "$@" && exit 0 ;;
  esac
done
exit 1
"""

BLOCK_START = "# >>> codex-mirror PATH >>>"
BLOCK_END = "# <<< codex-mirror PATH <<<"
BLOCK_TORN = "# The line above had no end before this block came."
BLOCK_ALONE = "# This file was made for this block; directories made for it: "
PATH_MARKS = (BLOCK_START, BLOCK_END)
SHIM_MARKS = ("# >>> codex-mirror shim >>>", "# <<< codex-mirror shim <<<")
BLOCK_NOTES = {
    PATH_MARKS: "# Written by `codex-mirror path setup`; `codex-mirror path remove` takes it away.",
    SHIM_MARKS: "# Written by `codex-mirror shim install`; `codex-mirror shim remove` takes it away.",
}
HOME_WORD = '"$HOME"/'
# What ends a bash that nobody types into, as Debian's .bashrc does in its first lines: it reads nothing behind that.
BASH_GUARD = (
    rb"(?m)^(?:case\b|if\b|\[|test\b|tty\b)[^\n]*(?:\$-|\$\{-\}|\bPS1\b|-t [012]\b|\btty -s)"
    rb"(?:[^\n]*\n){0,3}?[^\n]*\b(?:return|exit)\b"
)
# The line that puts a directory, written as @, on PATH. It ends in a comment, so that it also works in a file whose
# lines end with a carriage return.
PATH_LINES = {
    "sh": 'case ":${PATH}:" in *:@:*) ;; *) export PATH=@"${PATH:+:${PATH}}" ;; esac #',
    "fish": "contains -- @ $PATH; or set -gx PATH @ $PATH #",
}
# The line that takes a directory out of PATH and puts it in front again, wherever others have put themselves.
FRONT_LINES = {
    "sh": "cm_path=:$PATH: && while case $cm_path in *:@:*) ;; *) false ;; esac; do "
    "cm_path=${cm_path%%:@:*}:${cm_path#*:@:}; done; cm_path=${cm_path#:}; "
    "export PATH=@:${cm_path%:}; unset cm_path #",
    "fish": "set -gx PATH @ (for entry in $PATH; test $entry = @; or echo $entry; end) #",
}


def shell_quote(text: str) -> str:
    """The text as one inert word for any POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def quote_if_needed(text: str) -> str:
    """A word as one types it in a shell: in quotes only where it must be."""
    return text if re.fullmatch(r"[A-Za-z0-9_./:=@%+,-]+", text) else shell_quote(text)


def fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def wrapper_head(clone_id: str, seal: str) -> str:
    """The first two lines of a wrapper: whose it is, and the digest of all below, by which an edited one is known."""
    return f"#!/bin/sh\n{WRAPPER_MARK}{clone_id} {seal} (made by codex-mirror; change the clone with codex-mirror)\n"


def wrapper_body(data: Mapping[str, str]) -> str:
    """What stands below them: the quoted data, and the code that is the same for all."""
    return "\n".join(f"cm_{key}={shell_quote(value)}" for key, value in data.items()) + WRAPPER_CODE


def path_line(directory: str, shell: str, models: Mapping[str, str] = PATH_LINES, home: str = "") -> str:
    """The line of an rc file that puts a directory on PATH once, whatever it is called; one below the home so that
    it is right in another user's home, too."""
    quote, model = (fish_quote, models["fish"]) if shell == "fish" else (shell_quote, models["sh"])
    if home not in ("", "/") and is_below(directory, home):
        return model.replace("@", HOME_WORD + quote(directory[len(home.rstrip("/")) + 1 :]))
    return model.replace("@", quote(directory))


def path_block(lines: Sequence[str], marks: tuple[str, str] = PATH_MARKS) -> list[str]:
    """The managed lines of an rc file, none for no directories; what the last one names comes first on PATH."""
    return [marks[0], BLOCK_NOTES[marks], *lines, marks[1]] if lines else []


def path_lines(text: bytes, home: str = "") -> dict[str, str]:
    """The directories that the block in an rc file puts on PATH in a shell with this home, each with its line."""
    block = re.search(re.escape(BLOCK_START.encode()) + b"(.*?)" + re.escape(BLOCK_END.encode()), text, re.DOTALL)
    found = {}
    for line in os.fsdecode(block[1] if block else b"").split("\n"):
        for shell, model in PATH_LINES.items():
            first, middle, last = map(re.escape, model.split("@"))
            word = rf"((?:{re.escape(HOME_WORD)})?)'(.*)'"
            if match := re.fullmatch(rf"{first}{word}{middle}\1'\2'{last}", line.strip(), re.DOTALL):
                plain = re.sub(r"\\(.)", r"\1", match[2]) if shell == "fish" else match[2].replace("'\\''", "'")
                found[os.path.join(home, plain) if match[1] else plain] = line.strip()
    return found


def replace_block(
    text: bytes | None, block: Sequence[str], directories: int = 0, marks: tuple[str, str] = PATH_MARKS
) -> bytes | None:
    """The rc file's bytes with this block in place of ours, or at the end; without ours when the block is empty.

    Every other byte stays as it is, and taking the block away gives back the file of before, None for no file at all;
    to that end the block remembers how it found the file, and how many directories were made for it.
    Raises ValueError when the markers don't pair up."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+", text or b"")
    pair = [mark.encode() for mark in marks]
    found = [i for i, line in enumerate(lines) if line.strip() in pair]
    if found and [lines[i].strip() for i in found] != pair:
        raise ValueError("its codex-mirror markers don't pair up")
    start, end = (found[0], found[1] + 1) if found else 2 * (place_of_block(text or b"", marks),)
    before, ours, after = lines[:start], lines[start:end], lines[end:]
    is_moved = marks == SHIM_MARKS and bool(block) and bool(ours) and bool(after)  # It must stay the last.
    newline = b"\r\n" if (ours or lines or [b""])[0].endswith(b"\r\n") else b"\n"
    plain = [line.strip().decode("utf-8", "replace") for line in ours]
    memory = [line for line in plain if line.startswith((BLOCK_TORN, BLOCK_ALONE))]
    if (is_moved or not block) and after and after[0].strip() in [start.encode() for start, _ in BLOCK_NOTES]:
        after[1:1], memory = [os.fsencode(line) + newline for line in memory], []  # Now the other block remembers.
    if is_moved:
        before, after, memory = [*before, *after], [], [line for line in memory if line.startswith(BLOCK_ALONE)]
    if not ours and text is None:
        memory = [f"{BLOCK_ALONE}{directories}"]
    elif (not ours or is_moved) and before and not before[-1].endswith(b"\n"):
        memory, before = [*memory, BLOCK_TORN], [*before[:-1], before[-1] + newline]
    if block:
        written = [os.fsencode(line) + newline for line in (block[0], *memory, *block[1:])]
        return b"".join(before + written + after)
    if not ours:
        return text
    if BLOCK_TORN in memory and before and not after:
        before[-1] = before[-1].removesuffix(newline)
    alone = any(line.startswith(BLOCK_ALONE) for line in memory)
    return None if alone and not before and not after else b"".join(before + after)


def place_of_block(text: bytes, marks: tuple[str, str]) -> int:
    """The line of an rc file before which a new block stands: the end, or above what ends a bash that isn't interactive
    and the comment on that, so that `ssh HOST COMMAND` reads it, too."""
    guard = re.search(BASH_GUARD, text) if marks == PATH_MARKS else None
    lines = re.findall(rb"[^\n]*\n|[^\n]+", text[: guard.start()] if guard else text)
    while guard and lines and lines[-1].startswith(b"#") and not lines[-1].startswith(b"#!"):
        lines.pop()
    return len(lines)


def directories_made_for_block(text: bytes) -> int:
    """How many directories above an rc file were made for its block."""
    made = re.search(re.escape(BLOCK_ALONE.encode()) + rb"(\d+)", text)
    return int(made[1]) if made else 0


# --- Files ----------------------------------------------------------------------------------------


TEXT_LIMIT = 32 << 20
DEPTH_LIMIT = 100  # Directories in directories: what people make stays far below it.
LITTER = r"\.DS_Store|\._.*"  # What macOS leaves in any directory.


class Identity(NamedTuple):
    """What tells two states of a file apart without reading it; npm's mtimes are all alike, so ctime counts too."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def identity_of(path: str) -> Identity:
    """The identity of the file that the path leads to."""
    facts = os.stat(path)
    return Identity(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@contextlib.contextmanager
def open_descriptor(path: str, flags: int, mode: int = 0o600) -> Iterator[int]:
    """The descriptor of an open file or directory, for as long as it is needed; no child of ours gets it."""
    file = os.open(path, flags, mode)
    try:
        yield file
    finally:
        os.close(file)


def read_whole(path: str, limit: int = TEXT_LIMIT) -> bytes:
    """The bytes of a regular file; never waits for a FIFO, never reads more than `limit` bytes. Raises OSError."""
    try:
        with open_descriptor(path, os.O_RDONLY | os.O_NONBLOCK) as file:
            return read_open_file(file, path, limit)
    except OSError as error:
        error.filename = error.filename or path
        if error.errno not in (errno.ENXIO, errno.EOPNOTSUPP):  # What Linux and macOS say of a socket.
            raise
        raise OSError(errno.EINVAL, "is not a regular file", path) from None


def read_own(path: str, limit: int) -> bytes | None:
    """The bytes of a regular file that belongs to us and that nobody else may write, or None for anything else."""
    with contextlib.suppress(OSError), open_descriptor(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW) as file:
        facts = os.fstat(file)
        if facts.st_uid == os.geteuid() and not facts.st_mode & 0o022:
            return read_open_file(file, path, limit)
    return None


def read_open_file(file: int, path: str, limit: int) -> bytes:
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", path)
    if facts.st_size > limit:
        raise OSError(errno.EFBIG, f"is larger than {size_text(limit)}", path)
    parts = []
    while part := os.read(file, min(limit + 1, 1 << 20)):  # Memory for all 32 MB takes longer than the reading.
        parts.append(part)
        if (limit := limit - len(part)) < 0:
            raise OSError(errno.EFBIG, "grew while it was read", path)
    return b"".join(parts)


def new_digest(algorithm: str) -> Any:
    """A digest that takes bytes as they come."""
    import hashlib

    return hashlib.new(algorithm)


def digest_of(path: str) -> str:
    """The SHA-256 of a file's bytes."""
    digest, buffer = new_digest("sha256"), bytearray(1 << 20)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return str(digest.hexdigest())


def digest_of_bytes(content: bytes) -> str:
    """The SHA-256 of a few bytes, where it can be without OpenSSL, which takes longer to load than they take."""
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]  # Since Python 3.12.
    except ImportError:
        from hashlib import sha256
    return str(sha256(content).hexdigest())


def read_or_none(path: str, limit: int = TEXT_LIMIT) -> bytes | None:
    """The bytes of a file, or None where there is none."""
    try:
        return read_whole(path, limit)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_json_object(path: str) -> dict[str, Any]:
    """The JSON object in a file; an empty one when there is none, or it can't be read."""
    try:
        return parse_json_object(read_or_none(path))
    except OSError:
        return {}


def parse_json_object(content: bytes | None) -> dict[str, Any]:
    """The JSON object in these bytes; an empty one when they are none."""
    try:
        document = json.loads(content or b"{}", parse_constant=finite_number, parse_float=finite_number)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def text_in(document: Any, key: str) -> str:
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, str) else ""


def number_in(document: Any, key: str) -> float | None:
    """The number under a key, if there is one that any of ours could be."""
    value: Any = document.get(key) if isinstance(document, dict) else None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e12 else None


def text_list(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if value and isinstance(value, list) else ()


def finite_number(text: str) -> float | None:
    """The number, or None for one that is no number, or beyond all: a registry with it would be refused ever after."""
    number = float(text)
    return number if abs(number) < float("inf") else None


def complaint_about_kind(path: str) -> str:
    """What is wrong with a path that should lead to a file or a directory, and doesn't."""
    return "is neither a file nor a directory" if os.path.exists(path) else "doesn't exist"


def kind_of(path: str) -> str:
    """`file`, `directory`, `link`, `other`, or nothing when there is nothing; a link is not followed."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ""
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode), "other")


def is_writable(directory: str) -> bool:
    """May we make something in this directory?"""
    return os.access(directory, os.W_OK | os.X_OK)


def is_owned_by_us(path: str) -> bool:
    """Does what a path leads to belong to the user that we are?"""
    return os.stat(path).st_uid == os.geteuid()


def is_same_file(one: str, other: str) -> bool:
    """Are these two names of one inode, links not followed?"""
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def is_path_to(path: str, file: str) -> bool:
    """Is this what the path leads to?"""
    try:
        return os.path.samefile(path, file)
    except OSError:
        return False


def is_link_to(path: str, target: str) -> bool:
    """Is this a link to that very path, maybe by another name of the directory that holds it?"""
    told = os.readlink(path) if kind_of(path) == "link" else ""
    is_alike = os.path.basename(told) == os.path.basename(target)
    return told == target or (is_alike and is_same_directory(os.path.dirname(told), os.path.dirname(target)))


def is_same_directory(one: str, other: str) -> bool:
    """Do two names lead to one directory? A home may be reached through a link, and without it."""
    return one == other or (os.path.isdir(one) and is_path_to(one, other))


def is_path_into(path: str, directory: str) -> bool:
    """Is this path the directory, or in it, as it is named or as it leads there, however both are spelled?"""
    names, others = map(names_of_place, (path, directory))
    return any(is_name_into(name, other) for name in names for other in others)


def names_of_place(path: str) -> set[str]:
    """A path as it is named, and as it leads there."""
    return {path, os.path.realpath(path)}


def is_name_into(path: str, directory: str) -> bool:
    """The same of one name of each: inodes are compared up the parents, and names only of what isn't there yet, in the
    case and the form of letters that the file system there goes by."""
    if path == directory or is_below(path, directory):
        return True
    there, above = (next(filter(os.path.exists, directories_above(one))) for one in (path, directory))
    if above == directory:
        with contextlib.suppress(OSError):  # One that is just being removed.
            facts = os.stat(directory)
            return any(os.path.samestat(os.stat(one), facts) for one in directories_above(there))
        return False
    missing, wanted = path[len(there) :].strip("/"), directory[len(above) :].strip("/")
    if ignores_case(above):
        missing, wanted = folded_name(missing), folded_name(wanted)
    return is_below(missing + "/", wanted) and is_path_to(there, above)


def name_on_disk(path: str, top: str = "/") -> str:
    """A path below `top` with each part as the directory that it is in has it: where case or the form of letters is
    ignored, it leads there as well when it is typed otherwise."""
    here = top
    for part in filter(None, path[len(top) :].split("/")):
        typed, names = os.path.join(here, part), entries_of(here)
        others = () if part in names else (os.path.join(here, one) for one in names if is_same_name(one, part))
        here = next((one for one in others if is_same_file(one, typed)), typed)
    return here


def ignores_case(directory: str) -> bool:
    """Does another case of letters lead to the same place here, going by the directories that there are?"""
    for path in directories_above(os.path.realpath(directory)):
        above, name = os.path.split(path)
        if name != name.swapcase():
            return is_path_to(os.path.join(above, name.swapcase()), path)
    return False


def is_litter_name(name: str) -> bool:
    """The same as LITTER, asked of every name that is listed: a pattern takes longer to be made than all those take."""
    return name == ".DS_Store" or name.startswith("._")


def is_litter(path: str) -> bool:
    """Is this a file that macOS leaves in any directory, by its name and its first bytes: the Finder's .DS_Store, or
    beside a file, as `._file`, what its file system can't keep with it?"""
    if not is_litter_name(os.path.basename(path)) or kind_of(path) != "file":
        return False
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        return file.read(4) in (b"", b"\0\0\0\1", b"\0\5\x16\7")
    return False


def entries_of(directory: str) -> list[str]:
    """The sorted names in a directory, but what macOS leaves in any; none where there is no such directory, or we may
    not look."""
    try:
        return sorted(name for name in os.listdir(directory) if not is_litter_name(name))
    except OSError:
        return []


def paths_in(directory: str) -> list[str]:
    """The sorted paths of all that is in a directory; none where there is no such directory, or we may not look."""
    top = os.path.join(directory, "")
    return [top + name for name in entries_of(directory)]


def missing_directories(path: str) -> list[str]:
    """The directories that would have to be made for this one to be there, outermost first."""
    missing: list[str] = []
    while path and not os.path.lexists(path):
        missing.insert(0, path)
        path = os.path.dirname(path)
    return missing


def files_below(path: str, skipped: Collection[str] = ()) -> Iterator[str]:
    """Every file and link below a directory, except in these places relative to it, and what macOS leaves in any; what
    can't be read is left out."""
    waiting = [path]
    while waiting:
        directory = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    if entry.name[0] != "." or not is_litter(entry.path):
                        yield entry.path
                elif os.path.relpath(entry.path, path) not in skipped:
                    waiting.append(entry.path)


def size_of(path: str) -> int:
    """The size of a file, of a link itself, or 0 when it is gone."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def entries_of_others(path: str) -> list[str]:
    """What other users own below a directory, seen in its first 20,000 entries, those at the top first."""
    found, waiting, uid, limit = [], [path], os.geteuid(), 20_000
    for directory in waiting:  # It grows meanwhile.
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                limit -= 1
                if entry.stat(follow_symlinks=False).st_uid != uid:
                    found.append(entry.path)
                elif entry.is_dir(follow_symlinks=False) and limit > 0:
                    waiting.append(entry.path)
    return found


def is_open_to_others(path: str) -> bool:
    """May others look into this directory?"""
    return os.path.isdir(path) and bool(os.stat(path).st_mode & 0o077)


def modified_at(path: str) -> float:
    """When a file was written last (Unix seconds), or 0 when it is gone."""
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def free_bytes(path: str) -> int:
    """How many bytes a user may still write to the file system of a path."""
    facts = os.statvfs(path)
    return facts.f_bavail * facts.f_frsize


def free_inodes(path: str) -> int:
    """How many files a user may still make on the file system of a path; one that doesn't count them, as macOS's, has
    no end."""
    facts = os.statvfs(path)
    return facts.f_favail if facts.f_files and not is_macos() else sys.maxsize


def is_macos() -> bool:
    return os.uname().sysname == "Darwin"


# --- Ownership ------------------------------------------------------------------------------------

MACOS_STAFF, MACOS_ADMIN = 20, 80  # Everybody's primary group there, and those who may become root.
RESERVE = 256 << 10
HOME_MARK = ".codex-mirror-home"
IGNORE_ALL = b"# Made by codex-mirror: nothing in here belongs in a repository.\n*\n"
BEGUN_HOME = r"lock|reserve|(\.codex-mirror-home|\.gitignore)|\..+\.codex-mirror-new|.+\.new"  # With an empty mark.
LEFT_BY_FIRST_TRY = r"lock|login\.lock|reserve|clones|journal\.json|scratch-[0-9a-f]{8}|registry\.json.*"
CLONE_PARTS = ("", "home", "home/.codex", "home/.codex/app-server-daemon", "runtime", "logs", "bin", "git")
CLONE_WAYS = ("home/.codex/app-server-daemon", "runtime", "logs", "bin", "git")  # On which all of these are passed.


class DirectoryFacts(NamedTuple):
    """One directory or link on the way to something, as `lstat` tells it."""

    path: str
    mode: int
    uid: int
    gid: int


class Hazard(NamedTuple):
    """A directory in which somebody else could change what lies there: why, what helps, and whether only by a group."""

    path: str
    why: str
    fix: str
    by_group: bool = False


def hazard_of(
    facts: DirectoryFacts, uid: int, owners: Collection[int], is_private: Callable[[int], bool]
) -> Hazard | None:
    """How somebody else than this user could change what lies in a directory, if so; `owners` are trusted as he is, and
    a group is private when nobody else is in it. Pure."""
    path, mode, owner, gid = facts
    trust = f"CODEX_MIRROR_TRUST_DIRECTORY={shell_quote(path)} accepts it"
    if owner != uid and owner not in owners:
        return Hazard(path, "belongs to another user", trust if uid else f"run it as that user, or {trust}")
    if stat.S_ISLNK(mode) or mode & stat.S_ISVTX or not mode & (stat.S_IWOTH | stat.S_IWGRP):
        return None
    fix = f"chmod go-w {shell_quote(path)}" if owner == uid else trust
    if mode & stat.S_IWOTH:
        return Hazard(path, "is writable by everyone", fix)
    return None if is_private(gid) else Hazard(path, f"is writable by its group ({gid})", fix, by_group=True)


def is_private_group(
    gid: int, user: str, primary: int, name: str, members: Collection[str], *, macos: bool = False
) -> bool:
    """Is a group the user's own, going by its `name` and `members`? Nobody can list whose primary group it is. Pure."""
    if macos and gid in (MACOS_STAFF, MACOS_ADMIN):
        return gid == MACOS_ADMIN
    is_own = gid in (0, primary) or name == user != ""
    return is_own and {*members} <= {user, "root"}


def is_own_group(gid: int) -> bool:
    """Is a group the user's own on this machine?"""
    import grp
    import pwd

    uid, user, name, members = os.geteuid(), "", "", list[str]()
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(uid).pw_name
    with contextlib.suppress(KeyError):
        name, _, _, members = grp.getgrgid(gid)
    return is_private_group(gid, user, os.getegid(), name, members, macos=is_macos())


def roots_of_map(uid_map: bytes, overflow: bytes) -> tuple[int, ...]:
    """The uids that count as root: also that of all who aren't in the map of a container's users. Pure."""
    whole = uid_map.split() in ([], [b"0", b"0", b"4294967295"])
    return (0,) if whole or not overflow.strip().isdigit() else (0, int(overflow))


def root_uids() -> tuple[int, ...]:
    """The uids that count as root here."""
    try:
        uid_map, overflow = (read_or_none(f"/proc/{one}") for one in ("self/uid_map", "sys/kernel/overflowuid"))
    except OSError:
        return (0,)
    return roots_of_map(uid_map or b"", overflow or b"")


def way_to(path: str) -> Iterator[DirectoryFacts]:
    """Every directory and link that is passed on the way to a path, as far as one can look, outermost first."""
    waiting, here, patience = path.split("/")[::-1], "/", 40
    with contextlib.suppress(OSError):
        while True:
            facts = os.lstat(here)
            yield DirectoryFacts(here, facts.st_mode, facts.st_uid, facts.st_gid)
            if stat.S_ISLNK(facts.st_mode) and (patience := patience - 1):
                target = os.readlink(here)
                waiting += target.split("/")[::-1]
                here = "/" if target.startswith("/") else os.path.dirname(here)
            while waiting and waiting[-1] in ("", "."):
                waiting.pop()
            if not waiting:
                return
            part = waiting.pop()
            here = os.path.dirname(here) if part == ".." else f"{'' if here == '/' else here}/{part}"


def hazards_on_way(path: str, trusted: Collection[str]) -> Iterator[Hazard]:
    """Where on the way to a path somebody else could change what lies there; the owner of a directory that is trusted
    is trusted from there on."""
    uid, owners = os.geteuid(), {0}
    for facts in way_to(path):
        if facts.path in trusted:
            owners.add(facts.uid)
            continue
        hazard = hazard_of(facts, uid, owners, is_own_group)
        if hazard and facts.uid not in (uid, *owners):
            owners.update(root_uids())
            hazard = hazard_of(facts, uid, owners, is_own_group)
        if hazard:
            yield hazard


def refuse_hazards(path: str, places: Places, strict: bool = True) -> None:
    """Refuses what lies where somebody else could change it; where it is not meant to be `strict`, a group that could
    is left to doctor. Raises MirrorError."""
    for hazard in hazards_on_way(path, places.trusted):
        if strict or not hazard.by_group:
            raise MirrorError(f"{hazard.path} {hazard.why}", hazard.fix, REFUSED)


def refuse_foreign_file(path: str) -> None:
    """Refuses a file that another user owns, or anyone may write. Raises MirrorError."""
    facts = os.stat(path)
    if not is_of_user(os.path.realpath(path)):
        raise MirrorError(f"{path} belongs to another user", OWN_HOME, REFUSED)
    if facts.st_mode & stat.S_IWOTH:
        raise MirrorError(f"{path} is writable by everyone", f"chmod go-w {shell_quote(path)}", REFUSED)


def check_mirror_home(places: Places, strict: bool = False) -> None:
    """Refuses a mirror home that isn't a directory of ours alone; there may be none yet. Raises MirrorError."""
    home, hint = places.mirror_home, OWN_HOME
    try:
        what = "" if stat.S_ISDIR(os.stat(home).st_mode) else "is not a directory"
        if not what and not os.access(home, os.X_OK):
            what, hint = "can't be searched", advice_on_rights(home) if is_owned_by_us(home) else hint
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not os.path.islink(home):
            if strict:
                refuse_hazards(home, places)
            return
        what = "is a link to nothing" if os.path.islink(home) else f"can't be read: {error.strerror}"
    if what:
        raise MirrorError(f"{home} {what}", hint, REFUSED)
    refuse_hazards(home, places, strict)
    if not is_mirror_home(home) and {*entries_of(home)} - {"lost+found"}:
        hint = "set CODEX_MIRROR_HOME to a directory that is new or empty"
        raise MirrorError(f"{home} is not empty, and not a mirror home of codex-mirror", hint, REFUSED)


def is_marked_home(home: str) -> bool:
    """Does a directory bear the mark of a mirror home, which says where it is, or as up to 1.0.0 a registry?"""
    documents = (read_json_object(os.path.join(home, f"registry.json{end}")) for end in ("", ".previous"))
    mark = os.path.join(home, HOME_MARK)
    return (kind_of(mark) == "file" and bool(text_in(read_json_object(mark), "mirrorHome"))) or any(
        isinstance(document.get("clones"), list) and "version" in document for document in documents
    )


def is_mirror_home(home: str) -> bool:
    """Is a directory a mirror home, going by its mark, its registry, its clones, or by what a first try left?"""
    clones = os.path.join(home, "clones")
    if is_marked_home(home) or any(
        text_in(read_json_object(os.path.join(base_in_root(root), "clone.json")), "id") for root in paths_in(clones)
    ):
        return True
    names, mark = {*entries_of(home)}, os.path.join(home, HOME_MARK)
    if kind_of(mark) == "file" and not size_of(mark) and all(re.fullmatch(BEGUN_HOME, name) for name in names):
        return True
    if size_of(os.path.join(home, "reserve")) == RESERVE:
        return all(re.fullmatch(LEFT_BY_FIRST_TRY, name) for name in names)
    return names == {"clones"} and not any(files_below(clones))


def place_in_mark(home: str) -> str:
    """Where the mirror home was that got this mark; a copy has it, too. Nothing where the mark doesn't say."""
    return text_in(read_json_object(os.path.join(home, HOME_MARK)), "mirrorHome")


def known_places(env: Mapping[str, str]) -> Places:
    """Where everything is, as the environment says it; the mirror home by the name that its clones know, where it is
    typed by another name of the same directory: in another case on a Mac, or by that of a bind mount."""
    places = places_from(env)
    typed, known = places.mirror_home, place_in_mark(places.mirror_home)
    if known in ("", typed, os.path.realpath(typed)) or not is_same_directory(known, typed):
        return places
    return places._replace(mirror_home=known)


def mounts_listed() -> list[tuple[str, str]] | None:
    """What is mounted, as Linux tells it: the directory of its file system, and where; None where nobody does."""
    try:
        rows = read_or_none("/proc/self/mountinfo")
    except OSError:
        return None
    return None if rows is None else mounts_in_rows(rows)


@lru_cache(maxsize=1)
def mounts_in_rows(rows: bytes) -> list[tuple[str, str]]:
    """The mounts in what Linux tells, which is mostly what it told last."""

    def plain(field: bytes) -> str:
        if b"\\" not in field:
            return os.fsdecode(field)
        return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field))

    fields = (row.split(b" ", 5)[3:5] for row in rows.split(b"\n") if row.count(b" ") > 4)
    return [(plain(top), plain(point)) for top, point in fields]


def mount_points() -> list[str] | None:
    """Where something is mounted, as Linux tells it; None where nobody does."""
    listed = mounts_listed()
    return None if listed is None else [point for _, point in listed]


def is_mounted_as(path: str, old: str, listed: Sequence[tuple[str, str]]) -> bool:
    """May a directory be here by a mount alone, and still be called `old` outside of it, going by the mounts? It is one
    itself, or its file system has it under that name. Pure."""
    around = [(len(point), top, point) for top, point in listed if path == point or is_below(path, point)]
    if not around:
        return False
    _, top, point = max(around, key=lambda one: one[0])
    return path == point or old.endswith(top.rstrip("/") + path[len(point.rstrip("/")) :])


def mounts_in(path: str) -> list[str]:
    """What is mounted at a path or below it, itself reached through no link; where nobody tells, other file systems."""
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    points = mount_points()
    if points is not None:
        return [point for point in points if point == real or is_below(point, real)]
    if kind_of(real) != "directory":
        return []
    device = os.lstat(os.path.dirname(real)).st_dev
    return [top for top, _, _ in os.walk(real) if os.lstat(top).st_dev != device]


def refuse_mounts(path: str) -> None:
    """Refuses to have something replaced or deleted where, or in which, something is mounted. Raises MirrorError."""
    for point in mounts_in(path) if path else ():
        raise MirrorError(f"something is mounted at {point}", f"umount {shell_quote(point)}", REFUSED)


def mount_of(directory: int, name: str) -> tuple[int, bytes]:
    """What tells mounts apart, of a directory seen from an open one: a bind mount may lie on the same device."""
    if not hasattr(os, "O_PATH"):
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_dev, b""
    there = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    try:
        facts = read_or_none(f"/proc/self/fdinfo/{there}") or b""
        return os.fstat(there).st_dev, facts.partition(b"mnt_id:")[2].split(b"\n")[0]
    finally:
        os.close(there)


def refuse_mount(directory: int, name: str, own: tuple[int, bytes]) -> None:
    """Stops a deletion before a directory on another mount than the open one that it is in. Raises OSError."""
    if mount_of(directory, name) != own:
        with contextlib.suppress(OSError):
            name = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), name)
        raise OSError(errno.EBUSY, "is a mount point, and was not emptied", name)


def strange_part(base: str, tails: Iterable[str] = CLONE_PARTS) -> str:
    """What keeps a part of a clone's directory from being a plain one of our own there, in words, or nothing."""
    there: dict[str, os.stat_result] = {}
    for path in [base, *(f"{base}/{tail}" for tail in tails if tail)]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # One that is just being removed, too.
            there[path] = os.lstat(path)
    for path, facts in there.items():
        if not stat.S_ISDIR(facts.st_mode):
            what = "a link" if stat.S_ISLNK(facts.st_mode) else "a file"
            return f"{path} is {what}, and is not a directory of the clone's own"
    points, real = {*(mount_points() or ())} if there else set(), os.path.realpath(base)
    for path, facts in there.items():
        if (base in there and facts.st_dev != there[base].st_dev) or (points and real + path[len(base) :] in points):
            return f"something else is mounted at {path}"
    return ""


def unreadable_part(path: str) -> str:
    """The outermost directory on the way to what lies there that may not be searched, or the thing itself where it may
    not be read; or nothing."""
    for one in [path] if os.path.exists(path) else reversed([*directories_above(path)]):
        needed = (os.R_OK if one == path else 0) | (os.X_OK if os.path.isdir(one) else 0)
        if os.path.exists(one) and not os.access(one, needed):
            return one
    return ""


def advice_on_rights(path: str, base: str = "") -> str:
    """The command by which its user, or an administrator, lets us read something; what others own is given to us only
    below `base`."""
    if is_owned_by_us(path):
        return f"chmod u+rw{'x' * os.path.isdir(path)} {shell_quote(path)}"
    if base and (path in (base, os.path.dirname(base)) or is_below(path, base)):
        return f"sudo chown -R -h {os.geteuid()}:{os.getegid()} {shell_quote(path)}"
    return f"ask its owner for the right to read {shell_quote(path)}"


def is_of_user(path: str) -> bool:
    """Is what lies there this user's own? Where a file system makes up owners, they are those of the directory."""
    return os.lstat(path).st_uid in (os.geteuid(), os.stat(os.path.dirname(path)).st_uid)


def advice_on_reading(error: OSError) -> str:
    """What helps where something in a clone can't be read."""
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    if isinstance(error, PermissionError) and (part := unreadable_part(path)):
        return advice_on_rights(part, base_above(part))
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG):
        return "move away what lies there"
    return "check its disk and its rights"


def errors_with_advice(errors: Iterable[OSError]) -> list[tuple[str, str]]:
    """Each of these errors in words, once, with what helps."""
    return list({error_line(one): advice_on_reading(one) for one in errors}.items())


def base_above(path: str) -> str:
    """The clone directory in which something lies, going by the names alone, or nothing."""
    return next((above for above in directories_above(path) if os.path.basename(above) == ".codex-mirror"), "")


def directories_inside(path: str, base: str) -> list[str]:
    """The directories from the clone directory to the one that holds this path, as tails of it."""
    inside = [above for above in directories_above(os.path.dirname(path)) if above == base or is_below(above, base)]
    return [above[len(base) :].lstrip("/") for above in inside]


def refuse_strange_way(path: str) -> None:
    """Refuses a path in a clone that leads out of it, through a link or a mount. Raises MirrorError."""
    base = base_above(path)
    if base and (strange := strange_part(base, directories_inside(path, base))):
        raise MirrorError(strange, "move it away first", REFUSED)


# --- Disk -----------------------------------------------------------------------------------------

COPY_STEP = 64 << 20
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
# How file systems say that their files have no modes, and that a file can't have two names there, or not these two.
NO_MODES = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
NO_LINKS = {*NO_MODES, errno.EMLINK, errno.EXDEV}


def new_id() -> str:
    """Eight hexadecimal digits that no name carries yet."""
    return os.urandom(4).hex()


def new_uuid() -> str:
    import uuid

    return str(uuid.uuid4())


def flush_drives(directories: Iterable[str]) -> None:
    """Waits until what was synced below these directories survives a power cut: on macOS fsync leaves it in the cache
    of the drive, and the call that empties that takes as long for one file as for all."""
    import fcntl

    full: int = getattr(fcntl, "F_FULLFSYNC", 0)
    there = [path for path in directories if os.path.isdir(path)] if full else []
    for path in {os.stat(path).st_dev: path for path in there}.values():
        with contextlib.suppress(OSError), open_descriptor(path, os.O_RDONLY | os.O_DIRECTORY) as file:
            fcntl.fcntl(file, full)  # Network file systems refuse it: fsync is all that they have.


def lock_open_file(file: int, waits: bool = False, shared: bool = False) -> None:
    """Locks an open file until it is closed. Raises BlockingIOError where another has it and we don't wait."""
    import fcntl

    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if waits else fcntl.LOCK_NB))


def sync_directory(path: str) -> None:
    """Waits until the names in the directory are on the disk."""
    with open_descriptor(path, os.O_RDONLY | os.O_DIRECTORY) as file:
        try:
            os.fsync(file)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise


def sync_tree(path: str) -> None:
    """Waits until the names in a directory and in all below it are on the disk."""
    for top, directories, files in os.walk(path, topdown=False):
        if directories or files:
            sync_directory(top)


def sync_file(path: str) -> None:
    """Waits until the bytes of a file are on the disk."""
    with name_errors(path), open_descriptor(path, os.O_RDONLY) as file:
        os.fsync(file)


def write_new(path: str, content: bytes, mode: int = 0o600, synced: bool = True) -> None:
    """Writes a file where nothing may be yet; its bytes are on the disk when this returns, unless it is synced later;
    its name is not."""
    with name_errors(path), open_descriptor(path, NEW_FILE, mode) as file:
        set_mode(file, mode, path)
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
        if synced:
            os.fsync(file)


@contextlib.contextmanager
def name_errors(path: str) -> Iterator[None]:
    """Gives an error in an open file its name, as on a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def set_mode(file: int, mode: int, path: str) -> None:
    """Gives an open file of ours its mode. Raises OSError with its path where the file system can't."""
    try:
        os.fchmod(file, mode)
    except OSError as error:
        if stat.S_IMODE(os.fstat(file).st_mode) != mode:
            raise OSError(errno.ENOTSUP, f"can't be given the mode {mode:o}: {error.strerror}", path) from None


def temporary_name(path: str) -> str:
    """The name of a file of ours while it is written; none that people give, in a directory that may have theirs."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.codex-mirror-new")


def write_whole(path: str, content: bytes, mode: int = 0o600) -> None:
    """Replaces a file of ours at one stroke, durably: the bytes under a temporary name, the name, the directory."""
    temporary = temporary_name(path)
    remove_file(temporary)
    write_new(temporary, content, mode)
    os.replace(temporary, path)
    sync_directory(os.path.dirname(path))


def remove_file(path: str) -> None:
    """Removes a file or link, if there is one."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


def remove_empty(directory: str) -> None:
    """Removes a directory only when it is empty, or has nothing but what macOS leaves in any."""
    with contextlib.suppress(OSError):
        inside = [os.path.join(directory, name) for name in os.listdir(directory)]
        for path in inside if all(map(is_litter, inside)) else ():
            os.unlink(path)
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EBUSY, errno.EINVAL):
            raise


def make_directories(path: str, mode: int = 0o700, synced: bool = True) -> int:
    """Makes a directory and the missing ones above it, and says how many those were; their names are durable, unless
    the tree is synced later. Raises MirrorError when somebody else makes one meanwhile."""
    missing = missing_directories(path)
    for directory in missing:
        try:
            os.mkdir(directory, mode)
        except FileExistsError:
            facts = os.lstat(directory)
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
                raise MirrorError(f"{directory} was just created by another program", "try again", REFUSED) from None
        if synced:
            sync_directory(os.path.dirname(directory))
    return len(missing)


def make_private(directory: str, ours: int = 0) -> None:
    """Takes the rights of others to a directory of ours away, and gives us at least these of our own; where a file
    system has no modes, it stays as it is."""
    mode = stat.S_IMODE(os.stat(directory).st_mode)
    if mode != (private := mode & 0o700 | ours):
        try:
            os.chmod(directory, private)
        except OSError as error:
            if error.errno not in NO_MODES:
                raise


def discard(path: str) -> None:
    """Removes a file or a whole tree, never through a link, however deep, also where directories are read-only or
    still filling; never what is mounted in it. Raises OSError there."""
    if kind_of(path) != "directory":
        remove_file(path)
        return
    with open_descriptor(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY) as holder:
        refuse_mount(holder, os.path.basename(path), mount_of(holder, "."))
    here = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    inside: list[str] = []
    above: list[os.stat_result] = []
    patience = 4
    try:
        waiting = [remove_files_in(here)]
        while waiting[-1] or inside:
            if waiting[-1]:
                inside.append(waiting[-1].pop())
                above.append(os.fstat(here))
                here = open_beside(here, inside[-1])
                waiting.append(remove_files_in(here))
                continue
            here = open_beside(here, "..")
            if not os.path.samestat(os.fstat(here), above.pop()):
                raise OSError(errno.ESTALE, "was moved while it was being removed", path)
            try:
                os.rmdir(inside[-1], dir_fd=here)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not (patience := patience - 1):
                    raise
                waiting[-2].append(inside[-1])
            waiting.pop()
            inside.pop()
    except OSError as error:  # Names in an open directory, and open files, say nothing of where they are.
        name = error.filename if isinstance(error.filename, str) else ""
        raise OSError(error.errno, error.strerror, os.path.normpath(os.path.join(path, *inside, name))) from None
    finally:
        os.close(here)
    os.rmdir(path)


def remove_files_in(directory: int) -> list[str]:
    """Removes all but the directories from an open directory, letting us in first; the names of those."""
    if stat.S_IMODE(os.fstat(directory).st_mode) & 0o700 != 0o700:
        os.fchmod(directory, 0o700)
    below, own = [], None
    for name in os.listdir(directory):
        facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISDIR(facts.st_mode):
            os.unlink(name, dir_fd=directory)
            continue
        own = own or mount_of(directory, ".")
        refuse_mount(directory, name, own)
        below.append(name)
        if facts.st_mode & 0o700 != 0o700:
            os.chmod(name, 0o700, dir_fd=directory)
    return below


def open_beside(directory: int, name: str) -> int:
    """Opens a directory next to an open one, which is closed: a tree may be deeper than a path can be long."""
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    os.close(directory)
    return there


def make_link(source: str, target: str) -> bool:
    """Gives a file a second name where nothing may be; False where the file system can't. Raises OSError."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return False
    return True


def put_in_place(temporary: str, target: str) -> None:
    """Gives a finished file its name where nothing may be. Raises FileExistsError when something came meanwhile.

    Where a file can't have two names, a file that says whose place this is takes it first, and a killed program's is
    known by that."""
    if make_link(temporary, target):
        return remove_file(temporary)
    claim = os.fsencode(os.path.basename(temporary))
    try:
        write_new(target, claim)
    except FileExistsError:
        if kind_of(target) != "file" or size_of(target) != len(claim) or read_whole(target) != claim:
            raise
    with open_descriptor(target, os.O_RDONLY | os.O_NOFOLLOW) as file:
        if os.read(file, len(claim) + 1) == claim and os.path.samestat(os.fstat(file), os.lstat(target)):
            os.rename(temporary, target)
        late = claim if kind_of(temporary) else os.pread(file, TEXT_LIMIT, 0)
    if late != claim:  # Somebody wrote into it: that is his file now.
        os.rename(target, temporary)
        write_new(target, late)
    if late != claim or kind_of(temporary):
        raise FileExistsError(errno.EEXIST, "exists", target)


def copy_file(
    source: str, target: str, mode: int, copied: Callable[[int], None] = lambda count: None, synced: bool = True
) -> None:
    """A new file with the source's bytes: copied inside the kernel, which shares the extents where it can, or by hand.
    It is durable, unless it is synced later."""
    import shutil

    file = os.open(target, NEW_FILE, mode)
    with name_errors(target), open(file, "wb") as writer, open(source, "rb", buffering=0) as reader:
        set_mode(writer.fileno(), mode, target)
        size = os.fstat(reader.fileno()).st_size
        try:
            while done := os.copy_file_range(reader.fileno(), writer.fileno(), COPY_STEP):
                copied(done)
        except (OSError, AttributeError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise
        already = reader.seek(writer.tell())  # The kernel may give up, or copy nothing and say that is all.
        shutil.copyfileobj(reader, writer)
        writer.flush()
        copied(size - already)
        if synced:
            os.fsync(writer.fileno())


def copy_metadata(source: str, target: str) -> None:
    """Gives a file the mode, the owner and, on Linux, the extended attributes and ACL of another; no flags of BSD, of
    which some are the system's to set. Raises OSError when the owner can't be kept."""
    facts = os.stat(source)
    names: list[str] = []
    with contextlib.suppress(OSError, AttributeError):
        names = os.listxattr(source)
    for name in names:
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:  # Some are the system's to set, and not every file system has them.
            if error.errno not in {*NO_MODES, errno.ENODATA, errno.EINVAL}:
                raise
    os.chmod(target, stat.S_IMODE(facts.st_mode))
    if (facts.st_uid, facts.st_gid) != (os.stat(target).st_uid, os.stat(target).st_gid):
        os.chown(target, facts.st_uid, facts.st_gid)
        os.chmod(target, stat.S_IMODE(facts.st_mode))


# --- Locks ----------------------------------------------------------------------------------------

# The earlier program's lock of the registry is a file that must be new, with a pid and the time; a dead one left it
# when it is a minute old. Ours has a third line: who holds the mirror home's own lock knows that a dead one left it.
EARLIER_LOCK_AGE = 60
OUR_LINE = b"codex-mirror\n"


@contextlib.contextmanager
def hold_lock(path: str, what: str, seconds: float, waiting: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock at `path` for `what`; a dead holder's is free at once. Raises MirrorError BUSY after `seconds`.

    The file stays when the lock is free; should it have been removed while we waited, the taking starts again, so that
    two writers never hold two files."""
    deadline = time.monotonic() + seconds
    while True:
        with open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW) as file:
            try:
                take_lock(file, deadline, patience_for(seconds), waiting)
            except OSError as error:
                hint = "its file system doesn't support locks: set CODEX_MIRROR_HOME to a directory on another one"
                raise MirrorError(f"{path} can't be locked: {error.strerror}", hint) from None
            if not os.path.exists(path) or not os.path.samestat(os.fstat(file), os.stat(path)):
                continue
            try:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, 0)
                    os.pwrite(file, f"'{what}' (pid {os.getpid()})".encode("utf-8", "replace"), 0)
                yield
                return
            finally:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, 0)


def patience_for(seconds: float) -> float:
    """How long one holder may keep a lock before who waits for so many seconds says for whom; a queue is no news."""
    return min(seconds / 10, 30)


def take_lock(file: int, deadline: float, patience: float, waiting: Callable[[str], None]) -> None:
    """Locks an open file, first come, first served as far as the system does. Raises MirrorError BUSY past the
    deadline. Whoever keeps it for longer than `patience` is named by the text in the file, once."""
    queue, holder, told, since = None, "", "", time.monotonic()
    while True:
        if queue is None or queue.acquire(timeout=max(min(deadline - time.monotonic(), patience, 0.1), 0.001)):
            try:
                return lock_open_file(file)
            except BlockingIOError:
                queue = None
        now, named = time.monotonic(), escape_invisible(os.pread(file, 200, 0).decode("utf-8", "replace"))
        if named and named != holder:
            holder, since = named, now
        if now >= deadline:
            raise MirrorError(f"{holder or 'another program'} is still running", "try again when it has finished", BUSY)
        if now - since >= patience and told != (holder or "another program"):
            waiting(told := holder or "another program")
        queue = queue or queue_for_lock(file)


def queue_for_lock(file: int) -> Any:
    """Waits for a lock in the system's own queue, where a stopped or killed program is in nobody's way; what it gives
    can be acquired once the file is locked. When the file is closed before, the lock is given back by itself."""
    import _thread

    ready, own = _thread.allocate_lock(), os.dup(file)
    ready.acquire()

    def wait() -> None:
        with contextlib.suppress(OSError):
            lock_open_file(own, waits=True)
        os.close(own)
        ready.release()

    try:
        _thread.start_new_thread(wait, ())
    except RuntimeError:  # No more threads here: then by asking again and again.
        os.close(own)
        time.sleep(0.02)
        ready.release()
    return ready


@contextlib.contextmanager
def hold_new_file(path: str, content: bytes) -> Iterator[None]:
    """Writes a file where nothing may be yet, and holds its lock, also when it is renamed meanwhile."""
    write_new(path, content)
    with open_descriptor(path, os.O_RDWR) as file:
        lock_open_file(file)
        yield


@contextlib.contextmanager
def share_lock(path: str) -> Iterator[bool]:
    """Keeps writers waiting for as long as a reader looks; False where one holds the lock now. Nothing is made or
    written: a lock that isn't there, or can't be opened, is held by nobody."""
    with contextlib.ExitStack() as held:
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
            lock_open_file(held.enter_context(open_descriptor(path, flags)), shared=True)
        except OSError as error:
            yield not isinstance(error, BlockingIOError)
            return
        yield True


def earlier_lock_file(places: Places) -> str:
    return registry_file(places) + ".lock"


@contextlib.contextmanager
def hold_earlier_lock(places: Places, seconds: float, waiting: Callable[[str], None]) -> Iterator[None]:
    """Keeps the earlier program from writing the registry, by its own rules; only for who holds the mirror home's lock.
    Raises MirrorError BUSY after `seconds`."""
    path, content = earlier_lock_file(places), b"%d\n%d\n%s" % (os.getpid(), time.time() * 1000, OUR_LINE)
    begun, patience = time.monotonic(), patience_for(seconds)
    remove_file(path + ".new")
    with open_descriptor(path + ".new", NEW_FILE) as file:
        os.write(file, content)
    while not take_earlier_lock(path):
        holder, waited, left = earlier_holder(path), time.monotonic() - begun, time_of_dead_lock(path)
        if waited >= seconds and left:
            raise MirrorError(f"{holder} left a lock, which expires in {left}", f"wait, or remove {path}", BUSY)
        if waited >= seconds:
            hint = f"try again when it has finished; if it was killed, wait a minute or remove {path}"
            raise MirrorError(f"{holder} is still running", hint, BUSY)
        if waited >= patience or (left and patience < seconds):
            patience = seconds
            waiting(f"the lock that {holder} left, which expires in {left}" if left else holder)
        time.sleep(0.02)
    try:
        yield
    finally:
        if read_or_none(path) == content:
            remove_file(path)


def earlier_holder(path: str) -> str:
    """Who has the earlier program's lock, or had it."""
    pid = re.match(rb"\d+", read_or_none(path) or b"")
    return f"the earlier codex-mirror (pid {pid[0].decode() if pid else '?'})"


def time_of_dead_lock(path: str) -> str:
    """For how long the earlier program's lock still counts, whose process isn't running here; nothing for another. It
    may run on another machine, so that its age decides, as it does for the earlier program."""
    pid = re.match(rb"\d{1,9}\b", read_or_none(path) or b"")
    try:
        os.kill(int(pid[0]), 0) if pid else None
    except ProcessLookupError:
        return duration_text(max(EARLIER_LOCK_AGE - (time.time() - modified_at(path)), 1))
    except OSError:
        return ""
    return ""


def take_earlier_lock(path: str) -> bool:
    """Gives the prepared lock its name, unless the earlier program has the lock; one that a dead program left goes."""
    remove_dead_lock(path)
    with contextlib.suppress(FileExistsError):
        put_in_place(path + ".new", path)
        return True
    return False


def remove_dead_lock(path: str) -> None:
    """Removes the earlier program's lock where a dead one left it, or one of ours that was killed; only for who holds
    the mirror home's lock."""
    with contextlib.suppress(FileNotFoundError):
        facts = os.lstat(path)
        is_old = time.time() - facts.st_mtime > EARLIER_LOCK_AGE and facts.st_uid == os.geteuid()
        if stat.S_ISREG(facts.st_mode) and (is_old or read_whole(path).endswith(OUR_LINE)):
            remove_file(path)


# --- Processes ------------------------------------------------------------------------------------

OUTPUT_LIMIT = 1 << 16
SYSTEM_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"  # Where the system's own programs lie; PATH may have others before.


class CapturedOutput(NamedTuple):
    """What a program printed (the first 64 KiB of each, where no more was wanted) and how it ended; `code` is None when
    its time ran out."""

    code: int | None
    out: bytes
    err: bytes


def capture(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    seconds: float,
    while_running: Callable[[], None] = lambda: None,
    *,
    limit: int = OUTPUT_LIMIT,
) -> CapturedOutput:
    """Runs a program to its end without a terminal; the time limit holds also when a grandchild keeps the pipe open.
    What `while_running` does is done here meanwhile, and the time counts from its end."""
    import subprocess

    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child, ended, finished = None, False, False
    try:
        with hold_signals():
            child = subprocess.Popen(list(argv), env=dict(env), cwd=cwd, start_new_session=True, umask=0o077, **pipes)
        while_running()
        files = [file.fileno() for file in (child.stdout, child.stderr) if file]
        pieces, finished = read_output(child, files, seconds, limit)
    except OSError as error:
        if child:
            raise
        return CapturedOutput(126, b"", os.fsencode(f"{error.strerror}: {error.filename or argv[0]}"))
    finally:
        if child:
            ended = child.poll() is not None
            if not ended or not finished:
                kill_group(child)
            child.wait()
            for file in filter(None, (child.stdout, child.stderr)):
                file.close()
    return CapturedOutput(child.returncode if ended else None, bytes(pieces[0]), bytes(pieces[1]))


def kill_group(child: Any) -> None:
    """Ends a program and all that it has started; on a Mac one that has just ended can't be asked to."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


@contextlib.contextmanager
def hold_signals() -> Iterator[None]:
    """Holds signals back while a child is running that nobody else could end; they come afterwards."""
    came: list[int] = []
    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # Only the main thread is unwound by signals.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for held, handler in before.items():
            signal.signal(held, handler)
        for one in came[:1]:
            signal.raise_signal(one)


def read_output(child: Any, files: list[int], seconds: float, limit: int) -> tuple[list[bytearray], bool]:
    """What a child writes to its two pipes until both close, it ended, or the time is over; and did they close?"""
    import select

    pieces = {file: bytearray() for file in files}
    open_files, deadline = set(files), time.monotonic() + seconds
    while open_files and (left := deadline - time.monotonic()) > 0:
        poller = select.poll()
        for file in open_files:
            poller.register(file, select.POLLIN)
        for file, _ in poller.poll(min(left, 0.05) * 1000):
            part = os.read(file, OUTPUT_LIMIT)
            if not part:
                open_files.discard(file)
            pieces[file] += part[: limit - len(pieces[file])]
        if open_files and child.poll() is not None:
            deadline = min(deadline, time.monotonic() + 0.2)
    if not open_files:
        with contextlib.suppress(Exception):
            child.wait(max(deadline - time.monotonic(), 0))
    return [pieces[file] for file in files], not open_files


@contextlib.contextmanager
def unnamed_file(directory: str) -> Iterator[int]:
    """A new file without a name: a program can still write into it when we are gone, and nothing is left of it."""
    path = os.path.join(directory, f"codex-mirror-{new_id()}")
    with open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) as file:
        remove_file(path)
        yield file


def converse(
    program: Program, request: bytes, is_answered: Callable[[bytes], bool], seconds: float, may_kill: Callable[[], bool]
) -> CapturedOutput:
    """Asks a program on its stdin, which is closed when the answer has come, and waits for its end. When the time is
    over it is killed, or, where it mustn't be, left to end by itself; `code` is None then. Raises OSError."""
    import subprocess

    directory = program.env.get("TMPDIR") or "/tmp"
    with unnamed_file(directory) as out, unnamed_file(directory) as err:
        with hold_signals():
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": out, "stderr": err, "bufsize": 0}
            words, env, cwd = list(program.argv), dict(program.env), program.cwd or "/"
            child = subprocess.Popen(words, env=env, cwd=cwd, start_new_session=True, umask=0o077, **pipes)
        with child.stdin as asked, contextlib.suppress(BrokenPipeError):  # type: ignore[union-attr]
            asked.write(request)
            deadline = time.monotonic() + seconds
            while child.poll() is None and time.monotonic() < deadline:
                if not asked.closed and is_answered(os.pread(out, OUTPUT_LIMIT, 0)):
                    asked.close()
                time.sleep(0.005)
        code = child.poll()
        if code is None and may_kill():
            kill_group(child)
            child.wait()
        return CapturedOutput(code, os.pread(out, OUTPUT_LIMIT, 0), os.pread(err, OUTPUT_LIMIT, 0))


def begin_reading(argv: Sequence[str], env: Mapping[str, str], given: bytes) -> Any:
    """A program that is given some bytes, and whose output is read as it comes, from `stdout`."""
    import subprocess

    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with hold_signals():
        child = subprocess.Popen(list(argv), env=dict(env), cwd="/", start_new_session=True, umask=0o077, **pipes)
    with contextlib.suppress(BrokenPipeError), child.stdin:  # type: ignore[union-attr]
        child.stdin.write(given)  # type: ignore[union-attr]
    return child


def end_reading(child: Any) -> None:
    """Ends such a program, whether or not it has said all."""
    child.kill()
    child.stdout.close()
    child.wait()


def replace_process(program: Program) -> NoReturn:
    """Replaces this process by a program, which gets back the signals that only Python ignores."""
    for name in ("SIGPIPE", "SIGXFSZ"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_DFL)
    if program.cwd:
        os.chdir(program.cwd)
    os.execvpe(program.argv[0], program.argv, dict(program.env))


def interrupted_by(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def run_child(program: Program, directory: str | None = None) -> int:
    """Runs a program on our terminal and waits for it: Ctrl-C is its own; its exit code, 128 + n for signal n."""
    import subprocess

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT)}
    for number, handler in previous.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    child = None
    try:
        with hold_signals():
            child = subprocess.Popen(list(program.argv), env=dict(program.env), cwd=directory)
        code = child.wait()
        return code if code >= 0 else 128 - code
    finally:
        if child is not None and child.poll() is None:
            child.terminate()
            child.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


def start_error(program: Program, error: OSError, is_any: bool) -> MirrorError:
    """The error of a program that can't be started: of any program as a shell ends then, else with where to look."""
    what = f"{program.argv[0]} can't be started: {error.strerror}"
    if is_any:
        return MirrorError(what, code=127 if isinstance(error, FileNotFoundError) else 126)
    return MirrorError(what, "see codex-mirror doctor")


@contextlib.contextmanager
def stdin_of(text: str) -> Iterator[None]:
    """Gives a line of text to whatever reads stdin, and takes the terminal back; no text leaves it alone."""
    if not text:
        yield
        return
    kept, (ear, console) = os.dup(0), os.pipe()
    try:
        os.write(console, os.fsencode(text) + b"\n")
        os.close(console)
        os.dup2(ear, 0)
        os.close(ear)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


@contextlib.contextmanager
def copy_of_stderr() -> Iterator[list[bytes]]:
    """What programs say on stderr meanwhile, where it is read as ever: all of it, in pieces, the newest last."""
    import threading

    kept, (ear, console), said = os.dup(2), os.pipe(), list[bytes]()

    def pass_on() -> None:
        while data := os.read(ear, 1 << 12):
            said.append(data)
            os.write(kept, data)
        os.close(ear)
        os.close(kept)

    os.dup2(console, 2)
    os.close(console)
    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    try:
        yield said
    finally:
        os.dup2(kept, 2)
        thread.join(0.5)  # A browser that was opened may keep the other end for longer.


def find_on_path(name: str, path: str) -> Iterator[str]:
    """Every executable file of that name on PATH, first the one that a shell would start."""
    for directory in dict.fromkeys(path.split(os.pathsep)):
        candidate = os.path.join(directory, name)
        if os.path.isabs(candidate) and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            yield candidate


def run_parallel(
    work: Callable[[Any], Any], items: Sequence[Any], while_running: Callable[[], None] = lambda: None
) -> list[Any]:
    """The results in the items' order, worked out as many at once as there are cores, and two; what `while_running`
    does is done here meanwhile. The first trouble is raised when those that were begun have ended, and no others are
    begun.

    A pool of `concurrent.futures` would load `logging` and what it needs: 5 ms and 1 MB."""
    import threading

    turns = iter(list(enumerate(items)))  # All threads take from it, and each item is given out once.
    results: dict[int, Any] = {}
    troubles: list[BaseException] = []

    def take_turns() -> None:
        for index, item in turns:
            try:
                results[index] = work(item)
            except BaseException as trouble:
                troubles.append(trouble)
                list(turns)

    threads = [threading.Thread(target=take_turns) for _ in range(min((os.cpu_count() or 1) + 2, len(items)))]
    for thread in threads:
        thread.start()
    try:
        while_running()
        for thread in threads:
            thread.join()
    finally:
        list(turns)
        for thread in threads:
            thread.join()
    if troubles:
        raise troubles[0]
    return [results[index] for index in range(len(items))]


def start_in_background(work: Callable[[], None]) -> None:
    """Begins work on a thread that nobody waits for; it ends with the program."""
    import threading

    threading.Thread(target=work, daemon=True).start()


def stop_processes(pids: Sequence[int], seconds: float = 5) -> list[int]:
    """Asks processes to end, then ends them; the pids that are still there."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while (pids := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.02)
    return list(pids)


def is_alive(pid: int) -> bool:
    """Does a process still run? One that has ended, and that nobody has asked for its exit code, doesn't."""
    try:
        os.kill(pid, 0)
        status = read_or_none(f"/proc/{pid}/stat") if os.path.isdir("/proc/self") else None
    except ProcessLookupError:  # Also from a file in /proc that was opened just before.
        return False
    except PermissionError:
        return True
    return status is None or status.rpartition(b")")[2].split()[:1] != [b"Z"]


# --- Process list ---------------------------------------------------------------------------------

NODE = ("node", "nodejs", "bun")
NODE_OPTIONS = frozenset("-r --require --import --loader --experimental-loader -C --conditions --env-file".split())
WORDS_LOOKED_AT = 64  # Of a command line whose words aren't kept apart.


class UnseenProcessesError(MirrorError):
    """Nobody can tell here which programs are running."""


def codex_pids_in(directory: str, codex_home: str) -> list[int]:
    """The pids of Codex processes whose program lies in the directory, or whose CODEX_HOME is this one, if any. Raises
    UnseenProcessesError."""
    if not os.path.isdir("/proc/self"):
        return codex_pids_by_ps(directory, codex_home)
    directory = os.path.realpath(directory)
    pids = map(int, filter(str.isdigit, entries_of("/proc")))
    return sorted(pid for pid in pids if is_codex(pid, directory, codex_home))


def is_codex(pid: int, directory: str, codex_home: str) -> bool:
    """Does /proc show this process as one of the clone's?"""
    try:
        if is_below(os.readlink(f"/proc/{pid}/exe"), directory):
            return pid != os.getpid()
        words = os.fsdecode(read_whole(f"/proc/{pid}/cmdline")).split("\0")
        started_in, uid = os.readlink(f"/proc/{pid}/cwd"), os.stat(f"/proc/{pid}").st_uid
        if not is_codex_command(words, started_in):
            return False
        settings = os.fsdecode(read_whole(f"/proc/{pid}/environ")).split("\0")
    except OSError:
        return False
    if is_below(node_script_in(words, started_in), directory):
        return True
    used = codex_home and codex_home_from(settings, started_in, uid)
    return bool(used) and is_same_directory(os.path.realpath(used), os.path.realpath(codex_home))


def is_codex_elsewhere(codex_home: str, pids: Collection[int]) -> bool:
    """Does a Codex use this home that is none of these processes, as one in another container? Each holds a lock on a
    file in it as long as it runs (Codex 0.168 to 0.171)."""
    packs = (path for path in paths_in(os.path.join(codex_home, "tmp")) if os.path.basename(path).startswith("arg0"))
    held = []
    for lock in [os.path.join(aliases, ".lock") for aliased in packs for aliases in paths_in(aliased)]:
        with share_lock(lock) as is_free:
            held += [] if is_free else [lock]
    if not held or not os.path.isdir("/proc/self"):  # Nobody tells who holds it: those that are known may.
        return bool(held) and not pids
    open_files = [path for pid in pids for path in paths_in(f"/proc/{pid}/fd")]
    return not all(any(is_path_to(path, lock) for path in open_files) for lock in held)


def is_codex_command(words: Sequence[str], started_in: str) -> bool:
    """Is this command line a Codex, native or started by Node?"""
    return "codex" in map(os.path.basename, words[:1]) or is_codex_script(node_script_in(words, started_in))


def is_codex_script(path: str) -> bool:
    return os.path.basename(path) in ("codex.js", "codex")


def node_script_in(words: Sequence[str], started_in: str) -> str:
    """The script that this command line has Node run, its path made plain; nothing where it is another program."""
    script = words_after_options(words[1:])[:1] if os.path.basename("".join(words[:1])) in NODE else ()
    return os.path.realpath(os.path.join(started_in, script[0])) if script else ""


def words_after_options(words: Sequence[str]) -> Sequence[str]:
    """What follows Node's own options in a command line."""
    while words and words[0].startswith("-"):
        words = words[2 if words[0] in NODE_OPTIONS else 1 :]
    return words


def codex_home_from(settings: Sequence[str], started_in: str, uid: int) -> str:
    """The CODEX_HOME of a process of this user with these variables: unset or empty, it is `.codex` in HOME, which the
    user database tells where that is unset, too; or nothing."""
    values = dict(setting.partition("=")[::2] for setting in settings)
    home = values.get("CODEX_HOME") or values.get("HOME")
    if not home:
        import pwd

        with contextlib.suppress(KeyError):
            home = pwd.getpwuid(uid).pw_dir
    used = values.get("CODEX_HOME") or (home and os.path.join(home, ".codex"))
    return os.path.join(started_in, used) if used else ""


def system_output(name: str, *words: str, codes: Collection[int] = (0,)) -> str:
    """All that a program of the system's own prints, in plain letters. Raises UnseenProcessesError where it fails."""
    said = capture([name, *words], {"PATH": SYSTEM_PATH, "LC_ALL": "C"}, "/", 20, limit=TEXT_LIMIT)
    if said.code not in codes or len(said.out) >= TEXT_LIMIT:
        why = os.fsdecode(said.err).strip().splitlines()[-1:] or [f"it ended with {said.code}"]
        raise UnseenProcessesError(
            f"can't tell which programs are running: {name}: {why[0]}", "try again outside the sandbox", BUSY
        )
    return os.fsdecode(said.out)


def codex_pids_by_ps(directory: str, codex_home: str) -> list[int]:
    """The same where only `ps` tells of processes. Raises UnseenProcessesError."""
    whose = ("-U", str(os.getuid())) if os.getuid() else ("-A",)
    listing = commands_in_listing(system_output("ps", "-xww", *whose, "-o", "pid=,command="))
    if listing.pop(os.getpid(), None) is None:
        raise UnseenProcessesError("can't tell which programs are running: ps doesn't even list this one", "", BUSY)
    kinds = {pid: kind_of_command(command, directory) for pid, command in listing.items() if "codex" in command.lower()}
    found = [pid for pid, kind in kinds.items() if kind == "inside"]
    if codex_home and (asked := [str(pid) for pid, kind in kinds.items() if kind == "codex"]):
        shown = system_output("ps", "-xwwE", "-p", ",".join(asked), "-o", "pid=,command=", codes=(0, 1))
        with_settings = commands_in_listing(shown).items()
        found += [pid for pid, text in with_settings if is_home_in_text(text, listing[pid], codex_home)]
    return sorted(found)


def commands_in_listing(listing: str) -> dict[int, str]:
    """The command lines that `ps -o pid=,command=` prints, by pid."""
    return {int(pid): command for pid, command in re.findall(r"^ *([0-9]+) (.+)$", listing, re.MULTILINE)}


def text_in_ps(text: str) -> str:
    """A text as `ps` prints it in the C locale, by vis(3), byte by byte (macOS 26)."""

    def shown(byte: int) -> str:
        if byte in (9, 10, 0xA0):
            return f"\\{byte:03o}"
        meta, low = byte > 127, byte & 127
        control = low < 32 or low == 127
        return ("M" if meta else "") + (f"^{chr(low ^ 64)}" if control else ("-" if meta else "") + chr(low))

    return "".join(map(shown, os.fsencode(text)))


def spellings_in_ps(path: str) -> tuple[str, ...]:
    """How a path may stand in a listing: as it is written here, and without links."""
    return tuple(dict.fromkeys(text_in_ps(one.rstrip("/")) for one in (path, os.path.realpath(path))))


def leading_path(text: str, names: Collection[str]) -> str:
    """The path that a text begins with, whose words aren't kept apart: the shortest that leads to a file, else to one
    of these names, else the first word."""
    words = text.split(" ", WORDS_LOOKED_AT)[:WORDS_LOOKED_AT] if text.startswith("/") else text.split(" ", 1)[:1]
    paths = [" ".join(words[: count + 1]) for count in range(len(words))]
    named = (path for path in paths if os.path.basename(path) in names)
    return next(filter(os.path.isfile, paths), next(named, words[0]))


def kind_of_command(command: str, directory: str) -> str:
    """`inside` for a command line whose program, or Node's script, lies in the directory, `codex` for that of another
    Codex, and nothing for the rest."""
    program, script = leading_path(command, ("codex", *NODE)), ""
    if os.path.basename(program) in NODE:
        script = " ".join(words_after_options(command[len(program) + 1 :].split(" ")))
    for text in filter(None, (command, script)):
        path = leading_path(text, ("codex", "codex.js"))
        is_spelled = any(is_below(text, one) for one in spellings_in_ps(directory))
        if is_spelled or (path.startswith("/") and is_path_into(path, directory)):
            return "inside"
    is_named = os.path.basename(program) == "codex" or is_codex_script(leading_path(script, ("codex", "codex.js")))
    return "codex" if is_named else ""


def is_home_in_text(shown: str, command: str, codex_home: str) -> bool:
    """Is this the CODEX_HOME of a process that `ps -E` shows, with its environment behind its command line? Where none
    is shown it may be."""
    settings = " " + shown.removeprefix(command).strip()
    used = values_in_text(settings, "CODEX_HOME")
    homes = [] if used else values_in_text(settings, "HOME")
    spelled = spellings_in_ps(codex_home)
    paths = [*used, *(os.path.join(value, ".codex") for value in homes)]
    return not paths or any(path.rstrip("/") in spelled or is_path_to(path, codex_home) for path in paths)


def values_in_text(settings: str, name: str) -> list[str]:
    """What the value of a variable, if it has one, may be in a text of variables that aren't kept apart: there may be
    blanks in it."""
    values = []
    for match in re.finditer(rf" {name}=(?=[^ ])", settings):
        ends = [end.start() for end in re.finditer(r" [A-Za-z_]\w*=", settings[match.end() :])][:WORDS_LOOKED_AT]
        values += [settings[match.end() :][:end] for end in (*ends, None)]
    return values


def program_of(pid: int) -> str:
    """The program that a process runs, also where its file was replaced; nothing where that can't be seen."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    if os.path.isdir("/proc/self"):
        return ""
    return system_output("ps", "-o", "comm=", "-p", str(pid), codes=(0, 1)).strip()


def pids_with_open(path: str) -> list[int]:
    """The pids of other processes that have the file open, as far as we may see. Raises UnseenProcessesError."""
    if not os.path.isdir("/proc/self"):
        listed = system_output("lsof", "-t", "--", path, codes=(0, 1)).split()
        return sorted(int(pid) for pid in listed if pid.isdigit() and int(pid) != os.getpid())
    path, found = os.path.realpath(path), []
    for pid in filter(str.isdigit, entries_of("/proc")):
        if int(pid) != os.getpid():
            for link in paths_in(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    found += [int(pid)] if os.readlink(link) == path else []
    return sorted(set(found))


# --- Volumes --------------------------------------------------------------------------------------


def volumes_in_listing(listing: str) -> dict[str, list[str]]:
    """The options of each mount point that macOS's `mount` prints; names are printed as they are. Pure."""
    rows = re.findall(r"^.*? on (/.*) \(([^()]*)\)$", listing, re.MULTILINE)
    return {point: options.split(", ") for point, options in rows}


def mounted_volumes() -> dict[str, list[str]]:
    """The same of this machine where it is a Mac, as far as that can be told."""
    with contextlib.suppress(UnseenProcessesError):
        return volumes_in_listing(system_output("mount")) if is_macos() else {}
    return {}


def is_noexec(path: str) -> bool:
    """Does a path lie, or would it, on a file system from which no program may be started?"""
    there = next(one for one in directories_above(path) if os.path.isdir(one))
    if is_macos():
        volumes = mounted_volumes()
        return "noexec" in volumes.get(volume_of(there, volumes), ())
    return bool(os.statvfs(there).f_flag & getattr(os, "ST_NOEXEC", 0))


def place_not_writable(directory: str) -> str:
    """The directory that keeps us from making something in this one, or from making this one; or nothing."""
    there = next(filter(os.path.lexists, directories_above(directory)), "/")
    return "" if not os.path.isdir(there) or is_writable(there) else there


def complaint_about_commands(directory: str) -> tuple[str, str]:
    """Why no command can be made in a directory and what helps, or two empty texts."""
    if not (there := place_not_writable(directory)):
        return "", ""
    is_own = is_owned_by_us(there) and not os.statvfs(there).f_flag & os.ST_RDONLY
    elsewhere = "set CODEX_MIRROR_BIN_DIR to a directory of your own, then codex-mirror wrapper install"
    return f"{there} can't be written", advice_on_rights(there) if is_own else elsewhere


def directories_without_commands(directories: Iterable[str], closed: bool) -> list[tuple[str, str]]:
    """Those of the directories that we may not search, or else not write though we may search them; with what helps."""
    advised = [(one, complaint_about_commands(one)[1]) for one in directories]
    return [
        (one, fix) for one, fix in advised if fix and closed == (os.path.isdir(one) and not os.access(one, os.X_OK))
    ]


def refuse_unwritable_commands(directory: str) -> None:
    """Refuses a directory for commands in which none can be made. Raises MirrorError."""
    complaint, hint = complaint_about_commands(directory)
    if complaint:
        raise MirrorError(f"no command can be created in {directory}: {complaint}", hint, REFUSED)


def refuse_noexec(*paths: str) -> None:
    """Refuses places for a clone or its command from which nothing can be started. Raises MirrorError."""
    if found := next(filter(is_noexec, paths), ""):
        hint = "choose another one with --root or CODEX_MIRROR_HOME, and CODEX_MIRROR_BIN_DIR for the commands"
        raise MirrorError(f"no program can be started in {found}: its file system is mounted noexec", hint, REFUSED)


def volume_of(path: str, volumes: Iterable[str]) -> str:
    """The innermost of these volumes that a path lies on, or nothing."""
    return max((point for point in volumes if is_path_into(path, point)), key=len, default="")


def ownerless_volume(path: str, volumes: Mapping[str, Sequence[str]], places: Places) -> str:
    """The volume that a path lies on, where that takes everybody for the owner of everything, as macOS does with
    external ones, or nothing; nor for a directory that the user trusts."""
    if not any("noowners" in options for options in volumes.values()):
        return ""
    own = volume_of(path, volumes)
    is_trusted = any(is_path_into(path, one) for one in places.trusted)
    return own if "noowners" in volumes.get(own, ()) and not is_trusted else ""


def told_ownerless(paths: Iterable[str], volumes: Mapping[str, Sequence[str]], places: Places) -> list[tuple[str, str]]:
    """That everyone may change what lies at these paths, where that is so, and what helps; each volume once."""
    told = []
    for volume in filter(None, dict.fromkeys(ownerless_volume(path, volumes, places) for path in paths)):
        what, quoted = f"{volume} ignores who owns a file: every user here can read and change it", shell_quote(volume)
        told += [(what, f"sudo diskutil enableOwnership {quoted}, or CODEX_MIRROR_TRUST_DIRECTORY={quoted} accepts it")]
    return told


def told_in_cloud(path: str, places: Places) -> list[tuple[str, str]]:
    """That a cloud of a Mac gets what lies at a path, and may take it from the disk, where that is so; what helps."""
    library = os.path.join(places.user_home, "Library")
    drive = os.path.join(library, "Mobile Documents", "com~apple~CloudDocs")
    kept = (name for name in ("Desktop", "Documents") if os.path.lexists(os.path.join(drive, name)))
    clouds = [os.path.join(library, name) for name in ("Mobile Documents", "CloudStorage")]
    for cloud in (*clouds, *(os.path.join(places.user_home, name) for name in kept)) if is_macos() else ():
        if is_path_into(path, cloud) and not any(is_path_into(path, one) for one in places.trusted):
            what = (
                f"{path} lies in {cloud}, of which a cloud gets every file, logins too, and may take it from the disk"
            )
            return [(what, f"keep it elsewhere, or CODEX_MIRROR_TRUST_DIRECTORY={shell_quote(cloud)} accepts it")]
    return []


def refuse_unfit_volume(path: str, places: Places) -> None:
    """Refuses a place for a login where every user of the machine may read it, or a cloud gets it. Raises
    MirrorError."""
    for what, fix in told_ownerless((path,), mounted_volumes(), places) + told_in_cloud(path, places):
        raise MirrorError(what, fix, REFUSED)


def leave_out_of_backups(directory: str) -> None:
    """Has Time Machine leave out a directory that can be made again, where it listens to us."""
    if is_macos():
        with contextlib.suppress(UnseenProcessesError):
            system_output("tmutil", "addexclusion", directory)


# --- Archives -------------------------------------------------------------------------------------

MEMBERS_LIMIT = 200_000
HEADER_LIMIT = 1 << 20
DONT_USE = "don't use this file"


def checked_member_name(name: str) -> str:
    """A member's path inside the archive, checked. Raises MirrorError."""
    plain = os.path.normpath(name)
    if name.startswith("/") or plain == ".." or plain.startswith("../") or "\0" in name:
        raise MirrorError(f"the archive has a path that leads out of its directory: {name}", DONT_USE, REFUSED)
    if plain.count("/") >= DEPTH_LIMIT:
        what = f"the archive is more than {DEPTH_LIMIT} directories deep: {name[:60]}…"
        raise MirrorError(what, DONT_USE, REFUSED)
    return plain


def pack(file: BinaryIO, members: Sequence[tuple[str, str | bytes]], times: Mapping[str, float] = {}) -> None:
    """Writes a .tar.gz whose bytes depend on these alone: members by name, files or bytes, all private; and when some
    of them were written (Unix seconds)."""
    import tarfile
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    class Packed(io.RawIOBase):
        """Packs and forgets; a `GzipFile` would write once more when it is destroyed after a failure."""

        def write(self, data: Any) -> int:
            return file.write(packer.compress(data))

    with tarfile.open(fileobj=Packed(), mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = 0o600, times.get(name, 0)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
                continue
            with open(content, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as source:
                info.size = os.fstat(source.fileno()).st_size
                tar.addfile(info, source)
    file.write(packer.flush())


def refused_archive(what: str) -> MirrorError:
    return MirrorError(f"the archive {what}", DONT_USE, REFUSED)


class Limit(NamedTuple):
    """How much may be made, and what is wrong when it is more."""

    most: int
    error: MirrorError


def limit_of(most: int, left: int, what: Callable[[int], str]) -> Limit:
    """What is reasonable, or nine tenths of what is left on the disk where that is less."""
    if most < (room := left * 9 // 10):
        return Limit(most, refused_archive(what(most)))
    hint = f"free some space, or if that is more than it can hold, {DONT_USE}"
    return Limit(room, MirrorError(f"the archive {what(room)}", hint, FAILED))


def unpack(archive: BinaryIO, directory: str, most: int) -> None:
    """Unpacks a .tar.gz into an empty directory: plain files and directories only, `most` bytes and MEMBERS_LIMIT of
    them in all, and no more than leaves some room on its disk.

    Reads to the very end, where gzip keeps its checksum. Raises MirrorError."""
    size = limit_of(most, free_bytes(directory), unpacked_size_text)
    files = limit_of(MEMBERS_LIMIT, free_inodes(directory), member_count_text)
    left = files.most
    with open_archive(archive, size, files) as (tar, members):
        for member in members:
            left -= unpack_member(tar, member, directory)
            if left < 0:
                raise files.error


def unpacked_size_text(size: int) -> str:
    return f"unpacks to more than {size_text(size)}"


def member_count_text(count: int) -> str:
    return f"has more than {count:,} files and directories"


@contextlib.contextmanager
def read_ahead(read: Callable[[int], bytes]) -> Iterator[Any]:
    """What reads the same bytes, which a thread has read before they are asked for: unpacking and writing then go side
    by side. What goes wrong there is raised here."""
    import queue

    parts: queue.Queue[bytes | BaseException | None] = queue.Queue(16)
    is_over = False

    def fill() -> None:
        try:
            while not is_over and (part := read(1 << 18)):
                parts.put(part)
            parts.put(b"")
        except BaseException as trouble:
            parts.put(trouble)
        parts.put(None)

    class Reader:
        def read(self, count: int = -1) -> bytes:
            """The next bytes, whatever their number; none at the end."""
            nonlocal is_over
            part = None if is_over else parts.get()
            is_over = not isinstance(part, bytes) or not part
            if isinstance(part, BaseException):
                raise part
            return part or b""

    start_in_background(fill)
    try:
        yield Reader()
    finally:
        is_over = True
        with contextlib.suppress(queue.Empty):  # Not for ever: it may read from a pipe.
            while parts.get(timeout=1) is not None:
                pass


@contextlib.contextmanager
def open_archive(archive: BinaryIO, size: Limit, files: Limit) -> Iterator[tuple[Any, Iterator[Any]]]:
    """A .tar.gz and its members, which are read once, in their order, to the very end. Raises MirrorError."""
    import gzip
    import tarfile
    import zlib

    left = size.most

    def limited(tar: Any) -> Iterator[Any]:
        nonlocal left
        for number, member in enumerate(tar):
            left -= max(member.size, 0)
            if left < 0 or number >= files.most:
                raise size.error if left < 0 else files.error
            yield member

    header = limited_members(size.error)
    try:
        opened = partial(tarfile.open, mode="r|", tarinfo=header)
        with gzip.GzipFile(fileobj=archive) as packed, read_ahead(packed.read) as plain, opened(fileobj=plain) as tar:
            yield tar, limited(tar)
            while part := plain.read(1 << 20):
                left -= len(part)
                if left < 0:
                    raise size.error
    except gzip.BadGzipFile:
        raise MirrorError("this is not a .tar.gz archive", "download or copy it again", FAILED) from None
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, zlib.error) as why:
        raise MirrorError(
            f"the .tar.gz archive is damaged or incomplete: {why}", "download or copy it again", FAILED
        ) from None


def limited_members(too_much: MirrorError) -> Any:
    """The type of members without what tarfile reads at one go whatever its length: a name and the like that are too
    long, and the map of a file's holes."""
    import tarfile

    class Member(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Member:
            member = super().frombuf(buf, encoding, errors)
            if member.size > HEADER_LIMIT and not member.isreg():
                raise too_much
            return member

        def _proc_gnusparse_10(self, *rest: object) -> NoReturn:
            raise MirrorError("the archive contains a sparse file", DONT_USE, REFUSED)

    return Member


def read_members(archive: BinaryIO, wanted: str, most: int, each: int) -> dict[str, bytes]:
    """The files in a .tar.gz whose path matches, by that path in small letters, as some file systems take it. None may
    be longer than `each`, all together not than 16 times that. Reads to the very end. Raises MirrorError."""
    size = Limit(most, refused_archive(unpacked_size_text(most)))
    files = Limit(MEMBERS_LIMIT, refused_archive(member_count_text(MEMBERS_LIMIT)))
    found: dict[str, bytes] = {}
    left = 16 * each
    with open_archive(archive, size, files) as (tar, members):
        for member in members:
            name = checked_member_name(member.name).lower()
            if member.isreg() and re.fullmatch(wanted, name):
                if member.size > each or (left := left - member.size) < 0:
                    raise refused_archive(f"contains settings larger than {size_text(each)}: {member.name}")
                found[name] = tar.extractfile(member).read()
    return found


def unpack_member(tar: Any, member: Any, directory: str) -> int:
    """Writes one member below the directory; how many files and directories were made for it."""
    path = os.path.join(directory, checked_member_name(member.name))
    content = tar.extractfile(member) if member.isreg() else None
    if content is None and not member.isdir():
        raise MirrorError(
            f"the archive contains something other than files and directories: {member.name}", DONT_USE, REFUSED
        )
    try:
        made = make_directories(os.path.dirname(path) if content else path, synced=False)
        if not content:
            return max(made, 1)
        mode = 0o600 | member.mode & 0o100
        with open(path, "xb", opener=partial(os.open, mode=mode)) as file:
            while part := content.read(1 << 18):
                file.write(part)
        if member.mtime > 0:
            os.utime(path, (member.mtime, member.mtime))
        return made + 1
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
            raise
        what = f"the archive contains a path twice, or one that isn't allowed: {member.name}"
        raise MirrorError(what, DONT_USE, REFUSED) from None


def spool(stream: BinaryIO, most: int) -> BinaryIO:
    """All that comes through a pipe, up to `most` bytes, in a private file that has no name. Raises MirrorError."""
    import tempfile

    room = free_bytes(tempfile.gettempdir()) * 9 // 10
    left = limit = min(most, room)
    file = tempfile.TemporaryFile()  # noqa: SIM115
    while part := stream.read(1 << 20):
        if (left := left - len(part)) < 0:
            hint = f"make room in {tempfile.gettempdir()}, or set TMPDIR to a directory on a larger disk"
            raise MirrorError(f"more than {size_text(limit)} came through the pipe", hint)
        file.write(part)
    file.seek(0)
    return file


# --- Registry -------------------------------------------------------------------------------------

REQUIRED = (
    *("id", "name", "rootPath", "runtimePath", "runtimeEntryPath", "runtimeKind"),
    *("wrapperPath", "codexVersionPinned", "createdAt", "updatedAt"),
)
KINDS = ("binary", "npm-package")
HOMES = ("isolated", "shared")


class BadRow(NamedTuple):
    """A row that isn't a clone: kept as it is, named by doctor, and in nobody's way."""

    row: Any
    why: str


class Registry(NamedTuple):
    """The registry as read: its entries in order, the id of the last change, and the keys that we don't know."""

    entries: tuple[Clone | BadRow, ...] = ()
    last_change: str = ""
    extra: Mapping[str, Any] = {}

    @property
    def clones(self) -> tuple[Clone, ...]:
        return tuple(entry for entry in self.entries if isinstance(entry, Clone))

    @property
    def bad_rows(self) -> tuple[BadRow, ...]:
        return tuple(entry for entry in self.entries if isinstance(entry, BadRow))

    @property
    def rows(self) -> list[Any]:
        return [clone_row(entry) if isinstance(entry, Clone) else entry.row for entry in self.entries]


class RegistryError(MirrorError):
    """The registry can't be read as a whole; nothing writes over it but `doctor --fix`."""

    def __init__(self, path: str, why: str, first: str = "") -> None:
        hint = f"{first}to rebuild it, and set the broken one aside: codex-mirror doctor --fix"
        super().__init__(f"the registry {path} {why}", hint)


def read_registry(places: Places) -> Registry:
    """The registry; empty where there is none. Raises RegistryError."""
    path = registry_file(places)
    check_mirror_home(places)
    try:
        content = read_or_none(path)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EFBIG, errno.ELOOP):
            raise RegistryError(path, f"can't be read: {error.strerror}") from None
        hint = "see codex-mirror doctor"
        if isinstance(error, PermissionError):
            hint = advice_on_rights(path) if is_owned_by_us(path) else OWN_HOME
        raise MirrorError(f"the registry {path} can't be read: {error.strerror}", hint) from None
    if content is None:
        if kind_of(path) or kind_of(path + ".previous"):
            raise RegistryError(
                path,
                "can't be read: it is a link to nothing" if kind_of(path) else "is missing, but there was one before",
            )
        return Registry()
    refuse_foreign_file(path)
    return registry_from(content, places, path)


def registry_from(content: bytes, places: Places, path: str) -> Registry:
    """The registry in these bytes. Raises RegistryError."""
    try:
        document = json.loads(content.decode("utf-8"), parse_constant=refuse_constant, parse_float=finite_number)
    except (ValueError, RecursionError) as error:
        raise RegistryError(path, "is empty" if not content.strip() else f"is not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("clones"), list):
        raise RegistryError(path, "is not a registry of clones")
    if document.get("version") != 1 or type(document["version"]) is not int:
        why = f"has version {document.get('version')!r}, but this codex-mirror knows version 1"
        raise RegistryError(path, why, first="if a newer codex-mirror wrote it, upgrade this one; else ")
    extra = {key: value for key, value in document.items() if key not in ("version", "clones", "lastChange")}
    last_change = document.get("lastChange")
    return Registry(
        entries_from(document["clones"], places), last_change if isinstance(last_change, str) else "", extra
    )


def refuse_constant(text: str) -> NoReturn:
    """Refuses NaN and its like, which Python's json would read. Raises ValueError."""
    raise ValueError(f"{text} is not valid JSON")


def entries_from(rows: list[Any], places: Places) -> tuple[Clone | BadRow, ...]:
    """The rows, each as a clone or with what is wrong with it; of two that claim the same, the second is wrong."""
    entries: list[Clone | BadRow] = []
    for row in rows:
        try:
            entries.append(clone_from_row(row, places))
        except ValueError as error:
            entries.append(BadRow(row, str(error)))
    clones = [entry for entry in entries if isinstance(entry, Clone)]
    bases = {base_of(clone) for clone in clones} | {clone.root for clone in clones if clone.made_root}
    parents = {os.path.dirname(clone.root) for clone in clones}
    crowded = {parent for parent in parents if not bases.isdisjoint(directories_above(parent))}
    taken: set[str] = set()
    for index, entry in enumerate(entries):
        if isinstance(entry, Clone):
            claims = {f"id {entry.id}", f"name '{entry.name.lower()}'", f"root {entry.root}"}
            if not claims.isdisjoint(taken):
                entries[index] = BadRow(entry.row, f"another entry has the same {min(claims & taken)}")
            elif crowded and os.path.dirname(entry.root) in crowded:
                entries[index] = BadRow(entry.row, "its root lies inside another clone")
            else:
                taken |= claims
    return tuple(entries)


def clone_from_row(row: Any, places: Places) -> Clone:
    """The only maker of a `Clone` from text. Raises ValueError with what is wrong."""
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    for key in REQUIRED:
        text = row.get(key)
        if not isinstance(text, str) or not text:
            raise ValueError(f"its {key} is missing or not a string")
    if not is_valid_file_name("".join([row[key] for key in REQUIRED])):
        odd = next(key for key in REQUIRED if not is_valid_file_name(row[key]))
        raise ValueError(f"its {odd} contains a character that can't be in a file name")
    complaint = complaint_about_name(row["name"]) or complaint_about_root(row["rootPath"], places)
    if complaint or not CLONE_ID.match(row["id"]):
        raise ValueError(complaint or "its id is not valid")
    wrapper, base = row["wrapperPath"], base_in_root(row["rootPath"])
    if not os.path.isabs(wrapper) or os.path.normpath(wrapper) != wrapper or os.path.basename(wrapper) != row["name"]:
        raise ValueError("its wrapperPath doesn't end in its name, or is not a plain path")
    return Clone(
        id=row["id"],
        name=CloneName(row["name"]),
        root=row["rootPath"],
        runtime=runtime_from(row, ("runtimePath", "runtimeEntryPath", "runtimeKind", "codexVersionPinned"), base),
        previous=runtime_from(row["previousRuntime"], Runtime._fields, base) if row.get("previousRuntime") else None,
        wrapper=wrapper,
        created=row["createdAt"],
        updated=row["updatedAt"],
        home=row["home"] if row.get("home") in HOMES else HOMES[0],
        shared=tails_in(row.get("shared")),
        keep_env=text_list(row.get("keepEnv")),
        account=account_from_row(row.get("account")),
        directories=tuple(path for path in text_list(row.get("directories")) if is_plain_path(path)),
        is_default=row.get("default") is True,
        shared_settings=tails_in(row.get("sharedSettings")),
        settings_links=tails_in(row.get("settingsLinks")),
        named_shares=row.get("sharesNamed") is True,
        made_root=row.get("madeRoot") is True or row["rootPath"] == os.path.join(clones_directory(places), row["name"]),
        row=row,
    )


def is_plain_path(text: str) -> bool:
    """Is this an absolute path as `pwd -P` could print it?"""
    return os.path.isabs(text) and os.path.normpath(text) == text and is_valid_file_name(text)


def tails_in(value: Any) -> tuple[str, ...]:
    """The paths in a list that lie below a home, whichever that is; what is none is left out."""
    tails = text_list(value)
    if not tails or is_plain_path("/".join(("/home", *tails))):  # All at once, as nearly always.
        return tails
    return tuple(tail for tail in tails if is_plain_path(f"/home/{tail}"))


def is_valid_file_name(text: str) -> bool:
    """Can a file be called so? JSON can hold half of a character, and no file name can."""
    if text.isascii():
        return "\0" not in text
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def runtime_from(row: Any, keys: Sequence[str], base: str) -> Runtime:
    """A runtime that lies inside the clone. Raises ValueError."""
    values = [text_in(row, key) for key in keys]
    if not all(values) or not is_valid_file_name("".join(values)):
        raise ValueError("its previousRuntime is not valid")
    path, entry, kind, version = values
    if os.path.normpath(path) != path or not f"{path}/".startswith(f"{base}/runtime/"):
        raise ValueError("its runtime lies outside the clone")
    if os.path.normpath(entry) != entry or not entry.startswith(f"{path}/"):
        raise ValueError("its entry lies outside its runtime")
    if kind not in KINDS:
        raise ValueError("its runtimeKind is unknown")
    return Runtime(path, entry, kind, version)


def account_from_row(value: Any) -> Account | None:
    """The account remembered in a row, if there is one."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return None
    known = {key: value[key] for key in Account._fields[:-1] if isinstance(value.get(key), str)}
    return Account(**known, since=max(int(number_in(value, "since") or 0), 0))


def clone_row(clone: Clone) -> dict[str, Any]:
    """The clone as its row: the earlier program's keys, then ours, with the keys that we don't know kept."""
    row = {
        "id": clone.id,
        "name": clone.name,
        "rootPath": clone.root,
        "runtimePath": clone.runtime.path,
        "runtimeEntryPath": clone.runtime.entry,
        "runtimeKind": clone.runtime.kind,
        "wrapperPath": clone.wrapper,
        "codexVersionPinned": clone.runtime.version,
        "createdAt": clone.created,
        "updatedAt": clone.updated,
        "home": clone.home,
        "shared": list(clone.shared),
        "keepEnv": list(clone.keep_env),
        "madeRoot": clone.made_root,
        "previousRuntime": clone.previous._asdict() if clone.previous else None,
        "account": {key: value for key, value in clone.account._asdict().items() if value} if clone.account else None,
    }
    rare = {
        "directories": list(clone.directories),
        "default": clone.is_default,
        "sharedSettings": list(clone.shared_settings),
        "settingsLinks": list(clone.settings_links),
        "sharesNamed": clone.named_shares,
    }
    return {**clone.row, **row, **{key: value for key, value in rare.items() if value or key in clone.row}}


def clone_row_text(clone: Clone) -> bytes:
    """What `clone.json` holds."""
    return json.dumps(clone_row(clone), indent=2).encode() + b"\n"


def write_registry(
    places: Places, registry: Registry, keep_previous: bool = True, resting_on: Iterable[str] = ()
) -> None:
    """Replaces the registry, durably: its new bytes, the old one's second name, what else it tells of, below the
    directories that it is `resting_on`; then the name, then the directory."""
    path = registry_file(places)
    head = json.dumps({"version": 1, **registry.extra, "lastChange": registry.last_change})[:-1]
    content = head + ', "clones": [' + ",".join("\n" + json.dumps(row) for row in registry.rows) + "\n]}\n"
    previous = path + ".previous"
    remove_file(path + ".new")
    write_new(path + ".new", content.encode())
    if kind_of(path) and keep_previous:
        remove_file(previous + ".new")
        keep_previous_registry(path, previous)
    flush_drives([*resting_on, places.mirror_home])
    os.replace(path + ".new", path)
    sync_directory(places.mirror_home)
    flush_drives([places.mirror_home])


def keep_previous_registry(path: str, previous: str) -> None:
    """Keeps the registry of before under its second name; where files can't have two, by copying it."""
    if is_same_file(path, previous):
        return
    if not make_link(path, previous + ".new"):
        write_new(previous + ".new", read_whole(path))
    os.replace(previous + ".new", previous)


def merged_registry(before: Registry, ours: Registry, now: Registry) -> Registry:
    """What the earlier program made of the registry meanwhile, with our change in it. Raises MirrorError BUSY where
    both changed the same."""
    gone = [entry for entry in before.entries if entry not in ours.entries]
    come = [entry for entry in ours.entries if entry not in before.entries]
    theirs = [entry for entry in now.entries if entry not in gone]
    names = {name_of_entry(entry) for entry in come}
    both = [entry for entry in gone if entry not in now.entries]
    both += [entry for entry in theirs if name_of_entry(entry) in names]
    if both:
        told = ", ".join(f"'{name}'" for name in dict.fromkeys(map(name_of_entry, both)))
        raise MirrorError(f"the earlier codex-mirror changed {told} in the meantime", "try again", BUSY)
    return now._replace(entries=(*theirs, *come), last_change=ours.last_change)


def name_of_entry(entry: Clone | BadRow) -> str:
    return entry.name if isinstance(entry, Clone) else text_in(entry.row, "name")


def with_clone(registry: Registry, clone: Clone) -> Registry:
    """The registry with this clone in the place of the one with its id, or at the end."""
    entries = tuple(clone if isinstance(entry, Clone) and entry.id == clone.id else entry for entry in registry.entries)
    return registry._replace(entries=entries if clone in entries else (*entries, clone))


def without_clone(registry: Registry, clone: Clone) -> Registry:
    """The registry without the clone of this id."""
    kept = tuple(entry for entry in registry.entries if not (isinstance(entry, Clone) and entry.id == clone.id))
    return registry._replace(entries=kept)


def find_clone(registry: Registry, name: str) -> Clone | None:
    """The clone of exactly that name, if there is one."""
    return next((clone for clone in registry.clones if clone.name == name), None)


def row_complaint(bad: BadRow) -> str:
    """A broken row of the registry and what is wrong with it, in words."""
    return f"the registry entry '{text_in(bad.row, 'name')}' is broken: {bad.why}"


def clone_named(registry: Registry, text: str) -> Clone:
    """The clone of that name. Raises MirrorError NOT_FOUND with the nearest name."""
    name = text.strip()
    if clone := find_clone(registry, name):
        return clone
    for bad in registry.bad_rows:
        if isinstance(bad.row, dict) and bad.row.get("name") == name:
            raise MirrorError(f"the registry entry of '{name}' is broken: {bad.why}", "see codex-mirror doctor", FAILED)
    guess = nearest_word(name, [clone.name for clone in registry.clones])
    hint = f"did you mean '{guess}'?" if guess else "codex-mirror list shows the clones"
    if not registry.entries:
        hint = f"there are none yet: codex-mirror create {name if NAME.match(name) else 'work'}"
    raise MirrorError(f"clone '{name}' was not found", hint, NOT_FOUND)


def clone_with_id(registry: Registry, clone: Clone) -> Clone:
    """The clone as it is now, whatever its name is meanwhile. Raises MirrorError NOT_FOUND."""
    found = next((one for one in registry.clones if one.id == clone.id), None)
    if not found:
        raise MirrorError(
            f"clone '{clone.name}' was removed in the meantime", "codex-mirror list shows the clones", NOT_FOUND
        )
    return found


# --- Launch ---------------------------------------------------------------------------------------

LOGIN_VARIABLES = (  # Each would change who is logged in, or that anybody is; tested with Codex 0.171.0.
    *("CODEX_ACCESS_TOKEN", "CODEX_API_KEY", "OPENAI_FEDERATION_RULE_ID", "OPENAI_IDENTITY_TOKEN_FILE"),
    *("OPENAI_IDENTITY_TOKEN_SOURCE", "OPENAI_SPIFFE_ID", "OPENAI_SPIFFE_AUDIENCE"),
    *("OPENAI_WORKLOAD_IDENTITY_CONTEXT", "OPENAI_ORGANIZATION", "OPENAI_PROJECT"),
)
HIDDEN_VARIABLES = (
    *LOGIN_VARIABLES,
    "CODEX_SQLITE_HOME",
    *("CODEX_REFRESH_TOKEN_URL_OVERRIDE", "CODEX_REVOKE_TOKEN_URL_OVERRIDE"),
    *("CODEX_MANAGED_BY_NPM", "CODEX_MANAGED_BY_BUN", "CODEX_MANAGED_BY_PNPM", "CODEX_MANAGED_BY_VITE_PLUS"),
    *("CODEX_MANAGED_PACKAGE_ROOT", "CODEX_INSTALL_DIR", "CODEX_RELEASE", "CODEX_NON_INTERACTIVE"),
    *("CODEX_THREAD_ID", "CODEX_SESSION_ID", "CODEX_TOOL_CALL_ID", "CODEX_CI"),
)
NO_DAEMON, NO_DAEMON_SINCE = "--no-daemon", "0.156.0"
SERVER_WORDS = (NO_DAEMON, "--remote", "queue", "remote-control")  # With these Codex refuses --no-daemon, or has it.
# Ours to set, or such as a shell keeps for itself: some can't be written, and others break it.
OWN_VARIABLES = frozenset(
    "HOME PATH PWD OLDPWD IFS ENV BROWSER ZDOTDIR GIT_CONFIG_GLOBAL SHELL OPTIND OPTARG UID EUID GID EGID PPID "
    "SHELLOPTS BASHOPTS LINENO RANDOM SECONDS path cdpath fpath manpath argv status pipestatus history version "
    "fish_pid signals".split()
) | {*XDG_DIRECTORIES}


# An isolated clone has its own, or none; the user's are kept below names with this:
OUTER_VARIABLES = (*XDG_DIRECTORIES, "BROWSER", "ZDOTDIR", "GIT_CONFIG_GLOBAL")
USERS = "CODEX_MIRROR_USER_"


# What a shell reads when a program needs it: ~ and $HOME in it mean the real home, as in the git configuration.
SHELL_TEXTS = (
    *("GIT_SSH_COMMAND", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_PAGER", "GIT_EXTERNAL_DIFF"),
    *("VISUAL", "EDITOR", "PAGER"),
)


def texts_outside(env: Mapping[str, str], home: str) -> dict[str, str]:
    """The variables that a shell or git will read ~ and $HOME in, as those mean the real home; the wrapper writes the
    same. A home whose name a shell wouldn't read as one plain word stays as it is written."""
    if not re.fullmatch(r"[A-Za-z0-9_./@:+,-]+", home):
        return {}
    mark = r"(?<![^ =])~(?=/)|\$HOME(?=[/\"])|\$\{HOME\}"
    found = {name for name in env if name in SHELL_TEXTS or name.startswith("GIT_CONFIG_VALUE_")}
    return {name: re.sub(mark, home, env[name]) for name in found}


def hidden_variables(clone: Clone) -> tuple[str, ...]:
    """The variables that this clone's Codex never sees."""
    return tuple(name for name in HIDDEN_VARIABLES if name not in clone.keep_env)


def checked_variable(name: str) -> str:
    """A variable that clones don't see by default. Raises MirrorError."""
    if name not in HIDDEN_VARIABLES:
        raise MirrorError(
            f"{name} is not a hidden variable", f"hidden variables: {', '.join(sorted(HIDDEN_VARIABLES))}", USAGE
        )
    return name


def refuse_variable(name: str) -> None:
    """Refuses a variable that is ours to set, or that decides who is logged in. Raises MirrorError."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise MirrorError(f"{name!r} is not a valid variable name", "--env VAR=VALUE", USAGE)
    if name in OWN_VARIABLES or name in HIDDEN_VARIABLES or name.startswith(("CODEX_", "cm_", "BASH_", "fish_")):
        raise MirrorError(f"{name} can't be set for a clone: the shell or codex-mirror sets it", "", REFUSED)


def clone_variables(clone: Clone) -> dict[str, str]:
    """The clone's own variables; a file that isn't ours alone has none."""
    text = os.fsdecode(read_own(variables_file(clone), 1 << 20) or b"")
    if not text:
        return {}
    lines = re.findall(r"^export ([A-Za-z_][A-Za-z0-9_]*)='((?:[^']|'\\'')*)'$", text, re.MULTILINE)
    return {name: value.replace("'\\''", "'") for name, value in lines}


def open_variables(clone: Clone) -> str:
    """The file of the clone's own variables, where others may have written it, or nothing."""
    path = variables_file(clone)
    return path if kind_of(path) and read_own(path, 1 << 20) is None else ""


def complaint_about_variables(clone: Clone) -> str:
    """Why a clone isn't started without its own variables, which may decide where its requests go, or nothing."""
    path = open_variables(clone)
    return f"others may have written the variables of '{clone.name}', in {path}" if path else ""


def refuse_open_variables(clone: Clone) -> None:
    """Refuses variables that others may have written. Raises MirrorError."""
    if complaint := complaint_about_variables(clone):
        raise MirrorError(complaint, f"codex-mirror doctor {clone.name}", REFUSED)


def variables_text(variables: Mapping[str, str]) -> bytes:
    """The variables as lines for sh, inert whatever their values are."""
    return os.fsencode("".join(f"export {name}={shell_quote(value)}\n" for name, value in variables.items()))


def helper_path(runtime: Runtime) -> str:
    """The directory that must be on PATH: up to 0.120 Codex looked for rg there, later it finds its helpers itself."""
    package, _, name = runtime.entry.rpartition("/codex/")
    return os.path.join(package, "path") if runtime.kind == "binary" and name == "codex" else ""


def outside_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Our environment without what an isolated clone around us has put into it."""
    if not is_inside_isolated(env):
        return dict(env)
    own = {name: env[USERS + name] for name in OUTER_VARIABLES if env.get(USERS + name)}
    rest = {name: value for name, value in env.items() if name not in OUTER_VARIABLES}
    return {**rest, **own, "HOME": env["CODEX_MIRROR_USER_HOME"]}


def front_of_path(clone: Clone) -> str:
    """What comes first on PATH in the clone's shells: the directories of its `codex` and of Codex's helpers."""
    package = os.path.dirname(os.path.dirname(clone.runtime.entry))
    return f"{os.path.dirname(wrapper_copy(clone))}:{helper_path(clone.runtime) or os.path.join(package, 'codex-path')}"


def tool_path(clone: Clone, path: str) -> str:
    """PATH with the clone's directories in front, once."""
    front = front_of_path(clone)
    return path if f"{path}:".startswith(f"{front}:") else ":".join(filter(None, (front, path)))


def callers_environment() -> dict[str, str]:
    """Our environment as the caller gave it to us: in the locale C, Python puts another LC_CTYPE into it (PEP 538)."""
    env = dict(os.environ)
    if sys.flags.utf8_mode and env.get("LC_CTYPE") in ("C.UTF-8", "C.utf8", "UTF-8"):
        given = None
        with contextlib.suppress(OSError):
            given = re.search(rb"(?:\A|\0)LC_CTYPE=([^\0]*)", read_whole("/proc/self/environ"))
        env |= {"LC_CTYPE": os.fsdecode(given[1]) if given else ""}
        if not given:
            del env["LC_CTYPE"]
    return env


def launch_environment(clone: Clone, places: Places, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of the clone's Codex, made from ours; the wrapper makes the same one from the same table."""
    hidden = hidden_variables(clone)
    given = {**(env if clone.home == "isolated" else outside_environment(env)), **clone_variables(clone)}
    result = {name: value for name, value in given.items() if name not in hidden}
    if result.get("GIT_CONFIG_GLOBAL") == "":  # To git that means none, and to us a variable that isn't set.
        result["GIT_CONFIG_GLOBAL"] = os.devnull
    if clone.home == "isolated":
        if not is_inside_isolated(env):
            users = {USERS + name: result.get(name, "") for name in OUTER_VARIABLES}
            result = {name: value for name, value in (result | users).items() if value or name not in users}
        result["HOME"] = home_of(clone)
        result |= {name: os.path.join(home_of(clone), tail) for name, tail in XDG_DIRECTORIES.items()}
        result |= {"BROWSER": browser_script(clone)} if os.uname().sysname == "Linux" else {}
        result |= texts_outside(result, places.user_home)
        result = {name: value for name, value in result.items() if name not in ("ZDOTDIR", "GIT_CONFIG_GLOBAL")}
    result["CODEX_HOME"] = codex_home_of(clone)
    result["CODEX_MIRROR_CLONE"] = clone.name
    result["CODEX_MIRROR_HOME"] = places.mirror_home
    result["CODEX_MIRROR_BIN_DIR"] = os.path.dirname(clone.wrapper)
    result["CODEX_MIRROR_USER_HOME"] = places.user_home
    if directory := helper_path(clone.runtime):
        result["PATH"] = f"{directory}:{result['PATH']}" if result.get("PATH") else directory
    result["CODEX_MIRROR_PATH"] = tool_path(clone, result.get("PATH", ""))
    return result


def shell_environment(clone: Clone, places: Places, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of other programs in the clone: `codex` is the clone's there."""
    launched = launch_environment(clone, places, env)
    return {**launched, "PATH": launched["CODEX_MIRROR_PATH"]}


def launch_program(clone: Clone, places: Places, env: Mapping[str, str], arguments: Sequence[str]) -> Program:
    """The clone's Codex with these arguments, ready to start."""
    words = ("node", clone.runtime.entry) if clone.runtime.kind == "npm-package" else (clone.runtime.entry,)
    no_server = (NO_DAEMON,) if would_start_server(clone.runtime.version, arguments) else ()
    return Program((*words, *no_server, *arguments), launch_environment(clone, places, env))


def would_start_server(version: str, arguments: Sequence[str]) -> bool:
    """Would Codex start its background server with these arguments, in spite of its settings, and could be told not to?

    `agents` does (Codex 0.167 to 0.171); the wrapper looks for the same words."""
    words = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    settled = any(word in SERVER_WORDS or word.startswith("--remote=") for word in words)
    return "agents" in words and not settled and is_at_least(version, NO_DAEMON_SINCE)


def hidden_login_variables(clone: Clone, env: Mapping[str, str]) -> list[str]:
    """The variables set in this environment that would have changed the clone's login."""
    return [name for name in LOGIN_VARIABLES if env.get(name) and name not in clone.keep_env]


# --- Wrappers -------------------------------------------------------------------------------------

WRAPPER_LIMIT = 1 << 16
# Wrappers without a digest on their second line are known by the SHA-256 of the code below their data.
CODES_WITHOUT_SEAL = {
    "d2abf9985f15291c61a4ec7cb96799fc7184cae09fb457b6d1a589f8aa3fd3a2": "1.0.0",
}


class Wrapper(NamedTuple):
    """What lies in a wrapper's place: whose it says it is, `legacy:<name>` for an earlier program's; is it as a
    program of ours wrote it; and its text."""

    owner: str
    unedited: bool
    text: str


def program_here() -> str:
    """The words that start this program where no shell finds it by its name."""
    path = getattr(sys.modules[__name__], "__file__", "") or ""
    return f"python3 {quote_if_needed(os.path.abspath(path))}" if os.path.isfile(path) else "codex-mirror"


def wrapper_content(clone: Clone, places: Places, program: str = "") -> bytes:
    """The bytes of the clone's wrapper, which names the program with which it was written."""
    data = {
        "clone": clone.name,
        "program": program or program_here(),
        "codex": clone.runtime.entry,
        "interpreter": "node" if clone.runtime.kind == "npm-package" else "",
        "path": helper_path(clone.runtime),
        "front": front_of_path(clone),
        "home": home_of(clone) if clone.home == "isolated" else "",
        "browser": browser_script(clone) if os.uname().sysname == "Linux" else "",
        "codex_home": codex_home_of(clone),
        "mirror_home": places.mirror_home,
        "bin_dir": os.path.dirname(clone.wrapper),
        "user_home": places.user_home,
        "no_daemon": NO_DAEMON if is_at_least(clone.runtime.version, NO_DAEMON_SINCE) else "",
        "env": variables_file(clone),
        "git": git_state_file(clone),
        "hidden": " ".join(hidden_variables(clone)),
        "logins": " ".join(name for name in LOGIN_VARIABLES if name not in clone.keep_env),
    }
    body = os.fsencode(wrapper_body(data))
    return os.fsencode(wrapper_head(clone.id, seal_of(body))) + body


def seal_of(body: bytes) -> str:
    """The digest on a wrapper's second line."""
    return f"sha256:{digest_of_bytes(body)[:16]}"


@lru_cache(maxsize=32)
def wrapper_from(content: bytes) -> Wrapper | None:
    """The wrapper that these bytes are, whoever wrote them, or None; doctor asks that of each several times."""
    first, second, body = (*content.split(b"\n", 2), b"", b"")[:3]
    text, mark = os.fsdecode(content), WRAPPER_MARK.encode()
    if second.startswith(mark):
        owner, seal = (*os.fsdecode(second[len(mark) :]).split(" "), "")[:2]
        unedited = seal == seal_of(body) if seal.startswith("sha256:") else is_code_without_seal(body)
        return Wrapper(owner, unedited and first == b"#!/bin/sh", text) if owner else None
    if 'exec "$CODEX_MIRROR_CLI" run ' not in text:
        return None
    legacy = re.search(r"^[ \t]*exec \"\$CODEX_MIRROR_CLI\" run '?([A-Za-z0-9._-]+)'? -- \"\$@\"", text, re.MULTILINE)
    return Wrapper(f"legacy:{legacy[1]}", True, text) if legacy and re.match(r"#!.*\b(ba)?sh\b", text) else None


def is_code_without_seal(body: bytes) -> bool:
    """Is what follows the data the code of an older program, whose wrappers had no digest?"""
    code = re.sub(rb"\A(cm_[a-z_]+='([^']|'\\'')*'\n)+", b"", body)
    return digest_of_bytes(code) in CODES_WITHOUT_SEAL


def wrapper_at(path: str) -> Wrapper | None:
    """The wrapper that lies there, when the file is ours alone; what others wrote, or may write, is none."""
    content = read_own(path, WRAPPER_LIMIT)
    return wrapper_from(content) if content else None


def wrapper_owner(path: str) -> str:
    """The owner of the wrapper that lies there, when it is ours and as we wrote it, or nothing."""
    found = wrapper_at(path)
    return found.owner if found and found.unedited else ""


def claimed_owner(path: str) -> str:
    """Whose wrapper a file says it is, whoever wrote it; good for passing it over, and for nothing else."""
    with contextlib.suppress(OSError):
        found = wrapper_from(read_whole(path, WRAPPER_LIMIT))
        return found.owner if found else ""
    return ""


def executable_found(clone: Clone, env: Mapping[str, str]) -> tuple[str, bool]:
    """What a shell starts under the clone's name, or nothing, and whether that is the clone's command."""
    found = next(find_on_path(clone.name, env.get("PATH", "")), "")
    return found, bool(found) and (is_same_file(found, clone.wrapper) or is_wrapper_of(clone, found))


def wrapper_setting(text: str, key: str) -> str:
    """What a wrapper of ours says under `cm_<key>`, or nothing."""
    told = re.search(rf"^cm_{key}='((?:[^']|'\\'')*)'$", text, re.MULTILINE)
    return told[1].replace(r"'\''", "'") if told else ""


def is_wrapper_current(clone: Clone, places: Places) -> bool:
    """Is the clone's wrapper as it would be written now, though maybe with other names of the same directories, and by
    a program that lies elsewhere?"""
    content = read_or_none(clone.wrapper, WRAPPER_LIMIT) or b""
    if content == wrapper_content(clone, places):
        return True
    told: Any = {key: wrapper_setting(os.fsdecode(content), key) for key in ("mirror_home", "user_home")}
    same = all(is_same_directory(name, getattr(places, key)) for key, name in told.items())
    program = wrapper_setting(os.fsdecode(content), "program")
    return same and content == wrapper_content(clone, places._replace(**told), program)


def wrapper_owners(clone: Clone) -> tuple[str, ...]:
    """The owners that make a wrapper this clone's."""
    return (clone.id, f"legacy:{clone.name}")


def is_wrapper_of(clone: Clone, path: str) -> bool:
    """Is what lies there this clone's own wrapper, as we wrote it?"""
    return os.path.basename(path) == clone.name and wrapper_owner(path) in wrapper_owners(clone)


def own_wrapper(clone: Clone) -> list[str]:
    """The clone's command, where what lies there is its own."""
    return [clone.wrapper] if is_wrapper_of(clone, clone.wrapper) else []


def wrapper_trouble(clone: Clone) -> str:
    """Why what lies in the place of a clone's wrapper is none of ours: it is `edited`, `open` to other writers or
    `foreign`; or nothing."""
    if not kind_of(clone.wrapper) or is_wrapper_of(clone, clone.wrapper):
        return ""
    found, owners = wrapper_at(clone.wrapper), wrapper_owners(clone)
    if found and found.owner in owners:
        return "edited"
    is_own = kind_of(clone.wrapper) == "file" and os.lstat(clone.wrapper).st_uid == os.geteuid()
    return "open" if is_own and claimed_owner(clone.wrapper) in owners else "foreign"


def complaint_about_wrapper(clone: Clone) -> str:
    """Why what lies in the place of a clone's wrapper is left as it is, or nothing."""
    words = {"edited": "was edited", "open": "is writable by others", "foreign": "isn't ours"}
    trouble = wrapper_trouble(clone)
    return f"{clone.wrapper} {words[trouble]}, and was left alone" if trouble else ""


def stale_owner(path: str, clones: Iterable[Clone]) -> str:
    """The clone that a command of ours still starts, though its own command is another one by now, as after a backup
    from before a `rename`; or nothing. What somebody copied or edited is none."""
    wrapper = wrapper_at(path)
    if not wrapper or not wrapper.unedited or wrapper_setting(wrapper.text, "clone") != os.path.basename(path):
        return ""
    owner = next((clone for clone in clones if clone.id == wrapper.owner), None)
    if not owner or is_same_file(path, owner.wrapper):
        return ""
    return owner.name if os.path.basename(path) != owner.name or own_wrapper(owner) else ""


def refuse_taken_command(name: str, places: Places, path: str, clones: Iterable[Clone]) -> None:
    """Refuses a name whose wrapper would replace, or be shadowed by, something that isn't ours. Raises MirrorError."""
    target = os.path.join(places.bin_dir, name)
    if owner := stale_owner(target, clones):
        what = f"{target} is an old command of '{owner}'"
        raise MirrorError(what, "codex-mirror doctor --fix removes it", REFUSED)
    if kind_of(target):
        owned = wrapper_at(target)
        home = wrapper_setting(owned.text, "mirror_home") if owned else ""
        whose = f", which is that of {home}" if home and not is_same_directory(home, places.mirror_home) else ""
        strange = f"the command of a clone that isn't in the registry of {places.mirror_home}{whose}"
        what = strange if owned else "a file that wasn't made by codex-mirror"
        raise MirrorError(f"{target} is {what}", "choose another name, or move it away", REFUSED)
    for found in find_on_path(name, path):
        if not wrapper_owner(found):
            raise MirrorError(f"'{name}' is already a command: {found}", "choose another name", REFUSED)


# --- Moved homes ----------------------------------------------------------------------------------

MOVE_HOME = "move-home"


# Directories that have another name now: each one's old name, and the new.
NewNames = tuple[tuple[str, str], ...]


def id_in_base(base: str) -> str:
    """The id in a clone directory's own `clone.json`, or nothing."""
    return text_in(read_json_object(os.path.join(base, "clone.json")), "id")


def root_in_base(base: str) -> str:
    """Where the clone lies whose directory this is, or was copied from, going by its own `clone.json`; or nothing."""
    return text_in(read_json_object(os.path.join(base, "clone.json")), "rootPath")


def moved_path(path: str, names: Iterable[tuple[str, str]]) -> str:
    """A path as it is called now."""
    found = ((old, new) for old, new in names if path == old or is_below(path, old))
    return next((new + path[len(old) :] for old, new in found), path)


def names_of_move(old: str, new: str) -> tuple[str, str]:
    """The outermost directory on the way to a path that isn't there any more whose new name explains the new path, and
    that name."""
    while os.path.basename(old) == os.path.basename(new) and not os.path.lexists(os.path.dirname(old)):
        old, new = os.path.dirname(old), os.path.dirname(new)
    return old, new


def place_before_move(clone: Clone, places: Places) -> str:
    """Where the mirror home was when it held this clone, which lies in it now by another name; nothing for a clone that
    is where it should be, or nowhere."""
    if kind_of(base_of(clone)):
        return ""
    parent = os.path.dirname(clone.root)
    around = [os.path.dirname(parent)] if os.path.basename(parent) == "clones" else []
    for old in filter(None, (place_in_mark(places.mirror_home), *around)):
        if not os.path.lexists(old):
            root = moved_path(clone.root, (names_of_move(old, places.mirror_home),))
            if root != clone.root and id_in_base(base_in_root(root)) == clone.id:
                return old
    return ""


def told_places(clone: Clone, names: NewNames, places: Places) -> tuple[str, str]:
    """The mirror home and the real home for which the clone's command was written, going by any of its copies."""
    base = base_in_root(moved_path(clone.root, names))
    copies = (f"{base}/bin/codex", clone.wrapper, os.path.join(places.bin_dir, clone.name))
    found = (wrapper for path in copies if (wrapper := wrapper_at(path)) and wrapper.owner == clone.id)
    text = next(found, Wrapper("", False, "")).text
    return wrapper_setting(text, "mirror_home"), wrapper_setting(text, "user_home")


def new_names(clones: Sequence[Clone], places: Places) -> NewNames:
    """What has another name now than when the clones were made: the real home, as their commands say, and the
    directories above the mirror home, as their rows and commands do."""
    marked = place_in_mark(places.mirror_home)
    moved = next(filter(None, (place_before_move(clone, places) for clone in clones)), "")
    may_be = moved or ("" if not marked or os.path.lexists(marked) else marked)
    names: NewNames = (names_of_move(may_be, places.mirror_home),) if may_be else ()
    told = [told_places(clone, names, places) for clone in clones]
    if not moved and may_be not in [home for home, _ in told]:
        names = ()
    for user_home in dict.fromkeys(one for _, one in told if one):
        if moved_path(user_home, names) != places.user_home and (names or not os.path.lexists(user_home)):
            names = (names_of_move(user_home, places.user_home), *names)
    return tuple(pair for pair in names if moved_path(pair[0], [one for one in names if one != pair]) != pair[1])


def names_binding(clone: Clone, clones: Sequence[Clone], places: Places) -> NewNames:
    """The directories that have another name now, where the clone goes by the old one; it looks at the other clones
    only where that may be."""
    told = told_places(clone, (), places)
    if kind_of(base_of(clone)) and all(os.path.lexists(one) for one in told if one):
        return ()
    names = new_names(clones, places)
    told = told_places(clone, names, places)
    is_bound = not kind_of(base_of(clone)) or any(moved_path(one, names) != one for one in told)
    return names if is_bound else ()


def move_complaint(names: NewNames) -> tuple[str, str]:
    """What is wrong where a home has another name, and the ways out; two empty texts where none has."""
    if not names:
        return "", ""
    links = [
        f"{'' if is_writable(os.path.dirname(old)) else 'sudo '}ln -s {quote_if_needed(new)} {quote_if_needed(old)}"
        for old, new in names
    ]
    by_link = (
        "" if any(os.path.lexists(old) for old, _ in names) else f"{' && '.join(links)} (makes the old name work); or "
    )
    what = "; ".join(f"{old} was moved to {new}" for old, new in names)
    return (
        f"{what}, but its clones still use the old name",
        f"{by_link}codex-mirror {MOVE_HOME} (gives them the new one)",
    )


def is_marked_here(home: str) -> bool:
    """Is this the very directory that got the mark of this mirror home, and no copy of it?"""
    mark, facts = read_json_object(os.path.join(home, HOME_MARK)), os.stat(home)
    return (mark.get("device"), mark.get("inode")) == (facts.st_dev, facts.st_ino)


def write_mark(home: str) -> None:
    """Writes into the mark of a mirror home where that is, and which directory."""
    facts = os.stat(home)
    mark = {"mirrorHome": os.path.realpath(home), "device": facts.st_dev, "inode": facts.st_ino}
    write_whole(os.path.join(home, HOME_MARK), json.dumps(mark).encode() + b"\n")


def mend_session_paths(clone: Clone) -> None:
    """Lets Codex's own table of sessions name the files where they are now: by another place it finds none (0.171).
    Raises MirrorError."""
    import sqlite3

    home = os.path.realpath(codex_home_of(clone))
    for path in paths_in(codex_home_of(clone)):
        if not re.fullmatch(r"state_\d+\.sqlite", os.path.basename(path)) or kind_of(path) != "file":
            continue
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=5)) as table, table:
                rows = table.execute("SELECT rollout_path, id FROM threads").fetchall()
                for old, number in rows:
                    tail = re.search(r"/((archived_)?sessions/.+)", old) if isinstance(old, str) else None
                    new = os.path.join(home, tail[1]) if tail else ""
                    if new and new != old and os.path.isfile(new) and not os.path.lexists(old):
                        table.execute("UPDATE threads SET rollout_path = ? WHERE id = ?", (new, number))
        except (sqlite3.Error, UnicodeEncodeError) as error:  # There are names of directories that SQLite can't hold.
            raise MirrorError(f"{path} still has the old paths of the sessions of '{clone.name}': {error}") from None


def home_claiming(clone: Clone, places: Places) -> str:
    """The mirror home to which a clone belongs, when that isn't this one, which is a copy of it; or nothing."""
    here = places.mirror_home
    if is_below(clone.root, clones_directory(places)):
        return ""
    marked, parent = place_in_mark(here), os.path.dirname(clone.root)
    around = os.path.dirname(parent) if os.path.basename(parent) == "clones" else ""
    wrapper = wrapper_at(clone.wrapper)
    told = wrapper_setting(wrapper.text, "mirror_home") if wrapper and wrapper.owner == clone.id else ""
    for home in (one for one in (around, marked, told) if one and not is_same_directory(one, here)):
        rows = read_json_object(os.path.join(home, "registry.json")).get("clones")
        # Where nobody can read its registry, the clone may be that home's.
        ids = [text_in(row, "id") for row in rows] if isinstance(rows, list) else []
        is_known_there = clone.id in ids or (not isinstance(rows, list) and is_marked_home(home))
        if is_known_there or (home == around and (home == marked or is_marked_home(home))):
            return home
    return ""


def refuse_copy(clone: Clone, places: Places) -> None:
    """Refuses a clone that belongs to the mirror home of which this one is a copy, or that isn't where it says, since
    its mirror home was moved. Raises MirrorError."""
    if old := place_before_move(clone, places):
        raise MirrorError(*move_complaint((names_of_move(old, places.mirror_home),)), REFUSED)
    if home := home_claiming(clone, places):
        raise MirrorError(*copy_complaint(places.mirror_home, home, f"'{clone.name}'"), REFUSED)


def copy_found(clones: Sequence[Clone], places: Places) -> tuple[str, str]:
    """What is wrong with a mirror home whose clones belong to another, and the ways out, or two empty texts."""
    claimed = {f"'{clone.name}'": home for clone in clones if (home := home_claiming(clone, places))}
    home = next(iter(claimed.values()), "")
    return copy_complaint(places.mirror_home, home, short_list([*claimed])) if home else ("", "")


def copy_complaint(here: str, home: str, names: str) -> tuple[str, str]:
    """What is wrong with a mirror home that is a copy of another, and the ways out, none of which doubles a login."""
    if not os.path.isdir(home):
        return (
            f"{here} was moved from {home}, and {names} can only be used there",
            f"move it back to {home}, or make new clones here",
        )
    hint = f"CODEX_MIRROR_HOME={shell_quote(home)} uses it; to use this one, make new clones and log them in"
    return f"{here} is a copy of {home}, and {names} can only be used there", hint


# --- Directories ----------------------------------------------------------------------------------

SHIM_MARK = "# codex-mirror shim: starts the clone of the current directory (see codex-mirror use); not to be edited"
SHIM_FIRST = f"#!/bin/sh\n{SHIM_MARK} "
SHIM_CODE = r"""
# Below this line every shim is the same.
rule() { # depth and path of a directory above; depth, path, command, name and shown path of a clone's directory
  [ -z "$cm_command" ] && [ "$1" = "$3" ] && { [ "$2" = "$4" ] || [ "$2" -ef "$4" ]; } || return 0
  cm_command=$5 cm_name=$6 cm_why="set for $7"
}
clone() { # name and command of a clone, for those who are inside it
  [ "$1" != "${CODEX_MIRROR_CLONE-}" ] || cm_command=$2
}
find_clone() { # walks up from the current directory, so that the longest match comes first
  cm_path=$1 cm_depth=0 cm_rest=${1#/}
  while [ -n "$cm_rest" ]; do
    cm_depth=$((cm_depth + 1))
    case $cm_rest in */*) cm_rest=${cm_rest#*/} ;; *) cm_rest= ;; esac
  done
  while [ -z "$cm_command" ]; do
    rules "$cm_depth" "${cm_path:-/}"
    [ "$cm_depth" -gt 0 ] || break
    cm_path=${cm_path%/*} cm_depth=$((cm_depth - 1))
  done
}
run_other() { # the first codex on PATH that is no shim, a copy of this one or another mirror home's included
  CODEX_MIRROR_SHIMS="${CODEX_MIRROR_SHIMS-}:$cm_shim:${0%/*}:"
  export CODEX_MIRROR_SHIMS
  set -f
  cm_ifs=$IFS IFS=:
  for cm_entry in ${PATH-}; do
    case $CODEX_MIRROR_SHIMS in *":$cm_entry:"*) continue ;; esac
    if [ -f "$cm_entry/codex" ] && [ -x "$cm_entry/codex" ] && ! [ "$cm_entry" -ef "$cm_shim" ] &&
      ! [ "$cm_entry/codex" -ef "$cm_shim/codex" ] && ! [ "$cm_entry/codex" -ef "$0" ]; then
      IFS=$cm_ifs
      exec "$cm_entry/codex" "$@"
    fi
  done
  echo "codex: no clone is set for this directory, and there is no other codex on PATH" >&2
  if command -v codex-mirror >/dev/null; then cm_program=codex-mirror; fi
  echo "to set one: $cm_program use NAME" >&2
  exit 127
}
cm_command= cm_name= cm_why=
if [ -n "${CODEX_MIRROR_CLONE-}" ] && [ -x "${CODEX_HOME%/home/.codex}/bin/codex" ]; then
  exec "${CODEX_HOME%/home/.codex}/bin/codex" "$@"
fi
if [ -n "${CODEX_MIRROR_CLONE-}" ]; then
  clones
  [ -z "$cm_command" ] || exec "$cm_command" "$@"
fi
cm_root=. cm_is_root=
for cm_word in "$@"; do # With -C or --cd Codex works there.
  [ -z "$cm_is_root" ] || { cm_root=$cm_word cm_is_root= && continue; }
  case $cm_word in
    --) break ;;
    -C | --cd) cm_is_root=yes ;;
    --cd=*) cm_root=${cm_word#--cd=} ;;
    -C*) cm_root=${cm_word#-C} cm_root=${cm_root#=} ;;
  esac
done
cm_logical=${PWD-} cm_before=${OLDPWD-} cm_has_before=${OLDPWD+yes}
case $cm_root in
  .) if cd -P . 2>/dev/null && [ . -ef "$PWD" ]; then find_clone "$PWD"; fi ;;
  *)
    case $cm_root in /*) ;; *) cm_root=./$cm_root ;; esac
    if cm_path=$(cd -P "$cm_root" 2>/dev/null && printf '%s/' "$PWD"); then find_clone "${cm_path%/}"; fi
    ;;
esac
PWD=$cm_logical OLDPWD=$cm_before
[ -n "$cm_has_before" ] || unset OLDPWD
if [ -z "$cm_command" ]; then cm_command=$cm_default cm_name=$cm_default_name cm_why="the default"; fi
[ -n "$cm_command" ] || run_other "$@"
if [ -t 2 ] && [ -z "${CODEX_MIRROR_QUIET-}" ]; then echo "codex: $cm_name ($cm_why)" >&2; fi
exec "$cm_command" "$@"
"""


class DirectoryBinding(NamedTuple):
    """Which clone a directory has, and why: `directory` (then `path` is the one it was set for), `default`, `inside`
    a clone, or `none`."""

    clone: Clone | None
    because: str
    path: str = ""


def path_depth(path: str) -> int:
    return sum(bool(part) for part in path.split("/"))


def binding_of(registry: Registry, directory: str, env: Mapping[str, str]) -> DirectoryBinding:
    """The clone of a directory, a real path: that of the nearest directory above it; nothing for one that is gone.

    Inside a clone one stays in it. A directory matches by its name, or where a file system takes several spellings for
    one name, by its inode at the same depth, as the shim does."""
    if name := env.get("CODEX_MIRROR_CLONE", ""):
        inside = {codex_home_of(clone): clone for clone in registry.clones}.get(env.get("CODEX_HOME", ""))
        if clone := inside or find_clone(registry, name):
            return DirectoryBinding(clone, "inside", clone.root)
    bound: dict[int, dict[str, Clone]] = {}
    for clone in registry.clones:
        for path in clone.directories:
            bound.setdefault(path_depth(path), {}).setdefault(path, clone)
    for above in directories_above(directory) if directory else ():
        clones = bound.get(path_depth(above), {})
        for path in (above,) if above in clones else clones:
            if is_same_directory(path, above):
                return DirectoryBinding(clones[path], "directory", path)
    default = next((clone for clone in registry.clones if clone.is_default), None)
    return DirectoryBinding(default, "default" if default else "none")


def current_directory() -> str:
    """The real path of the working directory; nothing where it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def directory_of_work(arguments: Sequence[str]) -> str:
    """Where a Codex with these arguments works, a real path: where `-C` or `--cd` says, or in the working directory;
    nothing where that isn't there."""
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    root, is_root = "", False
    for word in words:
        if is_root:
            root, is_root = word, False
        elif match := re.match(r"--cd=|-C=?(?=.)", word, re.DOTALL):
            root = word[match.end() :]
        else:
            is_root = word in ("-C", "--cd")
    return (os.path.realpath(root) if os.path.isdir(root) else "") if root else current_directory()


def with_binding(registry: Registry, clone_id: str, directory: str) -> Registry:
    """The registry in which this directory is this clone's and nobody else's; without an id, nobody's. An empty
    directory means everywhere else: the default."""

    def bound(clone: Clone) -> Clone:
        if not directory:
            return clone._replace(is_default=clone.id == clone_id)
        others = tuple(path for path in clone.directories if not is_same_directory(path, directory))
        return clone._replace(directories=(*others, directory) if clone.id == clone_id else others)

    entries = tuple(bound(one) if isinstance(one, Clone) else one for one in registry.entries)
    return registry._replace(entries=entries)


def shim_target(clone: Clone) -> str:
    """What the shim starts: the wrapper's copy in the clone, or the wrapper where an older clone has none yet."""
    return wrapper_copy(clone) if kind_of(wrapper_copy(clone)) else clone.wrapper


def shim_text(registry: Registry, places: Places) -> bytes:
    """The shim: the rules of all bound directories as inert words, and the code that is the same for all."""
    bound = [(path, clone) for clone in registry.clones for path in clone.directories]
    rules = [
        f'  rule "$@" {path_depth(path)} '
        + " ".join(map(shell_quote, (path, shim_target(clone), clone.name, escape_invisible(path))))
        for path, clone in sorted(bound, key=lambda one: one[0])
    ]
    default = next((clone for clone in registry.clones if clone.is_default), None)
    data = {
        "default": shim_target(default) if default else "",
        "default_name": default.name if default else "",
        "shim": shim_directory(places),
        "program": program_here(),
    }
    lines = [f"cm_{key}={shell_quote(value)}" for key, value in data.items()]
    clones = [f"  clone {shell_quote(one.name)} {shell_quote(shim_target(one))}" for one in registry.clones]
    body = os.fsencode(
        "\n".join([*lines, "rules() {", *rules, "  :", "}", "clones() {", *clones, "  :", "}"]) + SHIM_CODE
    )
    return f"{SHIM_FIRST}{seal_of(body)}\n".encode() + body


def shim_file(places: Places) -> str:
    return os.path.join(shim_directory(places), "codex")


def complaint_about_shim(places: Places) -> str:
    """Why what lies in the shim's place is neither written nor removed by us, or nothing."""
    path = shim_file(places)
    before, _, rest = (read_own(path, 1 << 22) or b"").partition(SHIM_FIRST.encode())
    head, _, body = rest.partition(b"\n")
    if not kind_of(path) or (not before and head.decode("ascii", "replace") == seal_of(body)):
        return ""
    return f"{path} {'was edited' if is_shim(path) else 'is not a shim of codex-mirror'}, and was left alone"


def is_shim_stale(places: Places, registry: Registry) -> bool:
    """Is there a shim of ours that would say something else by now?"""
    is_there = kind_of(shim_file(places)) and not complaint_about_shim(places)
    return bool(is_there) and read_or_none(shim_file(places)) != shim_text(registry, places)


def write_shim(places: Places, registry: Registry) -> None:
    """Writes the shim again where it is installed and would say something else by now."""
    if is_shim_stale(places, registry):
        write_whole(shim_file(places), shim_text(registry, places), 0o755)


def codex_before_shim(places: Places, env: Mapping[str, str]) -> str:
    """What a shell starts as codex instead of the installed shim, or nothing; inside a clone that is the clone's."""
    first = next(find_on_path("codex", env.get("PATH", "")), "")
    is_fine = is_shim(first) or env.get("CODEX_MIRROR_CLONE")
    return "" if is_fine or not kind_of(shim_file(places)) else first or "not found"


def is_shim(path: str) -> bool:
    """Is this a shim of ours, of whatever mirror home?"""
    with contextlib.suppress(OSError), open_descriptor(path, os.O_RDONLY | os.O_NONBLOCK) as file:
        return SHIM_MARK.encode() in os.read(file, 256)
    return False


# --- Change logs ----------------------------------------------------------------------------------

LOG_LIMIT = 256 << 10
# What the mirror home's own log has as well, so that a clone which is removed leaves a trace.
LOGGED_AT_HOME = frozenset("create import rename remove handover move-home".split())


class LoggedChange(NamedTuple):
    """One change as a log tells it: when, which change it was, of which clone, how that was called then, and what."""

    time: str
    change: str
    id: str
    name: str
    what: str


def clone_log(clone: Clone) -> str:
    return os.path.join(base_of(clone), "logs", "events.log")


def home_log(places: Places) -> str:
    return os.path.join(places.mirror_home, "events.log")


def add_to_log(path: str, change_id: str, texts: Sequence[str]) -> None:
    """Adds lines on a change to a log, once, and keeps the log's newer half when it grows; what is no file stays."""
    if kind_of(os.path.dirname(path)) != "directory" or kind_of(path) not in ("file", ""):
        return
    log = read_or_none(path) or b""
    if f" {change_id} ".encode() in log:
        return
    now = timestamp_text(time.time())
    lines = "".join(f"{now} {change_id} {escape_invisible(text)}\n" for text in texts)
    if len(log) > LOG_LIMIT - 1024:
        log = log[-LOG_LIMIT // 2 :].partition(b"\n")[2]
    write_whole(path, log + lines.encode("utf-8", "replace"))


def read_log(path: str, clone: Clone | None = None) -> list[LoggedChange]:
    """The changes in a log: a clone's, or the mirror home's, whose lines name their clones. Other lines count for
    nothing."""
    text = (read_own(path, LOG_LIMIT * 2) or b"").decode("utf-8", "replace")
    whose = "()()" if clone else "([0-9A-Za-z-]+) ([0-9A-Za-z._-]+) "
    found = re.findall(rf"^(\d[\d:.TZ-]+) ([0-9a-f]{{8}}) {whose}(.+)$", text, re.MULTILINE)
    changes = [LoggedChange(*fields) for fields in found]
    return [one._replace(id=clone.id, name=clone.name) for one in changes] if clone else changes


def logged_changes(registry: Registry, places: Places) -> list[LoggedChange]:
    """What was changed in the mirror home and in all clones, oldest first, each change of a clone once."""
    logs = [read_log(home_log(places)), *(read_log(clone_log(clone), clone) for clone in registry.clones)]
    each = {(one.id, one.change): one for log in reversed(logs) for one in log}
    return sorted(each.values(), key=lambda one: one.time)


# --- Recovery -------------------------------------------------------------------------------------

HOME_PART = "/.codex-mirror/home/"


class StagedFile(NamedTuple):
    """A finished file beside its target; `replaces` says that it may take the place of one of ours, and `seen` is the
    digest that this one must still have then: a Codex may write its settings meanwhile."""

    temporary: str
    target: str
    replaces: bool
    seen: str = ""


class MovedLogin(NamedTuple):
    """A login that a clone takes over: where it is, its name afterwards, its digest, and the staged half of it."""

    source: str
    aside: str
    digest: str
    staged: str


class DeletionMark(NamedTuple):
    """What tells something that is to be deleted from what comes in its place: its inode and, of a file, its mtime."""

    path: str
    inode: int
    mtime_ns: int


class Plan(NamedTuple):
    """What a change will make, put in place and discard, whose ids prove that it may, and what its logs say of it; and
    the mirror home that wrote it, since a copy of that has the plan, too."""

    id: str
    what: str
    made: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    moved: tuple[MovedLogin, ...] = ()
    staged: tuple[StagedFile, ...] = ()
    to_delete: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    marks: tuple[DeletionMark, ...] = ()
    event: str = ""
    home: str = ""


def deletion_mark(path: str) -> DeletionMark:
    facts = os.lstat(path)
    return DeletionMark(path, facts.st_ino, 0 if stat.S_ISDIR(facts.st_mode) else facts.st_mtime_ns)


def is_as_marked(path: str, plan: Plan) -> bool:
    """Is this what the plan was to delete, and nothing that came after it? The plans of 1.0.0 have no marks."""
    marked = {mark.path: mark for mark in plan.marks}
    return path not in marked or (bool(kind_of(path)) and deletion_mark(path) == marked[path])


def staged_name(target: str, change_id: str) -> str:
    """The temporary half of a file that a change puts in place."""
    return os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.codex-mirror-{change_id}")


def plan_from(content: bytes) -> Plan:
    """A plan as it was written. Raises ValueError or TypeError for anything else."""
    document = parse_json_object(content)
    if not re.fullmatch(r"[0-9a-f]{8}", text_in(document, "id")):
        raise ValueError("not a plan")
    document.setdefault("to_delete", document.get("doomed"))  # As it was called up to 1.0.0.
    lists = {key: text_list(document.get(key)) for key in ("made", "parents", "to_delete", "owners")}
    staged = tuple(StagedFile(str(a), str(b), bool(c), str(d)) for a, b, c, d in document.get("staged", ()))
    moved = tuple(MovedLogin(str(a), str(b), str(c), str(d)) for a, b, c, d in document.get("moved", ()))
    marks = tuple(DeletionMark(str(a), int(b), int(c)) for a, b, c in document.get("marks", ()))
    paths = [*lists["made"], *lists["parents"], *lists["to_delete"]]
    paths += [path for one in staged for path in one[:2]] + [path for one in moved for path in (*one[:2], one.staged)]
    if not all(os.path.isabs(path) and b"\0" not in os.fsencode(path) for path in paths):
        raise ValueError("not a path")
    halves = [*(one.temporary for one in staged), *(one.staged for one in moved)]
    if not all(document["id"] in os.path.basename(path) for path in halves):
        raise ValueError("not a staged half of its own")
    what, event, home = (text_in(document, key) for key in ("what", "event", "home"))
    return Plan(document["id"], what, moved=moved, staged=staged, marks=marks, event=event, home=home, **lists)


def recover(places: Places, known: Registry | None = None) -> list[str]:
    """Finishes the committed change in the journal, or clears away the uncommitted one; what it could not do, in words.
    `known` is the registry on the disk, where the caller has just written it whole; else it is read.

    Every step may be interrupted and run again. What the disk refuses now is kept as `finish-<id>.json` or
    `clear-<id>.json`, which doctor shows and each later change tries again: it never blocks the next change."""
    problems: list[str] = []
    remove_dead_lock(earlier_lock_file(places))
    for path in unfinished_plans(places):
        try:
            plan = plan_from(read_whole(path))
            if plan.home and not is_same_directory(plan.home, os.path.realpath(places.mirror_home)):
                raise ValueError(f"of {plan.home}")
        except (OSError, ValueError, TypeError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EFBIG, errno.ELOOP):
                raise
            os.replace(path, unreadable_journal_name(places))
            problems.append(f"{path} could not be read, or is of another mirror home, and was set aside")
            continue
        verb = os.path.basename(path).partition("-")[0]
        is_open = verb not in ("finish", "clear")
        registry = (known or read_registry(places)) if is_open or (verb == "finish" and plan.owners) else Registry()
        committed = registry.last_change == plan.id if is_open else verb == "finish"
        refused, failed = execute_plan(places, plan, committed, registry)
        if failed:
            keep_plan(places, plan, path, "finish" if committed else "clear")
        else:
            remove_file(path)
        problems += refused + failed
    return problems


def keep_plan(places: Places, plan: Plan, path: str, verb: str) -> None:
    """Keeps what is left of a plan for another time; what was deleted isn't in it, since something else may come."""
    kept, new = os.path.join(places.mirror_home, f"{verb}-{plan.id}.json"), journal_file(places) + ".new"
    left = [one for one in plan.to_delete if any(map(kind_of, {one, name_while_deleting(one, plan)}))]
    left = [one for one in left if kind_of(name_while_deleting(one, plan)) or is_as_marked(one, plan)]
    if path == kept and tuple(left) == plan.to_delete:
        return
    try:
        remove_file(new)
        write_new(new, json.dumps(plan._replace(to_delete=tuple(left))._asdict()).encode())
        os.replace(new, kept)
        if path != kept:
            remove_file(path)
    except OSError:
        os.replace(path, kept)


def unreadable_journal_name(places: Places) -> str:
    """The name under which a journal is kept that can't be finished or cleared any more; doctor shows it."""
    return os.path.join(places.mirror_home, f"unreadable-{new_id()}.journal")


def unfinished_plans(places: Places) -> list[str]:
    """The plans that are not carried out to the end, in the order of the changes: what earlier ones left, then the
    journal; not that of a scratch which somebody still fills."""
    return [path for path in plans_of(places) if path == journal_file(places) or not is_held(path)]


def is_held(path: str) -> bool:
    """Does a process that lives hold the lock of this file?"""
    with share_lock(path) as is_free:
        return not is_free


def plans_of(places: Places) -> list[str]:
    """All plans in the mirror home, in the order of their changes."""
    left: dict[str, float] = {}
    for path in paths_in(places.mirror_home):
        kept = os.path.basename(path).startswith(("finish-", "clear-"))
        if kept and re.search(r"/(finish|clear)-[0-9a-f]+\.json\Z", path):
            with contextlib.suppress(FileNotFoundError):  # Who only reads may see how a writer finishes one.
                left[path] = os.lstat(path).st_mtime
    return [path for path in (*sorted(left, key=left.__getitem__), journal_file(places)) if kind_of(path)]


def execute_plan(places: Places, plan: Plan, committed: bool, registry: Registry) -> tuple[list[str], list[str]]:
    """Does what is left of a plan, each step on its own and durable; what it would not and what it could not do."""
    steps: list[tuple[Callable[[Any], None], Any]] = []
    if committed:
        steps += [(set_login_aside, move) for move in plan.moved]
        changed = [clone for clone in registry.clones if clone.id in plan.owners]
        scratch = [path for path in plan.made if os.path.basename(path) == f"scratch-{plan.id}"]
        steps += [(partial(finish_staged, plan), staged) for staged in plan.staged]
        steps += [(partial(write_derived, plan), clone) for clone in changed]
        steps += [(partial(log_at_home, plan), places)]
        if plan.what == MOVE_HOME:
            steps += [(mend_session_paths, clone) for clone in changed]
            is_whole = all(kind_of(base_of(clone)) for clone in registry.clones)  # Else others may come after.
            steps += [(write_mark, places.mirror_home)] if is_whole else []
        steps += [(partial(discard_ours, plan), path) for path in plan.to_delete]
        steps += [(discard, path) for path in scratch]
        steps += [(partial(write_shim, places), registry)] if registry.last_change == plan.id else []
    else:
        steps += [(remove_file, staged.temporary) for staged in plan.staged]
        steps += [(partial(discard_made, plan), path) for path in plan.made if not is_in_use(path, registry)]
    return run_steps([*steps, *((remove_empty, path) for path in reversed(plan.parents))])


def is_in_use(path: str, registry: Registry) -> bool:
    """Is this a clone, or a runtime of one, going by the registry or by its own `clone.json`, which only a committed
    change makes whole? A backup may have a plan from before the commit of what came back with it, or was never away."""
    base = base_above(path)
    own = read_json_object(os.path.join(base, "clone.json")) if base else {}
    rows = [clone_row(clone) for clone in registry.clones if base_of(clone) == base]
    rows += [own] if text_in(own, "rootPath") else []
    used = [text_in(row, "runtimePath") for row in rows]
    used += [text_in(row.get("previousRuntime"), "path") for row in rows]
    return (path == base and bool(rows)) or any(one == path or is_below(one, path) for one in used if one)


def run_steps(steps: Sequence[tuple[Callable[[Any], None], Any]]) -> tuple[list[str], list[str]]:
    """Takes every step; which were refused for good, and which failed and may do another time, in words."""
    refused, failed = [], []
    for step, subject in steps:
        try:
            step(subject)
        except OSError as error:
            failed.append(error_line(error))
        except MirrorError as error:
            refused.append(error.message)
    return refused, failed


def set_login_aside(move: MovedLogin) -> None:
    """Takes a login out of use where it was, before the clone gets it: there are never two live copies.

    When that can't be done, or it is another login meanwhile, the clone goes without. Raises MirrorError."""
    if kind_of(move.aside) or not kind_of(move.staged):
        return
    try:
        if kind_of(move.source) != "file" or digest_of(move.source) != move.digest:
            raise MirrorError(f"{move.source} now holds another login, and was left alone")
        os.rename(move.source, move.aside)
    except OSError as error:
        remove_file(move.staged)
        raise MirrorError(f"{move.source} could not be moved, and was left alone: {error.strerror}") from None
    except MirrorError:
        remove_file(move.staged)
        raise
    sync_directory(os.path.dirname(move.source))


def finish_staged(plan: Plan, staged: StagedFile) -> None:
    """Gives a staged file its name, unless something that isn't ours has it. Raises MirrorError then."""
    temporary, target, replaces, seen = staged
    if not kind_of(temporary):
        return
    refuse_strange_way(target)
    if is_same_file(temporary, target):
        remove_file(temporary)
    elif seen and kind_of(target) == "file" and digest_of(target) != seen:
        remove_file(temporary)
        raise MirrorError(f"{target} was changed in the meantime, and was left alone")
    elif (
        kind_of(target) == kind_of(temporary)
        and replaces
        and (is_plans_own(target, plan) or is_inside_plans_clone(target, plan))
    ):
        os.replace(temporary, target)
    else:
        try:
            put_in_place(temporary, target)
        except FileExistsError:
            remove_file(temporary)
            raise MirrorError(f"{target} wasn't made by codex-mirror, and was left alone") from None
    sync_directory(os.path.dirname(target))


def write_derived(plan: Plan, clone: Clone) -> None:
    """Writes `clone.json` again from the registry, and the change into the clone's log. Raises MirrorError."""
    base = base_of(clone)
    if kind_of(base) != "directory" or not is_of_user(base) or id_in_base(base) not in ("", clone.id):
        return
    add_to_log(clone_log(clone), plan.id, [f"{plan.event or plan.what} (Codex {clone.runtime.version})"])
    try:
        write_whole(os.path.join(base, "clone.json"), clone_row_text(clone))
    except RecursionError:  # Reading goes deeper than writing.
        raise MirrorError(f"the registry entry of '{clone.name}' is nested too deeply to be copied") from None


def log_at_home(plan: Plan, places: Places) -> None:
    """Writes the change into the mirror home's log, a line a clone, if that has it, as all that are of no clone."""
    what, pairs = plan.event or plan.what, zip(plan.owners, plan.owners[1:], strict=False)
    clones = {one: name[7:] for one, name in pairs if name.startswith("legacy:") and not one.startswith("legacy:")}
    if not clones or what.replace(",", " ").partition(" ")[0] in LOGGED_AT_HOME:
        add_to_log(home_log(places), plan.id, [f"{one} {name} {what}" for one, name in (clones or {"-": "-"}).items()])


def is_plans_own(path: str, plan: Plan) -> bool:
    """The proof before anything is discarded or replaced: the change's id in its name, a wrapper's mark, or a place
    inside a clone directory whose `clone.json` has the id, reached through no link; in a home only links are ours."""
    if kind_of(path) and not is_of_user(path):
        return False
    if plan.id in os.path.basename(path):
        return True
    owner = wrapper_owner(path)
    if owner and owner in plan.owners:
        return not owner.startswith("legacy:") or owner == f"legacy:{os.path.basename(path)}"
    return is_inside_plans_clone(path, plan) and (HOME_PART not in path + "/" or kind_of(path) == "link")


def is_inside_plans_clone(path: str, plan: Plan) -> bool:
    """Does the path lie in a clone directory whose `clone.json` has one of the plan's ids, reached through no link?"""
    base = base_above(path)
    return bool(base) and id_in_base(base) in plan.owners and not strange_part(base, directories_inside(path, base))


def discard_made(plan: Plan, path: str) -> None:
    """Clears away what an uncommitted change made, and nothing that came in its place."""
    if kind_of(path) and is_plans_own(path, plan):
        discard_ours(plan, path)
    elif kind_of(gone := name_while_deleting(path, plan)) and is_plans_own(gone, plan):
        discard(gone)


def discard_ours(plan: Plan, path: str) -> None:
    """Discards what is provably ours: takes its name away first, so that nobody ever sees half of it. What came in its
    place after the proof gets its name back."""
    gone = name_while_deleting(path, plan)
    if gone != path and kind_of(path) and not kind_of(gone):
        before = os.lstat(path)
        if not is_plans_own(path, plan) or not is_as_marked(path, plan):
            raise MirrorError(f"{path} wasn't made by codex-mirror, and was left alone")
        os.rename(path, gone)
        if is_another(before, os.lstat(gone)):
            give_name_back(gone, path)
            raise MirrorError(f"{path} was changed in the meantime, and was left alone")
        sync_directory(os.path.dirname(path))
    if kind_of(gone):
        if not is_plans_own(gone, plan):
            raise MirrorError(f"{gone} wasn't made by codex-mirror, and was left alone")
        discard(gone)
        sync_directory(os.path.dirname(gone))


def is_another(before: os.stat_result, now: os.stat_result) -> bool:
    """Is it another file or directory by now, or a file with other content?"""
    is_same = before.st_mtime_ns == now.st_mtime_ns and before.st_size == now.st_size
    return not os.path.samestat(before, now) or not (is_same or stat.S_ISDIR(now.st_mode))


def give_name_back(gone: str, path: str) -> None:
    """Gives a file or directory its name again. Raises MirrorError where another has taken it."""
    try:
        if kind_of(gone) != "directory":
            put_in_place(gone, path)
        elif kind_of(path):
            raise FileExistsError(errno.EEXIST, "exists", path)
        else:
            os.rename(gone, path)
    except FileExistsError:
        raise MirrorError(f"{path} was changed twice in the meantime; its content is now in {gone}") from None


def name_while_deleting(path: str, plan: Plan) -> str:
    """The name that a path to delete has while it is being discarded: its own, when the change's id is in that."""
    return path if plan.id in os.path.basename(path) else f"{path}.gone-{plan.id}"


# --- Journal --------------------------------------------------------------------------------------

WRITTEN_WHOLE = (
    *("registry.json", "registry.json.previous", "registry.json.lock", "journal.json", "reserve"),
    *(HOME_MARK, ".gitignore", "events.log"),
)
# Those of up to 1.0.0 end in `.new`, and so do some of today's.
TEMPORARY_NAMES = tuple(one for name in WRITTEN_WHOLE for one in (f"{name}.new", temporary_name(name)))


def stamp_of(path: str) -> tuple[int, ...]:
    """What differs once a file is another, or has other content; nothing where there is none."""
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return ()
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size


def stamps_of(paths: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """How these files and directories are; one that can't be looked at is as one that isn't there."""
    found: list[tuple[int, ...]] = [()] * len(paths)
    for index, path in enumerate(paths):
        with contextlib.suppress(OSError):
            found[index] = stamp_of(path)
    return tuple(found)


def new_plan(places: Places, what: str) -> Plan:
    """A plan of this mirror home, which says nothing yet."""
    return Plan(new_id(), what, home=os.path.realpath(places.mirror_home))


class DryRun(Exception):
    """A change that was only to be planned has come to its commit: this is its plan, and what would have `failed`."""

    def __init__(self, plan: Plan, failed: Sequence[str] = ()) -> None:
        super().__init__(plan.what)
        self.plan, self.failed = plan, failed


class Change:
    """A change under way: its plan is on the disk before it does anything, and `commit` is the point of no return."""

    def __init__(self, context: Context, what: str) -> None:
        self.places, self.plan, self.context = context.places, new_plan(context.places, what), context
        self.is_done, self.is_dry = False, context.dry_run
        self.unfinished: list[str] = []
        self.known: Registry | None = None
        self.seen: tuple[int, ...] = ()
        self.committed: Registry | None = None
        self.written = self.plan

    @property
    def id(self) -> str:
        return self.plan.id

    @property
    def registry(self) -> Registry:
        """The registry as it is under the lock; read when it is first needed, since not every change needs it."""
        if self.known is None:
            self.seen = stamp_of(registry_file(self.places))
            self.known = read_registry(self.places)
        return self.known

    def extend_plan(self, *, clones: Sequence[Clone] = (), **lists: Sequence[Any]) -> None:
        """Adds to the lists of this change's plan, and the clones to its owners, durably, before anything is done."""
        if not (clones or any(lists.values())):
            return
        for path in lists.get("to_delete", ()):
            refuse_mounts(path)
        for staged in lists.get("staged", ()):
            refuse_strange_way(staged.target)
            refuse_mounts(staged.target if kind_of(staged.target) else "")
        lists["marks"] = [deletion_mark(path) for path in lists.get("to_delete", ()) if kind_of(path)]
        lists["owners"] = [owner for clone in clones for owner in wrapper_owners(clone)]
        added: Any = {key: (*getattr(self.plan, key), *values) for key, values in lists.items()}
        self.plan = self.plan._replace(**added)
        if not self.is_dry:
            self.write_plan()

    def write_plan(self) -> None:
        write_whole(journal_file(self.places), json.dumps(self.plan._asdict()).encode())
        self.written = self.plan

    def describe(self, event: str) -> None:
        """Says what the logs tell of this change; no account and no secret."""
        self.plan = self.plan._replace(event=event)

    def make_room(self, directory: str, mode: int = 0o755) -> None:
        """Makes a directory that isn't ours and its parents; they go again, if still empty, should the change fail."""
        self.extend_plan(parents=[one for one in missing_directories(directory) if one not in self.plan.parents])
        if not self.is_dry:
            make_directories(directory, mode)

    def stage(self, target: str, content: bytes, mode: int, replaces: bool, seen: str = "") -> None:
        """Writes a file beside its target, to be put in place after the commit."""
        staged = StagedFile(staged_name(target, self.id), target, replaces, seen)
        self.plan_to_stage([staged])
        if not self.is_dry:
            write_new(staged.temporary, content, mode)

    def plan_to_stage(self, files: Sequence[StagedFile]) -> None:
        """Adds to this change's plan what of these isn't in it yet: several at once cost as much as one."""
        self.extend_plan(staged=[one for one in files if one not in self.plan.staged])

    def stage_link(self, leads_to: str, half: str) -> None:
        """Makes the staged half of a link."""
        if not self.is_dry:
            os.symlink(leads_to, half)

    @property
    def directories(self) -> list[str]:
        """Those in which it made something or will put something."""
        return [os.path.dirname(path) for path in (*self.plan.made, *(staged.target for staged in self.plan.staged))]

    @property
    def scratch_name(self) -> str:
        return os.path.join("/var/tmp" if self.is_dry else self.places.mirror_home, f"scratch-{self.id}")

    def scratch(self) -> str:
        """A new, empty, private directory that is gone when the change ends."""
        if self.scratch_name not in self.plan.made:
            self.extend_plan(made=[self.scratch_name])
        directory = os.path.join(self.scratch_name, new_id())
        make_directories(directory, synced=False)
        return directory

    def commit(self, registry: Registry) -> None:
        """Writes the registry with this change's id: from here on it is finished, never taken back."""
        if self.is_dry:
            shim = [StagedFile("", shim_file(self.places), True)] if is_shim_stale(self.places, registry) else []
            raise DryRun(self.plan._replace(staged=(*self.plan.staged, *shim)))
        if self.written != self.plan:
            self.write_plan()
        for directory in dict.fromkeys(os.path.dirname(staged.temporary) for staged in self.plan.staged):
            sync_directory(directory)
        wanted = registry._replace(last_change=self.id)
        with earlier_lock(self.context):
            if self.known is not None and self.seen != stamp_of(registry_file(self.places)):
                wanted = merged_registry(self.known, wanted, read_registry(self.places))
            self.known = wanted
            write_registry(self.places, wanted, resting_on=self.directories)
        self.committed = self.known
        self.note_done()

    def note_done(self) -> None:
        """From now on who is interrupted is told that the change was made."""
        if not self.is_done:
            self.is_done = True
            self.context.note_change(self.plan.what)


@contextlib.contextmanager
def begin_change(context: Context, what: str, frees_space: bool = False) -> Iterator[Change]:
    """Holds the lock for a change; finishes or clears what a dead writer left first, and this change however it ends.

    A change that frees space gives back the reserve first, so that its journal and registry fit on a full disk."""
    places = context.places
    check_mirror_home(places, strict=True)
    if context.dry_run:
        yield from rehearsed_change(context, what)
        return
    if not os.path.isdir(places.mirror_home):
        refuse_no_writing(places)
        make_directories(places.mirror_home)
    make_private(places.mirror_home)
    refuse_no_writing(places)
    if not kind_of(mark := os.path.join(places.mirror_home, HOME_MARK)):
        with contextlib.suppress(FileExistsError):
            write_new(mark, b"")
    change = Change(context, what)
    try:
        with mirror_home_lock(context, what):
            if frees_space:
                remove_file(reserve_file(places))
            for name in TEMPORARY_NAMES:
                remove_file(os.path.join(places.mirror_home, name))
            complete_mark(places.mirror_home)
            recover(places)
            try:
                yield change
            finally:
                change.unfinished += recover(places, change.committed)
                restore_reserve(places)
                if change.is_done and not change.committed:
                    flush_drives([*change.directories, places.mirror_home])
    except KeyboardInterrupt:
        if has_registry_of(change):
            change.note_done()
        raise KeyboardInterrupt("" if change.is_done else f"'{what}' was not done") from None


@contextlib.contextmanager
def scratch_before_change(context: Context, what: str) -> Iterator[str]:
    """A private directory for what takes long, and must be there before a change begins: nobody waits for us meanwhile.
    It goes in the end, or should we be killed, with the next change."""
    home, plan = context.places.mirror_home, new_plan(context.places, what)
    scratch, path = os.path.join(home, f"scratch-{plan.id}"), os.path.join(home, f"clear-{plan.id}.json")
    plan, new = plan._replace(made=(scratch,)), journal_file(context.places) + ".new"
    with contextlib.ExitStack() as held:
        with mirror_home_lock(context, what):
            remove_file(new)
            held.enter_context(hold_new_file(new, json.dumps(plan._asdict()).encode()))
            os.replace(new, path)
            sync_directory(home)
            make_directories(scratch)
        try:
            yield scratch
        finally:
            with contextlib.suppress(OSError):  # The next change tries again.
                discard(scratch)
                remove_file(path)


def rehearsed_change(context: Context, what: str) -> Iterator[Change]:
    """A change that is planned, and that writes nothing but its scratch, elsewhere; nor is anything settled for it."""
    refuse_no_writing(context.places)
    change = Change(context, what)
    try:
        yield change
    finally:
        discard(change.scratch_name)


def rehearse_each(names: Iterable[str], deed: Callable[[str], object]) -> None:
    """Raises DryRun with what a change of each of these would do, and which would fail, if any would do anything; else
    the first error, if there is one."""
    plans: list[Plan] = []
    failed: dict[str, MirrorError | OSError] = {}
    for name in names:
        try:
            deed(name)
        except DryRun as rehearsed:
            plans.append(rehearsed.plan)
        except (MirrorError, OSError) as error:
            failed[name] = error
    lists = ("made", "parents", "moved", "staged", "to_delete")
    joined: Any = {key: tuple(one for plan in plans for one in getattr(plan, key)) for key in lists}
    if plans:
        notes = [f"{name}: {error_line_with_hint(error)}" for name, error in failed.items()]
        raise DryRun(plans[0]._replace(**joined), notes)
    for first in failed.values():
        raise first


def complete_mark(home: str) -> None:
    """Writes into the mark of the mirror home where that is, and keeps all of it out of repositories."""
    if place_in_mark(home) in ("", os.path.realpath(home)) and not is_marked_here(home):
        write_mark(home)
    write_ignore_all(home)


def write_ignore_all(directory: str) -> None:
    """Keeps a directory with logins out of any repository that it lies in, as venv does."""
    if not kind_of(path := os.path.join(directory, ".gitignore")):
        write_whole(path, IGNORE_ALL)


def lax_ignore_file(directory: str) -> str:
    """The user's own `.gitignore` in a directory of ours, where it lets a repository take logins in, or nothing."""
    path = os.path.join(directory, ".gitignore")
    try:
        content = read_or_none(path, 1 << 20)
    except OSError:
        return path if os.access(directory, os.X_OK) else ""
    rules = [line.rstrip(b"\r") for line in (b"*" if content is None else content).split(b"\n")]
    return "" if b"*" in rules and not any(rule.startswith(b"!") for rule in rules) else path


def has_registry_of(change: Change) -> bool:
    """Is the registry the one that this change wrote? It can't be told otherwise in the midst of a commit."""
    with contextlib.suppress(MirrorError, OSError):
        return read_registry(change.places).last_change == change.id
    return False


def complaint_about_writing(places: Places, *more: str) -> tuple[str, str]:
    """Why nothing can be changed in the mirror home and what helps, or two empty texts; `more` are names of files that
    only some commands need."""
    home = places.mirror_home
    for name in ("lock", "reserve", "registry.json.previous", "registry.json.lock", *TEMPORARY_NAMES, *more):
        if kind_of(path := os.path.join(home, name)) not in ("", "file"):
            return f"{path} is in the way: it is not a regular file", "move it away"
    if kind_of(clones := clones_directory(places)) not in ("", "directory"):
        return f"{clones} is not a plain directory", "put the clones' own directory back in its place"
    if not (there := place_not_writable(home)):
        return "", ""
    own = "set CODEX_MIRROR_HOME and CODEX_MIRROR_BIN_DIR to directories of your own"
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return f"{home} is on a read-only file system", f"mount it writable, or {own}"
    if there != home:
        return f"{home} can't be created: {there} can't be written", own
    return f"{home} can't be written", advice_on_rights(home) if is_owned_by_us(home) else own


def refuse_no_writing(places: Places) -> None:
    """Refuses a mirror home in which nothing can be changed. Raises MirrorError."""
    complaint, fix = complaint_about_writing(places)
    if complaint:
        raise MirrorError(complaint, fix)


def mirror_home_lock(context: Context, what: str) -> contextlib.AbstractContextManager[None]:
    """The one lock of the mirror home; who must wait is told for whom."""
    return hold_lock(lock_file(context.places), what, lock_seconds(context.env), partial(tell_wait, context))


def earlier_lock(context: Context) -> contextlib.AbstractContextManager[None]:
    """The earlier program's lock, held while the registry is written."""
    return hold_earlier_lock(context.places, lock_seconds(context.env), partial(tell_wait, context))


def tell_wait(context: Context, holder: str) -> None:
    context.report(f"waiting for {holder}", 0, 0)


def restore_reserve(places: Places) -> None:
    """Lays the reserve in again, when there is room."""
    if not os.path.exists(reserve_file(places)):
        try:
            write_whole(reserve_file(places), b"\0" * RESERVE)
        except OSError:
            with contextlib.suppress(OSError):
                remove_file(temporary_name(reserve_file(places)))


def lock_seconds(env: Mapping[str, str]) -> float:
    """How long a writer waits for another one."""
    text = env.get("CODEX_MIRROR_LOCK_TIMEOUT", "30")
    try:
        if 0 <= (seconds := float(text)) < 1e9:
            return seconds
    except ValueError:
        pass
    raise MirrorError(f"CODEX_MIRROR_LOCK_TIMEOUT is {text!r}, not a number of seconds", "set it to 30", USAGE)


# --- Runtimes -------------------------------------------------------------------------------------

VERSION = r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}[0-9A-Za-z.+-]{0,40}"
LAST_REVOKED = "0.130.0"  # Seen so with 0.101 to 0.130; 0.142.5 is fine.
INSTALL_ADVICE = "npm install -g @openai/codex, brew install codex, or the installer of github.com/openai/codex"
LAYOUTS = {  # A native package by its entry: the helpers that must lie beside it, below the package directory.
    "bin/codex": ("bin/codex-code-mode-host", "codex-path/rg", "codex-resources/bwrap"),
    "codex/codex": ("path/rg",),  # Up to 0.131.
}
# Older packages are whole without it; 0.135, 0.139, 0.140, 0.142 and 0.143 were looked at.
HELPER_SINCE = {"bin/codex-code-mode-host": "0.143.0"}
MACHINES = {
    ("Linux", "x86_64"): ("linux-x64", "x86_64-unknown-linux-musl"),
    ("Linux", "aarch64"): ("linux-arm64", "aarch64-unknown-linux-musl"),
    ("Darwin", "x86_64"): ("darwin-x64", "x86_64-apple-darwin"),
    ("Darwin", "arm64"): ("darwin-arm64", "aarch64-apple-darwin"),
}


class CodexPackage(NamedTuple):
    """A Codex: its package directory, the entry in it, its kind and version, the helpers it lacks, and the archive that
    it came from when it was fetched into a scratch of ours, so that its files may be moved."""

    package: str
    entry: str
    kind: str
    version: str
    missing: tuple[str, ...] = ()
    origin: str = ""


def platforms() -> list[tuple[str, str]]:
    """What npm and the release call the machines whose programs run here, this one's own first: `linux-x64` and
    `x86_64-unknown-linux-musl`. A Mac with Apple's processor runs Intel's programs too, and tells them that it is
    x86_64; the name of its kernel is the true one."""
    facts = os.uname()
    is_apple = facts.sysname == "Darwin" and (facts.machine == "arm64" or "_ARM64" in facts.version)
    machine = "arm64" if is_apple else facts.machine
    own = MACHINES.get((facts.sysname, machine), (f"{facts.sysname.lower()}-{machine}", machine))
    return [own, MACHINES["Darwin", "x86_64"]] if is_apple else [own]


def platform_names() -> tuple[str, str]:
    return platforms()[0]


def version_in(document: Mapping[str, Any]) -> str:
    """The version that a package says it has, without npm's platform; nothing when it is none: it becomes a name."""
    version = text_in(document, "version").partition("-linux-")[0].partition("-darwin-")[0]
    return version if re.fullmatch(VERSION, version) else ""


def native_package(directory: str) -> CodexPackage | None:
    """The native package in this very directory, which describes itself, or up to 0.131 has `path/` beside `codex/`."""
    described = parse_json_object(read_or_none(os.path.join(directory, "codex-package.json"), 1 << 20))
    entry = "bin/codex" if described else "codex/codex"
    is_package = described or os.path.isdir(os.path.join(directory, "path"))
    if not is_package or not os.path.isfile(os.path.join(directory, entry)):
        return None
    version = version_in(described or read_json_object(os.path.join(directory, "../../package.json")))
    wanted = helpers_of(entry, version)
    missing = tuple(helper for helper in wanted if not os.path.isfile(os.path.join(directory, helper)))
    if described and not version:
        missing += (f"a version (its package says {text_in(described, 'version')})",)
    return CodexPackage(directory, entry, "binary", version, missing)


def helpers_of(entry: str, version: str) -> list[str]:
    """The helpers without which a native package of this layout and version is not whole; an unknown one needs all."""
    on_linux = platform_names()[0].startswith("linux")
    wanted = [helper for helper in LAYOUTS[entry] if on_linux or not helper.endswith("bwrap")]
    return [one for one in wanted if not version or is_at_least(version, HELPER_SINCE.get(one, version))]


def package_of_binary(binary: str) -> CodexPackage:
    """The native package around a binary, or the binary alone with what it lacks."""
    for entry in LAYOUTS:
        if binary.endswith("/" + entry) and (found := native_package(binary[: -len(entry) - 1])):
            return found
    lacks = tuple(helpers_of("bin/codex", ""))
    return CodexPackage(os.path.dirname(binary), os.path.basename(binary), "binary", "", lacks)


def package_in_directory(directory: str, deeper: bool = True) -> CodexPackage | None:
    """The Codex in a directory that someone named: a native package, an npm package, or one directory with either."""
    npm, native = "node_modules/@openai/codex", [f"vendor/{triple}" for _, triple in platforms()]
    for tail in ("", *native, "packages/standalone/current", npm, f"lib/{npm}"):
        inside = os.path.realpath(os.path.join(directory, tail))
        if found := native_package(inside):
            return found
        if os.path.isfile(script := os.path.join(inside, "bin", "codex.js")):
            return package_of_script(script)
    only = entries_of(directory)
    return package_in_directory(os.path.join(directory, only[0]), deeper=False) if deeper and len(only) == 1 else None


def package_of_script(script: str) -> CodexPackage | None:
    """The native package that a `codex.js` would start, found as Node would; else the JavaScript package itself."""
    package = os.path.dirname(os.path.dirname(script))
    parents = [above for above in directories_above(package) if os.path.basename(above) != "node_modules"]
    for names, triple in platforms():
        places = [f"{above.rstrip('/')}/node_modules/@openai/codex-{names}" for above in parents]
        for place in (*places, package):
            if found := native_package(os.path.realpath(os.path.join(place, "vendor", triple))):
                return found
    described = read_json_object(os.path.join(package, "package.json"))
    if described.get("name") != "@openai/codex":
        return None
    return CodexPackage(package, "bin/codex.js", "npm-package", version_in(described))


def scripts_named(text: str, directory: str) -> Iterator[str]:
    """The `codex.js` files that a shell script names in quotes, absolute or beside itself, as pnpm's shims do."""
    commands = re.sub(r"(?m)^\s*#.*", "", text)
    for quote in re.finditer(r"""["']([^"'\n]*codex\.js)["']""", commands):
        tail = re.sub(r"^\$\{?basedir(_abs)?\}?/", "", quote[1]).lstrip()
        yield os.path.realpath(os.path.join(directory, tail.lstrip("/") if quote[1].startswith("/../") else tail))


def package_of_command(path: str) -> CodexPackage | None:
    """What the file system alone tells of the Codex behind a command; None means that it must be asked."""
    real = os.path.realpath(path)
    found = package_of_binary(real)
    if "/" in found.entry and not (found.missing and is_script(real)):
        return found
    if os.path.basename(real) == "codex.js":
        return package_of_script(real)
    if not is_script(real):
        return None
    try:
        text = read_whole(real, 1 << 20).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    scripts = {script for script in scripts_named(text, os.path.dirname(real)) if os.path.isfile(script)}
    return package_of_script(scripts.pop()) if len(scripts) == 1 else None


def is_script(path: str) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def package_by_probing(path: str, env: Mapping[str, str], scratch: str) -> CodexPackage | None:
    """Finds the native binary behind any shim by starting it: with an empty CODEX_HOME outside of TMPDIR, Codex leaves
    a link to its own executable in there (tested with 0.120, 0.154 and 0.169). Raises MirrorError when it fails."""
    home, elsewhere = os.path.join(scratch, "home"), os.path.join(scratch, "tmp")
    for directory in (home, elsewhere):
        make_directories(directory, synced=False)
    answer = capture([path, "--version"], {**env, "CODEX_HOME": home, "TMPDIR": elsewhere}, home, start_seconds())
    if answer.code != 0:
        raise MirrorError(f"{path} {failure_text(answer)}", f"fix that Codex first: {INSTALL_ADVICE}")
    binary = binary_of_probe(home)
    return package_of_binary(binary) if binary else None


def binary_of_probe(home: str) -> str:
    """The native binary behind the Codex that was started with this CODEX_HOME, or nothing where it left no link."""
    tops = (path for path in paths_in(os.path.join(home, "tmp")) if os.path.basename(path).startswith("arg0"))
    links = (os.path.join(directory, "apply_patch") for top in tops for directory in paths_in(top))
    return next((os.path.realpath(link) for link in links if os.path.islink(link)), "")


def words_of_codex(output: bytes) -> str:
    """What Codex says, without the values that it quotes from its settings: one at the wrong place may be a token."""
    return re.sub(r'\bstring "(?:[^"\\]|\\.)*"?', 'string "…"', output.decode("utf-8", "replace"))


def failure_text(answer: CapturedOutput) -> str:
    """How a program failed that should have told something, for a message; Codex's warnings say nothing of that."""
    if answer.code is None:
        return "did not answer in time"
    lines = words_of_codex(answer.err + answer.out).splitlines()
    lines = [line for line in lines if line.strip() and not line.startswith("WARNING")]
    said = next((line for line in lines if re.match(r"\w*Error: ", line)), lines[0] if lines else "")
    how = f"was ended by signal {-answer.code}" if answer.code < 0 else f"failed with exit code {answer.code}"
    if not said and answer.code == -signal.SIGKILL and is_macos():
        said = "as Gatekeeper does when Apple doesn't trust a program; spctl -a -vv PATH says why"
    return f"{how}: {said[:200]}" if said else how


def start_seconds(elsewhere: int = 20) -> int:
    """How long a Codex may take that may be started for the first time: macOS looks at each new file then."""
    return 60 if is_macos() else elsewhere


def is_revoked(version: str) -> bool:
    """Is this a Codex that macOS kills, and moves to the Trash, since its certificate was revoked?"""
    return is_macos() and bool(version) and version_key(version) <= version_key(LAST_REVOKED)


def refuse_revoked(version: str, force: bool) -> None:
    """Refuses such a Codex, unless that was forced. Raises MirrorError."""
    if is_revoked(version) and not force:
        what = f"macOS kills Codex {version} and moves it to the Trash: Apple has revoked its certificate"
        hint = f"use one newer than {LAST_REVOKED} (see codex-mirror versions), or --force to use this one anyway"
        raise MirrorError(what, hint, REFUSED)


def clone_directory_of(path: str) -> str:
    """The directory of the clone in whose runtime or home this file lies, or nothing."""
    bases = (one for one in directories_above(os.path.realpath(path)) if os.path.basename(one) == ".codex-mirror")
    return next((base for base in bases if kind_of(os.path.join(base, "clone.json"))), "")


def installed_commands(env: Mapping[str, str]) -> Iterator[str]:
    """Every `codex` on PATH that isn't one of our wrappers and doesn't lead into a clone."""
    for path in find_on_path("codex", env.get("PATH", os.defpath)):
        if not claimed_owner(os.path.realpath(path)) and not clone_directory_of(path) and not is_shim(path):
            yield path


def installed_without_starting(env: Mapping[str, str]) -> CodexPackage | None:
    """The installed Codex, the first on PATH, when the file system alone can tell; starts nothing, and is silent where
    it can't look."""
    with contextlib.suppress(OSError):
        return next(map(package_of_command, installed_commands(env)), None)
    return None


def find_package(
    change: Change, env: Mapping[str, str], wanted: str, allow_incomplete: bool = False
) -> CodexPackage | None:
    """The installed Codex, None where there is none; or what `--from` names. Raises MirrorError for one that can't be
    pinned."""
    env = {name: value for name, value in outside_environment(env).items() if name not in HIDDEN_VARIABLES}
    found = named_package(change, env, wanted) if wanted else installed_package(change, env)
    if not found:
        return None
    if found.missing and not allow_incomplete:
        raise MirrorError(
            f"{wanted or os.path.join(found.package, found.entry)} is incomplete; missing: {', '.join(found.missing)}",
            "use --codex latest to fetch a complete one, or --allow-incomplete to take this one anyway",
            REFUSED,
        )
    if found.version:
        return found
    return found._replace(version=version_of(os.path.join(found.package, found.entry), env, change.scratch()))


def installed_package(change: Change, env: Mapping[str, str]) -> CodexPackage | None:
    """The Codex behind the first `codex` on PATH that leads to one; None where no `codex` but ours is there."""
    scripts: list[CodexPackage] = []
    nameless: list[str] = []
    for path in installed_commands(env):
        found = package_of_command(path) or package_by_probing(path, env, change.scratch())
        if found and found.kind == "binary" and not clone_directory_of(found.package):
            return found
        scripts += [found] if found and found.kind == "npm-package" else []
        nameless += [] if found else [path]
    if scripts:
        return scripts[0]
    if nameless:  # It answers as a Codex does, and doesn't show where its program is.
        what = f"the real Codex behind {nameless[0]} could not be found"
        raise MirrorError(what, "use --codex latest to fetch one, or name its package with --from")
    return None


def named_package(change: Change, env: Mapping[str, str], wanted: str) -> CodexPackage:
    """What `--from` means: a clone, a package directory, an archive of one, or a codex command."""
    if clone := find_clone(change.registry, wanted):
        return package_of_clone(clone)
    path = path_from(wanted, change.places)
    if os.path.isdir(path):
        found = package_in_directory(path) or lone_binary_in(path)
    elif path.endswith((".tar.gz", ".tgz")) and os.path.isfile(path):
        directory = change.scratch()
        with open(path, "rb") as archive:
            unpack(archive, directory, 4 << 30)
        found = package_in_directory(directory) or lone_binary_in(directory)
        found = found and found._replace(origin=path)
    elif os.path.isfile(path):
        owner = claimed_owner(os.path.realpath(path))
        found = next(
            (package_of_clone(clone) for clone in change.registry.clones if owner in wrapper_owners(clone)), None
        )
        found = found or package_of_command(path) or package_by_probing(path, env, change.scratch())
    else:
        hint = "--from takes a clone, a codex command, a package directory or a .tar.gz"
        raise MirrorError(f"{path} {complaint_about_kind(path)}", hint)
    if not found:
        raise MirrorError(f"no Codex was found in {path}", "name a codex command or a native package directory")
    return found


def lone_binary_in(directory: str) -> CodexPackage | None:
    """A binary without its package, as one of the release's archives holds it."""
    names = [*LAYOUTS, *(name for name in entries_of(directory) if name.startswith("codex"))]
    paths = [os.path.join(directory, name) for name in names]
    return next((package_of_binary(path) for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)


def package_of_clone(clone: Clone) -> CodexPackage:
    """A clone's pinned runtime as the source of another."""
    package, entry, kind, version = clone.runtime
    if kind == "npm-package":
        package = os.path.join(package, "package")
    elif found := native_package(package):
        return found._replace(version=version)
    return CodexPackage(package, os.path.relpath(entry, package), kind, version)


def version_of(
    path: str, env: Mapping[str, str], codex_home: str, while_running: Callable[[], None] = lambda: None
) -> str:
    """What a Codex says that it is; it leaves files in this home. Raises MirrorError when it fails or hangs."""
    words, env = ["node", path] if path.endswith(".js") else [path], {**env, "CODEX_HOME": codex_home}
    answer = capture([*words, "--version"], env, os.path.dirname(path), start_seconds(), while_running)
    said = re.search(VERSION, os.fsdecode(answer.out))
    if answer.code != 0 or not said:
        what = failure_text(answer) if answer.code != 0 else "didn't print its version"
        raise MirrorError(f"{path} {what}", f"install it again: {INSTALL_ADVICE}")
    return said[0]


def is_misnamed(runtime: Runtime) -> bool:
    """Is there another version in the runtime's directory than its name says? The earlier program fills it anew."""
    name = os.path.basename(runtime.path)
    return bool(re.fullmatch(RUNTIME_NAME, name)) and name.rpartition("-")[0] != runtime.version


def recorded_version(runtime: Runtime) -> str:
    """The version that a pinned package says it has; nothing where it doesn't say."""
    name = "package.json" if runtime.kind == "npm-package" else "codex-package.json"
    return text_in(read_json_object(os.path.join(os.path.dirname(os.path.dirname(runtime.entry)), name)), "version")


# --- Pins -----------------------------------------------------------------------------------------

MANIFEST = ".manifest.json"
PINNED_MODES = (0o444, 0o555)  # Of a file, and of a program.
PINS_ASKED = 3  # How many clones of one version are asked for a file before it is copied.


class PinnedFile(NamedTuple):
    """One file of a runtime as it was pinned, and the identity of the file that it came from."""

    path: str
    mode: int
    sha256: str
    size: int
    mtime_ns: int
    source: Identity


class LinkCandidates(NamedTuple):
    """The files that may be linked instead of copied, with their absolute paths; `doubted` when one of them is known to
    be damaged, so that each is read first."""

    by_identity: Mapping[Identity, tuple[str, PinnedFile]]
    by_digest: Mapping[str, tuple[str, PinnedFile]]
    sizes: frozenset[int]
    doubted: bool = False


def manifest_of(runtime_path: str) -> tuple[PinnedFile, ...] | None:
    """The files of a pinned runtime, or None when it has no manifest that makes sense (an earlier program's)."""
    try:
        return manifest_in(read_or_none(os.path.join(runtime_path, MANIFEST)))
    except OSError:
        return None


@lru_cache(maxsize=8)
def manifest_in(content: bytes | None) -> tuple[PinnedFile, ...] | None:
    """The files in a manifest, if it makes sense; the clones of one version mostly have the same."""
    rows = parse_json_object(content).get("files")
    if not isinstance(rows, list):
        return None
    try:
        files = tuple(PinnedFile(row[0], row[1], row[2], row[3], row[4], Identity(*row[5])) for row in rows)
    except (TypeError, ValueError, IndexError, KeyError):
        return None
    return files if all(map(is_valid_manifest_row, files)) else None


def is_valid_manifest_row(file: PinnedFile) -> bool:
    """Is this a row that we can have written: a plain path inside the runtime, a digest and numbers? A repair will give
    a file this mode and time."""
    numbers = (file.mode, file.size, file.mtime_ns, *file.source)
    if {*map(type, numbers)} != {int} or {type(file.path), type(file.sha256)} != {str}:
        return False
    if file.mode not in PINNED_MODES or not 0 <= file.mtime_ns < 1 << 63:
        return False
    inside = not file.path.startswith(("/", "../")) and file.path != ".."
    return inside and os.path.normpath(file.path) == file.path and is_valid_file_name(file.path)


def files_in_runtime(directory: str, manifest: Sequence[PinnedFile] | None) -> Iterator[tuple[str, PinnedFile]]:
    """The files of a manifest, each with its path in the runtime that lies there."""
    return ((f"{directory}/{file.path}", file) for file in manifest or ())


def looks_as_pinned(path: str, pinned: PinnedFile) -> bool:
    """Does the file still look as it was pinned, going by kind, size, mtime and being a program?"""
    try:
        facts = os.lstat(path)
    except OSError:
        return False
    same = (facts.st_size, facts.st_mtime_ns) == (pinned.size, pinned.mtime_ns)
    return same and stat.S_ISREG(facts.st_mode) and is_still_program(pinned, facts.st_mode)


def is_still_program(pinned: PinnedFile, mode: int) -> bool:
    """Has a file that was pinned as a program stayed one? More isn't asked: not every file system has modes."""
    return not pinned.mode & ~mode & 0o100


def link_candidates(registry: Registry, version: str, target: str, wanted: set[Identity]) -> LinkCandidates:
    """The pinned files of a few clones on the target's disk, of no more than it takes to know those that are wanted."""
    by_identity: dict[Identity, tuple[str, PinnedFile]] = {}
    by_digest: dict[str, tuple[str, PinnedFile]] = {}
    for directory in runtimes_to_link_from(registry, version, os.stat(target).st_dev):
        if by_identity.keys() >= wanted:
            break
        for path, file in files_in_runtime(directory, manifest_of(directory)):
            if looks_as_pinned(path, file):
                known = (path, file)
                for identity in (file.source, identity_of(path)):
                    by_identity.setdefault(identity, known)
                by_digest.setdefault(file.sha256, known)
    return LinkCandidates(by_identity, by_digest, frozenset(file.size for _, file in by_digest.values()))


def runtimes_to_link_from(registry: Registry, version: str, device: int) -> list[str]:
    """A few runtimes on this disk, those of the newest clones: of this version, and one each of other versions."""
    chosen: dict[str, list[str]] = {version: []}
    for clone in reversed(registry.clones):
        for runtime in runtimes_kept(clone):
            paths = chosen.setdefault(runtime.version, [])
            enough = PINS_ASKED if runtime.version == version else 1
            if len(paths) < enough and os.path.isdir(runtime.path) and os.stat(runtime.path).st_dev == device:
                paths.append(runtime.path)
    same = chosen.pop(version)
    return [*same, *[path for paths in chosen.values() for path in paths][:PINS_ASKED]]


class PackageEntry(NamedTuple):
    """One entry of a source: a file with its place in the runtime, or a link that stays inside and what it leads to."""

    path: str
    inside: str
    identity: Identity
    leads_to: str = ""


def package_entries(source: CodexPackage) -> list[PackageEntry]:
    """All that is pinned of a source."""
    is_alone = source.missing and "/" not in source.entry
    prefix, top = "package" if source.kind == "npm-package" else "", os.path.realpath(source.package)
    parts = []
    for tail in [source.entry] if is_alone else package_files(source.package):
        path, leads_to = os.path.join(source.package, tail), ""
        if is_link_inside(path, source.package):
            leads_to = os.path.relpath(os.path.relpath(os.path.realpath(path), top), os.path.dirname(tail) or ".")
        parts.append(PackageEntry(path, os.path.join(prefix, tail), identity_of(path), leads_to))
    return parts


def is_link_inside(path: str, package: str) -> bool:
    """Is this a link to something in the package?"""
    inside = os.path.islink(path) and is_below(os.path.realpath(path), os.path.realpath(package))
    return inside and os.path.exists(path)


def package_files(package: str, tail: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
    """The relative paths of the files in a package, also of those that links out of it lead to, and of links that stay
    inside it; not a manifest of ours."""
    here, above = os.path.join(package, tail), above or (os.path.realpath(package),)
    for name in sorted(os.listdir(here)):
        path = os.path.join(here, name)
        if name == MANIFEST or is_litter_name(name):
            continue
        if os.path.isfile(path) or is_link_inside(path, package):
            yield os.path.join(tail, name)
        elif os.path.isdir(path):
            real = os.path.realpath(path) if os.path.islink(path) else os.path.join(above[-1], name)
            if real not in above:
                yield from package_files(package, os.path.join(tail, name), (*above, real))


def refuse_full_disk(directory: str, needed: int) -> None:
    """Refuses to begin what would not fit on the disk. Raises MirrorError."""
    free = free_bytes(directory)
    if free < needed:
        raise MirrorError(
            f"not enough disk space: {size_text(needed)} needed in {directory}, {size_text(free)} free",
            "free some space on that disk; codex-mirror doctor --fix removes what nothing needs any more",
        )


def pin_files(
    source: CodexPackage,
    parts: Sequence[PackageEntry],
    target: str,
    known: LinkCandidates,
    report: Callable[[str, int, int], None],
) -> list[PinnedFile]:
    """Fills a new directory with the source's files, each linked to a known one or copied."""
    done, pinned = 0, []
    total = sum(part.identity.size for part in parts if not part.leads_to)

    def copied(count: int) -> None:
        nonlocal done
        done += count
        report(f"copying Codex {source.version}", done, total)

    for path, inside, identity, leads_to in parts:
        place = os.path.join(target, inside)
        make_directories(os.path.dirname(place), synced=False)
        if leads_to:
            os.symlink(leads_to, place)
            continue
        file = link_pinned_file(path, identity, place, known)
        if not file and source.origin:
            file = move_pinned_file(path, place)
        if file:
            copied(file.size)
        else:
            refuse_full_disk(target, identity.size)
            file = copy_pinned_file(path, place, copied)
        pinned.append(file._replace(path=inside))
    digested = digest_copies(target, pinned)
    is_npm = source.kind == "npm-package"
    refuse_changed_pins(manifest_of(os.path.dirname(source.package) if is_npm else source.package), digested)
    return digested


def digest_copies(target: str, pinned: Sequence[PinnedFile]) -> list[PinnedFile]:
    """The files with the digests of those that were copied, which are on the disk then: digesting and syncing go side
    by side, since the one needs a processor and the other waits."""
    fresh = sorted((os.path.join(target, file.path) for file in pinned if not file.sha256), key=size_of, reverse=True)

    def sync_fresh() -> None:
        for path in fresh:
            sync_file(path)

    done = dict(zip(fresh, run_parallel(digest_of, fresh, sync_fresh), strict=True)) if fresh else {}
    return [file if file.sha256 else file._replace(sha256=done[os.path.join(target, file.path)]) for file in pinned]


def refuse_changed_pins(before: Sequence[PinnedFile] | None, now: Sequence[PinnedFile]) -> None:
    """Refuses a clone as a source when somebody changed the bytes of its pinned files. Raises MirrorError."""
    digests = {file.path: file.sha256 for file in before or ()}
    if changed := [file.path for file in now if digests.get(file.path, file.sha256) != file.sha256]:
        raise MirrorError(
            f"{changed[0]} differs from what was pinned", "codex-mirror doctor --deep --fix repairs it", REFUSED
        )


def link_pinned_file(source: str, identity: Identity, target: str, known: LinkCandidates) -> PinnedFile | None:
    """Links a pinned file with the same bytes: by the source's recorded identity, or by its digest; never by size."""
    match = known.by_identity.get(identity)
    if not match and identity.size in known.sizes:
        match = known.by_digest.get(digest_of(source))
    if not match or not looks_as_pinned(*match) or (known.doubted and is_damaged(*match)):
        return None
    return match[1]._replace(source=identity) if make_link(match[0], target) else None


def copy_pinned_file(source: str, target: str, copied: Callable[[int], None]) -> PinnedFile:
    """A read-only copy, not yet digested and synced. Raises MirrorError when the source changes under our hands. A new
    name for it, as pnpm and backups make, changes its ctime, but none of its bytes."""
    real = os.path.realpath(source)
    before = identity_of(real)
    mode = PINNED_MODES[bool(os.stat(real).st_mode & 0o111)]
    copy_file(real, target, mode, copied, synced=False)
    identity = identity_of(real)
    is_same_but_ctime = identity._replace(ctime_ns=before.ctime_ns) == before
    if identity != before and not (is_same_but_ctime and digest_of(real) == digest_of(target)):
        raise MirrorError(f"{source} changed while it was being copied", "try again when its update has finished")
    facts = os.stat(target)
    return PinnedFile("", mode, "", facts.st_size, facts.st_mtime_ns, identity)


def move_pinned_file(source: str, target: str) -> PinnedFile | None:
    """Takes a file of a scratch of ours over, read-only, not yet digested and synced; None from another disk."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return None
        raise
    mode = PINNED_MODES[bool(os.stat(target).st_mode & 0o111)]
    os.chmod(target, mode)
    identity = identity_of(target)
    return PinnedFile("", mode, "", identity.size, identity.mtime_ns, identity)


def pin_runtime(
    change: Change,
    source: CodexPackage,
    clone: Clone,
    context: Context,
    *,
    while_running: Callable[[], None] = lambda: None,
    doubted: bool = False,
) -> Runtime:
    """Pins a complete copy of the source in the clone, tried once: it must start, itself and nothing outside, and be
    the version it is pinned as. `while_running` is done meanwhile; `doubted` pins are read before they are linked."""
    path = os.path.join(runtimes_of(clone), f"{source.version}-{change.id}")
    if base_of(clone) not in change.plan.made:
        change.extend_plan(made=[path])
    make_directories(path, synced=not os.path.isdir(runtimes_of(clone)))  # Its own name is synced with what is in it.
    parts = package_entries(source)
    wanted = {part.identity for part in parts if not part.leads_to}
    known = link_candidates(change.registry, source.version, path, wanted)._replace(doubted=doubted)
    files = pin_files(source, parts, path, known, context.report)
    prefix = "package" if source.kind == "npm-package" else ""
    runtime = Runtime(path, os.path.join(path, prefix, source.entry), source.kind, source.version)
    env = launch_environment(clone._replace(runtime=runtime), context.places, context.env)

    def keep() -> None:
        record_pin(path, source, files)
        leave_out_of_backups(runtimes_of(clone))
        while_running()

    home, again = change.scratch(), f"install it again: {INSTALL_ADVICE}"
    said = version_of(runtime.entry, env, home, keep)
    if said != source.version:
        where = source.origin or source.package
        raise MirrorError(f"the Codex in {where} says {said}, but its package says {source.version}", again)
    started = binary_of_probe(home)
    if started and source.kind == "binary" and not is_below(started, os.path.realpath(path)):
        what = f"{os.path.join(source.package, source.entry)} only starts another program: {started}"
        raise MirrorError(what, "use --from with a package whose codex is the program itself", REFUSED)
    return runtime


def record_pin(path: str, source: CodexPackage, files: Sequence[PinnedFile]) -> None:
    """Writes the manifest of a new runtime; all its names are on the disk when this returns."""
    rows = [[*file[:5], list(file.source)] for file in files]
    document = {"version": 1, "codex": source.version, "from": source.origin or source.package, "files": rows}
    write_new(os.path.join(path, MANIFEST), json.dumps(document).encode())
    sync_tree(path)
    sync_directory(os.path.dirname(path))


def complaints_about_runtime(runtime: Runtime, manifest: Sequence[PinnedFile] | None) -> list[str]:
    """What is missing from a pinned runtime, or was changed by someone; reads only the files that look changed, since a
    restored backup has other times."""
    entry, is_program = runtime.entry, runtime.kind == "binary"
    may_start = os.access(entry, os.X_OK) or (os.access(entry, os.R_OK) and (not is_program or is_noexec(entry)))
    if not os.path.isfile(entry) or not may_start:
        return [entry]
    files = files_in_runtime(runtime.path, manifest)
    return [path for path, file in files if not looks_as_pinned(path, file) and is_damaged(path, file)]


def has_bytes_of(path: str, file: PinnedFile) -> bool:
    """Are the bytes of this file those that were pinned?"""
    return kind_of(path) == "file" and os.lstat(path).st_size == file.size and digest_of(path) == file.sha256


def is_damaged(path: str, file: PinnedFile) -> bool:
    """Is this file not the one that was pinned, going by its bytes and its being a program?"""
    return not has_bytes_of(path, file) or not is_still_program(file, os.lstat(path).st_mode)


def is_another_build(source: CodexPackage, runtime: Runtime, manifest: Sequence[PinnedFile]) -> bool:
    """Has a source other files than were pinned? Reads only those that aren't the ones that the pins came from."""
    pinned = {file.path: file for file in manifest}
    there = {part.inside: part for part in package_entries(source) if not part.leads_to}
    return there.keys() != pinned.keys() or any(
        part.identity != pinned[inside].source
        and not is_same_file(os.path.realpath(part.path), os.path.join(runtime.path, inside))
        and not has_bytes_of(os.path.realpath(part.path), pinned[inside])
        for inside, part in there.items()
    )


def damaged_files(runtime: Runtime, manifest: Sequence[PinnedFile] | None) -> list[tuple[str, PinnedFile]]:
    """Every pinned file whose bytes differ from its manifest; reads them all."""
    return [(path, file) for path, file in files_in_runtime(runtime.path, manifest) if is_damaged(path, file)]


# --- Sources --------------------------------------------------------------------------------------

LATEST = "latest"
OPENAI, GITHUB = "https://releases.openai.com/codex", "https://api.github.com/repos/openai/codex"
DIGESTS = ("sha512", "sha384", "sha256")  # The strongest first.


class FetchError(MirrorError):
    """Nothing was fetched; `kind` is `offline`, `unreachable`, `absent` or `refused`."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.kind = kind


class Source(NamedTuple):
    """Where Codex can be fetched: the kind of its answers, its address, what the user's npm is told of reaching such,
    and after which kinds of failure the next source is asked."""

    kind: str
    address: str
    settings: Mapping[str, str] = {}
    passes_on: tuple[str, ...] = ("unreachable", "absent")

    @property
    def host(self) -> str:
        return origin_of(self.address)[1]


class SourceKind(NamedTuple):
    """How sources of a kind are asked: for the newest version, for all, and for what describes the package of one and
    names its archive, unless that lies at `archive`."""

    latest: str
    versions: str
    package: str
    archive: str = ""


SOURCE_KINDS = {
    "npm": SourceKind(
        "{address}/-/package/@openai%2fcodex/dist-tags",
        "{address}/@openai%2fcodex",
        "{address}/@openai%2fcodex/{version}-{platform}",
    ),
    "releases": SourceKind(
        "{address}/channels/latest",
        "",
        "{address}/releases/{version}/codex-package_SHA256SUMS",
        "{address}/releases/{version}/codex-package-{triple}.tar.gz",
    ),
    "github": SourceKind(
        "{address}/releases/latest",
        "{address}/git/matching-refs/tags/rust-v",
        "{address}/releases/tags/rust-v{version}",
    ),
}


class Archive(NamedTuple):
    """An archive with a Codex: its address, the name of its digest, and the digest in hexadecimal digits."""

    address: str
    algorithm: str
    digest: str


def npm_settings(env: Mapping[str, str], home: str) -> dict[str, str]:
    """What the user's own npm is told by its variables, which win, and by ~/.npmrc; a `${VAR}` is put in as npm 11
    does it."""
    given = {}
    for name in sorted(env):  # Small letters come last, and win.
        if env[name] and (match := re.fullmatch("(?i:npm_config_)(.+)", name)):
            key = match[1]
            given[key if key.startswith("//") else key[0].lower() + key[1:].lower().replace("_", "-")] = env[name]

    def put_in(match: re.Match[str]) -> str:
        value, escapes = env.get(match[2], "" if match[3] else f"${{{match[2]}}}"), len(match[1])
        return match[0][(escapes + 1) // 2 :] if escapes % 2 else match[1][escapes // 2 :] + value

    found = {"cafile": env.get("NODE_EXTRA_CA_CERTS", "")}
    path = given.get("userconfig") or os.path.join(home, ".npmrc")
    content = read_or_none(path, 1 << 20) if path != os.devnull else None  # So people tell npm to read none.
    for line in (content or b"").decode("utf-8", "replace").splitlines():
        line = re.sub(r"(?<!\\)(\\*)\$\{([^${}]+?)(\?)?\}", put_in, line)
        key, equals, value = line.partition("=")
        quoted = re.fullmatch(r"""\s*(["'])(.*)\1\s*""", value)
        if equals and not key.lstrip().startswith((";", "#")):
            found[key.strip()] = quoted[2] if quoted else re.split(r"(?<!\\)[;#]", value)[0].strip()
    settings = {**found, **given}
    return {**settings, "cafile": re.sub("^~(?=/)", lambda match: home, settings["cafile"])}


def registry_of_npm(env: Mapping[str, str], *options: str) -> str:
    """The registry that the user's npm would ask; nothing where there is no npm. It is asked in `/`: settings in the
    current directory may be a stranger's."""
    npm = next(find_on_path("npm", env.get("PATH", os.defpath)), "")
    said = capture([npm, "config", "get", "registry", *options], env, "/", 30).out if npm else b""
    found = re.findall(r"(?m)^https?://\S+$", said.decode("utf-8", "replace"))
    return found[-1] if found else ""


def codex_sources(context: Context) -> Iterator[Source]:
    """Where Codex can be fetched: first where the user's own npm would, and nowhere else when he chose that registry;
    then OpenAI's own releases. Each is found out only when the one before has failed."""
    env = outside_environment(context.env)
    settings = npm_settings(env, context.places.user_home)
    if mirror := env.get("CODEX_MIRROR_CODEX_URL"):
        for kind in ("npm", "releases"):
            yield Source(kind, mirror.rstrip("/"), settings, ("absent",))
        return
    chosen = settings.get("@openai:registry") or settings.get("registry")
    if registry := chosen or registry_of_npm(env):
        yield Source("npm", registry.rstrip("/"), settings, ("unreachable",))
        bare = ("--userconfig=/dev/null", "--globalconfig=/dev/null/none")  # npm refuses one file as both.
        if chosen or registry_of_npm(env, *bare) != registry:
            return
    yield Source("releases", OPENAI, settings)
    yield Source("github", GITHUB, settings)


def ask_sources(context: Context, question: Callable[[Source], Any]) -> Any:
    """The answer of the first source that has one; one that can't be reached is tried twice. Raises FetchError."""
    if is_offline(context.env):
        raise FetchError("offline", "network requests are turned off by CODEX_MIRROR_OFFLINE", "unset it")
    failures: list[FetchError] = []
    for source in codex_sources(context):
        for tries_left in (1, 0):
            try:
                return question(source)
            except FetchError as error:
                if error.kind != "unreachable" or not tries_left:
                    failures.append(error)
                    break
        if failures[-1].kind not in source.passes_on:
            break
    what = "; ".join(dict.fromkeys(error.message for error in failures))
    raise FetchError(failures[-1].kind, what, failures[-1].hint)


def origin_of(address: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address. Raises FetchError for one that mustn't be asked: without TLS that is any but
    this machine's own."""
    import urllib.parse

    try:
        parts = urllib.parse.urlsplit(address)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host, port = "", 0
    is_loopback = host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host))
    if not host or "@" in parts.netloc or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback)):
        where, hint = re.sub("//[^/]*@", "//", address), "use an https: address without a user name and password in it"
        raise FetchError("refused", f"can't fetch from {where}", hint)
    return parts.scheme, host, port


def authorization_for(address: str, source: Source) -> str:
    """What tells an address of the registry's own origin who the user is, as his npm has it; else nothing."""
    if origin_of(address) != origin_of(source.address):
        return ""
    place = re.sub("^https?:", "", source.address) + "/"
    while len(place) > 2:
        for key, scheme in (("_authToken", "Bearer"), ("_auth", "Basic")):
            if secret := source.settings.get(f"{place}:{key}"):
                return f"{scheme} {secret}"
        place = re.sub("([^/]+|/)$", "", place)
    return ""


def json_of(answer: bytes) -> Any:
    """The JSON of an answer, whatever it is; None when it is none."""
    return parse_json_object(b'{"answer": %s}' % answer).get("answer")


def latest_in(answer: bytes) -> str:
    """The newest version that a source's answer names, or nothing. Pure."""
    document = json_of(answer)
    tags = document.get("dist-tags", document) if isinstance(document, dict) else None
    return version_in({"version": text_in(tags, "latest") or text_in(tags, "tag_name").removeprefix("rust-v")})


def versions_in(answer: bytes) -> list[str]:
    """The versions for this machine that a source's answer names, the newest first. Pure."""
    document, platform = json_of(answer), platform_names()[0]
    if isinstance(document, list):
        names = [text_in(ref, "ref").removeprefix("refs/tags/rust-v") for ref in document]
    else:
        known = document.get("versions") if isinstance(document, dict) else None
        names = [name for name in (known if isinstance(known, dict) else ()) if name.endswith(f"-{platform}")]
    found = {version_in({"version": name}) for name in names} - {""}
    return sorted(found, key=version_key, reverse=True)


def archive_in(answer: bytes, address: str, version: str) -> Archive | None:
    """The archive that a source's answer describes, with a digest that can be trusted, for this machine. Pure."""
    import base64

    platform, triple = platform_names()
    document = json_of(answer)
    if isinstance(document, dict) and isinstance(document.get("dist"), dict):
        known = dict(re.findall(r"\b(sha\d+)-([A-Za-z0-9+/]+)", text_in(document["dist"], "integrity")))
        algorithm = next((one for one in DIGESTS if one in known), "")
        digest = b""
        with contextlib.suppress(ValueError):
            digest = base64.b64decode(known.get(algorithm, "") + "=" * (-len(known.get(algorithm, "")) % 4))
        return Archive(text_in(document["dist"], "tarball"), algorithm, digest.hex())
    assets = document.get("assets") if isinstance(document, dict) else None
    for name in (f"codex-package-{triple}.tar.gz", f"codex-npm-{platform}-{version}.tgz"):
        for asset in assets if isinstance(assets, list) else ():
            if text_in(asset, "name") == name and text_in(asset, "digest").startswith("sha256:"):
                return Archive(text_in(asset, "browser_download_url"), "sha256", text_in(asset, "digest")[7:].lower())
    name = re.escape(os.path.basename(address))
    sums = re.search(rf"(?m)^([0-9a-f]{{64}}) [ *]{name}\r?$", answer.decode("utf-8", "replace")) if address else None
    return Archive(address, "sha256", sums[1]) if sums else None


# --- Connections ----------------------------------------------------------------------------------

ANSWER_LIMIT, REDIRECTS = 32 << 20, 10
CONNECT_SECONDS, STALL_SECONDS, STALL_BYTES = 10.0, 30.0, 16 << 10
NPM_PROXIES = (("http", "proxy"), ("https", "proxy"), ("https", "https-proxy"))
FROM_HERE = "name a local Codex with --from"
# The certificates of systems that have them in one file, and what knows those in the keychain of a Mac.
SYSTEM_CERTIFICATES, CURL = "/etc/ssl/cert.pem", "/usr/bin/curl"
PROXY_HINT = "check the proxy in https_proxy or ~/.npmrc"


def request_for(address: str, source: Source, trusted: bool = True) -> Any:
    """A request to an address that may be asked; only a `trusted` one has the user's token. Raises FetchError."""
    import urllib.request

    if origin_of(address)[0] != "https" and origin_of(source.address)[0] == "https":
        hint = "name another source with CODEX_MIRROR_CODEX_URL, or a local Codex with --from"
        raise FetchError("refused", f"{source.host} redirects to {address}, which isn't https", hint)
    headers = {"User-Agent": f"codex-mirror/{__version__}", "Accept": "application/json, */*"}
    request = urllib.request.Request(address, headers=headers)
    if trusted and (authorization := authorization_for(address, source)):
        request.add_unredirected_header("Authorization", authorization)
    return request


@lru_cache
def tls_context(cafile: str) -> Any:
    """What certificates are checked with: those of the system, and those in a file of the user's network."""
    import ssl

    context, paths = ssl.create_default_context(), ssl.get_default_verify_paths()
    for file in filter(None, (cafile, "" if knows_certificates(paths) else SYSTEM_CERTIFICATES)):
        with contextlib.suppress(OSError):  # Of which ssl.SSLError is one: what can't be read vouches for nobody.
            context.load_verify_locations(file)
    return context


def knows_certificates(paths: Any) -> bool:
    """Are there any certificates where this Python looks for them? python.org's for macOS has none until a program
    beside it was run."""
    return bool(paths.cafile or (paths.capath and entries_of(paths.capath)))


def opener_for(source: Source) -> Any:
    """What opens addresses: through the user's proxies, with certificates checked, and a limit for connecting and one
    for standing still. A redirect to another origin loses the token for good."""
    import http.client
    import urllib.request

    def patient(kind: Any) -> Any:
        class Connection(kind):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                self.sock.settimeout(STALL_SECONDS)

        return Connection

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, req: Any) -> Any:
            return self.do_open(patient(http.client.HTTPConnection), req)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, req: Any) -> Any:
            trust = tls_context(source.settings.get("cafile", ""))
            return self.do_open(patient(http.client.HTTPSConnection), req, context=trust)

    class Redirects(urllib.request.HTTPRedirectHandler):
        http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302  # Python 3.10 doesn't know it.

        def redirect_request(self, req: Any, *answer: Any) -> Any:
            answer[0].close()  # Else all of it would be read first, however much that is.
            return request_for(answer[-1], source, req.has_header("Authorization"))

    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies_for(source)), Plain, Secure, Redirects)


def proxies_for(source: Source) -> dict[str, str]:
    """The proxies of urllib or of the user's npm, by scheme."""
    import urllib.request

    settings = source.settings
    bypass: Any = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
    if bypass(source.host, {"no": settings.get("noproxy", "")}):
        return {}
    return urllib.request.getproxies() | {kind: settings[key] for kind, key in NPM_PROXIES if settings.get(key)}


class CurlAnswer:
    """The answer to a request as macOS's own curl fetches it, used as one of urllib's; `status` is 0 where none came.

    Only the request's own headers are sent, and not as words that other users see; nothing of ~/.curlrc counts."""

    def __init__(self, request: Any, source: Source) -> None:
        import http.client

        proxy = proxies_for(source).get("https", "")
        settings = {
            **{"url": request.full_url, "proto": "=https", "connect-timeout": f"{CONNECT_SECONDS:g}"},
            **{"speed-limit": str(int(STALL_BYTES / STALL_SECONDS)), "speed-time": f"{STALL_SECONDS:g}"},
            **({"proxy": proxy} if proxy else {"noproxy": "*"}),
        }
        lines = [(key, value) for key, value in settings.items()]
        lines += [("header", f"{name}: {value}") for name, value in request.header_items() if name != "Host"]
        said = "silent\nshow-error\ninclude\ngloboff\nsuppress-connect-headers\n"
        said += "".join(f"{key} = {json.dumps(re.sub('[^ -~]', '', value))}\n" for key, value in lines)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("SSL_CERT_", "CURL_"))}
        self.child = begin_reading([CURL, "-q", "-K", "-"], env, said.encode())
        self.status, self.headers = 0, http.client.HTTPMessage()
        first = re.match(rb"HTTP/\S+ (\d{3})", self.child.stdout.readline(1 << 16))
        with contextlib.suppress(http.client.HTTPException):  # There are too many headers, or too long ones.
            self.headers = http.client.parse_headers(self.child.stdout)
            self.status = int(first[1]) if first else 0

    def read1(self, size: int) -> bytes:
        part: bytes = self.child.stdout.read1(size)
        if not part and (code := self.child.wait()):
            raise OSError(errno.EIO, f"curl ended with {code}")
        return part

    def close(self) -> None:
        end_reading(self.child)

    def __enter__(self) -> CurlAnswer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def answer_by_curl(address: str, source: Source) -> CurlAnswer | None:
    """The answer to a request on a Mac whose keychain knows the certificate, else None; each redirect is
    judged as ever. Raises FetchError."""
    import urllib.parse

    request = request_for(address, source)
    for _ in range(REDIRECTS):
        answer = CurlAnswer(request, source)
        where = answer.headers.get("Location", "") if answer.status in (301, 302, 303, 307, 308) else ""
        if 0 < answer.status < 400 and not where:
            return answer
        answer.close()
        if answer.status >= 400:
            raise failure_of_status(answer.status, origin_of(request.full_url)[1], source)
        if not where:
            break
        there = urllib.parse.urljoin(request.full_url, where)
        request = request_for(there, source, request.has_header("Authorization"))
    return None


def open_address(address: str, source: Source) -> Any:
    """The open answer to a request. Raises FetchError."""
    import http.client
    import ssl
    import urllib.error

    request = request_for(address, source)
    own = request.host
    try:
        response = opener_for(source).open(request, timeout=CONNECT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise failure_of_status(error.code, origin_of(error.url)[1], source) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why, proxy = getattr(error, "reason", error), request.host if request.host != own else ""
        may_be_known = isinstance(why, ssl.SSLCertVerificationError) and is_macos() and os.access(CURL, os.X_OK)
        response = answer_by_curl(address, source) if may_be_known else None
        if response is None:
            raise failure_of_connection(why, origin_of(address)[1], proxy) from None
    if "html" in response.headers.get("Content-Type", ""):
        response.close()
        raise web_page_from(source)
    return response


def web_page_from(source: Source) -> FetchError:
    hint = "check the address of the registry, and whether a proxy or a login page stands in between"
    return FetchError("refused", f"{source.host} answered with a web page instead of a Codex", hint)


def failure_of_status(code: int, host: str, source: Source) -> FetchError:
    """What it means that a source answers with this status."""
    if code in (401, 403):
        what = "asks for a login" if code == 401 else "denies access"
        hint = f"check the _authToken of {host} in ~/.npmrc" if source.kind == "npm" else "try again later"
        return FetchError("refused", f"{host} {what} ({code})", hint)
    if code == 407:
        return FetchError("unreachable", f"the proxy refused to connect to {host} ({code})", PROXY_HINT)
    kind = "absent" if code in (404, 410) else "unreachable" if code >= 500 or code == 429 else "refused"
    return FetchError(kind, f"{host} answered {code}", "try again later" if kind == "unreachable" else "")


def failure_of_connection(why: Any, host: str, proxy: str) -> FetchError:
    """What it means that no answer came."""
    import ssl

    what = "no answer in time" if isinstance(why, TimeoutError) else getattr(why, "strerror", "") or str(why)
    if isinstance(why, ssl.SSLCertVerificationError):
        hint = "name your network's certificates in SSL_CERT_FILE, or as cafile in ~/.npmrc"
        return FetchError("refused", f"the certificate of {host} isn't trusted: {why.verify_message}", hint)
    if proxy:
        return FetchError("unreachable", f"{host} can't be reached through the proxy {proxy}: {what}", PROXY_HINT)
    return FetchError("unreachable", f"{host} can't be reached: {what or type(why).__name__}", "check the network")


def declared_size(response: Any) -> int:
    """The bytes that an answer says it has, or -1."""
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,15}", text) else -1


def read_parts(response: Any, limit: int, host: str) -> Iterator[bytes]:
    """The bytes of an answer as they come, no more than `limit`. Raises FetchError when they stop before their end, or
    come too slowly to be waited for."""
    import http.client

    size, count, marked, since, why = declared_size(response), 0, 0, time.monotonic(), "broke"
    with response:
        while count != size:
            try:
                part = response.read1(1 << 18)
            except (OSError, http.client.HTTPException, ValueError) as error:
                part, size, why = b"", -2, "stalled" if isinstance(error, TimeoutError) else why
            count += len(part)
            if count > limit:
                raise FetchError("refused", f"{host} sent more than {size_text(limit)}", FROM_HERE)
            if (now := time.monotonic()) - since > STALL_SECONDS:
                size, why = (-2, "stalled") if count - marked < STALL_BYTES else (size, why)
                marked, since = count, now
            if not part or size == -2:
                break
            yield part
    if size not in (count, -1):
        raise FetchError("unreachable", f"the connection to {host} {why} after {size_text(count)}", "try again")


def answer_of(address: str, source: Source) -> bytes:
    """The whole answer to a small question. Raises FetchError."""
    answer = b"".join(read_parts(open_address(address, source), ANSWER_LIMIT, source.host))
    if answer.lstrip().startswith(b"<"):
        raise web_page_from(source)
    return answer


# --- Downloads ------------------------------------------------------------------------------------

ARCHIVE_LIMIT, UNPACKED_LIMIT = 2 << 30, 4 << 30
UNPACKED = 3  # An archive unpacks to less than so many times its size (0.171.0: 2.4).


def newest_version(source: Source) -> str:
    """The version that a source calls its newest. Raises FetchError."""
    kind = SOURCE_KINDS[source.kind]
    try:
        answer = answer_of(kind.latest.format(address=source.address), source)
    except FetchError as error:
        if error.kind != "absent" or not kind.versions:
            raise
        answer = answer_of(kind.versions.format(address=source.address), source)
    if latest := latest_in(answer):
        return latest
    raise FetchError("refused", f"{source.host} doesn't say which Codex is the newest", "name a version with --codex")


def archive_of_version(source: Source, version: str) -> Archive | None:
    """The archive that a source has of a version for this machine. Raises FetchError."""
    kind, (platform, triple) = SOURCE_KINDS[source.kind], platform_names()
    words = {"address": source.address, "version": version, "platform": platform, "triple": triple}
    return archive_in(answer_of(kind.package.format(**words), source), kind.archive.format(**words), version)


def newest_with_size(source: Source) -> tuple[str, int]:
    """The version that a source calls its newest, and the bytes of its archive, or -1. Raises FetchError."""
    version = newest_version(source)
    if not (archive := archive_of_version(source, version)):
        return version, -1
    with open_address(archive.address, source) as response:
        return version, declared_size(response)


def known_versions(source: Source) -> tuple[str, list[str]]:
    """The newest version, and all that a source has for this machine, the newest first. Raises FetchError."""
    kind, address = ("github", GITHUB) if source.address == OPENAI else (source.kind, source.address)
    listing = SOURCE_KINDS[kind].versions.format(address=address)
    answer = answer_of(listing, source) if listing else b""
    latest = latest_in(answer) or newest_version(source)
    return latest, versions_in(answer) or [latest]


def fetch_archive(context: Context, version: str, path: str, disks: Sequence[str], source: Source) -> str:
    """Writes the archive of a version to a path, its digest checked as it comes, if there is room for it and on these
    disks for what is in it; its address. Raises FetchError."""
    what = f"fetching Codex {version}"
    if not (archive := archive_of_version(source, version)):
        raise FetchError("absent", f"{source.host} has no Codex {version} for {platform_names()[0]}")
    if not archive.digest:
        raise FetchError("refused", f"{source.host} has no trustworthy digest of Codex {version}")
    digest, count = new_digest(archive.algorithm), 0
    response = open_address(archive.address, source)
    with response, open(path, "wb") as file:
        size = declared_size(response)
        refuse_full_disk(os.path.dirname(path), max(size, 0) * (1 + UNPACKED))
        for disk in disks:
            refuse_full_disk(disk, max(size, 0) * UNPACKED)
        context.report(f"{what} ({size_text(size) if size >= 0 else 'size unknown'}) from {source.host}", 0, 0)
        for part in read_parts(response, ARCHIVE_LIMIT, source.host):
            file.write(part)
            digest.update(part)
            count += len(part)
            if size > 0:
                context.report(what, count, size)
    if digest.hexdigest() != archive.digest:
        found = f"its {archive.algorithm} is {digest.hexdigest()}, but {archive.digest} was expected"
        hint = "try again later; if it happens again, somebody may have tampered with it"
        raise FetchError(
            "refused", f"the archive of Codex {version} from {source.host} has the wrong digest: {found}", hint
        )
    return archive.address


def fetch_package(context: Context, version: str, scratch: str, root: str = "") -> CodexPackage:
    """A Codex of this version from its source, unpacked in a scratch, for a clone with this root. Raises FetchError."""
    if platform_names() not in MACHINES.values():
        raise MirrorError(f"there is no Codex for {platform_names()[0]}", "name a local one with --from PATH")
    path, directory = os.path.join(scratch, new_id(), "codex.tgz"), os.path.join(scratch, new_id())
    make_directories(os.path.dirname(path), synced=False)
    above = next((one for one in directories_above(root) if os.path.isdir(one)), "")
    disks = [above] if above and os.stat(above).st_dev != os.stat(scratch).st_dev else []
    try:
        address = ask_sources(context, partial(fetch_archive, context, version, path, disks))
    except FetchError as error:
        raise (unknown_version(context, version) if error.kind == "absent" else error) from None
    make_directories(directory, synced=False)
    with open(path, "rb") as archive:
        unpack(archive, directory, UNPACKED_LIMIT)
    remove_file(path)
    found = package_in_directory(directory)
    if not found or found.version != version or found.missing:
        inside = f"Codex {found.version or 'without a version'}" if found else "no Codex"
        lacks = f" without {', '.join(found.missing)}" if found and found.missing else ""
        raise MirrorError(f"{address} should be Codex {version}, but contains {inside}{lacks}", "don't use that file")
    return found._replace(origin=address)


def unknown_version(context: Context, version: str) -> MirrorError:
    """That there is no such version for this machine, with those nearest by number."""
    what, hint = f"there is no Codex {version} for {platform_names()[0]}", "codex-mirror versions lists them"
    try:
        _, known = ask_sources(context, known_versions)
    except FetchError:
        return MirrorError(what, hint)
    near = nearest_versions(version, known)
    return MirrorError(what, f"the nearest: {', '.join(near)}; {hint}" if near else hint)


def nearest_versions(version: str, known: Sequence[str]) -> list[str]:
    """The two before and the two after by number, pre-releases only for one. Pure."""
    named = sorted((one for one in known if "-" not in one or "-" in version), key=version_key)
    older = [one for one in named if version_key(one) < version_key(version)]
    return [*older[-2:], *named[len(older) :][:2]]


# --- Wanted Codex ---------------------------------------------------------------------------------


class FetchNeeded(Exception):
    """A change can't begin before this is here: a Codex of this version, for a clone with this root, or the word of
    which is the newest; and what else would do, in words."""

    def __init__(self, what: str, version: str, root: str, way_out: str) -> None:
        super().__init__(what)
        self.what, self.version, self.root, self.way_out = what, version, root, way_out


def fetching_first(deed: AnyFunction) -> AnyFunction:
    """The deed, begun again once what it needs was fetched: the lock isn't held meanwhile, so that nobody waits."""

    @wraps(deed)
    def done(context: Context, *words: Any, **named: Any) -> Any:
        with contextlib.ExitStack() as kept:
            while True:
                try:
                    return deed(context, *words, **named)
                except FetchNeeded as needed:
                    found = fetch_needed(context, needed, kept)
                    context = context._replace(fetched={**context.fetched, needed.version: found})

    return done  # type: ignore[return-value]


def fetch_needed(context: Context, needed: FetchNeeded, kept: contextlib.ExitStack) -> Any:
    """What a change needs, and for as long as it is `kept`. Raises MirrorError."""
    try:
        if needed.version == LATEST:
            return ask_sources(context, newest_version)
        scratch = kept.enter_context(scratch_before_change(context, needed.what))
        return fetch_package(context, needed.version, scratch, needed.root)
    except FetchError as error:
        if error.kind in ("offline", "unreachable"):
            raise FetchError(error.kind, error.message, f"{error.hint}, or {needed.way_out}") from None
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"'{needed.what}' was not done") from None


def package_of_version(
    change: Change, context: Context, wanted: str, root: str = "", *, doubted: bool = False, way_out: str = FROM_HERE
) -> CodexPackage:
    """The Codex of a version: an intact one of a clone, the installed one, else one that was fetched, for a clone with
    this root. Where pins are `doubted` every byte of them is read first. Raises MirrorError, and FetchNeeded."""
    version = needed_answer(change, context, LATEST, way_out=way_out) if wanted == LATEST else wanted
    complaints = damaged_files if doubted else complaints_about_runtime
    for clone in change.registry.clones:
        for runtime in runtimes_kept(clone):
            manifest = manifest_of(runtime.path)
            if (runtime.version, runtime.kind) == (version, "binary") and manifest is not None:
                found = package_of_clone(clone._replace(runtime=runtime))
                if not complaints(runtime, manifest) and not found.missing:
                    return found
    installed = installed_without_starting(outside_environment(context.env))
    if installed and (installed.version, installed.kind, installed.missing) == (version, "binary", ()):
        return installed
    if change.is_dry:
        context.report(f"would fetch Codex {version}", 0, 0)
        return CodexPackage("", "", KINDS[0], version)
    found = needed_answer(change, context, version, root, way_out)
    return found  # type: ignore[no-any-return]


def needed_answer(change: Change, context: Context, version: str, root: str = "", way_out: str = FROM_HERE) -> Any:
    """What was fetched for this change: a Codex of this version, or which is the newest. Raises FetchNeeded."""
    if version not in context.fetched:
        raise FetchNeeded(change.plan.what, version, root, way_out)
    return context.fetched[version]


class Wanted(NamedTuple):
    """Which Codex is to be pinned, as it was said: `--from`, `--codex`, and whether it may lack its helpers, or be one
    that macOS kills."""

    source: str = ""
    codex: str = ""
    allow_incomplete: bool = False
    force: bool = False


def wanted_package(change: Change, context: Context, wanted: Wanted, root: str = "") -> CodexPackage:
    """The Codex that is wanted; without a word of which, the installed one, and where none is, the newest. Raises
    MirrorError."""
    if wanted.codex:
        if wanted.codex != LATEST:
            refuse_revoked(wanted.codex, wanted.force)
        return package_of_version(change, context, wanted.codex, root)
    if found := find_package(change, context.env, wanted.source, wanted.allow_incomplete):
        refuse_revoked(found.version, wanted.force)
        return found
    newest = needed_answer(change, context, LATEST)
    if newest not in context.fetched:
        context.report(f"no Codex is installed here: taking the newest, {newest}", 0, 0)
    return package_of_version(change, context, newest, root)


def wanted_from(source: str, codex: str, allow_incomplete: bool = False, force: bool = False) -> Wanted:
    """The only maker of a `Wanted` from words. Raises MirrorError."""
    if codex and source:
        raise MirrorError("--codex and --from can't be used together", "use one of them", USAGE)
    if codex not in ("", LATEST) and not re.fullmatch(r"[0-9][0-9A-Za-z.+-]{0,60}", codex):
        raise MirrorError(f"{codex!r} is not a version of Codex", f"use a number such as 0.171.0, or {LATEST}", USAGE)
    return Wanted(source, codex, allow_incomplete, force)


def newer_version(installed: CodexPackage | None, clone: Clone) -> str:
    """The version of the installed Codex where that is newer than the clone's."""
    return installed.version if installed and is_newer(installed.version, clone.runtime.version) else ""


# --- Shell PATH -----------------------------------------------------------------------------------


def is_on_path(directory: str, env: Mapping[str, str]) -> bool:
    return directory in map(normal_path, filter(os.path.isabs, env.get("PATH", "").split(os.pathsep)))


def off_path_text(directory: str) -> str:
    return f"{directory} is not on PATH, so the shell won't find the commands there"


def path_setup_line(directory: str, places: Places) -> str:
    """The command that puts a directory on PATH; only one that isn't the environment's has to be named."""
    return "codex-mirror path setup" + (f" --bin-dir {shell_quote(directory)}" if directory != places.bin_dir else "")


def refuse_own_place(directory: str, places: Places) -> None:
    """Refuses to put a file of the user's where ours come and go by their names. Raises MirrorError."""
    if is_same_directory(directory, places.mirror_home):
        raise MirrorError(f"{directory} is only for codex-mirror's own files", "choose another directory", REFUSED)


def checked_bin_dir(bin_dir: str, places: Places) -> str:
    """The wrapper directory that is meant, fit to stand in PATH. Raises MirrorError."""
    directory = path_from(bin_dir, places) if bin_dir else places.bin_dir
    if ":" in directory or "\n" in directory:
        raise MirrorError(
            f"{directory} can't be on PATH",
            "choose a directory without ':' and line breaks in its name",
            REFUSED,
        )
    if kind_of(directory) and not os.path.isdir(directory):
        raise MirrorError(f"{directory} is not a directory", "choose another one with --bin-dir", REFUSED)
    refuse_own_place(directory, places)
    return directory


def shell_of(env: Mapping[str, str]) -> str:
    """The user's shell, as far as we have an rc file for it."""
    name = os.path.basename(env.get("SHELL", ""))
    return name if name in ("bash", "zsh", "fish") else "sh"


def unknown_shell(env: Mapping[str, str]) -> str:
    """The user's shell, when it is none that is known to read an rc file of ours, nor a `.profile`."""
    name = os.path.basename(env.get("SHELL", ""))
    return "" if name in (shell_of(env), "", "ash", "busybox", "dash", "ksh", "mksh", "yash") else name


def reload_line(shell: str, path: str, is_own: bool) -> str:
    """The command with which a shell reads this rc file of its own; another file it must be given."""
    if not is_own or shell == "sh":
        return f"source {fish_quote(path)}" if shell == "fish" else f". {shell_quote(path)}"
    return f"exec {shell}" + ("" if path.endswith((".bashrc", ".zshrc", ".fish")) else " -l")


def rc_files(shell: str, env: Mapping[str, str], home: str, system: str) -> list[str]:
    """The files in which this shell finds PATH; bash reads one when it is interactive and another at login, as zsh does
    on macOS, where path_helper puts the system's directories in front at each login."""
    outside = outside_environment(env)
    if shell == "zsh":
        directory = outside.get("ZDOTDIR") or zsh_directory(outside, home) or home
        return [os.path.join(directory, name) for name in (".zshrc", ".zprofile")[: 1 + (system == "Darwin")]]
    if shell == "fish":
        config = outside.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        return [os.path.join(config, "fish", "conf.d", "codex-mirror.fish")]
    if shell == "sh":
        return [os.path.join(home, ".profile")]
    logins = [os.path.join(home, name) for name in (".bash_profile", ".bash_login", ".profile")]
    found = [path for path in logins if os.path.lexists(path)] or [logins[0 if system == "Darwin" else -1]]
    return [os.path.join(home, ".bashrc"), found[0]]


def zsh_directory(env: Mapping[str, str], home: str) -> str:
    """The directory of zsh's rc files as its `.zshenv` sets it, which only zsh can tell; nothing where it doesn't."""
    if not kind_of(os.path.join(home, ".zshenv")):
        return ""
    said = capture(["zsh", "-c", "print -rn -- $'\\0'$ZDOTDIR"], {**env, "HOME": home}, home, 5)
    directory = os.fsdecode(said.out.rpartition(b"\0")[2]) if b"\0" in said.out else ""
    return directory if os.path.isabs(directory) else ""


def shim_rc_files(shell: str, env: Mapping[str, str], home: str, system: str) -> list[str]:
    """The files at whose end a shell finds the shim, behind those that put other directories in front of PATH."""
    paths = rc_files(shell, env, home, system)
    return paths if shell != "fish" else [os.path.join(os.path.dirname(os.path.dirname(paths[0])), "config.fish")]


def checked_rc_file(text: str, places: Places) -> str:
    """A `--rc-file` that lies below the home directory and is reached through no link. Raises MirrorError."""
    path = path_from(text, places)
    inside = [directory for directory in directories_above(path) if is_below(directory, places.user_home)]
    if not inside:
        raise MirrorError(
            f"{path} is not in {places.user_home}", "--rc-file takes a file in your home directory", REFUSED
        )
    for directory in inside:
        if kind_of(directory) == "link":
            raise MirrorError(f"{directory} is a link", "name the file that it points to", REFUSED)
    return path


def rc_paths(context: Context, shell: str, rc_file: str) -> list[str]:
    """The rc files that are meant."""
    if rc_file:
        return [checked_rc_file(path_from(rc_file, context.places), context.places)]
    return rc_files(shell or shell_of(context.env), context.env, context.places.user_home, os.uname().sysname)


def github_path(env: Mapping[str, str], shell: str, rc_file: str) -> str:
    """The file that says what the next steps of a job find on PATH; nothing outside of GitHub's Actions."""
    return env.get("GITHUB_PATH", "") if env.get("GITHUB_ACTIONS") == "true" and not (shell or rc_file) else ""


def lines_of(path: str) -> list[str]:
    """The lines of a text file; none where there is none."""
    return os.fsdecode(read_or_none(path) or b"").splitlines()


def directories_in_rc_file(path: str, home: str) -> list[str]:
    """The directories that our block in an rc file puts on PATH; none where it can't be read."""
    try:
        return list(path_lines(read_or_none(os.path.realpath(path)) or b"", home))
    except OSError:
        return []


def path_advice(directory: str, context: Context, shell: str = "", rc_file: str = "") -> tuple[str, str]:
    """What puts a directory on PATH, and how to say that: the command where it can still do something, where an rc file
    names the directory what has a shell read it, and else the line to write into one."""
    given = {"--shell": shell if shell != shell_of(context.env) else "", "--rc-file": rc_file}
    options = "".join(f" {option} {quote_if_needed(value)}" for option, value in given.items() if value)
    setup = "to add it", path_setup_line(directory, context.places) + options
    home, strange = context.places.user_home, "" if shell or rc_file else unknown_shell(context.env)
    if file := github_path(context.env, shell, rc_file):
        is_named = directory in lines_of(file)
        line = path_line(directory, "sh", home=home)
        return ("the next step will have it; to use it in this one", line) if is_named else setup
    paths = rc_paths(context, shell, rc_file)
    shell = shell or shell_of(context.env)
    named = [path for path in paths if directory in directories_in_rc_file(path, home)]
    if any(path not in named and not why_not_edited(path) for path in paths):
        return setup
    if strange:
        return f"to add it, have {strange} look for commands in", directory
    if named:
        return "to use it in this shell", reload_line(shell, named[0], not rc_file)
    return f"to add it, write into {paths[0]}", path_line(directory, shell, home=home)


def edit_rc_files(
    context: Context,
    what: str,
    paths: Sequence[str],
    edit: Callable[[dict[str, str]], Sequence[str]],
    marks: tuple[str, str] = PATH_MARKS,
) -> tuple[list[str], list[str]]:
    """Edits the files one after the other, each at one stroke; those that were changed, and why others were not."""
    changed, refused = [], []
    with begin_change(context, what) as change:
        for path in paths:
            try:
                if edit_rc_file(change, path, edit, marks):
                    changed.append(path)
                    change.note_done()
            except MirrorError as error:
                refused += [error.message, error.hint, *error.lines]
        if change.is_dry and changed:
            raise DryRun(change.plan)
        for directory in {os.path.dirname(os.path.realpath(path)) for path in changed}:
            if kind_of(directory):
                sync_directory(directory)
    return changed, refused


def reason_of(error: OSError | ValueError) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)


def edit_rc_file(
    change: Change, path: str, edit: Callable[[dict[str, str]], Sequence[str]], marks: tuple[str, str] = PATH_MARKS
) -> bool:
    """Gives an rc file, at one stroke, a block of the lines that `edit` makes of its block's directories and lines, or
    takes ours away when it makes none; True when the file was changed.

    The file keeps its mode and owner, and a link into someone's dotfiles stays one. Raises MirrorError with the lines
    to add by hand when it can't be done."""
    real, block = os.path.realpath(path), path_block(edit({}), marks)
    by_hand = (
        "to do it by hand, add these lines:" if block else f"to do it by hand, delete the codex-mirror block in {path}"
    )
    refusal = partial(MirrorError, hint=by_hand, code=REFUSED, lines=block)
    try:
        before, content = identity_of(real) if kind_of(real) else None, read_or_none(real)
        block[:] = path_block(edit(path_lines(content or b"", change.places.user_home)), marks)
        wanted = replace_block(content, block, len(missing_directories(os.path.dirname(real))), marks)
    except (OSError, ValueError) as error:
        raise refusal(f"{path} was left alone: {reason_of(error)}") from None
    if wanted == content:
        return False
    if (before or os.path.islink(path)) and (why := why_not_replaced(real)):
        raise refusal(f"{path} was left alone: {why}")
    if change.is_dry:
        change.extend_plan(staged=[StagedFile("", real, True)])
    elif wanted is None:
        remove_rc_file(change, real, before, directories_made_for_block(content or b""))
    else:
        try:
            replace_rc_file(change, real, before, wanted)
        except PermissionError as error:
            raise refusal(f"{path} was left alone: its owner can't be kept ({error.strerror})") from None
    return True


def replace_rc_file(change: Change, path: str, before: Identity | None, wanted: bytes) -> None:
    """Gives an rc file these bytes at one stroke, with the mode and the owner that it had. Raises PermissionError when
    the owner can't be kept."""
    change.make_room(os.path.dirname(path))
    temporary = staged_name(path, change.id)
    change.extend_plan(made=[temporary])
    write_new(temporary, wanted, 0o600 if before else 0o644)
    if not before:
        put_in_place(temporary, path)
        return
    try:
        copy_metadata(path, temporary)
    except OSError as error:
        raise PermissionError(error.errno, error.strerror, path) from None
    refuse_changed_file(path, before)
    os.replace(temporary, path)


def path_fix(directory: str, context: Context) -> str:
    """What to do about a directory that isn't on PATH, in a line."""
    how, what = path_advice(directory, context)
    return what if how in ("to add it", "to use it in this shell") else f"{how}: {what}"


def why_not_edited(path: str) -> str:
    """Why `path setup` would leave an rc file as it is, or nothing."""
    real = os.path.realpath(path)
    try:
        replace_block(read_or_none(real), [])
    except (OSError, ValueError) as error:
        return reason_of(error)
    return why_not_replaced(real) if kind_of(real) or os.path.islink(path) else ""


def why_not_replaced(path: str) -> str:
    """Why a new file in the place of an rc file would not do what its user wants, or nothing."""
    if not kind_of(path):  # A link leads here, as into a repository of dotfiles that isn't checked out.
        return f"it points to {path}, which isn't there"
    facts = os.stat(path)
    if not facts.st_mode & 0o200 or not os.access(path, os.W_OK):
        return "it is read-only"
    return "it has other names (hard links), which would keep the old lines" if facts.st_nlink > 1 else ""


def remove_rc_file(change: Change, path: str, before: Identity | None, directories: int) -> None:
    """Removes an rc file that was made for our block, and the directories that were made for it."""
    change.extend_plan(parents=list(directories_above(os.path.dirname(path)))[:directories][::-1])
    refuse_changed_file(path, before)
    os.unlink(path)


def refuse_changed_file(path: str, before: Identity | None) -> None:
    """Refuses to replace a file that isn't any more what was read. Raises MirrorError BUSY."""
    if identity_of(path) != before:
        raise MirrorError(f"{path} was left alone: another program is writing to it", "try again", BUSY)


# --- Settings -------------------------------------------------------------------------------------
CONFIG_LIMIT = 1 << 20  # Linear as the reading is, megabytes of settings are nobody's.
# The texts of TOML, up to five quotes at their end, and what is one more word that means nothing: a comment. One that
# isn't closed reaches to the end, so that nothing is looked at twice.
TOML_TEXT = (
    r'''"""(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)|\'{3}.*?(?:\'{3,5}|\Z)'''
    r"""|"(?:\\[^\n]|[^"\\\n])*(?:"|\\?(?=\n|\Z))|'[^'\n]*'?"""
)
TOML_OPAQUE = rf"{TOML_TEXT}|#[^\n]*"
TOML_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}
NAME_LIMIT = 1000
# Keys whose values are paths from the settings' own directory or `~` (Codex 0.171), and those whose file must be there.
PATH_SETTINGS = r"(.*_)?(file|json|path|roots|dir)|ca-certificate|client-(certificate|private-key)"
NEEDED_FILES = r".*_(file|json)"


class ConfigStatement(NamedTuple):
    """A statement of a config.toml: its text, the table that it stands in, and its key by parts with its value as
    written; a header and a comment have no key."""

    text: str
    table: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    value: str = ""


def read_config(codex_home: str) -> bytes | None:
    """The bytes of a Codex home's settings, or None when it has none. Raises OSError."""
    return read_or_none(config_file(codex_home), CONFIG_LIMIT)


def config_text(codex_home: str) -> str:
    """The settings for a look at them; none where they can't be read."""
    try:
        return (read_config(codex_home) or b"").decode("utf-8", "replace")
    except OSError:
        return ""


@lru_cache(maxsize=8)
def config_values(config: str) -> Mapping[str, str]:
    """The values in a config.toml, as written, by `key` or `table.key`, also those inside `{}`; doctor asks for them
    twice. Names that nobody gives, too long or too deep, are left out."""
    settings: dict[str, str] = {}
    for setting in config_statements(config):
        if setting.key and (name := dotted_name((*setting.table, *setting.key))):
            settings[name] = setting.value
            if setting.value.startswith("{"):
                with contextlib.suppress(MirrorError):
                    leaves = plain_values((*setting.table, *setting.key), setting.value)
                    settings |= {inner: value for path, value in leaves if (inner := dotted_name(path)) != name}
    return settings


def dotted_name(path: Sequence[str]) -> str:
    """The name of a setting; nothing where it is too long to be one."""
    return ".".join(path) if sum(map(len, path)) <= NAME_LIMIT else ""


def config_statements(config: str) -> Iterator[ConfigStatement]:
    """The statements of a config.toml in their order; their texts together are all of it, whatever it is."""
    plain = re.sub(
        TOML_OPAQUE, lambda part: (" " if part[0][0] == "#" else "x") * len(part[0]), config, flags=re.DOTALL
    )
    table: tuple[str, ...] = ()
    start, depth = 0, 0
    for line in re.finditer(r"[^\n]*\n|[^\n]+", plain):
        is_header = depth == 0 and line[0].lstrip().startswith("[")
        depth += 0 if is_header else len(re.findall(r"[\[{]", line[0])) - len(re.findall(r"[\]}]", line[0]))
        if depth > 0:
            continue
        text, shown, depth, start = config[start : line.end()], plain[start : line.end()], 0, line.end()
        if is_header:
            header = re.match(r"(\s*\[\[?)[^\]]*", shown)
            table = key_parts(text[len(header[1]) : header.end()] if header else "")
            table = ("[[", *table) if shown.lstrip().startswith("[[") else table
        at = -1 if is_header else shown.find("=")
        key = key_parts(text[:at]) if at >= 0 else ()
        yield ConfigStatement(text, table, key, text[at + 1 : len(shown.rstrip())].strip() if key else "")
    if start < len(config):
        yield ConfigStatement(config[start:], table)


def key_parts(text: str) -> tuple[str, ...]:
    """The parts of a dotted key, without quotes and escapes; no more than mean something."""
    found = re.finditer(r"""(?s)"((?:\\.|[^"\\])*)(?:"|\\?\Z)|'([^']*)'?|([^\s."']+)""", text)
    parts = [part for part, _ in zip(found, range(DEPTH_LIMIT + 1), strict=False)]
    return tuple(unescape_toml(part[1]) if part[1] is not None else part[2] or part[3] or "" for part in parts)


def inline_entries(value: str) -> list[tuple[tuple[str, ...], str]]:
    """The entries of an inline table as written, each with its key."""
    texts, start, depth = list[str](), 1, 0
    for token in re.finditer(rf"{TOML_OPAQUE}|[\[\]{{}},]", value, flags=re.DOTALL):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth == 0 or (depth == 1 and token[0] == ","):
            texts.append(value[start : token.start()].strip(" \t"))
            start = token.end()
    return [(one.key, text) for text in texts for one in config_statements(text) if one.key]


def plain_values(path: tuple[str, ...], value: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The plain values in a TOML value, as written, each with its path; those of a list have the list's. Raises
    MirrorError when they lie too deep."""
    text = re.sub(TOML_OPAQUE, lambda part: "" if part[0][0] == "#" else part[0], value, flags=re.DOTALL)
    here, start = path, 0
    around: list[tuple[str, tuple[str, ...]]] = []
    for token in re.finditer(rf"{TOML_TEXT}|[\[\]{{}},=]", text, flags=re.DOTALL):
        if (mark := token[0]) not in "[]{},=":
            continue
        plain, start = text[start : token.start()].strip(), token.end()
        if mark == "=" and around and around[-1][0] == "{":
            here = (*around[-1][1], *key_parts(plain))
        elif mark in "[{":
            around.append((mark, here))
            if max(len(around), len(here)) > DEPTH_LIMIT:
                raise MirrorError(f"the settings are nested more than {DEPTH_LIMIT} levels deep", DONT_USE, REFUSED)
        elif mark != "=":
            if plain:
                yield here, plain
            if mark != "," and around:
                around.pop()
            here = around[-1][1] if around else path
    if plain := text[start:].strip():
        yield here, plain


def plain_text(value: str) -> str:
    """What a TOML value as written says: a text without its quotes and escapes, everything else as it is."""
    if value[:1] not in ("'", '"'):
        return value
    quotes = 3 if value[:3] in ("'''", '"""') and len(value) >= 6 else 1
    inner = value[quotes : len(value) - quotes]
    if quotes == 3:
        inner = re.sub(r"\A\r?\n", "", inner)
    return unescape_toml(inner) if value[0] == '"' else inner


def unescape_toml(text: str) -> str:
    """A basic text of TOML 1.1 with its escapes resolved; one that is none stays as it is."""

    def resolved(match: re.Match[str]) -> str:
        if match[1] or match[2]:
            code = int(match[1] or match[2], 16)
            return chr(code) if code < 0x110000 else match[0]
        return "" if match[3][0] in " \t\r\n" else TOML_ESCAPES.get(match[3], match[3])

    return re.sub(r"(?s)\\(?:u([0-9a-fA-F]{4})|[Ux]([0-9a-fA-F]{8}|[0-9a-fA-F]{2})|([ \t\r]*\n\s*|.))", resolved, text)


def written_values(config: str) -> list[tuple[tuple[str, ...], str]]:
    """Every plain value in a TOML text with its path: texts without quotes, everything else as written. Raises
    MirrorError when they lie too deep in each other."""
    values: list[tuple[tuple[str, ...], str]] = []
    for one in config_statements(config.removeprefix("\ufeff")):
        path = (*(one.table[1:] if one.table[:1] == ("[[",) else one.table), *one.key)
        if len(path) > DEPTH_LIMIT:
            raise MirrorError(f"the settings are nested more than {DEPTH_LIMIT} levels deep", DONT_USE, REFUSED)
        if one.key:
            values += [(inner, plain_text(value)) for inner, value in plain_values(path, one.value)]
    return values


def setting_values(config: str) -> list[tuple[tuple[str, ...], str]]:
    """The same as `tomllib` judges, where there is one (from 3.11 on) and it can: Codex reads TOML 1.1. Raises
    MirrorError when they lie too deep in each other."""
    values = written_values(config)
    try:
        import tomllib  # type: ignore[import-not-found]

        return list(flat_values((), tomllib.loads(config.removeprefix("\ufeff"))))
    except (ImportError, ValueError, RecursionError):
        return values


def flat_values(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """The plain values in what `tomllib` read, as `plain_values` gives them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat_values((*path, key), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from flat_values(path, inner)
    else:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)


def toml_quote(text: str) -> str:
    """The text as a basic string of TOML. Raises ValueError for what no TOML can hold: bytes that aren't UTF-8."""
    text.encode()
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def named_paths(one: ConfigStatement) -> Iterator[tuple[str, str, int, int]]:
    """The paths that a statement names, as Codex reads them: each one's key, the path, and where it is in the text."""
    key = word = ""
    is_about_files = one.key and (*one.table, *one.key)[0] not in ("mcp_servers", "projects")
    for token in re.finditer(rf"{TOML_OPAQUE}|[\w-]+|=", one.text if is_about_files else "", flags=re.DOTALL):
        if token[0] == "=":
            key = word
        word = plain_text(token[0])
        if word != token[0] and re.fullmatch(PATH_SETTINGS, key):
            yield key, word, token.start(), token.end()


def places_of(tails: Iterable[str]) -> set[str]:
    """These files, and the directories that they are in, all relative to one."""
    return {place for tail in tails for place in directories_above(tail)}


def with_moved_paths(config: str, names: Sequence[str], target: str, tails: Iterable[str]) -> str:
    """A TOML text in which the paths of what comes along lead into `target`, and all others where they led."""
    there = {"", *places_of(tails)}

    def moved(token: re.Match[str]) -> str:
        text = plain_text(token[0])
        for name in names if text != token[0] else ():
            if text == name or is_below(text, name):
                tail = text[len(name) :].strip("/")
                return (
                    json.dumps(os.path.join(target, tail).rstrip("/"), ensure_ascii=False)
                    if tail in there
                    else token[0]
                )
        return token[0]

    return re.sub(TOML_OPAQUE, moved, config, flags=re.DOTALL)


def keeps_login_in_keyring(codex_home: str) -> bool:
    """Does this home's config.toml keep the login in the system's keyring? `auto` does where there is one."""
    store = plain_text(config_values(config_text(codex_home)).get("cli_auth_credentials_store", ""))
    return store == "keyring" or (store == "auto" and may_have_keyring(os.environ))


def may_have_keyring(env: Mapping[str, str]) -> bool:
    """Could a keyring answer? On Linux it is asked through the session's bus (Codex 0.171 then takes the file)."""
    bus = os.path.join(env.get("XDG_RUNTIME_DIR") or "/nowhere", "bus")
    return is_macos() or bool(env.get("DBUS_SESSION_BUS_ADDRESS")) or os.path.exists(bus)


# --- Pin settings ---------------------------------------------------------------------------------

UPDATE_PROMPT = "check_for_update_on_startup"
PIN_SETTINGS = {
    UPDATE_PROMPT: "false",
    "cli_auth_credentials_store": '"file"',
    "mcp_oauth_credentials_store": '"file"',
}
PIN_FEATURE = "daemon_auto_start"
PIN_COMMENT = """\
# Written by codex-mirror. This clone's Codex is pinned, so it neither asks to be updated nor starts the background
# server that updates itself; and its logins stay in this directory, not in a keyring that outlives the clone.
"""
NEW_CONFIG = (
    PIN_COMMENT
    + "".join(f"{key} = {value}\n" for key, value in PIN_SETTINGS.items())
    + f"\n[features]\n{PIN_FEATURE} = false\n"
)
UPDATER_SETTINGS = b'{"updater":{"autoUpdateEnabled":false}}\n'


def trust_entry(home: str) -> str:
    """The table with which a clone distrusts the real home; nothing for a home whose name no TOML can hold."""
    try:
        return f'\n[projects.{toml_quote(home)}]\ntrust_level = "untrusted"\n'
    except ValueError:
        return ""


def new_config(places: Places) -> bytes:
    """The settings of a new clone."""
    return (NEW_CONFIG + trust_entry(os.path.realpath(places.user_home))).encode()


# What Codex writes into its settings by itself (0.171): answers to its questions, and which hints were shown.
# Of [notice] those that Codex 0.169 and 0.171 know, and more of that kind.
NOTICES = r"hide_[\w.-]+|fast_default_opt_out|(model_migrations|external_config_migration_prompts)\..+"
WRITTEN_BY_CODEX = rf"projects\..+\.trust_level|notice\.({NOTICES})|hints?\..+|tui\.[\w-]*(nux|hint)[\w-]*(\..+)?"


def is_own_config(config: str) -> bool:
    """Are these settings nothing but those that we write for a new clone, and those that Codex adds by itself?"""
    ours: dict[tuple[str, ...], str] = {(key,): value for key, value in PIN_SETTINGS.items()}
    ours["features", PIN_FEATURE] = "false"
    plain = config.replace(PIN_COMMENT, "")
    with contextlib.suppress(MirrorError):
        values = [(path, value) for path, value in setting_values(config) if plain_text(ours.get(path, "")) != value]
        strange = [path for path, _ in values if not re.fullmatch(WRITTEN_BY_CODEX, ".".join(path))]
        texts = (one.text.strip() for one in config_statements(plain) if not one.key)
        return not strange and not any(text and text[0] != "[" for text in texts)
    return False


@lru_cache(maxsize=8)
def home_trust(config: str, home: str) -> str:
    """What these settings say of the real home, given as its real path: `trusted`, `untrusted`, or nothing.

    Where it is trusted, and one works in it, its own `.codex/config.toml` stands above a clone's: that can delete the
    clone's login, lose a new one, or start the background server (Codex 0.171)."""
    with contextlib.suppress(MirrorError):
        levels = [value for path, value in written_values(config) if path == ("projects", home, "trust_level")]
        return levels[-1] if levels else ""
    return ""


def with_home_distrusted(config: str, home: str) -> str:
    """The settings with the real home, given as its real path, as a folder whose own settings don't count."""
    entry, place = trust_entry(home), ("projects", home)
    if home_trust(config, home) == "untrusted" or not entry:
        return config
    texts: list[str] = []
    for one in config_statements(config):
        path = (*one.table, *one.key)
        if path == ("projects",) and one.key:
            inside = [text for key, text in inline_entries(one.value) if key[:1] != (home,)]
            inside.append(f'{toml_quote(home)}.trust_level = "untrusted"')
            texts.append(f"projects = {{ {', '.join(inside)} }}\n")
            entry = ""
        elif path == place and not one.key and one.text.lstrip().startswith("["):
            texts.append(one.text.rstrip("\n") + '\ntrust_level = "untrusted"\n')
            entry = ""
        elif not one.key or path not in (place, (*place, "trust_level")):
            texts.append(one.text)
    return "".join(texts).rstrip("\n") + "\n" + entry if entry else "".join(texts)


def complaints_about_pin(clone: Clone) -> list[str]:
    """The settings that would let this clone's Codex slip its pin."""
    settings = config_values(config_text(codex_home_of(clone)))
    loose = [key for key in (UPDATE_PROMPT, f"features.{PIN_FEATURE}") if settings.get(key) != "false"]
    updater = read_json_object(updater_file(clone)).get("updater")
    if not isinstance(updater, dict) or updater.get("autoUpdateEnabled") is not False:
        loose.append("app-server-daemon/settings.json")
    return loose


def profile_files(codex_home: str) -> list[str]:
    """The settings of a Codex home that `--profile NAME` lays over its config.toml (since 0.134)."""
    return [path for path in paths_in(codex_home) if path.endswith(".config.toml")]


def trusting_profiles(clone: Clone, places: Places) -> dict[str, bytes]:
    """The profiles of a clone that trust the real home, with their content; each counts more than its config.toml."""
    real_home, found = os.path.realpath(places.user_home), {}
    for path in profile_files(codex_home_of(clone)):
        with contextlib.suppress(OSError):
            content = read_or_none(path, CONFIG_LIMIT) or b""
            if home_trust(content.decode("utf-8", "replace"), real_home) == "trusted":
                found[path] = content
    return found


def trust_of_home(clone: Clone, places: Places) -> str:
    """What a clone's settings say of the real home."""
    said = home_trust(config_text(codex_home_of(clone)), os.path.realpath(places.user_home))
    return "trusted" if trusting_profiles(clone, places) else said


def stage_distrusting_profiles(change: Change, clone: Clone) -> None:
    """Stages the profiles that trust the real home, so that they don't. Raises MirrorError for one that is a link."""
    for path, content in trusting_profiles(clone, change.places).items():
        if kind_of(path) == "link":
            raise MirrorError(f"{path} is a link", "remove the trust in the file that it points to", REFUSED)
        text = content.decode("utf-8", "surrogateescape")
        held = with_home_distrusted(text, os.path.realpath(change.places.user_home)).encode("utf-8", "surrogateescape")
        change.stage(path, held, 0o600, replaces=True, seen=digest_of_bytes(content))


def with_feature_off(config: bytes) -> bytes:
    """The settings with the pin's feature off, also where an older Codex doesn't know and write it."""
    text, setting = config.decode("utf-8", "surrogateescape"), f"{PIN_FEATURE} = false"
    texts = [statement_with_feature_off(one) for one in config_statements(text)]
    if config_values("".join(texts)).get(f"features.{PIN_FEATURE}") != "false":
        named = [(*one.table, *one.key)[:1] == ("features",) and one for one in config_statements("".join(texts))]
        header = next((n for n, one in enumerate(named) if one and one.table == ("features",)), -1)
        inline = next((n for n, one in enumerate(named) if one and (one.table, one.key) == ((), ("features",))), -1)
        if header >= 0:
            texts[header] = f"{texts[header].rstrip()}\n{setting}\n"
        elif inline >= 0:
            begun = re.compile(r"\{\s*(\})?")
            texts[inline] = begun.sub(lambda end: f"{{ {setting}{' }' if end[1] else ', '}", texts[inline], count=1)
        elif any(one and not one.table for one in named):
            texts.insert(0, f"features.{setting}\n")
        else:
            texts = ["".join(texts).rstrip(), f"\n\n[features]\n{setting}\n"]
    return "".join(texts).encode("utf-8", "surrogateescape")


def statement_with_feature_off(one: ConfigStatement) -> str:
    """The text of a statement with the pin's feature off where it is on, a profile's, too."""
    if one.key[-1:] == (PIN_FEATURE,) and (*one.table, *one.key)[-2:-1] == ("features",):
        return re.sub(r"=\s*true\b", "= false", one.text, count=1)
    if one.key[-1:] == ("features",) and one.value.startswith("{"):
        return re.sub(rf"({PIN_FEATURE}[\"']?\s*=\s*)true\b", r"\1false", one.text)
    return one.text


# --- Carried settings -----------------------------------------------------------------------------

FOREIGN_PLACES = ("sqlite_home", "log_dir")
FORCED_INLINE = rf"([\"']?)\bforced_\w+\1\s*=\s*(?:{TOML_TEXT}|\[[^\]]*\]|[^,}}\s]+)\s*,?"
SETTINGS_COPIED = (
    *("AGENTS.md", "AGENTS.override.md", "agents", "environments.toml", "hooks.json", "keybindings.json"),
    *("prompts", "rules", "skills", "themes"),
)
SESSIONS = ("sessions", "archived_sessions", "history.jsonl")
NOWHERE = "/dev/null/.codex"  # The home of an export that doesn't say where it was.
HOME_MARKS = ("config.toml", "auth.json", "sessions", "AGENTS.md", "prompts", "rules", "skills")
# What a config.toml may name, and what is no setting all the same.
NEVER_NAMED = (
    r"(?i)(sessions|archived_sessions|packages|tmp|\.tmp|log|cache|plugins|shell_snapshots|app-server-\w+)/.*"
    r"|config\.toml|history\.jsonl|version\.json"
)
NEVER_COPIED = rf"(?i)auth\.json.*|\.credentials\.json|\.env|.*\.sqlite.*|installation_id|{LITTER}"


def settings_source(wanted: str, registry: Registry, places: Places) -> str:
    """The Codex home that `--settings-from` means: a clone's, or a directory. Raises MirrorError."""
    if clone := find_clone(registry, wanted):
        return codex_home_of(clone)
    path = name_on_disk(os.path.realpath(path_from(wanted, places)))
    if not is_codex_home(path):
        raise MirrorError(
            f"{wanted} is neither a clone nor a Codex home", "name a clone, or a directory such as ~/.codex"
        )
    return path


def is_codex_home(path: str) -> bool:
    """Is there anything in this directory that a Codex home has?"""
    return any(kind_of(os.path.join(path, mark)) for mark in HOME_MARKS)


class SettingsMove(NamedTuple):
    """Settings on their way to another Codex home: where they are, the names of that home that stand in them, how an
    error names it, the files that come along, the real home's real path, which they may not trust, and whether they
    were exported: then what they name elsewhere may be missing here."""

    source: str
    names: tuple[str, ...]
    shown: str
    tails: tuple[str, ...]
    user_home: str = ""
    is_exported: bool = False


def settings_move(source: str, places: Places, exported_from: str | None = None) -> SettingsMove:
    """The settings of a Codex home on their way into a clone; of one that was exported, its own name is recorded."""
    real = os.path.join(places.user_home, ".codex")
    names = [source, os.path.realpath(source), *([real] if is_same_directory(real, source) else [])]
    names += ["~/.codex"] if any(os.path.basename(name) == ".codex" for name in names) else []
    if exported_from is not None:
        names = names_of_export(exported_from)
    shown = source if exported_from is None else ""
    tails, real_home = tuple(settings_files(source, names)), os.path.realpath(places.user_home)
    return SettingsMove(source, tuple(dict.fromkeys(names)), shown, tails, real_home, exported_from is not None)


def names_of_export(home: str) -> list[str]:
    """What an export's settings call the home that it says it had; `/` is none, since everything is below that."""
    home = os.path.normpath(home) if os.path.isabs(home) and home.strip("/") else NOWHERE
    return [home, "~/.codex"] if os.path.basename(home) == ".codex" else [home]


def settings_files(source: str, names: Sequence[str] = ("~/.codex",)) -> list[str]:
    """The files below a Codex home, which may stand in them by one of these names, that are settings and no secret,
    besides config.toml; relative paths."""
    profiles = [name for name in entries_of(source) if name.endswith(".config.toml")]
    tails = [tail for name in (*SETTINGS_COPIED, *profiles) for tail in plain_files(source, name, skipped=(".system",))]
    named = named_files(source, ["config.toml", *filter(is_carried_settings, tails)], names)
    return list(dict.fromkeys([*tails, *named]))


def named_files(source: str, files: Iterable[str], names: Sequence[str]) -> list[str]:
    """The files of a Codex home that these settings of it name, relative to themselves or by their whole path."""
    top, found = os.path.realpath(source), []
    for file in files:
        text = (read_or_none(os.path.join(source, file), CONFIG_LIMIT) or b"").decode("utf-8", "surrogateescape")
        for path, value in setting_values(text):
            name = next((name for name in names if is_below(value, name)), "")
            own = os.path.join(source, value[len(name) + 1 :]) if name else value
            there = os.path.join(source, os.path.dirname(file), own)
            if not value or len(value) > NAME_LIMIT or "\0" in value or not os.path.isfile(there):
                continue
            tail = os.path.relpath(os.path.join(os.path.realpath(os.path.dirname(there)), os.path.basename(there)), top)
            is_odd_agent = path[-1] == "config_file" and not tail.endswith(".toml")
            if not tail.startswith("../") and not re.fullmatch(NEVER_NAMED, tail) and not is_odd_agent:
                found += plain_files(source, tail)
    return found


def plain_files(top: str, name: str, skipped: Sequence[str] = ()) -> list[str]:
    """The files at or below `top/name`, relative to `top`, also through links, as people's dotfiles have them;
    but no link that leads back or up, and no file that is a login's, a database's or the home's own, under whatever
    name. Each directory is looked into once, first under its own name. Raises MirrorError where they lie too deep."""
    found: list[str] = []
    links: list[str] = []
    seen: set[tuple[int, int]] = set()
    inside, waiting = os.path.join(os.path.realpath(top), ""), [name]
    while waiting or links:
        tail = waiting.pop() if waiting else links.pop()
        path = os.path.join(top, tail)
        is_link = os.path.islink(path)
        real = os.path.realpath(path) if is_link else path
        known = {os.path.basename(tail), os.path.basename(real)}
        if not known.isdisjoint(skipped) or any(re.fullmatch(NEVER_COPIED, one) for one in known):
            continue
        if os.path.isfile(path):
            found.append(tail)
        elif os.path.isdir(path) and not is_below(inside, real):
            facts = os.stat(path)
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            if tail.count("/") >= DEPTH_LIMIT:
                what = f"{top} has directories more than {DEPTH_LIMIT} deep: {tail[:60]}…"
                raise MirrorError(what, "move them elsewhere", REFUSED)
            below = [os.path.join(tail, one) for one in os.listdir(path)]
            waiting += [one for one in below if not os.path.islink(os.path.join(top, one))]
            links += [one for one in below if os.path.islink(os.path.join(top, one))]
    return sorted(found)


def session_files(source: str) -> list[str]:
    """The files below a Codex home that are its sessions and the prompts typed; relative paths."""
    return [tail for name in SESSIONS for tail in plain_files(source, name)]


def copy_tree(source: str, target: str, tails: Iterable[str]) -> None:
    """Copies files with their times into a new home, private ones; nothing may be there yet. Codex sorts sessions by
    the time of their file (0.171)."""
    for tail in tails:
        path = os.path.join(target, tail)
        make_directories(os.path.dirname(path), synced=False)
        copy_file(os.path.join(source, tail), path, 0o600)
        facts = os.stat(os.path.join(source, tail))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def copy_setting(move: SettingsMove, tail: str, path: str, target: str) -> None:
    """Copies a file of settings to where it is to be laid ready for `target`; nothing may be there yet."""
    if is_carried_settings(tail):
        write_new(path, carried_settings(move, tail, target))
    else:
        copy_file(os.path.join(move.source, tail), path, 0o600)


def is_carried_settings(tail: str) -> bool:
    """Is this file of a Codex home of the kind of a config.toml?"""
    return tail.endswith(".toml") and tail.partition("/")[0] not in ("skills", "prompts")


def left_out_of_others(move: SettingsMove) -> list[str]:
    """What of the profiles and the agents doesn't come along, in words. Raises OSError."""
    found = []
    for tail in filter(is_carried_settings, move.tails):
        text = read_whole(os.path.join(move.source, tail), CONFIG_LIMIT).decode("utf-8", "surrogateescape")
        found += [f"{name} of {tail}" for name in (*with_outside_paths(text, move, tail)[1], *left_out_of(text))]
    return found


def carried_settings(move: SettingsMove, tail: str, target: str) -> bytes:
    """A profile's or an agent's settings as they come along. Raises OSError."""
    text = read_whole(os.path.join(move.source, tail), CONFIG_LIMIT).decode("utf-8", "surrogateescape")
    text, _ = with_outside_paths(text, move, tail)
    text = with_moved_paths(without_left_out(text), move.names, target, move.tails)
    text = with_home_distrusted(text, move.user_home) if home_trust(text, move.user_home) == "trusted" else text
    return "".join(map(statement_with_feature_off, config_statements(text))).encode("utf-8", "surrogateescape")


def outside_path(path: str, tail: str, move: SettingsMove) -> str:
    """The whole path of what this file of a home names outside of it; nothing for what is inside."""
    home, path = next(iter(move.names), move.source), os.path.normpath(path)
    above = (move.user_home, path[2:]) if path == "~" or path.startswith("~/") else (home, os.path.dirname(tail), path)
    whole = os.path.normpath(os.path.join(*above))
    is_inside = any(one == name or is_below(one, name) for one in (path, whole) for name in (home, *move.names))
    return "" if is_inside else whole


def inside_path(path: str, tail: str, move: SettingsMove) -> str:
    """What this file of a home names inside of it, from its top."""
    path = os.path.normpath(path)
    name = next((name for name in move.names if path == name or is_below(path, name)), "")
    return os.path.normpath(path[len(name) + 1 :] if name else os.path.join(os.path.dirname(tail), path))


def with_outside_paths(config: str, move: SettingsMove, tail: str = "config.toml") -> tuple[str, list[str]]:
    """The settings in this file of a home with whole paths where they name something outside of it, since `..` and `~`
    mean another place in the new one; and the names of those that an export has and that lack their file here, whose
    lines are left blank: Codex would not start. What else an export names inside of its home, and doesn't bring, is
    meant inside of the new one, also where the reader has something at the old place."""
    texts, gone = [], []
    brought = {".", *places_of(move.tails)}
    for one in config_statements(config) if move.user_home else ():
        pieces, at = [], 0
        for key, path, start, end in named_paths(one):
            whole, inside = outside_path(path, tail, move), inside_path(path, tail, move)
            is_needed = move.is_exported and re.fullmatch(NEEDED_FILES, key)
            if is_needed and not (os.path.isfile(whole) if whole else inside in move.tails):
                gone.append(".".join((*one.table, *one.key)))
                pieces, at = ["\n" * one.text.count("\n")], len(one.text)
                break
            if move.is_exported and not whole and inside not in brought and path[0] in "/~":
                whole = os.path.relpath(inside, os.path.dirname(tail) or ".")
            if whole and whole != path:
                with contextlib.suppress(ValueError):  # No TOML can hold it.
                    pieces, at = [*pieces, one.text[at:start], toml_quote(whole)], end
        texts += [*pieces, one.text[at:]]
    return "".join(texts) if move.user_home else config, gone


def left_out_name(one: ConfigStatement) -> str:
    """The name of a setting that never comes along, or nothing. One that forces another workspace makes Codex delete
    the login (and is dead in a profile since 0.134); the places of databases and logs two homes must not share."""
    path = (*one.table, *one.key) if one.key else ()
    if len(path) == 1 or (len(path) == 3 and path[0] == "profiles"):
        known = (
            path[-1] in FOREIGN_PLACES or path[-1].startswith("forced_") or (len(path) == 1 and path[0] in PIN_SETTINGS)
        )
        return ".".join(path) if known else ""
    return ""


def left_out_of(config: str) -> list[str]:
    """What of these settings doesn't come along, in words."""
    names = [name for one in config_statements(config) if (name := left_out_name(one)) and name not in PIN_SETTINGS]
    with contextlib.suppress(MirrorError):
        on = {path[1] for path, value in setting_values(config) if path[0] == "plugins" and path[2:] == ("enabled",)}
        names += [f"the files of plugin {name}" for name in sorted(on)]
    return names


def without_left_out(config: str, blank: str = "") -> str:
    """A TOML text without what never comes along, each line of which is replaced by `blank`."""
    texts = []
    for one in config_statements(config.removeprefix("\ufeff").replace(PIN_COMMENT, blank * PIN_COMMENT.count("\n"))):
        if left_out_name(one):
            texts.append(blank * one.text.count("\n"))
        elif (*one.table, *one.key)[:1] == ("profiles",) and "{" in one.value:
            texts.append(re.sub(r",\s*\}", " }", re.sub(FORCED_INLINE, "", one.text, flags=re.DOTALL)))
        else:
            texts.append(one.text)
    return "".join(texts)


def with_pin_settings(config: str, foreign: bool) -> str:
    """A config.toml with our top-level settings; in a clone's own, another choice of where logins are kept stays, and
    from a foreign one goes what never comes along."""
    text = without_left_out(config) if foreign else config.removeprefix("\ufeff").replace(PIN_COMMENT, "")
    kept, there = [], set()
    for one in config_statements(text):
        name = one.key[0] if len(one.key) == 1 and not one.table else ""
        if name != UPDATE_PROMPT:
            kept.append(one.text)
            there.add(name)
    settings = "".join(f"{key} = {value}\n" for key, value in PIN_SETTINGS.items() if key not in there)
    return PIN_COMMENT + settings + "".join(kept)


def pinned_config(
    change: Change,
    clone: Clone,
    context: Context,
    config: bytes,
    *,
    foreign: bool = True,
    move: SettingsMove | None = None,
) -> bytes:
    """These settings made to hold the pin; the clone's own Codex edits them and tries the result in a scratch home.

    Raises MirrorError when Codex can't read them."""
    home, target = change.scratch(), codex_home_of(clone)
    move = move or SettingsMove(target, (), target, ())
    text, names = with_outside_paths(config.decode("utf-8", "surrogateescape"), move)
    text = with_moved_paths(text, move.names, home, move.tails)
    held = distrusting_config(clone, context, with_pin_settings(text, foreign), move)
    if foreign and (names := [*names, *left_out_of(text), *left_out_of_others(move)]):
        context.report(f"left out: {short_list(names, 10)}", 0, 0)
    forced = [name for name in config_values(held) if re.search(r"(\A|\.)forced_\w+\Z", name)] if foreign else []
    if forced:
        what = f"these settings have {forced[0]}, which can log a clone out"
        raise MirrorError(what, "remove it from them", REFUSED)
    put_settings(move, home, held)
    said = complaint_of_codex(clone, context, home, move.shown, "features", "disable", PIN_FEATURE)
    if not said:
        write_whole(config_file(home), with_feature_off(read_whole(config_file(home), CONFIG_LIMIT)))
        said = complaint_of_codex(clone, context, home, move.shown, "login", "status")
    if said:
        # Told of the settings as they were written, whose lines are not those of ours.
        own = change.scratch()
        text = with_moved_paths(text, (home,), own, move.tails)
        put_settings(move, own, without_left_out(text, "\n") if foreign else text)
        said = complaint_of_codex(clone, context, own, move.shown, "login", "status") or said
        what = f"Codex {clone.runtime.version} can't read these settings: {said}"
        raise MirrorError(what, "fix that config.toml", REFUSED)
    tried = read_whole(config_file(home), CONFIG_LIMIT).decode("utf-8", "surrogateescape")
    return with_moved_paths(tried, (home,), target, move.tails).encode("utf-8", "surrogateescape")


def distrusting_config(clone: Clone, context: Context, config: str, move: SettingsMove) -> str:
    """The settings with the real home distrusted, which is said where it was trusted, in a profile of them, too."""
    real_home = os.path.realpath(context.places.user_home)
    profiles = [os.path.join(move.source, tail) for tail in move.tails if tail.endswith(".config.toml")]
    texts = [os.fsdecode(read_or_none(path, CONFIG_LIMIT) or b"") for path in profiles]
    if "trusted" in [home_trust(text, real_home) for text in (config, *texts)]:
        context.report(f"'{clone.name}' doesn't trust {real_home}: settings in its .codex would override its own", 0, 0)
    return with_home_distrusted(config, real_home)


def put_settings(move: SettingsMove, home: str, config: str) -> None:
    """Lays settings into a scratch home, with links to the files that they may name."""
    write_new(config_file(home), config.encode("utf-8", "surrogateescape"))
    for tail in move.tails:
        if tail.partition("/")[0] not in ("skills", "prompts", "rules"):
            make_directories(os.path.dirname(os.path.join(home, tail)), synced=False)
            os.symlink(os.path.join(move.source, tail), os.path.join(home, tail))


def complaint_of_codex(clone: Clone, context: Context, home: str, shown: str, *arguments: str) -> str:
    """What the clone's Codex says against the settings in this CODEX_HOME, which is told as `shown`, or nothing."""
    program = launch_program(clone, context.places, context.env, arguments)
    answer = capture(program.argv, {**program.env, "CODEX_HOME": home}, home, start_seconds(10))
    if answer.code not in (None, 126) and b"rror loading config" not in answer.err:
        return ""
    said = words_of_codex(answer.err).replace(os.path.join(home, ""), os.path.join(shown, ""))
    return " ".join(said.split())[:300] or "it doesn't answer"


def stage_config(change: Change, clone: Clone, before: bytes | None, wanted: bytes) -> None:
    """Stages the settings of a clone, to take the place of those that were read and of no later ones."""
    seen = digest_of_bytes(before) if before is not None else ""
    change.stage(config_file(codex_home_of(clone)), wanted, 0o600, replaces=True, seen=seen)


# --- Accounts -------------------------------------------------------------------------------------

LOGIN_LIMIT = 1 << 20
# By `auth_mode`: our name of the kind, where such a login is kept, and its words; without an `auth_mode` the first one
# that is there counts (Codex 0.171).
LOGIN_KINDS = {
    "personalAccessToken": ("access-token", "personal_access_token", "personal access token"),
    "bedrockApiKey": ("bedrock-key", "bedrock_api_key", "Amazon Bedrock API key"),
    "bedrockAccessKeys": ("bedrock-access-keys", "bedrock_access_keys", "Amazon Bedrock access keys"),
    "apikey": ("api-key", "OPENAI_API_KEY", "API key"),
    "chatgpt": ("chatgpt", "tokens", "ChatGPT"),
    "chatgptAuthTokens": ("chatgpt", "tokens", "ChatGPT"),
    "agentIdentity": ("agent-identity", "agent_identity", "agent identity"),
}
OPENAI_CLAIM = "https://api.openai.com/"


def login_of(clone: Clone) -> str:
    return login_file(codex_home_of(clone))


def account_of(clone: Clone) -> Account:
    """Who the clone's `auth.json` says is logged in; `unknown` for a torn, huge or odd file."""
    codex_home = codex_home_of(clone)
    account = account_in_file(login_file(codex_home))
    return Account("keyring") if account.kind == "none" and keeps_login_in_keyring(codex_home) else account


def account_in_file(path: str) -> Account:
    """The account in a login file. Codex up to 0.154 doesn't replace it at one stroke, so a torn one is read again."""
    for patience in (0.02, 0.05, 0):
        try:
            return account_from_login(json.loads(read_whole(path, LOGIN_LIMIT)), os.stat(path).st_mtime)
        except (FileNotFoundError, NotADirectoryError):
            return Account("none")
        except (ValueError, RecursionError):
            time.sleep(patience)
        except OSError:
            break
    return Account("unknown")


def account_from_login(login: Any, written: float) -> Account:
    """The account in a login as Codex 0.171 writes it; `written` is the file's mtime, in Unix seconds."""
    if not isinstance(login, dict):
        return Account("unknown")
    since = int(timestamp_from(text_in(login, "last_refresh")) or written)
    mode = login.get("auth_mode")
    there = (one for one, (_, field, _) in LOGIN_KINDS.items() if has_login_in(login.get(field)))
    kind, field, _ = LOGIN_KINDS.get(mode if isinstance(mode, str) and mode else next(there, ""), ("", "", ""))
    if not any(has_login_in(value) for name, value in login.items() if name not in NO_LOGIN):
        return Account("none")
    held = login.get(field)
    is_whole = has_login_in(held) and isinstance(held, {"chatgpt": dict, "api-key": str}.get(kind, object))
    # Of what its mode names nothing need be there for ChatGPT's; without it Codex refuses every other login.
    if not is_whole and not (kind == "chatgpt" and held is None):
        return Account("unknown")
    if kind == "api-key":
        return Account(kind, key=mask_key(text_in(login, field)), since=since)
    if kind != "chatgpt":
        return Account(kind, since=since)
    tokens = held or {}
    claims = claims_in(text_in(tokens, "id_token"))
    profile, details = claims.get(OPENAI_CLAIM + "profile"), claims.get(OPENAI_CLAIM + "auth")
    return Account(
        kind="chatgpt",
        email=text_in(claims, "email") or text_in(profile, "email"),
        plan=text_in(details, "chatgpt_plan_type"),
        workspace=text_in(details, "chatgpt_account_id") or text_in(tokens, "account_id"),
        user=text_in(details, "chatgpt_user_id") or text_in(details, "user_id"),
        since=since,
    )


NO_LOGIN = ("auth_mode", "last_refresh")


def has_login_in(value: Any) -> bool:
    """Is anything in this part of a login?"""
    return any(value.values()) if isinstance(value, dict) else bool(value)


def claims_in(token: str) -> dict[str, Any]:
    """The payload of a JWT, for display only: its signature is not checked."""
    import base64

    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        return parse_json_object(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return {}


def mask_key(key: str) -> str:
    """An API key that can be told from another one, and nothing more."""
    return f"{'sk-' if key.startswith('sk-') else ''}…{key[-4:] if len(key) >= 16 else ''}"


def age_text(account: Account, now: float) -> str:
    """How old the login is; nothing where that isn't known."""
    return f"{duration_text(now - account.since)} old" if account.since else ""


def is_known(account: Account) -> bool:
    """Is somebody logged in, and do we see who?"""
    return account.kind not in ("none", "keyring", "unknown")


def is_same_account(one: Account, other: Account) -> bool:
    """The same workspace and the same user; one e-mail may have several workspaces, and a team has many users."""
    known = one.kind == other.kind == "chatgpt" and bool(one.workspace and one.user)
    return known and (one.workspace, one.user) == (other.workspace, other.user)


ACCOUNT_TEXTS = {kind: words for kind, _, words in LOGIN_KINDS.values()}
ACCOUNT_TEXTS |= {"none": "not logged in", "other": "other login", "keyring": "kept in the keyring"}


def account_text(account: Account) -> str:
    """The account in a few words."""
    if account.kind == "chatgpt":
        facts = ", ".join(filter(None, (account.plan, account.workspace[:8])))
        return f"{account.email or 'ChatGPT'} ({facts})" if facts else account.email or "ChatGPT"
    return f"{ACCOUNT_TEXTS.get(account.kind, 'unknown')} {account.key}".strip()


# --- Dangerous settings ---------------------------------------------------------------------------

RUNS, SENDS, UNLOCKS = "runs a program", "sends traffic elsewhere", "unlocks something"
# The settings of Codex 0.171 that cost those who take them over unseen, by the end of their dotted name, also in a
# profile, an agent or an environment; and the values that do nothing. The first row that fits counts. Names that are
# written as these are may come with each version, so endings say more than lists.
DANGERS = (
    (RUNS, r"notify|[\w-]*(command|program|executable|helper)|(zsh|node)_path", r""),
    (RUNS, r"mcp_servers\..+\.(args|cwd)|(auth|program)\.args", r""),
    (RUNS, r"hooks\..+\.(?!(type|matcher|timeout\w*|name|description|status_?message)$)[^.]+", r"false"),
    (RUNS, r"(plugins|marketplaces)\..+", r"false"),
    (RUNS, r"shell_environment_policy\.set\..+", r""),
    (SENDS, r"[\w-]*(ur[li]|endpoint|proxy)", r""),
    (SENDS, r"model_provider|oss_provider", r"openai"),
    (SENDS, r"model_providers\..+|env_http_headers\..+|(bearer_token_env_var|env_vars)", r"false"),
    (SENDS, r"otel\..+|experimental_thread_store\..+", r"none|false"),
    (UNLOCKS, r"sandbox_mode", r"read-only"),
    (UNLOCKS, r"approval_policy(\..+)?", r"untrusted|false"),
    (UNLOCKS, r"default_permissions", r":read-only"),
    (UNLOCKS, r"permissions\..+|sandbox_workspace_write\..+", r"false|none|deny"),
    (UNLOCKS, r"projects\..+\.trust_level", r"untrusted"),
    (UNLOCKS, r"approvals_reviewer", r"user"),
    (UNLOCKS, r"[\w-]*approval_mode", r"prompt"),
    (UNLOCKS, r"ignore_default_excludes|(destructive|open_world)_enabled|use_legacy_landlock", r"false"),
    (UNLOCKS, r"features\.[\w.-]*(permission|landlock|hook|remote|proxy|computer|browser|daemon|js_repl|exec_|plugin"
              r"|mcp|connector|apps|request_rule|xaa)[\w.-]*", r"false"),
    (UNLOCKS, r"features\.[\w.-]*(approval|sandbox|elicitation|untrusted|masking|guardian)[\w.-]*", r"true"),
    (UNLOCKS, r"[\w-]*(dangerous|bypass|unrestricted|full_access|trusted|auto_approve)[\w-]*", r"false"),
)  # fmt: skip
SECRET_SETTINGS = (
    r"(?i)(\A|\.)(mcp_servers\..+\.env\..+|(http_)?headers\..+|[\w-]*(bearer_token|secret|password|api_key)"
    r"|shell_environment_policy\.set\.[^.]*(token|key|secret|password)[^.]*)\Z"
)
# The files of a Codex home that are judged: of one of these kinds, wherever that is said.
JUDGED = r"auth\.json|hooks\.json|rules/.+|(?!sessions/|archived_sessions/|prompts/|skills/).*\.toml"
SETTINGS_LIMIT = 10_000
DANGERS_SHOWN = 40


class Leaf(NamedTuple):
    """A setting: the file that it stands in, its dotted name, and its values in one line."""

    file: str
    name: str
    value: str


def judged_files(home: str, tails: Iterable[str]) -> dict[str, bytes]:
    """Those of these files of a Codex home that are judged, as they are now. Raises OSError."""
    judged = [tail for tail in tails if re.fullmatch(JUDGED, tail.lower())]
    return {tail.lower(): read_whole(os.path.join(home, tail), CONFIG_LIMIT) for tail in judged}


def settings_in_files(files: Mapping[str, bytes]) -> list[Leaf]:
    """Every setting in these files, with those of one name together. Raises MirrorError."""
    found: dict[tuple[str, str], list[str]] = {}
    for tail in sorted(files):
        if tail.endswith(".toml"):
            values = setting_values(files[tail].decode("utf-8", "replace"))
        elif tail == "hooks.json":
            values = [(("hooks", *path[path[:1] == ("hooks",) :]), value) for path, value in hook_values(files[tail])]
        else:
            continue
        # What stands in this file says where commands run; each of its values is one of an environment.
        above = ("environments",) if tail == "environments.toml" else ()
        for path, value in values:
            if not (name := dotted_name((*above, *path))) or len(found) > SETTINGS_LIMIT:
                what = f"more than {SETTINGS_LIMIT:,} settings, or a name of more than {NAME_LIMIT:,} letters"
                raise MirrorError(f"{tail} has {what}", DONT_USE, REFUSED)
            found.setdefault((tail, name), []).append(value)
    return [Leaf(file, name, " ".join(values)) for (file, name), values in found.items()]


def hook_values(content: bytes) -> list[tuple[tuple[str, ...], str]]:
    """The values in a hooks.json; a file that can't be read counts as a whole."""
    try:
        return list(flat_values((), json.loads(content)))
    except (ValueError, RecursionError):
        return [(("command",), "a file that isn't JSON")]


def danger_of(leaf: Leaf) -> str:
    """What a setting does to those who take it over unseen, or nothing."""
    if leaf.file == "environments.toml":
        return RUNS
    for does, names, harmless in DANGERS:
        if re.search(rf"(\A|\.)({names})\Z", leaf.name):
            return "" if not leaf.value or re.fullmatch(harmless, leaf.value) else does
    return ""


def dangers_in(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """What these files of a Codex home bring: a login, and all that runs, sends or unlocks something; a line each.
    Raises MirrorError."""
    lines: list[str] = []
    if "auth.json" in files and (who := account_in_bytes(files["auth.json"])).kind != "none":
        lines.append(f"a login: {account_text(who)}; the clone would use that account")
    for leaf in settings_in_files(files):
        if does := danger_of(leaf):
            value = "…" if re.search(SECRET_SETTINGS, leaf.name) else leaf.value
            lines.append(f"{leaf.file} {does}: {leaf.name} = {value}"[:300])
    lines += [f"{tail} may let commands run unasked" for tail in sorted(files) if tail[:6] == "rules/" and files[tail]]
    return shortened_dangers(lines)


def shortened_dangers(lines: Sequence[str]) -> tuple[str, ...]:
    """As many lines as people read, and how many more there are."""
    more = len(lines) - DANGERS_SHOWN
    return (*lines[:DANGERS_SHOWN], *([f"and {count_text(more, 'setting')} more of that kind"] if more > 0 else []))


def dangers_brought(files: Mapping[str, bytes], home: str, user_home: str) -> tuple[str, ...]:
    """The same of an export, which had this home, and what of this user's own files its settings would have Codex
    read."""
    return (*dangers_in(files), *shortened_dangers(own_files_named(files, home, user_home)))


def own_files_named(files: Mapping[str, bytes], home: str, user_home: str) -> list[str]:
    """What of this user's own files the settings of an export would have Codex read; a line each."""
    move, lines = SettingsMove("", tuple(names_of_export(home)), "", (), os.path.realpath(user_home)), []
    for tail in (tail for tail in sorted(files) if tail.endswith(".toml")):
        for one in config_statements(files[tail].decode("utf-8", "replace")):
            for _, path, _, _ in named_paths(one):
                whole = outside_path(path, tail, move)
                if whole and "\0" not in whole and os.path.exists(whole):
                    lines.append(f"{tail} has Codex read {whole}, of yours: {'.'.join((*one.table, *one.key))}"[:300])
    return lines


def account_in_bytes(login: bytes) -> Account:
    """Who a login file's content logs in."""
    try:
        return account_from_login(json.loads(login), 0)
    except (ValueError, RecursionError):
        return Account("unknown")


def secrets_in(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The settings in these files that hold a secret, by name. Raises MirrorError."""
    leaves = [leaf for leaf in settings_in_files(files) if leaf.value and re.search(SECRET_SETTINGS, leaf.name)]
    return tuple(dict.fromkeys(leaf.name for leaf in leaves))


# --- Sessions -------------------------------------------------------------------------------------

META_HEAD = 4 << 10
PROMPT_HEADS = (48 << 10, 256 << 10)
ROLLOUT_NAME = r"rollout-(?:\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-)?([0-9A-Za-z][\w-]*)\.jsonl(?:\.zst)?\Z"
# What Codex puts before the first words of a person as if that person had said it (Codex 0.120 to 0.171).
INJECTED = r"\s*(?:<[a-zA-Z_]+[ >]|# AGENTS\.md instructions)"


class SessionMeta(NamedTuple):
    """What the first line of a session file says. The creator, `workspace` and `user`, stands there since Codex 0.169;
    a sub-agent's own thread has the id of its `parent`, where it says so."""

    id: str = ""
    cwd: str = ""
    started: str = ""
    version: str = ""
    workspace: str = ""
    user: str = ""
    is_subagent: bool = False
    parent: str = ""
    session: str = ""


class Session(NamedTuple):
    """One session file of a clone, last written at `updated` (Unix seconds); the id is the one in its name."""

    updated: float
    path: str
    clone: Clone
    meta: SessionMeta = SessionMeta()
    prompt: str = ""

    @property
    def id(self) -> str:
        found = re.match(ROLLOUT_NAME, os.path.basename(self.path))
        return found[1] if found else os.path.basename(self.path)

    @property
    def is_archived(self) -> bool:
        return is_below(self.path, os.path.join(codex_home_of(self.clone), "archived_sessions"))

    @property
    def is_compressed(self) -> bool:
        return self.path.endswith(".zst")


def rollouts_of(clone: Clone, endings: tuple[str, ...] = (".jsonl",)) -> list[tuple[float, str]]:
    """The session files with their modification times, newest first: a resumed session grows in its old place."""
    found, codex_home = [], codex_home_of(clone)
    days = [os.path.join(codex_home, "archived_sessions")]
    level = [os.path.join(codex_home, "sessions")]
    for _ in range(3):
        level = [path for directory in level for path in paths_in(directory) if os.path.basename(path).isdigit()]
    for directory in days + level:
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                named = entry.name.startswith("rollout-") and entry.name.endswith(endings)
                with contextlib.suppress(FileNotFoundError):  # Codex has just put it into its archive.
                    if named and entry.is_file(follow_symlinks=False):
                        found.append((entry.stat(follow_symlinks=False).st_mtime, entry.path))
    found.sort(reverse=True)
    return found


def read_head(path: str, size: int) -> bytes:
    """The first bytes of a session file, up to `size`; none of what is no regular file. Raises OSError."""
    with open_descriptor(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW) as file:
        return os.pread(file, size, 0) if stat.S_ISREG(os.fstat(file).st_mode) else b""


def whole_members(text: str, start: int = 0) -> dict[str, Any]:
    """The members of the JSON object that begins here, up to the one that is cut off; of a cut-off `payload` at the top
    those in it. The first line of a session can have 22 KB, and what we want of it stands in front."""
    decode, space = json.JSONDecoder().raw_decode, re.compile(r"[ \t\r\n]*")
    members: dict[str, Any] = {}
    at = start
    with contextlib.suppress(ValueError, RecursionError, IndexError, TypeError):  # A list isn't a key.
        while text[at] in "{,":
            key, at = decode(text, space.match(text, at + 1).end())  # type: ignore[union-attr]
            begin = space.match(text, text.index(":", at) + 1).end()  # type: ignore[union-attr]
            if key == "payload" and not start and text[begin] == "{":
                members[key] = whole_members(text, begin)
            members[key], at = decode(text, begin)
            at = space.match(text, at).end()  # type: ignore[union-attr]
    return members


def meta_in(head: bytes) -> SessionMeta:
    """What the beginning of a session file says of it; nothing where it begins with something else."""
    record = whole_members(head.partition(b"\n")[0].decode("utf-8", "replace"))
    payload = record.get("payload")
    if text_in(record, "type") != "session_meta" or not isinstance(payload, dict):
        return SessionMeta()
    source = payload.get("source")
    spawned = source.get("subagent") if isinstance(source, dict) else None
    parent = text_in(spawned.get("thread_spawn"), "parent_thread_id") if isinstance(spawned, dict) else ""
    return SessionMeta(
        id=text_in(payload, "id"),
        cwd=text_in(payload, "cwd"),
        started=text_in(payload, "timestamp"),
        version=text_in(payload, "cli_version"),
        workspace=text_in(payload, "creator_account_id"),
        user=text_in(payload, "creator_user_id"),
        is_subagent=isinstance(source, dict) or text_in(payload, "thread_source") == "subagent",
        parent=parent or text_in(payload, "parent_thread_id"),
        session=text_in(payload, "session_id"),
    )


def prompt_in(head: bytes, likely: bool = True) -> str:
    """The first words of a person in the beginning of a session file, whose last line may be cut off; also those that
    are only `likely` a person's, if need be."""
    sent = ""
    for line in head.split(b"\n"):
        if b'"user_message"' in line or b'"UserMessage"' in line or b'"user"' in line:
            kind, text = text_by_person(line)
            if kind == "event" and text.strip():
                return text
            if kind == "item" and not sent and not re.match(INJECTED, text):
                sent = text
    return sent if likely else ""


def text_by_person(line: bytes) -> tuple[str, str]:
    """What a line says a person wrote: `event` where Codex tells of it (`user_message` up to 0.153, then a completed
    item), `item` where it is what the model is sent, which can be Codex's own words; and the text."""
    record = parse_json_object(line)
    payload = record.get("payload")
    if not isinstance(payload, dict):  # Cut off: the text stands before the images.
        found = re.search(rb'"(?:message|text)"\s*:\s*("(?:[^"\\]|\\.)*")', line)
        return ("item", str(parse_json_object(b'{"x":%s}' % found[1]).get("x", ""))) if found else ("", "")
    kinds = (text_in(record, "type"), text_in(payload, "type"))
    if kinds == ("event_msg", "user_message"):
        return ("event", text_in(payload, "message")) if text_in(payload, "kind") in ("", "plain") else ("", "")
    item = payload.get("item")
    if kinds == ("event_msg", "item_completed") and text_in(item, "type") == "UserMessage":
        return "event", joined_texts(item)
    if kinds == ("response_item", "message") and text_in(payload, "role") == "user":
        return "item", joined_texts(payload)
    return "", ""


def joined_texts(message: Any) -> str:
    content = message.get("content")
    return "\n".join(filter(None, (text_in(part, "text") for part in content))) if isinstance(content, list) else ""


def sessions_of(clones: Iterable[Clone]) -> list[Session]:
    """All sessions of clones, newest first; nothing of them is read yet."""
    found = [Session(*one, clone) for clone in clones for one in rollouts_of(clone, (".jsonl", ".jsonl.zst"))]
    found.sort(key=lambda session: session.updated, reverse=True)
    return found


def with_meta(session: Session) -> Session:
    """The session with what its first line says, as far as it can be read."""
    if session.is_compressed:
        return session
    meta = SessionMeta()
    for size in (META_HEAD, PROMPT_HEADS[-1]):
        with contextlib.suppress(OSError):
            meta = meta_in(read_head(session.path, size))
        if meta.cwd:
            break
    return session._replace(meta=meta)


def with_prompt(session: Session) -> Session:
    """The session with the first words of a person in it, as far as they can be read."""
    if session.is_compressed:
        return session
    prompt = ""
    for size in PROMPT_HEADS:
        with contextlib.suppress(OSError):
            prompt = prompt or prompt_in(read_head(session.path, size), likely=size == PROMPT_HEADS[-1])
    return session._replace(prompt=prompt)


def can_be_resumed(session: Session) -> bool:
    """Does Codex go on with this file as it lies there?"""
    return not (session.is_archived or session.is_compressed)


def newest_sessions(
    clones: Iterable[Clone], limit: int = 0, *, within: Collection[str] = (), words: str = "", can_go_on: bool = False
) -> list[Session]:
    """The newest sessions of people, with their prompts: as many as `limit` says (0: all), those in or below a
    directory, those with these words in prompt or directory, those that Codex resumes as they are."""
    chosen: list[Session] = []
    for one in sessions_of(clones):
        if can_go_on and not can_be_resumed(one):
            continue
        session = with_meta(one)
        cwd = session.meta.cwd
        if session.meta.is_subagent or (within and not any(cwd == place or is_below(cwd, place) for place in within)):
            continue
        session = with_prompt(session)
        if words.lower() not in f"{session.prompt}\n{cwd}".lower():
            continue
        chosen.append(session)
        if len(chosen) == limit:
            break
    return chosen


LIST_SESSIONS = "codex-mirror sessions lists them"


def sessions_with_id(clones: Iterable[Clone], start: str) -> list[Session]:
    """The copies of the one session whose id is this, or begins so, newest first. Raises MirrorError: NOT_FOUND, or
    USAGE with the candidates; a sub-agent's own thread is none of them where something else is meant."""
    if len(start) < 4:
        raise MirrorError(f"'{start}' is too short for a session id", "give at least 4 characters", USAGE)
    found = [one for one in sessions_of(clones) if one.id.lower().startswith(start.lower())]
    found = [one for one in found if one.id.lower() == start.lower()] or found
    if len({one.id for one in found}) > 1:
        found = [one for one in map(with_meta, found) if not one.meta.is_subagent] or found
    if not found:
        raise MirrorError(f"session '{start}' was not found", LIST_SESSIONS, NOT_FOUND)
    if len(ids := list(dict.fromkeys(one.id for one in found))) > 1:
        raise MirrorError(f"'{start}' matches {len(ids)} sessions", "give more characters", USAGE, ids[:10])
    return found


def newest_copy(copies: Sequence[Session]) -> Session:
    """Of the copies of a session that clones have, the one that was written last. Raises MirrorError USAGE on a tie."""
    newest = [one for one in copies if one.updated == copies[0].updated]
    if len(newest) > 1:
        names = [one.clone.name for one in newest]
        what = f"session {copies[0].id} was last written at the same time in {' and '.join(names)}"
        raise MirrorError(what, " or ".join(f"codex-mirror resume {copies[0].id} --in {name}" for name in names), USAGE)
    return newest[0]


def last_placed_copy(copies: Sequence[Session]) -> Session:
    """Of those of the copies that were written last, the one that was put where it is last, since a handover keeps
    times; before all in a clone in which nobody is logged in, as after an import."""

    def rank(copy: Session) -> tuple[bool, int]:
        return account_of(copy.clone).kind != "none", os.lstat(copy.path).st_ctime_ns if kind_of(copy.path) else 0

    return max((one for one in copies if one.updated == copies[0].updated), key=rank)


# --- Session lines --------------------------------------------------------------------------------

NOBODY = ("", "")
TIMESTAMP = rb'\A\{"timestamp":"[^"]*"'
ORDINAL = rb'\A(\{"timestamp":"[^"]*"),"ordinal":(\d{1,9})'


def write_pieces(path: str, pieces: Iterable[bytes], mode: int, mtime_ns: int) -> None:
    """Writes a file where nothing may be yet, piece by piece, with this time; its bytes are on the disk then."""
    with open(os.open(path, NEW_FILE, mode), "wb") as file:
        file.writelines(pieces)
        file.flush()
        os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
        os.fsync(file.fileno())


def complete_lines(path: str) -> Iterator[bytes]:
    """The whole lines that a file has now; what a Codex is just writing behind them is left out."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
        left = os.fstat(file.fileno()).st_size
        for line in file:
            left -= len(line)
            if left < 0 or not line.endswith(b"\n"):
                return
            yield line


def has_encrypted(value: Any) -> bool:
    """Is there encrypted content anywhere in it? It can be read by the organization alone that it was made for."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get("encrypted_content"):
                return True
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return False


def carried_line(line: bytes, creator: tuple[str, str], copy_id: str = "") -> tuple[bytes, str]:
    """A line of a session as another account may have it; or nothing, and what it was.

    Only what changes is written anew: the creator, the old account's limits. Events aren't sent to the model."""
    # A key may also be written with escapes: of letters nobody needs any, so such a line is looked at, too.
    is_named = any(word in line for word in (b"encrypted_content", b"rate_limits", b"session_meta"))
    if not is_named and not (b"\\u00" in line and re.search(rb"\\u00[2-7]", line)):
        return line, ""
    record = parse_json_object(line)
    kind, payload = text_in(record, "type"), record.get("payload")
    if not isinstance(payload, dict):
        return (b"", "unreadable") if b"encrypted_content" in line else (line, "")
    if kind == "session_meta":
        named = dict(zip(("creator_account_id", "creator_user_id"), creator, strict=True)) if any(creator) else {}
        kept = {key: value for key, value in payload.items() if not key.startswith("creator_")}
        renamed = {key: copy_id for key in ("id", "session_id") if copy_id and kept.get(key) == kept.get("id")}
        payload = {**named, **kept, **renamed}
    elif kind != "event_msg" and has_encrypted(payload):
        return b"", text_in(payload, "type") or kind
    elif text_in(payload, "type") == "token_count" and payload.get("rate_limits") is not None:
        payload = {**payload, "rate_limits": None}
    else:
        return line, ""
    return json.dumps({**record, "payload": payload}, separators=(",", ":")).encode() + b"\n", ""


def with_ordinals(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines with the numbers that an older Codex leaves out: without one in the last line Codex 0.171 opens none of
    its own sessions."""
    last = None
    for line in lines:
        if found := re.match(ORDINAL, line):
            last = int(found[2])
            yield line
            continue
        last = None if last is None else last + 1
        yield line if last is None else re.sub(TIMESTAMP, rb'\g<0>,"ordinal":%d' % last, line, count=1)


def carry_session(source: str, target: str, left_out: dict[str, int]) -> None:
    """Copies a session file with its time as anybody may have it; counts what is left out. What a Codex that was killed
    has half written at its end comes along."""
    with open(os.open(source, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:

        def carried() -> Iterator[bytes]:
            for line in file:
                kept, what = carried_line(line, NOBODY)
                left_out.update({what: left_out.get(what, 0) + 1} if what else {})
                yield kept

        write_pieces(target, with_ordinals(filter(None, carried())), 0o600, os.fstat(file.fileno()).st_mtime_ns)


def left_out_text(left_out: Mapping[str, int]) -> str:
    """What of sessions was left out, by its kind."""
    items = ", ".join(f"{count} {what}" for what, count in left_out.items())
    return f"left out, since only the account that made it can read it: {items}"


# --- Limits ---------------------------------------------------------------------------------------

BLOCK = 1 << 16
LONGEST_FIGURES = 1 << 20
SEARCHED_IN_FILE = 64 << 20
SEARCHED_IN_ALL = 128 << 20
SEARCHED_FILES = 200
CLOCK_SLACK = 300  # Seconds; what was written later than now has been by a clock that was wrong, and counts least.
ASKED_FILES = 2000
REACHED = {
    "rate_limit_reached": "limit reached",
    "workspace_owner_credits_depleted": "credits used up",
    "workspace_member_credits_depleted": "credits used up",
    "workspace_owner_usage_limit_reached": "spending limit reached",
    "workspace_member_usage_limit_reached": "spending limit reached",
}
NO_LIMITS = "the server named no limits"
NO_FIGURES = {
    "none": "not logged in",
    **{kind: f"no limits are known for {words}" for kind, _, words in LOGIN_KINDS.values() if kind != "chatgpt"},
    "api-key": "an API key has no such limits",
    "keyring": "the login is in the keyring, so its account isn't known",
    "unknown": "its login can't be read",
}


def usage_of(clone: Clone, account: Account, rollouts: Sequence[tuple[float, str]]) -> Usage:
    """The newest limits of the account that is logged in to the clone, from the session files that it made there;
    opens nothing else, and stops as early as it can. What is unknown has its `why`."""
    if account.kind != "chatgpt":
        return Usage(why=NO_FIGURES.get(account.kind, "no ChatGPT login"))
    best, searched, files, since = Usage(), 0, 0, account_since(clone, account)
    latest = time.time() + CLOCK_SLACK
    for written, path in rollouts[:ASKED_FILES]:
        if written < best.as_of <= latest or searched > SEARCHED_IN_ALL or files == SEARCHED_FILES:
            break
        with contextlib.suppress(OSError):
            made = is_made_by(meta_in(read_head(path, META_HEAD)), account)
            if made is False or (made is None and written < since):
                continue
            found, count = newest_limits_in(path, min(SEARCHED_IN_FILE, SEARCHED_IN_ALL + BLOCK - searched))
            searched, files = searched + count, files + 1
            if made or found.as_of >= since:
                best = max(best, found, key=lambda usage: (0 < usage.as_of <= latest, usage.as_of))
    if best.windows:
        return best
    unknown = (
        "no session of this account yet; --fresh asks the server"
        if rollouts
        else "no session yet; --fresh asks the server"
    )
    return best._replace(why=NO_LIMITS if best.as_of else unknown)


def account_since(clone: Clone, account: Account) -> float:
    """Since when the clone has this account, as far as we know: its tokens were renewed then, or `login` noted it."""
    noted = clone.account
    return min(account.since, noted.since) if noted and is_same_account(noted, account) else account.since


def is_made_by(meta: SessionMeta, account: Account) -> bool | None:
    """Did this account make the session? None where the session doesn't say who did, as those before Codex 0.169."""
    if not (meta.workspace or meta.user):
        return None
    return (meta.workspace, meta.user) == (account.workspace, account.user)


def newest_limits_in(path: str, most: int = SEARCHED_IN_FILE) -> tuple[Usage, int]:
    """The limits nearest to the end of a session file, read backwards, and how many bytes that took, `most` or less.
    A line can have 40 MB (images); of one that is too long for figures nothing is kept."""
    with open_descriptor(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW) as file:
        facts = os.fstat(file)
        end = facts.st_size if stat.S_ISREG(facts.st_mode) else 0
        start, limit = end, max(end - most, 0)
        begun: list[bytes] = []  # The parts of a line whose beginning isn't read yet, the last one first.
        while start > limit:
            size = min(BLOCK, start)
            start -= size
            first, *lines = os.pread(file, size, start).split(b"\n")
            if lines:
                lines[-1] += b"".join(reversed(begun))
                begun = []
            begun = [*begun, first] if len(begun) * BLOCK <= LONGEST_FIGURES else begun
            if start == 0:
                lines.insert(0, b"".join(reversed(begun)))
            for line in reversed(lines):
                if b'"rate_limits"' in line and (usage := limits_from(line)).as_of:
                    return usage, end - start
        return Usage(), end - start


def limits_from(line: bytes) -> Usage:
    """The limits in one line of a session file (Codex 0.120 to 0.171); as of nothing when it says none of ours."""
    record = parse_json_object(line)
    payload = record.get("payload")
    limits = payload.get("rate_limits") if isinstance(payload, dict) else None
    if not isinstance(limits, dict) or limits.get("limit_id") not in (None, "codex"):
        return Usage()
    if (text_in(record, "type"), text_in(payload, "type")) != ("event_msg", "token_count"):
        return Usage()
    return usage_from(limits, timestamp_from(text_in(record, "timestamp")))


def usage_from(limits: Mapping[str, Any], as_of: float) -> Usage:
    """The limits as Codex writes them into a session file."""
    windows = [window_from(limits.get(slot), as_of) for slot in ("primary", "secondary")]
    reached = text_in(limits, "rate_limit_reached_type")
    reached = REACHED.get(reached, reached.replace("_", " "))
    if not reached and limits.get("spend_control_reached") is True:
        reached = "spending limit reached"
    known = tuple(sorted(window for window in windows if window))
    return Usage(known, as_of, text_in(limits, "plan_type"), reached, credits_text(limits.get("credits"), bool(known)))


def credits_text(credits: Any, has_windows: bool) -> str:
    """How the credits stand, where there are any; having none is worth a word only where nothing else limits."""
    if not isinstance(credits, dict) or not isinstance(credits.get("has_credits"), bool):
        return ""
    if credits.get("unlimited") is True:
        return "unlimited credits"
    if credits["has_credits"]:
        return f"{text_in(credits, 'balance') or 'some'} credits left"
    return "" if has_windows else "credits used up"


def window_from(slot: Any, as_of: float) -> Window | None:
    """One window, known by its length and not by its slot."""
    keys = ("used_percent", "window_minutes", "resets_at", "resets_in_seconds")
    used, minutes, resets, wait = (number_in(slot, key) for key in keys)
    if used is None or minutes is None:
        return None
    resets_at = resets if resets is not None else as_of + (wait if wait is not None else minutes * 60)
    return Window(int(minutes), min(max(used, 0.0), 100.0), resets_at)


def window_name(minutes: int) -> str:
    """A window by its length; some Codex versions round it down by a minute."""
    minutes += 3
    if minutes >= 1440:
        return "week" if minutes // 1440 == 7 else count_text(minutes // 1440, "day")
    return f"{minutes // 60} h" if minutes >= 60 else f"{minutes - 3} min"


def used_percent(window: Window, now: float) -> float:
    """What is used of a window; nothing after its reset."""
    return 0.0 if window.resets_at <= now else window.used


def is_used_up(usage: Usage, now: float) -> bool:
    """Did the server say so, and is it so still? A limit is over when a window has begun anew, and the other one says
    for itself what is left of it; what else is used up comes back with a new beginning of all."""
    still = all if usage.reached == REACHED["rate_limit_reached"] else any
    return bool(usage.reached) and (not usage.windows or still(window.resets_at > now for window in usage.windows))


def left_percent(usage: Usage, now: float) -> float | None:
    """What is left in percent, the least over the windows; None when nothing is known."""
    if is_used_up(usage, now):
        return 0.0
    return min((100 - used_percent(window, now) for window in usage.windows), default=None)


# --- Git configuration ----------------------------------------------------------------------------

# What git reads below HOME, by the entry of the real home that is shared, in the order in which git reads it; and what
# lies beside the second one and may be a link, since nothing in it names HOME.
GIT_COPIES = {".config/git": ".config/git/config", ".gitconfig": ".gitconfig"}
GIT_LINKS = ("ignore", "attributes")
GIT_LIMIT, GIT_DEPTH, GIT_SETTINGS_SHOWN = 1 << 20, 10, 5
GIT_SECTION = r'\[[ \t]*([A-Za-z0-9.-]+)(?:[ \t]+"((?:[^"\\\n]|\\.)*)")?[ \t]*\]'
GIT_RAW = r'(?:"(?:[^"\\\n]|\\(?:\r\n|.))*"|\\(?:\r\n|.)|[^"\\\n#;])*'
GIT_TOKEN = (
    rf"[ \t\r\n\ufeff]+|[#;][^\n]*|(?P<section>{GIT_SECTION})"
    r"|(?P<key>[A-Za-z][A-Za-z0-9-]*)[ \t]*(?P<is>=[ \t]*)?"
)
GIT_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", '"': '"', "\\": "\\"}
# HOME at the beginning of a word, as git and the shells that it starts read it.
GIT_HOME = r"(^|[\s\"'=:!(;,`])(?:~(?=/)|\$HOME(?!\w)|\$\{HOME\})|(\s)~(?=[\s;&|)]|$)"
# Whose values are a shell's, and those that mean no path at all; of the latter what begins with `!` is a shell's again.
GIT_COMMANDS = (
    r"(core\.(editor|pager|sshcommand|alternaterefscommand)|pager\..*|sequence\.editor|diff\.external"
    r"|interactive\.difffilter|.*\.(\w*cmd|textconv|command|clean|smudge|process|driver))"
)
# What means something in a shell's text, outside of double quotes and inside of them.
SHELL_HOME = r"\$HOME(?!\w)|\$\{HOME\}"
SHELL_TOKEN = rf"\\.|'[^']*'?|[\"`()]|\$\(|{SHELL_HOME}|~(?=[\s/;&|)`]|\Z)|(?<![^\s;&|()])#[^\n]*"
SHELL_TOKEN_QUOTED = rf"\\.|[\"`]|\$\(|{SHELL_HOME}|~(?=[\s/;&|)`\"]|\Z)"
GIT_PLAIN = r"(credential|url|pretty|alias|log)\..*|http\.(.*\.)?cookiefile|format\.pretty|user\.(name|email)"
GIT_PROGRAMS = {"gpg.program": "gpg", "gpg.openpgp.program": "gpg", "gpg.x509.program": "gpgsm"}
GIT_SIGNER = """\
#!/bin/sh
# Written by codex-mirror: signs with the keys of the real home.
export HOME={home}
exec {program} "$@"
"""


class GitEntry(NamedTuple):
    """A section's heading (without a `key`) or a variable of a git configuration, and where its text or its value is;
    `name` is `section.subsection.key` with only the subsection's case kept."""

    name: str
    subsection: str
    key: str
    value: str
    start: int
    end: int


class GitFile(NamedTuple):
    """A file of the user's git configuration: the time of its last change (None where it is absent), what the clone has
    in its place (nothing where it is included as it is), and the text of that."""

    source: str
    time: int | None
    target: str = ""
    text: bytes = b""


class GitScope(NamedTuple):
    """What the rewriting of one file goes by."""

    home: str
    path: str
    signer: Callable[[str], str]
    included: Callable[[str], str]


def git_entries(text: str) -> list[GitEntry]:
    """What stands in a git configuration, up to the first thing that git wouldn't read."""
    found: list[GitEntry] = []
    section, subsection, at = "", "", 0
    token, raw = re.compile(GIT_TOKEN), re.compile(GIT_RAW, re.DOTALL)
    while match := token.match(text, at):
        at = match.end()
        if match["section"]:
            section, _, inner = match[2].lower().partition(".")
            subsection = re.sub(r"\\(.)", r"\1", match[3]) if match[3] is not None else inner
            found.append(GitEntry(section, subsection, "", "", match.start(), at))
        elif match["key"] and match["is"]:
            value = raw.match(text, at)
            start, at = at, value.end() if value else at
            end = start + len(text[start:at].rstrip(" \t\r"))
            key = match["key"].lower()
            name = ".".join(filter(None, (section, subsection, key)))
            found.append(GitEntry(name, subsection, key, git_value(text[start:end]), start, end))
    return found


def git_value(raw: str) -> str:
    """The value that git reads there."""
    text = re.sub(r"\\\r?\n", "", raw).lstrip(" \t\r")
    return re.sub(r'\\(.)|"', lambda match: GIT_ESCAPES.get(match[1], match[1]) if match[1] else "", text)


def git_quote(value: str) -> str:
    escapes = {char: f"\\{letter}" for letter, char in GIT_ESCAPES.items()}
    return '"' + re.sub(r'[\n\t\b"\\]', lambda match: escapes[match[0]], value) + '"'


def git_value_outside(entry: GitEntry, scope: GitScope) -> str:
    """The value that means in the clone what this one means outside."""
    if re.fullmatch(r"include\.path|includeif\..*\.path", entry.name, re.DOTALL):
        path = os.path.join(scope.home, entry.value[2:]) if entry.value.startswith("~/") else entry.value
        is_odd = path.startswith(("~", "%(")) or not path
        return path if is_odd else scope.included(os.path.join(os.path.dirname(scope.path), path))
    is_shell = entry.value.startswith("!")
    if re.fullmatch(GIT_PLAIN, entry.name, re.DOTALL) and not is_shell:
        return entry.value
    if is_shell or re.fullmatch(GIT_COMMANDS, entry.name, re.DOTALL):
        value = shell_text_outside(entry.value, scope.home)
    else:
        value = re.sub(GIT_HOME, lambda match: (match[2] or match[1]) + scope.home, entry.value)
    return scope.signer(value) if entry.name in GIT_PROGRAMS and value else value


def shell_text_outside(text: str, home: str) -> str:
    """The shell's text with what means HOME there as this path, quoted as its place wants it: `$HOME` but in single
    quotes, `~` at the beginning of a word; and in the words behind a `-c` what means it to that other shell."""

    def quoted_home(mark: str) -> str:
        path = re.sub(r"([^\w@%+=:,./-])", r"\\\1", home) if mark == "~" or not is_quoted else home
        path = re.sub(r'([\\"$`])', r"\\\1", path) if is_quoted else path
        for _ in range(sum(one.startswith("`") for one in around)):
            path = re.sub(r"([\\$`])", r"\\\1", path)
        return path

    pieces, at, around = [], 0, [""]
    outer, quoted = re.compile(SHELL_TOKEN, re.DOTALL), re.compile(SHELL_TOKEN_QUOTED, re.DOTALL)
    while token := (quoted if around[-1].startswith('"') else outer).search(text, at):
        mark, before, after = (
            token[0],
            text[max(token.start() - 1, 0) : token.start()],
            text[token.end() : token.end() + 1],
        )
        is_code = bool(re.search(r"\s-[a-z]*c\s+\Z", text[max(token.start() - 20, 0) : token.start()]))
        is_quoted, written = around[-1].startswith('"'), mark
        if mark[0] in '"`':
            around.pop() if around[-1].startswith(mark) else around.append(mark + "c" * is_code)
        elif mark in ("(", "$("):
            around.append("(")
        elif mark == ")" and around[-1] == "(":
            around.pop()
        elif mark[0] == "'" and is_code:
            written = "'" + shell_text_outside(mark.strip("'"), home).replace("'", "'\\''") + "'"
        elif mark[0] == "$":
            written = quoted_home(mark)
        elif mark == "~" and (not is_quoted or around[-1] == '"c'):
            begins = " \t\n;(&|" + "=:!,`{" * (after == "/") + '"' * is_quoted
            written = quoted_home(mark) if before in begins else mark
        pieces += [text[at : token.start()], written]
        at = token.end()
    return "".join([*pieces, text[at:]])


def git_heading_outside(entry: GitEntry, scope: GitScope) -> str:
    """The heading that holds in the clone where this one holds outside; only a condition may be about HOME."""
    condition = re.fullmatch(r"(gitdir(?:/i)?:)(~|\.)(/.*)", entry.subsection, re.DOTALL)
    if entry.name != "includeif" or not condition:
        return ""
    beside = re.sub(r"([*?\[\\])", r"\\\1", os.path.dirname(os.path.realpath(scope.path)))
    start = os.path.realpath(scope.home) if condition[2] == "~" else beside
    meant = re.sub(r'(["\\])', r"\\\1", f"{condition[1]}{start.rstrip('/')}{condition[3]}")
    return f'[includeIf "{meant}"]'


def rewrite_git(text: str, scope: GitScope) -> tuple[str, bool]:
    """A git configuration for the clone, and whether a live one wouldn't do in its place: what is only relative to the
    file is so there, too."""
    pieces, at, needed = [], 0, False
    for entry in git_entries(text):
        written = git_value_outside(entry, scope) if entry.key else git_heading_outside(entry, scope)
        if written == entry.value:
            continue
        is_relative = not os.path.isabs(entry.value) and written == os.path.join(
            os.path.dirname(scope.path), entry.value
        )
        needed = needed or not (is_relative or (entry.subsection.partition(":")[2].startswith("./") and not entry.key))
        pieces += [text[at : entry.start], git_quote(written) if entry.key else written]
        at = entry.end
    return "".join([*pieces, text[at:]]).removeprefix("\ufeff"), needed


def short_digest(path: str) -> str:
    """Tells the few files of one configuration apart; hashlib would make every `run` slower."""
    import binascii

    return f"{binascii.crc32(os.fsencode(path)):08x}"


# --- Git copies -----------------------------------------------------------------------------------


class GitReader:
    """Reads the user's git configuration with all that it includes, and says what a clone has in its place."""

    def __init__(self, clone: Clone, places: Places, outer: Mapping[str, str]) -> None:
        self.clone, self.home, self.directory = clone, places.user_home, git_directory(clone)
        self.config = os.path.join(outer.get("XDG_CONFIG_HOME") or os.path.join(self.home, ".config"), "git")
        self.only = global_git(outer)
        self.files: dict[str, GitFile] = {}
        self.programs: dict[str, str] = {}
        self.names: list[tuple[str, str]] = []

    def read(self) -> list[GitFile]:
        """The copies that the clone has, what they are made of, and what isn't there yet."""
        sources = {".config/git": os.path.join(self.config, "config"), ".gitconfig": f"{self.home}/.gitconfig"}
        if self.only:
            sources = {".gitconfig": self.only} if self.only != os.devnull else {}
        for share in (share for share in GIT_COPIES if share in self.clone.shared and share in sources):
            self.visit(sources[share], os.path.join(home_of(self.clone), GIT_COPIES[share]), 0)
        tops = [one for one in self.files.values() if one.target and is_below(one.target, home_of(self.clone))]
        is_set = any(name in ("gpg.program", "gpg.openpgp.program") for name, _ in self.names)
        if tops and not is_set and os.path.isdir(os.path.join(self.home, ".gnupg")):
            line = f"[gpg]\n\tprogram = {git_quote(self.signer('gpg'))}\n"
            self.files[tops[0].source] = tops[0]._replace(text=os.fsencode(line) + tops[0].text)
        return list(self.files.values())

    def signer(self, program: str) -> str:
        """A program that starts this one, which has its keys below HOME, with the real one."""
        path = os.path.join(self.directory, f"sign-{short_digest(program)}")
        self.programs[path] = GIT_SIGNER.format(home=shell_quote(self.home), program=shell_quote(program))
        return path

    def visit(self, source: str, target: str, depth: int) -> str:
        """What to include for a file: a copy where something in it has to change, else the file itself."""
        if source in self.files or depth > GIT_DEPTH:
            return self.files[source].target or source if source in self.files else source
        self.files[source] = GitFile(source, None)
        try:
            time_of_change = os.stat(source).st_mtime_ns
            text = os.fsdecode(read_whole(source, GIT_LIMIT))
        except OSError:
            return source
        self.names += [(entry.name, entry.value) for entry in git_entries(text)]
        scope = GitScope(self.home, source, self.signer, lambda path: self.visit(path, "", depth + 1))
        written, needed = rewrite_git(text, scope)
        target = target or (os.path.join(self.directory, f"include-{short_digest(source)}") if needed else "")
        self.files[source] = GitFile(source, time_of_change, target, os.fsencode(written) if target else b"")
        return target or source


def shared_git(clone: Clone) -> list[str]:
    """The entries of the user's git configuration of which this clone has copies."""
    return [share for share in GIT_COPIES if share in clone.shared and clone.home == "isolated"]


def global_git(outer: Mapping[str, str]) -> str:
    """The one file that the user's git reads in place of those below HOME, /dev/null for none at all; or nothing."""
    return outer.get("GIT_CONFIG_GLOBAL", "") or (os.devnull if "GIT_CONFIG_GLOBAL" in outer else "")


def git_reference(clone: Clone, one: GitFile) -> str:
    """The text that was last derived for a place, with the time of the file that it was derived from: what later
    changes are told from, also where another file has come into its place."""
    return os.path.join(git_directory(clone), f"reference-{short_digest(one.target or one.source)}")


def refresh_git(clone: Clone, places: Places, env: Mapping[str, str]) -> None:
    """Derives the clone's git configuration anew where the user's has changed; needs no lock, since each file gets its
    place by a rename, and may be done again at any time. Raises OSError."""
    if clone.home != "isolated" or not kind_of(base_of(clone)) or strange_part(base_of(clone)):
        return
    drop_git_copies(clone)
    if not shared_git(clone):
        return
    outer = outside_environment(env)
    reader = GitReader(clone, places, outer)
    files = reader.read()
    make_directories(git_directory(clone), synced=False)
    there = {one.target for one in files if one.time is not None}
    for path in git_copies(clone) - there:  # The user's file is gone.
        remove_file(path)
    for path, text in reader.programs.items():
        replace_changed(path, os.fsencode(text), 0o700)
    is_exact = True
    for one in files:
        if one.time is not None and (not one.target or is_own_place(clone, one.target)):
            write_git_copy(clone, one)
            is_exact = mend_time(git_reference(clone, one), one.time) and is_exact
    for name in GIT_LINKS if ".config/git" in clone.shared else ():
        link = os.path.join(home_of(clone), ".config/git", name)
        if not os.path.exists(source := os.path.join(reader.config, name)):
            files.append(GitFile(source, None))
        elif not kind_of(link) and is_own_place(clone, link):
            make_directories(os.path.dirname(link))
            os.symlink(source, link)
    replace_changed(git_state_file(clone), git_freshness(clone, files, reader, outer, is_exact), 0o600)


def git_freshness(
    clone: Clone, files: Sequence[GitFile], reader: GitReader, outer: Mapping[str, str], is_exact: bool
) -> bytes:
    """Lines for sh that say whether anything has changed since: a file that is newer or older than its reference, that
    has come or is gone. Where times are cut off only newer ones are told. The first line says the same for us."""
    keys = os.path.join(reader.home, ".gnupg")
    files = [*files, *([] if os.path.isdir(keys) else [GitFile(keys, None)])]
    copies = [one.target for one in files if one.target]
    variables = {"XDG_CONFIG_HOME": outer.get("XDG_CONFIG_HOME", ""), "GIT_CONFIG_GLOBAL": reader.only}
    tests = [f'[ "${{{USERS}{name}:-}}" = {shell_quote(value)} ]' for name, value in variables.items()]
    tests += [f"[ -e {shell_quote(path)} ]" for path in copies]
    for one in files:
        path, reference = shell_quote(one.source), shell_quote(git_reference(clone, one))
        there = f"[ -e {path} ] && [ ! {path} -nt {reference} ]" + (
            f" && [ ! {path} -ot {reference} ]" if is_exact else ""
        )
        tests += [there if one.time is not None else f"[ ! -e {path} ]"]
    head = "# " + json.dumps([[*variables.values()], {one.source: one.time for one in files}, copies])
    return os.fsencode(f"{head}\n# Written by codex-mirror.\ncm_stale=\n" + " &&\n".join(tests) + " || cm_stale=yes\n")


def git_state(clone: Clone) -> tuple[list[str], dict[str, int | None], list[str]]:
    """What the clone's copies were derived from, and when that was changed, as their file's first line says: variables,
    files with their times, the copies; nothing where the line is none of ours."""
    said = json_of((read_or_none(git_state_file(clone)) or b"").partition(b"\n")[0][2:])
    is_ours = isinstance(said, list) and [*map(type, said)] == [list, dict, list] and {*map(type, said[2])} <= {str}
    return (said[0], said[1], said[2]) if is_ours else ([], {}, [])


def is_git_fresh(clone: Clone, env: Mapping[str, str]) -> bool:
    """Is there nothing to derive anew? The wrapper asks the same of the same file."""
    variables, times, copies = git_state(clone)
    outer = outside_environment(env)
    is_same = variables == [outer.get("XDG_CONFIG_HOME", ""), global_git(outer)] and all(map(os.path.exists, copies))
    return is_same and all(changed_at(path) == time_of_change for path, time_of_change in times.items())


def changed_at(path: str) -> int | None:
    """When a file was changed last (ns), behind links; None where there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def is_own_place(clone: Clone, path: str) -> bool:
    """Leads no link out of the clone on the way to this place below its home or its base?"""
    way = (one for one in directories_above(os.path.dirname(path)) if is_below(one, base_of(clone)))
    return not any(map(os.path.islink, way)) and kind_of(path) in ("", "file")


def write_git_copy(clone: Clone, one: GitFile) -> None:
    """Writes what is derived from a file, with what was edited in the clone since; what both have edited stays as it is
    in the clone, and is remembered for doctor."""
    reference = git_reference(clone, one)
    before, now = read_or_none(reference), read_or_none(one.target) if one.target else None
    text = one.text
    if one.target and now not in (None, before, text):
        text, is_kept = merged_git(clone, now or b"", before, text) if before is not None else (now or b"", True)
        if is_kept:
            replace_changed(f"{reference}.kept", os.fsencode(one.target), 0o600)
    elif now is None or now == one.text:
        remove_file(f"{reference}.kept")
    if one.target:
        make_directories(os.path.dirname(one.target))
        replace_changed(one.target, text, 0o600)
    replace_changed(reference, one.text, 0o600)


def merged_git(clone: Clone, ours: bytes, before: bytes, theirs: bytes) -> tuple[bytes, bool]:
    """The clone's text with what has changed in the user's since; and whether anything of the clone's stood against
    that, which it does where git isn't there to merge them."""
    if before == theirs:
        return ours, False
    number = new_id()
    names = [os.path.join(git_directory(clone), f"{name}-{number}") for name in ("ours", "before", "theirs")]
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        for option in ((), ("--ours",)):
            for name, text in zip(names, (ours, before, theirs), strict=True):
                remove_file(name)
                write_new(name, text)
            if capture(["git", "merge-file", "-q", *option, *names], env, "/", 10).code == 0:
                return read_whole(names[0]), bool(option)
    finally:
        for name in names:
            remove_file(name)
    return ours, True


def replace_changed(path: str, content: bytes, mode: int) -> None:
    """Replaces a file by a rename where it has other bytes; two may do this at once."""
    if read_or_none(path, GIT_LIMIT * 2) != content:
        temporary = f"{path}.new-{new_id()}"
        remove_file(temporary)
        write_new(temporary, content, mode)
        os.replace(temporary, path)


def mend_time(path: str, wanted: int) -> bool:
    """Gives a reference its source's time; where the file system can't, a later one, and then False."""
    if os.stat(path).st_mtime_ns != wanted:
        os.utime(path, ns=(wanted, wanted))
    if os.stat(path).st_mtime_ns == wanted:
        return True
    os.utime(path, ns=(later := (wanted // 10**9 + 1) * 10**9, later))
    return False


def drop_git_copies(clone: Clone) -> None:
    """Takes away the unedited copies of what is no longer shared, and at last what made them."""
    for path in git_copies(clone) - {os.path.join(home_of(clone), GIT_COPIES[one]) for one in shared_git(clone)}:
        remove_file(path)
    if not shared_git(clone):
        for path in paths_in(git_directory(clone)):
            remove_file(path)
        remove_empty(git_directory(clone))


def git_copies(clone: Clone) -> set[str]:
    """The copies in which nothing was edited."""
    known = {read_or_none(path) for path in paths_in(git_directory(clone)) if "/reference-" in path}
    places = (os.path.join(home_of(clone), tail) for tail in GIT_COPIES.values())
    return {
        path for path in places if kind_of(path) == "file" and is_own_place(clone, path) and read_or_none(path) in known
    }


def git_not_copied(clone: Clone) -> list[str]:
    """The parts of the user's git configuration of which the clone should have a copy, and has a link or nothing."""
    is_derived = kind_of(git_state_file(clone)) == "file"
    return [
        share for share in shared_git(clone) if not is_derived or kind_of(os.path.join(home_of(clone), share)) == "link"
    ]


def git_kept(clone: Clone) -> list[str]:
    """The copies in which something of the clone's own stands against what has changed in the user's."""
    found = (read_or_none(path) for path in paths_in(git_directory(clone)) if path.endswith(".kept"))
    return sorted(os.fsdecode(path) for path in found if path)


def settings_below_home(clones: Sequence[Clone], places: Places) -> list[tuple[str, str]]:
    """The settings of the repository around us that git looks up below HOME, where clones that share its configuration
    have another: each in words, with the command that names the whole path. Such a file isn't ours to rewrite."""
    above = directories_above(current_directory()) if any(map(shared_git, clones)) else ()
    around = next((one for one in above if kind_of(os.path.join(one, ".git"))), "")
    config = os.path.join(around, ".git", "config")
    try:
        text = os.fsdecode(read_or_none(config, GIT_LIMIT) or b"") if around else ""
    except OSError:
        return []
    found: list[tuple[str, str]] = []
    scope = GitScope(places.user_home, config, str, str)
    for entry in git_entries(text):
        is_about_home = bool(entry.key and len(entry.value) < NAME_LIMIT and re.search("~|HOME", entry.value))
        whole = git_value_outside(entry, scope) if is_about_home else entry.value
        if whole != entry.value and len(found) < GIT_SETTINGS_SHOWN:
            what = f"{around} has {entry.name} = {entry.value}, which isolated clones look for below their own HOME"
            found.append((what, f"git config {quote_if_needed(entry.name)} {shell_quote(whole)}"))
    return found


def git_login_note(clone: Clone, places: Places, env: Mapping[str, str]) -> list[str]:
    """That git's logins stay outside, where the user's git has any."""
    if not shared_git(clone):
        return []
    reader = GitReader(clone, places, outside_environment(env))
    reader.read()
    found = [
        value for name, value in reader.names if re.fullmatch(r"credential\.(.*\.)?helper", name, re.DOTALL) and value
    ]
    if not found and os.path.exists(os.path.join(places.user_home, ".git-credentials")):
        found = [".git-credentials"]
    what = f"the logins of your git ({short_list(list(dict.fromkeys(found)), 5)})"
    return [f"{what} aren't shared: https pushes need --share of what holds them, or --home shared"] if found else []


# --- Home directory -------------------------------------------------------------------------------

NEVER_SHARED = (".codex", ".codex-mirror")
# Programs and data of toolchains whose commands look for them through HOME or the XDG directories, with the packages of
# languages, the plugins of tools and asdf's choice of versions; nothing in which there are logins as well, or settings
# that may hold some, as in `.cargo`, `.julia`, `.gem`, `.docker` and `.local/share/uv`.
TOOLCHAINS = (
    *(".rustup", ".cargo/bin", ".cargo/registry", ".cargo/git", ".pyenv", ".rbenv", ".nvm", ".volta", ".asdf"),
    *(".tool-versions", ".asdfrc", ".nodenv", ".goenv", ".jenv", ".phpenv", ".plenv", ".elan", ".swiftly"),
    *(".sdkman", ".ghcup", ".opam", ".julia/juliaup", ".local/share/mise", ".local/share/fnm", ".local/share/pnpm"),
    *(".local/share/uv/python", ".local/share/uv/tools", ".local/share/swiftly"),
    *(".local/lib", "Library/Python", ".gem/ruby", ".local/share/gem/ruby", ".mix"),
    *(".docker/cli-plugins", ".local/share/helm/plugins", ".terminfo"),
)
# Packages that builds, hooks and tests need and find nowhere else in a sandbox without a network. There is nothing but
# packages, and any of them may be named as logins are.
PACKAGE_STORES = (
    *("go/pkg/mod", ".m2/repository", ".m2/wrapper", ".gradle/caches", ".gradle/wrapper", ".konan", ".nuget/packages"),
    *(".ivy2/cache", ".sbt/boot", ".cache/coursier", "Library/Caches/Coursier", ".pub-cache/hosted", ".hex/packages"),
    *(".julia/packages", ".julia/artifacts", ".julia/registries", ".yarn/berry/cache", ".cache/node/corepack"),
    *(".cache/pre-commit", ".cache/bazelisk", "Library/Caches/bazelisk"),
    *(".cache/deno", ".cache/ms-playwright", "Library/Caches/ms-playwright", ".cache/puppeteer", ".cache/Cypress"),
)
SHARE_WORDS = ("none", "default")
LOGIN_NAMES = r"(?i)credentials.*|auth(?!ors?\b).*|.*token.*"
# What goes with a clone unasked, since we, Codex (0.171) or a program that fills a cache can make it again: directories
# of its base, and files of its Codex home. All else is of value, whatever it is.
REMADE_DIRECTORIES = (
    *("home/.cache", "home/.npm", "home/go/pkg", "home/.cargo/registry", "home/Library/Caches"),
    *(
        f"home/.codex/{name}"
        for name in ("packages", "tmp", ".tmp", "log", "cache", "shell_snapshots", "skills/.system")
    ),
    *(f"home/.codex/{name}" for name in ("app-server-daemon", "app-server-control", "thread-writer-locks")),
    *(f"home/.codex/{name}" for name in ("plugins/cache", "vendor_imports")),
)
REMADE_FILES = (
    r"clone\.json|\.gitignore|bin/codex|logs/events\.log|git/[^/]+|(.*/)?\.DS_Store"
    r"|home/\.codex/([a-z_]+_\d+\.sqlite(-shm|-wal|-journal)?"
    r"|auth\.(json\.)?lock|installation_id|version\.json|models_cache\.json|session_index\.jsonl|daily-usage.*"
    r"|\.(personality|sandbox)_migration)"
)
# What earlier versions wrote for a clone's shells, by SHA-256 (up to 1.1.0).
EARLIER_HELPERS = {
    "4a3bb9947ec165cd519c05a0f50fc96390f7874b016e258a1fd44b880332734a",
    "f6d51b9a79c8ae0aef983f8387ca0c83bd566b6d4731f51d27975e6f7b238341",
}
# These are told by themselves.
TOLD_FILES = r"home/\.codex/(auth\.json|(sessions|archived_sessions)/(.*/)?rollout-[^/]*\.jsonl(\.zst)?)"


def default_shares(context: Context, registry: Registry) -> tuple[str, ...]:
    """What a new isolated home has in common with the real one: git's configuration, also one that is still to come,
    and the toolchains and packages that are there, but nothing that may hold a login."""
    places, found = context.places, []
    there = [one for one in (*TOOLCHAINS, *PACKAGE_STORES) if os.path.lexists(share_source(one, places))]
    tools = [one for one in there if one in PACKAGE_STORES or not may_hold_login(share_source(one, places))]
    for entry in (*(("Library/Keychains",) if is_macos() else ()), *tools):
        with contextlib.suppress(MirrorError):  # It isn't there, or leads to where logins are.
            found.append(checked_share(entry, places, registry, context.env.get("CODEX_HOME", "")))
    return (*reversed(GIT_COPIES), *found)


def may_hold_login(directory: str) -> bool:
    """Is there anything within two levels that is named as logins are?"""
    names = entries_of(directory)
    below = (name for one in names for name in entries_of(os.path.join(directory, one)))
    return any(re.fullmatch(LOGIN_NAMES, name) for name in (*names, *below))


def new_shares(clone: Clone, defaults: Iterable[str]) -> list[str]:
    """What a clone made now would share, and this one doesn't, though nobody has named what it should share."""
    if clone.home != "isolated" or clone.named_shares:
        return []
    places = {share: os.path.join(home_of(clone), share) for share in defaults}
    return [share for share, path in places.items() if share not in clone.shared and is_vacant(path)]


def is_vacant(path: str, ours: Collection[str] = ()) -> bool:
    """Is nothing there, or no more than directories, as a failed attempt leaves them, and these files of ours?"""
    if kind_of(path) != "directory":
        return not kind_of(path) or path in ours
    return all(file in ours for file in files_below(path))


def make_way(clone: Clone, path: str, only_looks: bool) -> bool:
    """Is the place free for a link? Directories in which there is nothing, as a failed attempt leaves them, go, and so
    does what we wrote for the clone's shells."""
    ours = unedited_helpers(clone)
    if only_looks or not is_vacant(path, ours):
        return is_vacant(path, ours)
    for file in (one for one in ours if one == path or is_below(one, path)):
        remove_file(file)
    for directory, _, _ in os.walk(path, topdown=False):
        remove_empty(directory)
    return not kind_of(path)


def home_directories(clone: Clone) -> list[str]:
    """The directories that a clone has of its own; not what it shares with the real home, or what is a link there."""
    home = home_of(clone)
    tails = (".codex", ".codex/app-server-daemon", ".config", ".local", ".local/share", ".local/state", ".cache")
    own = [tail for tail in tails if not any(tail == share or is_below(tail, share) for share in clone.shared)]
    own = [tail for tail in own if not os.path.islink(os.path.join(home, tail.split("/")[0]))]
    return [home, *(os.path.join(home, tail) for tail in own), runtimes_of(clone), os.path.join(base_of(clone), "logs")]


def build_home(clone: Clone, places: Places) -> list[str]:
    """Fills a new clone's private home: the shared entries, the directories, the settings that hold the pin; which
    files are still to be synced."""
    for share in (share for share in clone.shared if share not in GIT_COPIES):
        link = os.path.join(home_of(clone), share)
        make_directories(os.path.dirname(link), synced=False)
        os.symlink(share_source(share, places), link)
    for directory in (*home_directories(clone), os.path.dirname(wrapper_copy(clone))):
        make_directories(directory, synced=False)
    settings = {config_file(codex_home_of(clone)): new_config(places), updater_file(clone): UPDATER_SETTINGS}
    files = {**helper_files(clone), **settings}
    for path, text in files.items():
        make_directories(os.path.dirname(path), synced=False)
        write_new(path, text, 0o700 if text.startswith(b"#!") else 0o600, synced=False)
    return list(files)


def sync_home(clone: Clone, files: Iterable[str] = ()) -> None:
    """Waits until these files, and the names of all that is in the clone's directory, are on the disk, but those in its
    runtimes."""
    for path in files:
        sync_file(path)
    for directory in (home_of(clone), git_directory(clone)):
        sync_tree(directory)
    sync_directory(base_of(clone))


def helper_files(clone: Clone) -> dict[str, bytes]:
    """What we write for the shells and the browser of an isolated clone, by path; but no login file that it shares, or
    to whose place a link leads out of it, however that is spelled."""
    if clone.home != "isolated":
        return {}
    own = (tail for tail in LOGIN_FILES if not any(tail == one or is_below(tail, one) for one in clone.shared))
    places = {os.path.join(home_of(clone), tail): LOGIN_FILES[tail].encode() for tail in own}
    files = {path: text for path, text in places.items() if is_own_place(clone, path)}
    return {**files, browser_script(clone): BROWSER_SCRIPT.encode()}


def unedited_helpers(clone: Clone) -> list[str]:
    """Which of those files are there as we wrote them, also as an earlier version did."""
    helpers = helper_files(clone)
    known = {*map(digest_of_bytes, helpers.values()), *EARLIER_HELPERS}
    texts = {path: read_own(path, WRAPPER_LIMIT) for path in helpers}
    return [path for path, text in texts.items() if text is not None and digest_of_bytes(text) in known]


def write_missing_helpers(clone: Clone) -> list[str]:
    """Writes those that are missing; which."""
    missing = missing_helpers(clone)
    for path in missing:
        text = helper_files(clone)[path]
        make_directories(os.path.dirname(path))
        write_whole(path, text, 0o700 if text.startswith(b"#!") else 0o600)
    return missing


def missing_helpers(clone: Clone) -> list[str]:
    """Which of those files aren't there, or are an older program's; what the user has put in their place stays."""
    marks = (LOGIN_NOTE.encode(), b"#!/bin/sh\n# Written by codex-mirror")
    helpers = helper_files(clone)
    found = {path: read_or_none(path) if kind_of(path) in ("file", "") else b"x" for path in helpers}
    return [
        path
        for path, text in helpers.items()
        if found[path] is None or (found[path] != text and (found[path] or b"").startswith(marks))
    ]


def copy_sessions(source: str, target: str, context: Context, whole: bool) -> None:
    """Copies the sessions of a Codex home into a new one; `whole` only where their account comes along, too."""
    tails, left_out = session_files(source), dict[str, int]()
    carried = [tail for tail in tails if not whole and tail.endswith(".jsonl") and "/" in tail]
    copy_tree(source, target, [tail for tail in tails if tail not in {*carried}])
    for tail in carried:
        make_directories(os.path.dirname(os.path.join(target, tail)), synced=False)
        carry_session(os.path.join(source, tail), os.path.join(target, tail), left_out)
    packed = sum(tail.endswith(".zst") for tail in tails if not whole)
    for note in (left_out_text(left_out) if left_out else "", packed_text(packed) if packed else ""):
        if note:
            context.report(note, 0, 0)


def packed_text(count: int) -> str:
    return f"{count_text(count, 'compressed session')} came as they are: only the account that made one can continue it"


def own_files(clone: Clone) -> list[str]:
    """The files of a clone that can't be made again: all but those that we or Codex made, and caches; its login and its
    sessions are told elsewhere."""
    base, codex_home = base_of(clone), codex_home_of(clone)
    runtimes = [path for path in paths_in(runtimes_of(clone)) if re.match(RUNTIME_NAME, os.path.basename(path))]
    runtimes += [runtime.path for runtime in runtimes_kept(clone)]
    remade = {*REMADE_DIRECTORIES, *(os.path.relpath(path, base) for path in runtimes)}
    ours = {*unedited_helpers(clone._replace(home="isolated"))} | git_copies(clone)  # They stay when HOME is shared.
    config = config_text(codex_home)
    if is_own_config(config) and (config or not size_of(config_file(codex_home))):
        ours.add(config_file(codex_home))
    found = (path for path in files_below(base, remade) if path not in ours and not os.path.islink(path))
    return [path for path in found if not re.fullmatch(f"{REMADE_FILES}|{TOLD_FILES}", os.path.relpath(path, base))]


def checked_shares(wanted: Sequence[str], home: str, context: Context, registry: Registry) -> tuple[str, ...]:
    """The entries of the real home that are meant for a clone with this kind of HOME, none inside another; `none` is no
    entry, and `default` those of a new clone. Raises MirrorError."""
    codex_home = context.env.get("CODEX_HOME", "")
    shares = [checked_share(text, context.places, registry, codex_home) for text in wanted if text not in SHARE_WORDS]
    shares += default_shares(context, registry) if "default" in wanted else ()
    if shares and home != "isolated":
        raise MirrorError(
            f"{shares[0]} is already in its HOME, which is yours", "leave --share out, or use --home isolated", REFUSED
        )
    return tuple(one for one in dict.fromkeys(shares) if not any(is_below(one, other) for other in shares))


def is_nested_with(one: str, other: str) -> bool:
    """Is either of two paths the other, or below it, by any of their names?"""
    pairs = [(name, another) for name in names_of_place(one) for another in names_of_place(other)]
    return any(is_name_into(*pair) or is_name_into(*reversed(pair)) for pair in pairs)


def login_at_top_of(directory: str) -> str:
    """A login of Codex, of whatever kind, in the first three levels of a directory, or a file that is one; or
    nothing."""
    keys = {"auth_mode", *(key for _, key, _ in LOGIN_KINDS.values())}
    if kind_of(directory) == "file" and keys & {*read_json_object(directory)}:  # A hard link may have any name.
        return directory
    level = [directory]
    for _ in range(3):
        level = [path for above in level for path in paths_in(above)][:5000]
        for path in level:
            if os.path.basename(path).lower() == "auth.json" and keys & {*read_json_object(path)}:
                return path
        level = [path for path in level if kind_of(path) == "directory"]
    return ""


Inode = tuple[int, int]


def inodes_above(path: str) -> tuple[Inode | None, frozenset[Inode]]:
    """What a place is, by device and inode, or None where nothing is there; and all directories above it, by any of its
    names, with itself."""
    found: dict[str, Inode] = {}
    for one in (one for name in names_of_place(path) for one in directories_above(name)):
        with contextlib.suppress(OSError):
            facts = os.stat(one)
            found[one] = (facts.st_dev, facts.st_ino)
    return found.get(path), frozenset(found.values())


def sharing_clone(
    base: str,
    clones: Sequence[Clone],
    places: Places,
    above: Callable[[str], tuple[Inode | None, frozenset[Inode]]] = inodes_above,
) -> str:
    """The clone that shares an entry of the real home in which this clone's directory lies, or which lies in that; or
    nothing. Who asks it of many clones remembers what is `above` a place."""
    names: dict[str, str] = {share: one.name for one in reversed(clones) for share in one.shared}
    own, around = above(base)
    for share, name in names.items():
        source = share_source(share, places)
        its_own, its_around = above(source)
        if (its_own in around or own in its_around) if own else is_nested_with(source, base):
            return name
    return ""


def checked_share(text: str, places: Places, registry: Registry, codex_home: str = "") -> str:
    """An entry of the real home that a clone may share, relative to it; it neither holds nor leads to any login, also
    not to that of the `codex_home` in use.

    Raises MirrorError."""
    path = os.path.normpath(os.path.join(places.user_home, text))
    if not is_below(path, places.user_home):
        hint = "--share takes a path relative to your home"
        raise MirrorError(f"{text} is not in {places.user_home}", hint, REFUSED)
    secret = [
        places.mirror_home,
        *(os.path.join(places.user_home, name) for name in NEVER_SHARED),
        *map(base_of, registry.clones),
        *([os.path.abspath(codex_home)] if codex_home else []),
    ]
    source = share_source(os.path.relpath(path, places.user_home), places)
    inside = (one for one in secret if is_nested_with(path, one) or is_nested_with(source, one))
    guarded = next(inside, "") or login_at_top_of(source)
    if guarded:
        raise MirrorError(f"{text} can't be shared: logins are in {guarded}", "share something else", REFUSED)
    if source != path:
        return os.path.relpath(path, places.user_home)
    if not os.path.lexists(path):
        raise MirrorError(f"{path} doesn't exist", "--share takes an entry that exists in your home", FAILED)
    return os.path.relpath(name_on_disk(path, places.user_home), places.user_home)


def parts_to_read(clone: Clone) -> list[str]:
    """What of a clone must be readable for a look at it, each directory before what is in it."""
    base, codex_home = base_of(clone), codex_home_of(clone)
    there = [base, home_of(clone), codex_home, runtimes_of(clone), clone.runtime.path, clone.runtime.entry]
    return [*there, os.path.join(base, "clone.json"), config_file(codex_home), login_file(codex_home)]


# --- Shared settings ------------------------------------------------------------------------------

SHARABLE_SETTINGS = ("AGENTS.md", "agents", "prompts", "rules", "skills")


class SettingsLinks(NamedTuple):
    """How a clone's shared settings stand, as paths relative to its Codex home: what is not linked yet, where the clone
    has something of its own, and links of ours whose target is gone."""

    missing: tuple[str, ...]
    own: tuple[str, ...]
    gone: tuple[str, ...]


def checked_setting(text: str) -> str:
    """An entry of the real home's Codex home that clones may share. Raises MirrorError USAGE."""
    entry = text.rstrip("/")
    if entry not in SHARABLE_SETTINGS:
        raise MirrorError(f"{text} can't be shared", f"settings to share: {', '.join(SHARABLE_SETTINGS)}", USAGE)
    return entry


def setting_target(tail: str, places: Places) -> str:
    return os.path.join(places.user_home, ".codex", tail)


def is_settings_link(clone: Clone, tail: str, places: Places) -> bool:
    """Is there still the link that we made?"""
    path = os.path.join(codex_home_of(clone), tail)
    return is_link_to(path, setting_target(tail, places))


def settings_links_of(clone: Clone, places: Places) -> SettingsLinks:
    """How the clone's shared settings stand now. Skills are linked one by one, since each Codex writes a `.system` of
    its own beside them; no link leads to a login or a database, under whatever name."""
    tails = [tail for entry in clone.shared_settings for tail in settings_of_entry(entry, places)]
    open_tails = [tail for tail in tails if not is_settings_link(clone, tail, places)]
    own = tuple(tail for tail in open_tails if kind_of(os.path.join(codex_home_of(clone), tail)))
    recorded = [tail for tail in clone.settings_links if is_settings_link(clone, tail, places)]
    gone = tuple(tail for tail in recorded if not os.path.exists(setting_target(tail, places)))
    return SettingsLinks(tuple(tail for tail in open_tails if tail not in own), own, gone)


def settings_of_entry(entry: str, places: Places) -> list[str]:
    """The paths that sharing an entry links, of those that are there."""
    names = [name for name in entries_of(setting_target(entry, places)) if not name.startswith(".")]
    tails = [os.path.join(entry, name) for name in names] if entry == "skills" else [entry]
    real = ((tail, os.path.realpath(setting_target(tail, places))) for tail in tails)
    return [
        tail for tail, path in real if os.path.exists(path) and not re.fullmatch(NEVER_COPIED, os.path.basename(path))
    ]


def link_settings(clone: Clone, places: Places) -> Clone:
    """Makes the links of a new clone's shared settings; what it has of its own stays."""
    missing = settings_links_of(clone, places).missing
    for tail in missing:
        path = os.path.join(codex_home_of(clone), tail)
        make_directories(os.path.dirname(path), synced=False)
        os.symlink(setting_target(tail, places), path)
    return clone._replace(settings_links=missing)


# --- Running clones -------------------------------------------------------------------------------


def background_pids(clone: Clone) -> dict[int, str]:
    """The pids that Codex's server and its updater left in JSON files (0.157 to 0.171), each with what it would be."""
    files = [path for path in paths_in(os.path.dirname(updater_file(clone))) if path.endswith(".pid")]
    pids = [(number_in(read_json_object(path), "pid"), os.path.basename(path)) for path in files]
    return {int(pid): "updater" if "updater" in name else "server" for pid, name in pids if pid is not None}


def codex_pids_of(clone: Clone) -> list[int]:
    return codex_pids_in(base_of(clone), codex_home_of(clone))


def running_codex(clone: Clone) -> tuple[list[int], list[int]]:
    """The pids of the clone's Codex: those that someone works with, and those of the server and its updater."""
    background = background_pids(clone)
    pids = codex_pids_of(clone)
    return [pid for pid in pids if pid not in background], [pid for pid in pids if pid in background]


def servers_of(clone: Clone) -> list[str]:
    """The clone's server and updater that are running, in words: what it is, its version and pid."""
    background = background_pids(clone)
    running = running_codex(clone)[1] if background else []  # Else not even the processes are looked through.
    versions = ((pid, package_of_binary(program_of(pid)).version) for pid in running)
    return [f"{background[pid]} {f'{version} ' if version else ''}(pid {pid})" for pid, version in versions]


def refuse_running(clone: Clone, action: str) -> None:
    """Refuses to pull a clone from under a running Codex. Raises MirrorError BUSY."""
    try:
        pids, background = running_codex(clone)
    except UnseenProcessesError as error:
        raise MirrorError(error.message, f"quit Codex in '{clone.name}', then {action} with --force", BUSY) from None
    if who := user_of_home(codex_home_of(clone), pids, background):
        raise MirrorError(
            f"Codex is running in '{clone.name}' ({who})", f"quit it first, or {action} with --force", BUSY
        )


def user_of_home(codex_home: str, pids: Sequence[int], others: Sequence[int] = ()) -> str:
    """Who works with a Codex home, in words, or nothing: these processes, or one that is neither of these nor of the
    others."""
    if pids:
        return f"pid {', '.join(map(str, pids))}"
    hidden = "in another container" if os.path.isdir("/proc/self") else "which ps doesn't show"
    return hidden if is_codex_elsewhere(codex_home, others) else ""


def stop_codex(clone: Clone, action: str, force: bool) -> list[str]:
    """Ends the clone's server and updater, with `force` every Codex in it; whom, in words. Raises MirrorError BUSY when
    someone works with another one, and FAILED when one can't be ended."""
    if not force:
        refuse_running(clone, action)
    told: list[str] = []
    for _ in range(4):  # Until it is ended itself, the updater may start another server.
        try:
            servers, (used, background) = servers_of(clone), running_codex(clone)
        except UnseenProcessesError as error:
            if not force:
                raise
            return [*told, f"{clone.name}: can't tell whether Codex is still running in it: {error.message}"]
        if not used and not background:
            return told
        told += [f"{clone.name}: stopped its {one}" for one in servers]
        told += [f"{clone.name}: stopped Codex (pid {', '.join(map(str, used))})"] if used else []
        left = stop_processes([*background, *used])
    raise MirrorError(
        f"Codex in '{clone.name}' could not be stopped (pid {', '.join(map(str, left))})",
        "stop it yourself, then try again",
    )


def stop_server(clone: Clone, action: str, force: bool) -> list[str]:
    """The same where there is a server: without one, a Codex that someone works with may go on."""
    with contextlib.suppress(*((UnseenProcessesError,) if force else ())):
        return stop_codex(clone, action, force) if servers_of(clone) else []
    return []


def visible_servers(clone: Clone) -> list[str]:
    """The clone's server and updater that are running; none where nobody can tell."""
    with contextlib.suppress(UnseenProcessesError):
        return servers_of(clone)
    return []


# --- Clones ---------------------------------------------------------------------------------------


class ImportedHome(NamedTuple):
    """What a new clone brings along from another Codex home besides its settings; a login that is moved is set `aside`
    there."""

    home: str
    sessions: bool = False
    login: bool = False
    aside: str = ""
    exported_from: str | None = None


class NewClone(NamedTuple):
    """How a new clone should be; without any `shares` it gets those of every new clone."""

    name: CloneName
    root: str = ""
    codex: Wanted = Wanted()
    home: str = "isolated"
    shares: tuple[str, ...] = ()
    keep_env: tuple[str, ...] = ()
    settings_from: str = ""
    brought: ImportedHome | None = None
    share_settings: tuple[str, ...] = ()


def current_timestamp() -> str:
    return timestamp_text(time.time())


def create_clone(context: Context, request: NewClone) -> tuple[Clone, list[str]]:
    """Makes a clone; and what could not be finished after the commit, in words. Raises MirrorError."""
    return make_clone(context, f"create {request.name}", lambda change: request)


@fetching_first
def make_clone(context: Context, what: str, requested: Callable[[Change], NewClone]) -> tuple[Clone, list[str]]:
    """Makes a clone as it is asked for once the change has begun, and fills its home before anyone can see it."""
    places = context.places
    with begin_change(context, what) as change:
        request = requested(change)
        brought = home_brought(request, change.registry, places)
        refuse_taken_name(change.registry, request.name)
        refuse_taken_command(request.name, places, context.env.get("PATH", os.defpath), change.registry.clones)
        clone_id = new_uuid()
        root = root_for(request, clone_id, change.registry, places)
        if sharer := sharing_clone(base_in_root(root), change.registry.clones, places):
            raise MirrorError(f"'{sharer}' shares a directory that contains {root}", "choose another --root", REFUSED)
        wrapper = os.path.join(checked_bin_dir("", places), request.name)
        refuse_unwritable_commands(os.path.dirname(wrapper))
        refuse_noexec(root, wrapper)
        refuse_unfit_volume(root, places)
        source = wanted_package(change, context, request.codex, root)
        runtime = Runtime(os.path.join(base_in_root(root), "runtime"), base_in_root(root), source.kind, source.version)
        keep_env = tuple(dict.fromkeys(map(checked_variable, request.keep_env)))
        shared, now = shares_for(request, context, change.registry), current_timestamp()
        clone = Clone(clone_id, request.name, root, runtime, None, wrapper, now, now, request.home, shared, keep_env)
        clone = clone._replace(made_root=not kind_of(root), named_shares=is_naming_shares(request.shares, False))
        change.describe(f"{what.partition(' ')[0]} {clone.name}")
        create_clone_directory(change, clone)
        if change.is_dry:
            rehearse_filling(change, clone._replace(shared_settings=request.share_settings), brought)
        keep_home = partial(sync_home, clone, build_home(clone, places))
        refresh_git(clone, places, context.env)
        clone = clone._replace(runtime=pin_runtime(change, source, clone, context, while_running=keep_home))
        if brought:
            fill_home(change, clone, context, brought)
        clone = link_settings(clone._replace(shared_settings=request.share_settings), places)
        if brought or clone.settings_links:
            sync_home(clone)
        stage_wrapper(change, clone, replaces=False)
        change.commit(with_clone(change.registry, clone))
    return clone, change.unfinished


def home_brought(request: NewClone, registry: Registry, places: Places) -> ImportedHome | None:
    """The Codex home of which a new clone gets something."""
    given = request.settings_from
    return ImportedHome(settings_source(given, registry, places)) if given else request.brought


def rehearse_filling(change: Change, clone: Clone, brought: ImportedHome | None) -> NoReturn:
    """Plans what a new clone will have of the real home, and of the one that it is made from. Raises DryRun."""
    links = [os.path.join(home_of(clone), share) for share in clone.shared if share not in GIT_COPIES]
    links += [os.path.join(codex_home_of(clone), tail) for tail in settings_links_of(clone, change.places).missing]
    change.extend_plan(staged=[StagedFile("", link, False) for link in links])
    if brought and brought.login and os.path.isfile(login := login_file(brought.home)):
        moved = [MovedLogin(login, brought.aside, "", "")] if brought.aside else []
        change.extend_plan(moved=moved, staged=[StagedFile("", login_file(codex_home_of(clone)), False)])
    stage_wrapper(change, clone, replaces=False)
    change.commit(with_clone(change.registry, clone))
    raise AssertionError("a dry run ends with its commit")


def fill_home(change: Change, clone: Clone, context: Context, brought: ImportedHome) -> None:
    """Gives a new clone the settings, the sessions and, moved and never doubled, the login of another Codex home."""
    source, target = brought.home, codex_home_of(clone)
    move = settings_move(source, context.places, brought.exported_from)
    for tail in move.tails:
        make_directories(os.path.dirname(os.path.join(target, tail)), synced=False)
        copy_setting(move, tail, os.path.join(target, tail), target)
    config = read_config(source)
    if config is not None:
        write_whole(config_file(target), pinned_config(change, clone, context, config, move=move))
    login = login_file(source)
    brings_login = brought.login and os.path.isfile(login)
    if brought.sessions:
        copy_sessions(source, target, context, whole=brings_login)
    if brings_login:
        content, place = read_whole(login, LOGIN_LIMIT), login_file(target)
        if brought.aside:
            moved = MovedLogin(login, brought.aside, digest_of_bytes(content), staged_name(place, change.id))
            change.extend_plan(moved=[moved])
        change.stage(place, content, 0o600, replaces=False)


def shares_for(request: NewClone, context: Context, registry: Registry) -> tuple[str, ...]:
    """The entries of the real home that the new one shares."""
    if request.shares:
        return checked_shares(request.shares, request.home, context, registry)
    return default_shares(context, registry) if request.home == "isolated" else ()


def is_naming_shares(words: Sequence[str], before: bool) -> bool:
    """Has someone named what a clone shares, so that it isn't told of more?"""
    return (bool(words) or before) and "default" not in words


def refuse_taken_name(registry: Registry, name: str) -> None:
    """Refuses a name that a clone has, in whatever case. Raises MirrorError."""
    for entry in registry.entries:
        taken = name_of_entry(entry)
        if taken == name:
            raise MirrorError(f"clone '{name}' already exists", "choose another name", REFUSED)
        if taken.lower() == name.lower():
            raise MirrorError(f"'{name}' differs from the clone '{taken}' only by case", "choose another name", REFUSED)


def root_for(request: NewClone, clone_id: str, registry: Registry, places: Places) -> str:
    """Where the clone will live; a free place. Raises MirrorError."""
    if not request.root:
        root = os.path.join(clones_directory(places), request.name)
        return f"{root}-{clone_id[:8]}" if kind_of(root) and entries_of(root) else root
    root = name_on_disk(os.path.realpath(path_from(request.root, places)))
    if complaint := complaint_about_place_of_root(root, places):
        raise MirrorError(
            f"--root {request.root} can't be used: {complaint}", "name a directory of its own for the clone", REFUSED
        )
    for clone in registry.clones:
        parts = (base_of(clone), home_of(clone), codex_home_of(clone))  # Also by a mount of one of them.
        is_mounted = any(is_path_to(above, part) for above in directories_above(root) for part in parts)
        if is_mounted or is_path_into(os.path.dirname(root), clone.root):
            raise MirrorError(f"{root} is inside the clone '{clone.name}'", "choose another directory", REFUSED)
    refuse_hazards(path_from(request.root, places), places)
    if kind_of(base_in_root(root)):
        raise MirrorError(f"{base_in_root(root)} already exists", "choose another directory with --root", REFUSED)
    if kind_of(root):
        facts = os.stat(root)
        if not stat.S_ISDIR(facts.st_mode):
            raise MirrorError(f"{root} is not a directory", "choose another one with --root", REFUSED)
        if facts.st_uid != os.geteuid():
            raise MirrorError(f"{root} belongs to another user", "name a directory of your own with --root", REFUSED)
    return root


def complaint_about_place_of_root(root: str, places: Places) -> str:
    """Why a clone can't live there, whatever its root and our own places are called, or nothing."""
    home, mirror_home = (os.path.realpath(place) for place in (places.user_home, places.mirror_home))
    known = places._replace(user_home=home, mirror_home=mirror_home)
    own = (home, clones_directory(known), mirror_home, base_in_root(home))
    pairs = ((above, one) for above in directories_above(root) for one in own if is_path_to(above, one))
    names = [root, *(one + root[len(above) :] for above, one in pairs)]
    return next(filter(None, (complaint_about_root(os.path.normpath(name), known) for name in names)), "")


def create_clone_directory(change: Change, clone: Clone) -> None:
    """Takes the clone's directory at one stroke: it is there with its id inside, or not at all."""
    base, fresh = base_of(clone), f"{base_of(clone)}.new-{change.id}"
    made = [fresh, base, change.scratch_name]
    parents = [*missing_directories(clone.root), *missing_directories(os.path.dirname(clone.wrapper))]
    staged = staged_wrappers(change, clone, replaces=False)  # In one plan with the rest, which is written once.
    change.extend_plan(parents=tuple(dict.fromkeys(parents)), made=made, clones=[clone], staged=staged)
    if change.is_dry:
        return
    make_directories(clone.root)
    os.mkdir(fresh, 0o700)
    refuse_hazards(fresh, change.places)
    write_new(os.path.join(fresh, "clone.json"), json.dumps({"id": clone.id, "name": clone.name}).encode())
    write_new(os.path.join(fresh, ".gitignore"), IGNORE_ALL)
    sync_directory(fresh)
    if kind_of(base):
        raise MirrorError(f"{base} already exists", "choose another directory with --root", REFUSED)
    os.rename(fresh, base)
    sync_directory(clone.root)


def complaint_about_base(clone: Clone) -> str:
    """Why the clone's directory isn't provably its own, or nothing; an earlier program's is known by its shape."""
    base, names = base_of(clone), set(entries_of(base_of(clone)))
    if odd := strange_part(base):
        return odd
    if not kind_of(base) or id_in_base(base) == clone.id:
        return ""
    strange = "clone.json" in names or not {"runtime", "home"} & names or names & {"registry.json", "clones", "lock"}
    return f"{base} is not the directory of '{clone.name}'" if strange else ""


def complaint_about_place(base: str, places: Places) -> str:
    """Why a clone's directory can't be taken for ours where it lies, or nothing."""
    hazards = (one for tail in CLONE_WAYS for one in hazards_on_way(os.path.join(base, tail), places.trusted))
    hazard = next(hazards, None)
    return f"{hazard.path} {hazard.why}" if hazard else strange_part(base)


def told_hazards(hazards: Iterable[Hazard], by_group: bool | None = None) -> list[tuple[str, str]]:
    """Hazards of a kind, or all, each in words with what helps; each directory once."""
    told = {one.path: one for one in hazards if by_group in (None, one.by_group)}
    return [(f"{one.path} {one.why}", one.fix) for one in told.values()]


def hazards_of_clone(clone: Clone, places: Places) -> list[Hazard]:
    """How somebody else could change the clone, but for what is so of the mirror home as a whole."""
    common = {hazard.path for hazard in hazards_on_way(places.mirror_home, places.trusted)}
    parts = [os.path.join(base_of(clone), tail) for tail in CLONE_WAYS] if kind_of(base_of(clone)) else []
    return [one for path in parts for one in hazards_on_way(path, places.trusted) if one.path not in common]


def bin_directories(clones: Sequence[Clone], places: Places) -> list[str]:
    """The directory for new commands, and those of the clones' own."""
    return list(dict.fromkeys((places.bin_dir, *(os.path.dirname(clone.wrapper) for clone in clones))))


def hazards_of_bin_directories(clones: Sequence[Clone], places: Places) -> Iterator[Hazard]:
    """How somebody else could replace commands."""
    directories = bin_directories(clones, places)
    return (hazard for directory in directories for hazard in hazards_on_way(directory, places.trusted))


def refuse_strange_clone(clone: Clone, places: Places) -> None:
    """Refuses to change a clone whose directory isn't provably its own and ours. Raises MirrorError."""
    base = base_of(clone)
    refuse_copy(clone, places)
    for tail in CLONE_WAYS if kind_of(base) else ():
        refuse_hazards(os.path.join(base, tail), places)
    if complaint := complaint_about_base(clone):
        raise MirrorError(complaint, "put the clone's own directory back", REFUSED)


def verify_clone_directory(clone: Clone, places: Places, only_looks: bool = False) -> None:
    """Makes sure that the clone's directory is ours and bears its id; an earlier program's, known by its shape, gets it
    now, and is made private and writable.

    Raises MirrorError when it is a link, somebody else's, or gone: a change would begin another one in its place, and
    it may only be on a disk that isn't mounted."""
    base = base_of(clone)
    refuse_strange_clone(clone, places)
    if not kind_of(base):
        hint = f"mount its disk, restore it from a backup, or codex-mirror remove {clone.name}"
        raise MirrorError(f"{base} is gone, with the clone's login and sessions", hint, REFUSED)
    if only_looks:
        return
    for directory in (base, home_of(clone), codex_home_of(clone), runtimes_of(clone)):
        if kind_of(directory) == "directory":
            make_private(directory, 0o700)
    if id_in_base(base) != clone.id:
        write_whole(os.path.join(base, "clone.json"), clone_row_text(clone))
    write_ignore_all(base)


def stage_wrapper(change: Change, clone: Clone, replaces: bool = True) -> None:
    """Stages the clone's wrapper where it is ours to write, else it is left, and said; and its copy in the clone."""
    files, content = staged_wrappers(change, clone, replaces), wrapper_content(clone, change.places)
    if complaint := complaint_about_wrapper(clone):
        change.unfinished.append(complaint)
        files = files[:1]
    else:
        refuse_unwritable_commands(os.path.dirname(clone.wrapper))
    for file, mode in zip(files, (0o700, 0o755), strict=False):
        change.make_room(os.path.dirname(file.target), mode)
    change.plan_to_stage(files)
    for file, mode in zip(files, (0o700, 0o755), strict=False):
        change.stage(file.target, content, mode, file.replaces)


def staged_wrappers(change: Change, clone: Clone, replaces: bool) -> list[StagedFile]:
    """The halves of the wrapper's copy in the clone, and of the wrapper itself."""
    targets = {wrapper_copy(clone): True, clone.wrapper: replaces}
    return [StagedFile(staged_name(target, change.id), target, may) for target, may in targets.items()]


def stage_files(change: Change, targets: Sequence[str], replaces: bool = False) -> list[str]:
    """Plans to put files of a clone in place after the commit, with room for them; where to write each till then."""
    for directory in dict.fromkeys(map(os.path.dirname, targets)):
        change.make_room(directory, 0o700)
    staged = [StagedFile(staged_name(target, change.id), target, replaces) for target in targets]
    change.extend_plan(staged=staged)
    return [half.temporary for half in staged]


@contextlib.contextmanager
def begin_clone_change(context: Context, what: str, name: str, removes: bool = False) -> Iterator[tuple[Change, Clone]]:
    """A change to one clone, whose directory is proved to be its own, unless it is gone and is to go. Raises
    MirrorError."""
    with begin_change(context, f"{what} {name}", frees_space=removes) as change:
        clone = clone_named(change.registry, name)
        refuse_copy(clone, context.places)
        if kind_of(base_of(clone)) or not removes:
            verify_clone_directory(clone, context.places, change.is_dry)
        change.extend_plan(clones=[clone])
        yield change, clone


def remove_clone(context: Context, name: str, force: bool = False) -> tuple[Clone, list[str], list[str]]:
    """Removes a clone with its login, sessions and wrapper; whom it ended first, since a running Codex would make
    files again, and what could not be finished, both in words. Raises MirrorError."""
    with begin_clone_change(context, "remove", name, removes=True) as (change, clone):
        ended = [] if change.is_dry else stop_codex(clone, "remove", force)
        to_delete = [base_of(clone), *own_wrapper(clone)]
        change.extend_plan(to_delete=to_delete, parents=[clone.root] if clone.made_root else [])
        change.commit(without_clone(change.registry, clone))
    return clone, ended, change.unfinished


def rename_clone(context: Context, old: str, new: str) -> tuple[Clone, list[str], list[str]]:
    """Gives a clone another name and command, and its home stays where it is; what is left to do, and why its old
    command stays, in words. Raises MirrorError."""
    name = new_clone_name(new)
    with begin_clone_change(context, "rename", old) as (change, clone):
        refuse_taken_name(change.registry, name)
        refuse_taken_command(name, context.places, context.env.get("PATH", os.defpath), change.registry.clones)
        wrapper = os.path.join(os.path.dirname(clone.wrapper), name)
        if kind_of(wrapper):
            raise MirrorError(
                f"{wrapper} already exists, and wasn't made by codex-mirror", "choose another name", REFUSED
            )
        renamed = clone._replace(name=name, wrapper=wrapper, updated=current_timestamp())
        kept = list(filter(None, [complaint_about_wrapper(clone)]))
        change.describe(f"rename {clone.name} {name}")
        change.extend_plan(to_delete=own_wrapper(clone))
        stage_wrapper(change, renamed, replaces=False)
        change.commit(with_clone(change.registry, renamed))
    return renamed, change.unfinished, kept


# --- Updates --------------------------------------------------------------------------------------

LEGACY_ENTRIES = ("bin/codex", "package/bin/codex.js")
LEGACY_PARTS = ("bin", "codex-path", "codex-resources", "codex-package.json", "package")


def renew_wrapper(change: Change, clone: Clone) -> None:
    """Stages the clone's wrapper anew where an older program wrote it."""
    if is_wrapper_of(clone, clone.wrapper) and not is_wrapper_current(clone, change.places):
        stage_wrapper(change, clone)


def unneeded_runtimes(clone: Clone) -> list[str]:
    """What lies in `runtime/` and is neither the clone's runtime nor the one before; nothing while the clone's own is
    missing, since another may have to take its place."""
    if not os.path.isfile(clone.runtime.entry):
        return []
    kept = [runtime.path for runtime in runtimes_kept(clone)]
    keeps_legacy = runtimes_of(clone) in kept
    others = [path for path in paths_in(runtimes_of(clone)) if path not in kept]
    return [path for path in others if not keeps_legacy or re.fullmatch(RUNTIME_NAME, os.path.basename(path))]


def unused_runtimes(clone: Clone) -> list[str]:
    """Those of them that are as we pinned them, and that no running Codex uses, as far as that can be seen."""
    unneeded = list(filter(is_provably_pinned, unneeded_runtimes(clone)))
    with contextlib.suppress(UnseenProcessesError):
        if unneeded and not is_codex_elsewhere(codex_home_of(clone), codex_pids_of(clone)):
            return [path for path in unneeded if not codex_pids_in(path, "")]
    return []


def is_provably_pinned(path: str) -> bool:
    """Is this a runtime with nothing in it but what we pinned, or a part of one of the earlier program, which lay in
    `runtime/` itself and had no manifest?"""
    directory, name = os.path.split(path)
    if name in LEGACY_PARTS:
        return any(os.path.isfile(os.path.join(directory, entry)) for entry in LEGACY_ENTRIES)
    pinned = {os.path.join(path, file.path): file for file in manifest_of(path) or ()}
    has_name = re.fullmatch(RUNTIME_NAME, name)
    files = [file for file in files_below(path) if file != os.path.join(path, MANIFEST)] if has_name else []
    is_unedited = all(file in pinned and looks_as_pinned(file, pinned[file]) for file in files)
    return bool(pinned and has_name) and is_unedited


def change_runtime(change: Change, clone: Clone, runtime: Runtime, previous: Runtime | None) -> Clone:
    """Commits another runtime for the clone, and plans to delete those that nothing needs any more."""
    changed = clone._replace(runtime=runtime, previous=previous, updated=current_timestamp())
    before, after = clone.runtime.version, runtime.version
    versions = f"{after} pinned again" if before == after else f"{before} → {after}"
    change.describe(f"{change.plan.what}: {versions}")
    change.extend_plan(to_delete=unused_runtimes(changed), clones=[changed])
    stage_wrapper(change, changed)
    change.commit(with_clone(change.registry, changed))
    return changed


class UpdateResult(NamedTuple):
    """An update or rollback of one clone: before, after, what could not be finished and whom it ended, in words."""

    before: Clone
    after: Clone
    left: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.before.runtime != self.after.runtime


@fetching_first
def update_clone(context: Context, name: str, wanted: Wanted, force: bool = False) -> UpdateResult:
    """Pins the Codex that is wanted, else the installed one, in a clone, and keeps the runtime of now for `rollback`.
    Without a word of which, one whose runtime is lost or damaged gets exactly its own again. A server of before would
    be joined by later sessions, and is ended."""
    with begin_change(context, f"update {name}") as change:
        clone = clone_named(change.registry, name)
        manifest, is_said = manifest_of(clone.runtime.path), bool(wanted.source or wanted.codex)
        lost = not is_said and bool(complaints_about_runtime(clone.runtime, manifest))
        if lost:
            verify_clone_directory(clone, context.places, change.is_dry)
            source = package_of_version(change, context, clone.runtime.version, clone.root, doubted=True)
        else:
            source = wanted_package(change, context, wanted, clone.root)
        verify_clone_directory(clone, context.places, change.is_dry)
        ended = () if change.is_dry else tuple(stop_server(clone, "update", force))
        same = (clone.runtime.version, clone.runtime.kind) == (source.version, source.kind) and manifest is not None
        complaints = damaged_files if is_said else complaints_about_runtime
        damaged = same and bool(complaints(clone.runtime, manifest))
        if same and not damaged and not (is_said and is_another_build(source, clone.runtime, manifest or ())):
            return UpdateResult(clone, clone, ended=ended)
        change.extend_plan(clones=[clone])
        if change.is_dry:
            change.extend_plan(made=[os.path.join(runtimes_of(clone), source.version)])
            stage_wrapper(change, clone)
            change.commit(change.registry)
        runtime = pin_runtime(change, source, clone, context, doubted=damaged or lost)
        changed = change_runtime(change, clone, runtime, clone.previous if damaged or lost else clone.runtime)
    return UpdateResult(clone, changed, tuple(change.unfinished), ended)


def roll_back_clone(context: Context, name: str, force: bool = False) -> UpdateResult:
    """Puts the runtime before the last update back; again, and it is the later one. Raises MirrorError."""
    with begin_clone_change(context, "rollback", name) as (change, clone):
        if not clone.previous:
            raise MirrorError(
                f"clone '{name}' has no earlier Codex to go back to",
                f"codex-mirror update {name} --codex VERSION pins any other",
                FAILED,
            )
        if missing := complaints_about_runtime(clone.previous, manifest_of(clone.previous.path)):
            raise MirrorError(
                f"the earlier Codex of '{name}' is damaged: {missing[0]}",
                f"codex-mirror update {name} --codex {clone.previous.version}",
                FAILED,
            )
        refuse_revoked(clone.previous.version, force)
        ended = tuple(stop_server(clone, "rollback", force))
        changed = change_runtime(change, clone, clone.previous, clone.runtime)
    return UpdateResult(clone, changed, tuple(change.unfinished), ended)


def install_wrappers(context: Context, directory: str) -> list[tuple[Clone, str]]:
    """Writes every clone's wrapper in this directory, instead of elsewhere; each clone with what hindered it."""
    refuse_unwritable_commands(directory)
    refuse_noexec(directory)
    results = []
    if context.dry_run:
        names = [clone.name for clone in read_registry(context.places).clones]
        rehearse_each(names, lambda name: move_wrapper(context, name, directory))
    for clone in read_registry(context.places).clones:
        try:
            results.append(move_wrapper(context, clone.name, directory))
        except (MirrorError, OSError) as error:
            if not isinstance(error, MirrorError) or error.code != NOT_FOUND:  # Else somebody removed it meanwhile.
                results.append((clone, error_line(error)))
    return results


def move_wrapper(context: Context, name: str, directory: str) -> tuple[Clone, str]:
    """Writes a clone's wrapper in this directory. Raises MirrorError when another file is in its place."""
    with begin_clone_change(context, "wrapper install", name) as (change, clone):
        moved = clone._replace(wrapper=os.path.join(directory, name))
        elsewhere = moved.wrapper != clone.wrapper and is_wrapper_of(clone, clone.wrapper)
        change.describe(f"wrapper install {name}: {moved.wrapper}")
        change.extend_plan(to_delete=[clone.wrapper] if elsewhere else [])
        stage_wrapper(change, moved)
        if change.unfinished:
            raise MirrorError(change.unfinished[0], "move that file away first", REFUSED)
        change.unfinished += filter(None, [complaint_about_wrapper(clone)] if moved.wrapper != clone.wrapper else [])
        change.commit(with_clone(change.registry, moved))
    return moved, "; ".join(change.unfinished)


def bind_directory(context: Context, name: str, directory: str) -> tuple[Clone | None, list[str]]:
    """Makes a directory this clone's, or with an empty name nobody's; an empty directory is everywhere else. The clone
    that had it before, and what could not be finished, in words. Raises MirrorError."""
    with begin_change(context, f"use {name or '--unset'}") as change:
        registry = change.registry
        clone = clone_named(registry, name) if name else None
        wanted = with_binding(registry, clone.id if clone else "", directory)
        changed = [one for one, before in zip(wanted.clones, registry.clones, strict=True) if one != before]
        before = [
            one
            for one in registry.clones
            if (any(is_same_directory(path, directory) for path in one.directories) if directory else one.is_default)
        ]
        if not changed:
            return clone, []
        for one in changed if clone else []:
            verify_clone_directory(one, context.places, change.is_dry)
            renew_wrapper(change, one)
        change.describe(f"{change.plan.what} {directory or '--default'}")
        change.extend_plan(clones=changed)
        change.commit(wanted)
    return before[0] if before else None, change.unfinished


# --- Clone changes --------------------------------------------------------------------------------


class CloneChanges(NamedTuple):
    """What `set` changes of a clone; nothing where a field is empty."""

    home: str = ""
    share: tuple[str, ...] = ()
    unshare: tuple[str, ...] = ()
    keep_env: tuple[str, ...] = ()
    no_keep_env: tuple[str, ...] = ()
    settings_from: str = ""
    share_settings: tuple[str, ...] = ()
    unshare_settings: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    no_env: tuple[str, ...] = ()
    accept_account: bool = False


def words_of_changes(request: CloneChanges) -> str:
    """What `set` was told, as its options; of a clone's own variables nothing but the names."""
    words = []
    for field, value in request._asdict().items():
        option = f"--{field.replace('_', '-')}"
        if value is True:
            words.append(option)
        for one in value if isinstance(value, tuple) else [value] if isinstance(value, str) and value else []:
            words += [option, quote_if_needed(one.partition("=")[0] if field == "env" else one)]
    return " ".join(words)


def change_clone(context: Context, name: str, request: CloneChanges) -> tuple[bool, list[str], list[str]]:
    """Changes how a clone lives, as one change; whether anything had to change, the files that the clone has of its own
    and keeps, and what could not be finished, in words."""
    with begin_clone_change(context, "set", name) as (change, clone):
        changed, own = clone._replace(home=request.home or clone.home), []
        for change_aspect in (change_variables, change_shares, change_shared_settings):
            changed, kept = change_aspect(change, changed, request, context)
            own += kept
        if request.accept_account:
            changed = changed._replace(account=accepted_account(clone))
        has_new_variables = change_own_variables(change, clone, request)
        if changed == clone and not request.settings_from and not has_new_variables:
            return False, own, []
        change.describe(f"{change.plan.what} {words_of_changes(request)}")
        changed = changed._replace(updated=current_timestamp())
        if request.settings_from:
            source = settings_source(request.settings_from, change.registry, context.places)
            own += stage_settings(change, changed, context, source)
        stage_wrapper(change, changed)
        change.commit(with_clone(change.registry, changed))
        refresh_git(changed, context.places, context.env)
    for directory in home_directories(changed):
        make_directories(directory)
    if (changed.home, changed.shared) != (clone.home, clone.shared):
        write_missing_helpers(changed)
    return True, own, change.unfinished


def accepted_account(clone: Clone) -> Account:
    """The account that the clone is logged in to now. Raises MirrorError when nobody knows."""
    if not is_known(account := account_of(clone)):
        what = f"the account of '{clone.name}' can't be read: {account_text(account)}"
        raise MirrorError(what, f"codex-mirror login {clone.name}")
    return account


def change_variables(change: Change, clone: Clone, request: CloneChanges, context: Context) -> tuple[Clone, list[str]]:
    """The clone with the hidden variables that it may see."""
    if unknown := [variable for variable in request.no_keep_env if variable not in clone.keep_env]:
        hint = f"it keeps: {', '.join(clone.keep_env) or 'none'}"
        raise MirrorError(f"'{clone.name}' doesn't keep {unknown[0]}", hint)
    kept = dict.fromkeys((*clone.keep_env, *map(checked_variable, request.keep_env)))
    return clone._replace(keep_env=tuple(variable for variable in kept if variable not in request.no_keep_env)), []


def change_own_variables(change: Change, clone: Clone, request: CloneChanges) -> bool:
    """Stages the clone's own variables; whether any changed. Raises MirrorError."""
    if request.env or request.no_env:
        refuse_open_variables(clone)
    before = clone_variables(clone)
    if unknown := [name for name in request.no_env if name not in before]:
        raise MirrorError(f"'{clone.name}' has no variable {unknown[0]}", f"it has: {', '.join(before) or 'none'}")
    after = {name: value for name, value in before.items() if name not in request.no_env}
    for text in request.env:
        name, equals, value = text.partition("=")
        refuse_variable(name)
        if not equals:
            raise MirrorError(f"{name} has no value", f"--env {name}=VALUE", USAGE)
        after[name] = value
    path = variables_file(clone)
    if after and after != before:
        change.stage(path, variables_text(after), 0o600, replaces=True)
    elif before and not after:
        change.extend_plan(to_delete=[path])
    return after != before


def change_shares(change: Change, clone: Clone, request: CloneChanges, context: Context) -> tuple[Clone, list[str]]:
    """The clone with the entries of the real home that it shares, their links staged; and what it has of its own."""
    dropped, new = changed_shares(clone, request, context, change.registry)
    own = [share for share in new if not make_way(clone, os.path.join(home_of(clone), share), change.is_dry)]
    added = [share for share in new if share not in own]
    links = [link_of_share(clone, share, context.places) for share in dropped]
    change.extend_plan(to_delete=list(filter(None, links)))
    linked = [share for share in added if share not in GIT_COPIES]
    halves = stage_files(change, [os.path.join(home_of(clone), share) for share in linked])
    for share, half in zip(linked, halves, strict=True):
        change.stage_link(share_source(share, context.places), half)
    named = is_naming_shares([word for word in request.share if word in SHARE_WORDS], clone.named_shares)
    shared = (*(share for share in clone.shared if share not in dropped), *added)
    return clone._replace(shared=shared, named_shares=named), own


def change_shared_settings(
    change: Change, clone: Clone, request: CloneChanges, context: Context
) -> tuple[Clone, list[str]]:
    """The clone with the settings that it shares, their links staged; and what it has of its own."""
    if unknown := [entry for entry in request.unshare_settings if entry not in clone.shared_settings]:
        hint = f"it shares: {', '.join(clone.shared_settings) or 'none'}"
        raise MirrorError(f"'{clone.name}' doesn't share the settings {unknown[0]}", hint)
    wanted = dict.fromkeys((*clone.shared_settings, *map(checked_setting, request.share_settings)))
    entries = [entry for entry in wanted if entry not in request.unshare_settings or entry in request.share_settings]
    if not entries and not clone.shared_settings:
        return clone, []
    changed, own = stage_settings_links(change, clone, entries)
    return changed, list(own) if request.share_settings else []


def changed_shares(
    clone: Clone, request: CloneChanges, context: Context, registry: Registry
) -> tuple[list[str], list[str]]:
    """The shared entries that go, and those that come; what is said to come doesn't go. Raises MirrorError."""
    if unknown := [share for share in request.unshare if share not in clone.shared]:
        hint = f"it shares: {', '.join(clone.shared) or 'nothing'}"
        raise MirrorError(f"'{clone.name}' doesn't share {unknown[0]}", hint)
    wanted = checked_shares(request.share, request.home or clone.home, context, registry)
    dropped = [one for one in clone.shared if one not in wanted and (one in request.unshare or "none" in request.share)]
    kept = [share for share in clone.shared if share not in dropped]
    new = [share for share in wanted if share not in kept and not any(is_below(share, one) for one in kept)]
    unnamed = default_shares(context, registry) if "default" in request.share else ()
    inner = [(share, above, above) for share in new for above in dropped if is_below(share, above)]
    outer = [(below, share, below) for share in new for below in clone.shared if is_below(below, share)]
    for one, around, shared in (*inner, *(pair for pair in outer if pair[1] not in unnamed)):
        # The new link can't be made before the other one is gone: it would be made in the real home, or has no place.
        hint = f"codex-mirror set {clone.name} --unshare {shell_quote(shared)}, then try again"
        raise MirrorError(f"{one} lies inside {around}, and '{clone.name}' still shares {shared}", hint, REFUSED)
    return dropped, new


def link_of_share(clone: Clone, share: str, places: Places) -> str:
    """The link of a shared entry, when it is still the one that we made."""
    link = os.path.join(home_of(clone), share)
    sources = (share_source(share, places), os.path.join(places.user_home, share))
    return link if any(is_link_to(link, source) for source in sources) else ""


def stage_settings_links(change: Change, clone: Clone, entries: Sequence[str]) -> tuple[Clone, tuple[str, ...]]:
    """Stages the links of these shared entries, and takes away those of entries no longer shared; the clone with them,
    and what it has of its own, which stays."""
    places, wanted = change.places, clone._replace(shared_settings=tuple(entries))
    links = settings_links_of(wanted, places)
    dropped = [tail for tail in clone.settings_links if tail.partition("/")[0] not in entries]
    ours = [os.path.join(codex_home_of(clone), tail) for tail in dropped if is_settings_link(clone, tail, places)]
    change.extend_plan(to_delete=ours)
    halves = stage_files(change, [os.path.join(codex_home_of(clone), tail) for tail in links.missing])
    for tail, half in zip(links.missing, halves, strict=True):
        change.stage_link(setting_target(tail, places), half)
    kept = [tail for tail in clone.settings_links if tail not in dropped]
    return wanted._replace(settings_links=(*kept, *(tail for tail in links.missing if tail not in kept))), links.own


def stage_settings(change: Change, clone: Clone, context: Context, source: str) -> list[str]:
    """Stages the settings of another Codex home; which the clone has of its own and keeps. The config.toml of before
    is kept beside the new one."""
    target = codex_home_of(clone)
    move = settings_move(source, context.places)
    own = [tail for tail in move.tails if kind_of(os.path.join(target, tail))]
    missing = [tail for tail in move.tails if tail not in own]
    halves = stage_files(change, [os.path.join(target, tail) for tail in missing])
    if change.is_dry:
        change.stage(config_file(target), b"", 0o600, replaces=True)
        return own
    for tail, half in zip(missing, halves, strict=True):
        copy_setting(move, tail, half, target)
    config = read_config(source)
    if config is not None:
        if kind_of(config_file(target)) == "link":
            raise MirrorError(f"{config_file(target)} is a link", "change the file that it points to", REFUSED)
        before = read_config(target)
        if before is not None:
            kept = f"{config_file(target)}.before-{change.id}"
            change.stage(kept, before, 0o600, replaces=False)
            context.report(f"the old config.toml was kept as {kept}", 0, 0)
        stage_config(change, clone, before, pinned_config(change, clone, context, config, move=move))
    return own


# --- Moving home ----------------------------------------------------------------------------------


def moved_clone(clone: Clone, names: NewNames, places: Places) -> Clone:
    """The clone in the mirror home that was moved: its places by their names of now."""
    root = clone.root if kind_of(base_of(clone)) else moved_path(clone.root, names)

    def moved(runtime: Runtime) -> Runtime:
        path, entry = (root + place[len(clone.root) :] for place in (runtime.path, runtime.entry))
        return runtime._replace(path=path, entry=entry)

    commands = [clone.wrapper, moved_path(clone.wrapper, names), os.path.join(places.bin_dir, clone.name)]
    there = [path for path in commands if is_wrapper_of(clone, path)]
    usable = [path for path in commands if moved_path(path, names) == path and os.path.isdir(os.path.dirname(path))]
    gone = {path: moved_path(path, names) for path in clone.directories if not os.path.lexists(path)}
    return clone._replace(
        root=root,
        runtime=moved(clone.runtime),
        previous=moved(clone.previous) if clone.previous else None,
        wrapper=[*there, *usable, commands[-1]][0],
        directories=tuple(gone[path] if os.path.isdir(gone.get(path, "")) else path for path in clone.directories),
        updated=current_timestamp(),
    )


def move_home(context: Context) -> tuple[list[Clone], list[str]]:
    """Binds the clones of a mirror home that was moved to its new place, where they lie, so that no login is ever
    doubled; those, and which stay behind and what could not be finished, in words. Raises MirrorError."""
    places = context.places
    with begin_change(context, MOVE_HOME) as change:
        if not (names := new_names(change.registry.clones, places)):
            for clone in change.registry.clones:
                refuse_copy(clone, places)
            return [], []
        moved: dict[str, Clone] = {}
        left: list[str] = []
        for clone in change.registry.clones:
            now = moved_clone(clone, names, places)
            try:
                refuse_running_in(clone, now)
                verify_clone_directory(now, places, only_looks=True)
                moved[clone.id] = now
            except MirrorError as error:
                if error.code == BUSY:
                    raise
                left.append(f"'{clone.name}' was not changed: {error.message}")
        change.describe(f"{MOVE_HOME} {', '.join(f'from {old} to {new}' for old, new in names)}")
        change.extend_plan(clones=list(moved.values()))
        for clone in moved.values():
            stage_moved_clone(change, clone, names)
        entries = change.registry.entries
        kept = tuple(moved.get(one.id, one) if isinstance(one, Clone) else one for one in entries)
        change.commit(change.registry._replace(entries=kept))
    return list(moved.values()), [*left, *change.unfinished]


def refuse_running_in(*places_of_clone: Clone) -> None:
    """Refuses a clone in which Codex is running, in whichever of these places. Raises MirrorError BUSY."""
    for clone in places_of_clone:
        if who := user_of_home(codex_home_of(clone), codex_pids_of(clone)):
            raise MirrorError(f"Codex is running in '{clone.name}' ({who})", "quit it first", BUSY)


def stage_moved_clone(change: Change, clone: Clone, names: NewNames) -> None:
    """Stages all in a clone that names the old place: its command, its links into the real home, its settings, and what
    its copies of git's configuration were made of."""
    stage_wrapper(change, clone)
    home, codex_home = home_of(clone), codex_home_of(clone)
    tails = [*clone.shared, *(f".config/git/{name}" for name in GIT_LINKS)]
    links = [os.path.join(home, tail) for tail in tails]
    for link in [*links, *(os.path.join(codex_home, tail) for tail in clone.settings_links)]:
        target = os.readlink(link) if kind_of(link) == "link" else ""
        now = moved_path(target, names)
        if target != now and (os.path.lexists(now) or not os.path.lexists(target)):
            [half] = stage_files(change, [link], replaces=True)
            change.stage_link(now, half)
    for path in (config_file(codex_home), *profile_files(codex_home)):
        if kind_of(path) == "file":
            content = read_whole(path, CONFIG_LIMIT)
            wanted = moved_settings(content.decode("utf-8", "surrogateescape"), names)
            if path == config_file(codex_home):
                wanted = with_home_distrusted(wanted, os.path.realpath(change.places.user_home))
            if (new := wanted.encode("utf-8", "surrogateescape")) != content:
                change.stage(path, new, 0o600, replaces=True, seen=digest_of_bytes(content))
    stage_moved_git(change, clone, names)


def moved_settings(config: str, names: NewNames) -> str:
    """A TOML text in which what is gone from its place, and lies there by another name, has that."""

    def moved(token: re.Match[str]) -> str:
        text = plain_text(token[0])
        now = moved_path(text, names) if text != token[0] else text
        quoted = json.dumps(now, ensure_ascii=False)
        is_moved = now != text and quoted not in config and os.path.lexists(now) and not os.path.lexists(text)
        return quoted if is_moved else token[0]

    return re.sub(TOML_OPAQUE, moved, config, flags=re.DOTALL)


def stage_moved_git(change: Change, clone: Clone, names: NewNames) -> None:
    """Stages the clone's copies of git's configuration, and what they were made with, by the names of now: nothing has
    to be derived anew then, and what was edited in a copy is still told from what wasn't."""
    _, times, copies = git_state(clone)
    known = [*times, *copies]
    includes = {f"/include-{short_digest(path)}": f"/include-{short_digest(moved_path(path, names))}" for path in known}
    now = {path: moved_path(path, names) for path in known}
    now |= {path: now[path].replace(old, new) for old, new in includes.items() for path in known if path.endswith(old)}
    references = {f"/reference-{short_digest(path)}": f"/reference-{short_digest(now[path])}" for path in known}
    words = {**{f"{old}/": f"{new}/" for old, new in names}, **includes, **references}
    files = {path: path for path in (os.path.join(home_of(clone), GIT_COPIES[share]) for share in shared_git(clone))}
    for path in paths_in(git_directory(clone)):
        name = os.path.basename(path).partition(".")
        files[path] = os.path.join(
            git_directory(clone), words.get(f"/{name[0]}", f"/{name[0]}")[1:] + name[1] + name[2]
        )
    for path, target in files.items():
        content = wanted = (read_or_none(path) or b"") if kind_of(path) == "file" else b""
        for before, after in words.items():
            wanted = wanted.replace(os.fsencode(before), os.fsencode(after))
        if target == path and wanted == content:
            continue
        facts = os.stat(path)
        change.stage(target, wanted, stat.S_IMODE(facts.st_mode), replaces=True)
        if not change.is_dry:  # A reference has the time of its source.
            os.utime(change.plan.staged[-1].temporary, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
        change.extend_plan(to_delete=[path] if target != path else [])


# --- Export and import ----------------------------------------------------------------------------

IMPORT_LIMIT = 64 << 30


def exported_members(clone: Clone, with_login: bool) -> list[tuple[str, str | bytes]]:
    """What an export holds, in its order: names in the archive, and files or bytes."""
    codex_home = codex_home_of(clone)
    about = {"version": 1, "name": clone.name, "codex": clone.runtime.version, "home": clone.home}
    about["codexHome"] = codex_home
    tails = [*settings_files(codex_home), *session_files(codex_home)]
    single = ("config.toml", "auth.json") if with_login else ("config.toml",)
    tails += [name for name in single if os.path.isfile(os.path.join(codex_home, name))]
    files: list[tuple[str, str | bytes]] = [(f"codex/{tail}", os.path.join(codex_home, tail)) for tail in sorted(tails)]
    return [("codex-mirror.json", json.dumps(about, indent=2).encode() + b"\n"), *files]


def session_times(members: Sequence[tuple[str, str | bytes]]) -> dict[str, float]:
    """When the sessions in an export were written last, by their names in it."""
    found = {name: path for name, path in members if isinstance(path, str) and re.match(r"codex/\w*sessions/", name)}
    return {name: modified_at(path) for name, path in found.items()}


def pack_export(file: BinaryIO, clone: Clone, with_login: bool) -> None:
    members = exported_members(clone, with_login)
    pack(file, members, session_times(members))


def usual_export(name: str) -> str:
    """The file of an export when none is named."""
    return f"{name}.codex-mirror.tar.gz"


def export_to_file(context: Context, name: str, path: str, with_login: bool) -> None:
    """Writes the export as a new private file; half of one never has its name. Raises MirrorError."""
    with begin_change(context, f"export {name}") as change:
        clone = clone_named(change.registry, name)
        if kind_of(path):
            raise MirrorError(f"{path} already exists", "choose another file with -o", REFUSED)
        refuse_own_place(os.path.dirname(path), context.places)
        temporary = staged_name(path, change.id)
        change.extend_plan(made=[temporary])
        with open(os.open(temporary, NEW_FILE, 0o600), "wb") as file:
            pack_export(file, clone, with_login)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(temporary, path)
        change.note_done()
        sync_directory(os.path.dirname(path))


def unpacked_export(change: Change, archive: BinaryIO) -> tuple[str, dict[str, Any]]:
    """An export unpacked into the change's scratch: the Codex home in it, and what it says of itself."""
    directory = change.scratch()
    archive.seek(0)
    unpack(archive, directory, IMPORT_LIMIT)
    about = read_json_object(os.path.join(directory, "codex-mirror.json"))
    if about.get("version") != 1 or not isinstance(about.get("name"), str):
        raise MirrorError("this is not a codex-mirror export", "codex-mirror export NAME makes one", REFUSED)
    return os.path.join(directory, "codex"), about


def dangers_of_export(archive: BinaryIO, user_home: str) -> tuple[str, ...]:
    """What an export brings that costs those who take it over unseen, without unpacking it. Raises MirrorError."""
    members = read_members(archive, f"codex/({JUDGED})|codex-mirror\\.json", IMPORT_LIMIT, CONFIG_LIMIT)
    home = text_in(parse_json_object(members.pop("codex-mirror.json", b"")), "codexHome")
    files = {name.removeprefix("codex/"): content for name, content in members.items()}
    return dangers_brought(files, home, user_home)


def own_settings(codex_home: str) -> dict[str, bytes]:
    """The settings of a Codex home that are judged and that would come along."""
    there = [name for name in ("config.toml",) if os.path.isfile(os.path.join(codex_home, name))]
    return judged_files(codex_home, [*there, *settings_files(codex_home)])


def import_export(
    context: Context, archive: BinaryIO, name: str, codex: Wanted, agreed: tuple[str, ...]
) -> tuple[Clone, list[str]]:
    """Makes a clone from an export that brings nothing but what was agreed to. Raises MirrorError."""

    def requested(change: Change) -> NewClone:
        home, about = unpacked_export(change, archive)
        inside = [os.path.relpath(path, home) for path in files_below(home)]
        files, source = judged_files(home, inside), text_in(about, "codexHome")
        if dangers_brought(files, source, context.places.user_home) != agreed:
            raise MirrorError("the export was changed while it was being read", "import it again", REFUSED)
        kind = about["home"] if about.get("home") in HOMES else HOMES[0]
        brought = ImportedHome(home, sessions=True, login=True, exported_from=source)
        return NewClone(new_clone_name(name or about["name"]), codex=codex, home=kind, brought=brought)

    return make_clone(context, f"import {name}".rstrip(), requested)


def import_home(context: Context, name: str, codex: Wanted, brought: ImportedHome) -> tuple[Clone, list[str]]:
    """Makes a clone from an existing Codex home, which keeps all but a login that is moved. Raises MirrorError."""
    path, home = brought.home, name_on_disk(os.path.realpath(brought.home))
    if who := user_of_home(home, codex_pids_in(os.path.join(home, "packages"), home)):
        raise MirrorError(f"Codex is running in {home} ({who})", "quit it first", BUSY)
    if brought.login:
        refuse_unmovable_login(home)
    if not is_codex_home(home):
        raise MirrorError(
            f"{path} is not a Codex home", "it would have a config.toml, an auth.json or sessions in it", REFUSED
        )
    if not name:
        raise MirrorError(
            "the new clone needs a name", f"codex-mirror import {quote_if_needed(path)} --name work", USAGE
        )
    checked = new_clone_name(name)
    base = clone_directory_of(home)
    if base and os.path.realpath(base_in_root(root_in_base(base))) == base:
        raise MirrorError(f"{path} is already a clone", "codex-mirror rename gives it another name", REFUSED)
    aside = os.path.join(home, f"auth.json.moved-to-{name}-{new_id()}")
    request = NewClone(checked, codex=codex, brought=brought._replace(home=home, aside=aside))
    return make_clone(context, f"import {path}", lambda change: request)


def refuse_unmovable_login(home: str) -> None:
    """Refuses to move a login that isn't there, or is in a keyring. Raises MirrorError."""
    login = login_file(home)
    if kind_of(login) == "link" or (kind_of(login) and os.stat(login).st_nlink > 1):
        raise MirrorError(
            f"{login} is a link to a login that other programs may use", "log in to the clone instead", REFUSED
        )
    if not os.access(home, os.W_OK):
        raise MirrorError(
            f"{home} can't be written, so the login can't be moved", "log in to the clone instead", REFUSED
        )
    if os.path.isfile(login) and not is_known(account_in_file(login)) and not keeps_login_in_keyring(home):
        what = f"{login} is not a readable Codex login, and was left where it is"
        raise MirrorError(what, "leave --move-login out, and log in to the clone", REFUSED)
    if keeps_login_in_keyring(home) or not os.path.isfile(login):
        where = "in the keyring, and can't be moved" if keeps_login_in_keyring(home) else "not there"
        raise MirrorError(f"the login of {home} is {where}", "leave --move-login out, and log in to the clone", REFUSED)


# --- Handover -------------------------------------------------------------------------------------


class Handover(NamedTuple):
    """What came of a handover: the copy, what was left out of it, by its kind, and what to know of it."""

    source: Session
    copy: Session
    is_new: bool = True
    left_out: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()


class CopyPlan(NamedTuple):
    """How a copy is made: from what, where to, for whom, and under which new id, if any; the digest of the copy that is
    there, how many of its lines stay, and how many of the source it has already."""

    source: Session
    path: str
    creator: tuple[str, str]
    copy_id: str = ""
    seen: str = ""
    kept: int = 0
    skipped: int = 0


def creator_from_account(account: Account) -> tuple[str, str]:
    """An account as the first line of a session names it: workspace and user; nobody, where it isn't a ChatGPT one."""
    whole = account.kind == "chatgpt" and account.workspace and account.user
    return (account.workspace, account.user) if whole else NOBODY


def maker_of(session: Session) -> tuple[str, str]:
    """Who made a session: as it says, or else who has been logged in to its clone since before it was begun."""
    if session.meta.workspace or session.meta.user:
        return session.meta.workspace, session.meta.user
    account = account_of(session.clone)
    begun = timestamp_from(session.meta.started)
    return creator_from_account(account) if begun and begun >= account_since(session.clone, account) else NOBODY


def is_of_key(session: Session) -> bool:
    """Was a session, which names no maker then, begun with the API key that its clone still has?"""
    account, begun = account_of(session.clone), timestamp_from(session.meta.started)
    is_nameless = not session.meta.workspace and not session.meta.user
    return account.kind == "api-key" and is_nameless and bool(begun) and begun >= account_since(session.clone, account)


def comparable_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """What of a session anybody may have, without what differs between copies, and each line's number from 1."""
    for number, line in enumerate(lines, 1):
        if carried := carried_line(line, NOBODY)[0]:
            yield number, re.sub(ORDINAL, rb"\1", carried, count=1)


def is_conversation(line: bytes) -> bool:
    """Did somebody go on with this line? Codex also notes when it opens a session, what is around it, and an abort."""
    record = parse_json_object(line)
    payload = record.get("payload")
    if text_in(record, "type") not in ("response_item", "compacted") or text_in(payload, "role") == "developer":
        return False
    return text_in(payload, "role") != "user" or not re.match(INJECTED, joined_texts(payload))


def compare_copies(source: Iterable[bytes], target: Iterable[bytes]) -> tuple[str, int, int]:
    """Is the target `same`, a beginning of the source (`behind`), `ahead` of it or `apart`? And how many lines of
    source and target are common, seen without what can't be carried, which stays where it is the target's."""
    ours, theirs = comparable_lines(source), comparable_lines(target)
    common = 0
    while True:
        own, other = next(ours, None), next(theirs, None)
        if own is None or other is None or own[1] != other[1]:
            break
        common = own[0]
    kept = other[0] - 1 if other else sys.maxsize
    went_on = other is not None and (is_conversation(other[1]) or any(is_conversation(line) for _, line in theirs))
    if own is None:
        return "ahead" if went_on else "same", common, kept
    return "apart" if went_on else "behind", common, kept


def is_of_another_account(session: Session) -> bool:
    """Does the session say that another account made it than the one that is logged in to its clone?"""
    account, maker = account_of(session.clone), (session.meta.workspace, session.meta.user)
    return any(maker) and account.kind in ("chatgpt", "api-key") and maker != creator_from_account(account)


def new_session_id() -> str:
    """A UUID as Codex makes them for sessions, which begins with the time (version 7)."""
    import uuid

    moment = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return str(uuid.UUID(int=moment & ~(0xF << 76) & ~(3 << 62) | 7 << 76 | 2 << 62))


def lines_of_copy(plan: CopyPlan, is_makers: bool, left_out: dict[str, int]) -> Iterator[bytes]:
    """The lines of the copy, some of them empty: the target's own as far as they are common, and what the source has
    beyond those; whoever made it gets them as they are. Counts what is left out."""
    copy_id = plan.copy_id
    for number, line in enumerate(complete_lines(plan.path) if plan.kept else ()):
        if number < plan.kept:
            yield line
    for number, line in enumerate(complete_lines(plan.source.path)):
        if number >= plan.skipped:
            carried, what = (line, "") if is_makers and not copy_id else carried_line(line, plan.creator, copy_id)
            copy_id = ""
            if what:
                left_out[what] = left_out.get(what, 0) + 1
            yield carried


def pieces_of_copy(plan: CopyPlan, left_out: dict[str, int]) -> Iterator[bytes]:
    """What the copy consists of, piece by piece; counts what is left out."""
    is_makers = maker_of(plan.source) == plan.creator != NOBODY
    lines = filter(None, lines_of_copy(plan, is_makers, left_out))
    return lines if is_makers else with_ordinals(lines)


def hand_over_session(
    context: Context, start: str, name: str, *, fork: bool = False, force: bool = False, own: bool = False
) -> Handover:
    """Copies the newest copy of a session into a clone, so that the account there can go on with it; the source stays
    as it is. With `fork` under a new id; with `own` the clone's own, which another account made. Raises MirrorError."""
    with begin_clone_change(context, f"hand over session {start} to", name) as (change, target):
        copies = sessions_with_id(change.registry.clones, start)
        others = [one for one in copies if (one.clone.id == target.id) == own] or (copies if fork else [])
        if not others:
            return Handover(copies[0], copies[0], False, notes=(f"'{name}' already has that session",))
        plan = copy_plan(with_meta(others[0]), target, copies, fork)
        copy = Session(plan.source.updated, plan.path, target)
        if kind_of(plan.path):
            if not force:
                refuse_open(copy)
            plan = plan_for_replacing(plan, with_meta(copy))
            if is_done(plan):
                return Handover(plan.source, copy, False, notes=(f"'{name}' already has all of that session",))
        refuse_links_above(plan.path, target)
        change.make_room(os.path.dirname(plan.path), 0o700)
        left_out: dict[str, int] = {}
        staged = StagedFile(staged_name(plan.path, change.id), plan.path, bool(plan.seen), plan.seen)
        change.describe(f"handover {plan.source.id} {name}, from {plan.source.clone.name}")
        change.extend_plan(staged=[staged])
        mtime = os.stat(plan.source.path).st_mtime_ns
        if change.is_dry:
            raise DryRun(change.plan)
        write_pieces(staged.temporary, pieces_of_copy(plan, left_out), 0o600, mtime)
        change.commit(change.registry)
    notes = handover_notes(plan.source, target, left_out)
    return Handover(plan.source, with_meta(copy), True, left_out, notes, tuple(change.unfinished))


def copy_plan(source: Session, target: Clone, copies: Sequence[Session], fork: bool) -> CopyPlan:
    """Where the copy will lie: in the same place, or where the clone has that session. Raises MirrorError."""
    refuse_unreadable(source)
    if source.meta.is_subagent:
        above = next((one for one in (source.meta.session, source.meta.parent) if one not in ("", source.id)), "ID")
        hint = f"hand over its parent session: codex-mirror handover {above} {target.name}"
        raise MirrorError(f"session {source.id} belongs to a sub-agent", hint, REFUSED)
    copy_id = new_session_id() if fork else ""
    path = os.path.join(codex_home_of(target), os.path.relpath(source.path, codex_home_of(source.clone)))
    if fork:
        path = os.path.join(os.path.dirname(path), os.path.basename(path).replace(source.id, copy_id))
    else:
        path = next((one.path for one in copies if one.clone.id == target.id), path)
    return CopyPlan(source, path, creator_from_account(account_of(target)), copy_id)


def plan_for_replacing(plan: CopyPlan, copy: Session) -> CopyPlan:
    """The plan with what is known of the copy that is there: its digest, and what of it stays, since it is the
    account's own. Raises MirrorError where somebody went on in it."""
    refuse_unreadable(copy)
    seen = digest_of(copy.path)
    relation, skipped, kept = compare_copies(complete_lines(plan.source.path), complete_lines(copy.path))
    if relation in ("ahead", "apart"):
        what, there = (
            f"session {copy.id} was continued separately in '{copy.clone.name}'",
            f"{copy.id} --in {copy.clone.name}",
        )
        hint = f"--fork copies it as a new session; to continue there: codex-mirror resume {there}"
        raise MirrorError(what, hint, REFUSED)
    if maker_of(copy) == plan.creator != maker_of(plan.source) or is_of_key(copy):
        return plan._replace(seen=seen, kept=kept, skipped=skipped)
    return plan._replace(seen=seen)


def is_done(plan: CopyPlan) -> bool:
    """Has the copy that is there every line that this one would have?"""
    there = complete_lines(plan.path)
    return all(next(there, None) == piece for piece in pieces_of_copy(plan, {})) and not next(there, None)


def refuse_unreadable(session: Session) -> None:
    """Refuses to copy what can't be read as a session. Raises MirrorError."""
    if session.is_compressed:
        what, hint = "is compressed", f"to unpack it: codex-mirror resume {session.id} --in {session.clone.name}"
        raise MirrorError(f"session {session.id} {what}", hint, REFUSED)
    if not session.meta.id:
        raise MirrorError(
            f"{session.path} doesn't start like a session file", "a damaged session can't be handed over", REFUSED
        )


def refuse_open(copy: Session) -> None:
    """Refuses to replace a session that somebody has open. Raises MirrorError BUSY."""
    if pids := pids_with_open(copy.path):
        what = f"session {copy.id} is open in '{copy.clone.name}' (pid {', '.join(map(str, pids))})"
        raise MirrorError(what, "close it there first, or replace it with --force", BUSY)


def refuse_links_above(path: str, clone: Clone) -> None:
    """Refuses a place in a clone that is reached through a link: what is behind it isn't the clone's."""
    for above in directories_above(os.path.dirname(path)):
        if is_below(above, base_of(clone)) and kind_of(above) not in ("directory", ""):
            raise MirrorError(
                f"{above} is not a directory of the clone's own", "put the clone's own directory back", REFUSED
            )


def handover_notes(source: Session, target: Clone, left_out: Mapping[str, int]) -> tuple[str, ...]:
    """What to know of a copy that was made."""
    notes, name = [], source.clone.name
    if left_out:
        notes.append(left_out_text(left_out))
    if pids := pids_with_open(source.path):
        running = ", ".join(map(str, pids))
        notes.append(f"it is open in '{name}' (pid {running}): what is written there from now on isn't in the copy")
    metas = (with_meta(one).meta for one in sessions_of([source.clone]) if one.updated >= source.updated - 30 * 86400)
    if count := sum(meta.is_subagent and source.id in (meta.parent, meta.session) for meta in metas):
        notes.append(f"{count_text(count, 'thread')} of its sub-agents stayed in '{name}'")
    if is_newer(source.meta.version, target.runtime.version):
        older = f"Codex {target.runtime.version} of '{target.name}' is older than the session's {source.meta.version}"
        notes.append(f"{older}: codex-mirror update {target.name}")
    return tuple(notes)


# --- App server -----------------------------------------------------------------------------------

APP_SERVER = ("-c", "features.plugins=false", "-c", "features.apps=false", "app-server")
LIMITS_REQUEST = b"".join(
    json.dumps(message).encode() + b"\n"
    for message in (
        {
            "id": 1,
            "method": "initialize",
            "params": {"clientInfo": {"name": "codex-mirror", "title": None, "version": "1"}},
        },
        {"method": "initialized"},
        {"id": 2, "method": "account/rateLimits/read", "params": {"excludeResetCreditDetails": True}},
    )
)
# What the app server calls otherwise than the session files, besides its capital letters (Codex 0.120 to 0.171).
OTHER_NAMES = {"window_duration_mins": "window_minutes"}
REFRESH_MARGIN = 300
REFRESHED_AFTER = 7 * 86400


class FreshAnswer(NamedTuple):
    """What came of asking a clone's Codex: the limits, or why it wasn't asked (`why`), or what went wrong (`error`)."""

    usage: Usage | None = None
    why: str = ""
    error: str = ""


def fresh_usage(context: Context, seconds: float, clone: Clone) -> FreshAnswer:
    """Asks the clone's own Codex for the limits of its account, in its environment, and never beside another one."""
    if why := reason_not_to_ask(context, clone):
        return FreshAnswer(why=why)
    program = launch_program(clone, context.places, context.env, APP_SERVER)
    try:
        said = converse(program, LIMITS_REQUEST, has_answer, seconds, partial(may_be_killed, clone))
    except OSError as trouble:
        return FreshAnswer(error=f"{program.argv[0]} can't be started: {trouble.strerror}")
    answer = answer_in(said.out)
    if isinstance(result := answer.get("result"), dict):
        by_id = result.get("rateLimitsByLimitId")
        limits = by_id.get("codex") if isinstance(by_id, dict) else None
        limits = in_file_words(limits or result.get("rateLimits"))
        found = usage_from(limits if isinstance(limits, dict) else {}, time.time())
        return FreshAnswer(found if found.windows else found._replace(why=NO_LIMITS))
    if error := words_of_codex(text_in(answer.get("error"), "message").encode("utf-8", "replace")):
        return FreshAnswer(error=" ".join(re.split(r"; (?:content-type|body)=", error)[0].split())[:300])
    if said.code is None:
        return FreshAnswer(error=f"no answer within {seconds:g} s")
    last = [line for line in words_of_codex(said.err).splitlines() if not line.startswith("WARNING:")][-1:]
    return FreshAnswer(error=": ".join([f"its Codex exited with code {said.code}", *last])[:300])


def reason_not_to_ask(context: Context, clone: Clone) -> str:
    """Why this clone's Codex is not to be asked now, or nothing."""
    if is_offline(context.env):
        return "not asked: CODEX_MIRROR_OFFLINE is set"
    account = account_of(clone)
    if account.kind != "chatgpt":
        return f"not asked: {NO_FIGURES.get(account.kind, 'no ChatGPT login')}"
    if not os.path.isfile(clone.runtime.entry) or not os.path.isdir(codex_home_of(clone)):
        return f"not asked: a part of it is missing; codex-mirror doctor {clone.name} --fix"
    if complaint := complaint_about_variables(clone):
        return f"not asked: {complaint}"
    try:
        pids = codex_pids_of(clone)
    except UnseenProcessesError as error:
        return f"not asked: {error.message}"
    return f"not asked: its Codex is running (pid {', '.join(map(str, pids))})" if pids else ""


def may_be_killed(clone: Clone) -> bool:
    """Is no refresh due? One that is cut off can lose the login: its token works once, and the new one isn't kept."""
    login, now = read_json_object(login_file(codex_home_of(clone))), time.time()
    expires = number_in(claims_in(text_in(login.get("tokens"), "access_token")), "exp") or 0
    refreshed = timestamp_from(text_in(login, "last_refresh"))
    return expires - now > REFRESH_MARGIN and now - refreshed < REFRESHED_AFTER


def answer_in(output: bytes) -> dict[str, Any]:
    """The app server's answer to our question, between whatever else it says; nothing while it isn't there."""
    for line in output.split(b"\n"):
        if b'"id"' in line and (message := parse_json_object(line)).get("id") == 2:
            return message
    return {}


def has_answer(output: bytes) -> bool:
    return bool(answer_in(output))


def in_file_words(value: Any) -> Any:
    """The app server's names as the session files have them: `usedPercent` is `used_percent` there."""
    if not isinstance(value, dict):
        return value
    names = {key: re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), key) for key in value}
    return {OTHER_NAMES.get(name, name): in_file_words(value[key]) for key, name in names.items()}


# --- Leftovers ------------------------------------------------------------------------------------


def unregistered_bases(bases: Sequence[str], registry: Registry, places: Places) -> dict[str, str]:
    """The clone directories that the registry doesn't know under any name: for each, why it can't be taken back, or
    nothing."""
    known, ids = {base_in_root(root) for root in claimed_values(registry, "rootPath")}, claimed_values(registry, "id")
    strange = [base for base in bases if base not in known]
    taken = set(map(os.path.realpath, known)) if strange else set()
    free = [base for base in strange if os.path.realpath(base) not in taken]
    return {base: complaint_about_unregistered(base, ids, places) for base in free}


def complaint_about_unregistered(base: str, ids: Collection[str], places: Places) -> str:
    """Why the directory of a clone that isn't in the registry can't be taken back into it, or nothing."""
    try:
        if complaint := complaint_about_place(base, places):
            return complaint
    except OSError as error:
        return error_line(error)
    clone_id, root = id_in_base(base), root_in_base(base)
    if not clone_id or not root:
        return "no clone.json in it names a clone"
    if base_in_root(root) != base:
        return f"it belongs in {root}"
    return "another clone has its id" if clone_id in ids else ""


def base_elsewhere(clone: Clone) -> str:
    """The directory of a clone that isn't in its place any more, and lies beside it by another name; or nothing."""
    if kind_of(base_of(clone)):
        return ""
    beside = map(base_in_root, paths_in(os.path.dirname(clone.root)))
    return next((base for base in beside if id_in_base(base) == clone.id), "")


def move_back(clone: Clone, base: str) -> str:
    """The command that puts a clone's directory back in its place."""
    paths = (base, base_of(clone)) if os.path.lexists(clone.root) else (os.path.dirname(base), clone.root)
    return f"mv {' '.join(map(quote_if_needed, paths))}"


def is_copy_here(base: str) -> bool:
    """Is this the copy of a clone that is in its own place? Its login is in use there."""
    own = base_in_root(root_in_base(base))
    return own != base and bool(id_in_base(base)) and id_in_base(own) == id_in_base(base)


def is_copied_base(base: str, places: Places) -> bool:
    """Is this the copy of a clone that another mirror home has? Its login is in use there."""
    root = root_in_base(base)
    home = os.path.dirname(os.path.dirname(root))
    is_other = is_marked_home(home) and not is_same_directory(home, places.mirror_home)
    return is_other and bool(id_in_base(base_in_root(root)))


def claimed_values(registry: Registry, key: str) -> set[str]:
    """What the rows, good and bad, say under a key."""
    return {text_in(entry.row, key) for entry in registry.entries}


def size_of_unfinished(plans: Sequence[str]) -> str:
    """What the unfinished changes made, in words and without what others have, too; nothing below a megabyte."""
    sizes: dict[str, int] = {}
    for path in plans:
        with contextlib.suppress(OSError, ValueError, TypeError):
            plan = plan_from(read_whole(path))
            tops = (*plan.made, *(name_while_deleting(one, plan) for one in plan.to_delete))
            files = ((file, os.lstat(file)) for top in tops for file in files_below(top))
            sizes |= {file: facts.st_size for file, facts in files if facts.st_nlink == 1}
    size = sum(sizes.values())
    return size_text(size) if size >= 1 << 20 else ""


def find_leftovers(places: Places, registry: Registry) -> Iterator[str]:
    """What a killed or hindered change left: by names that only our changes give, in places that are ours; in other
    people's directories only with our mark inside. A date is eight such digits, too; and what another mirror home's
    change, which may be under way, has there is no business of ours."""
    staged, gone = r"\..+\.codex-mirror-[0-9a-f]{8}", r"\.gone-[0-9a-f]{8}"
    in_home = re.compile(r"scratch-[0-9a-f]{8}|unreadable-[0-9a-f]{8}\.journal")
    in_runtimes = re.compile(rf"({RUNTIME_NAME}|{'|'.join(map(re.escape, LEGACY_PARTS))}){gone}")
    in_bin = re.compile(rf".+{gone}|{staged}")
    in_root = re.compile(r"\.codex-mirror\.(gone|new)-[0-9a-f]{8}")
    clones = [clone for clone in registry.clones if not home_claiming(clone, places)]
    own = [clone for clone in clones if is_plain_base(base_of(clone))]
    roots = sorted({*paths_in(clones_directory(places)), *(clone.root for clone in clones)})
    busy = tuple(re.findall(r"[0-9a-f]{8}", " ".join(map(os.path.basename, plans_of(places)))))
    looked: list[tuple[str, re.Pattern[str], Callable[[str], object]]] = [
        (places.mirror_home, in_home, is_file_or_scratch),
        *((base_of(clone), re.compile(staged), kind_of) for clone in own),
        *((runtimes_of(clone), in_runtimes, kind_of) for clone in own),
        *((directory, in_root, id_in_base) for directory in roots),
        *((directory, in_bin, partial(is_wrapper_of_home, places)) for directory in bin_directories(clones, places)),
    ]
    for directory, names, proof in looked:
        for path in paths_in(directory):
            if names.fullmatch(os.path.basename(path)) and not path.endswith(busy) and proof(path):
                yield path


def is_wrapper_of_home(places: Places, path: str) -> bool:
    """Is this a command that was written for this mirror home, or by 1.0.0, which didn't say for which?"""
    found = wrapper_at(path)
    home = wrapper_setting(found.text, "mirror_home") if found and found.unedited else ""
    return bool(found and found.unedited) and (not home or is_same_directory(home, places.mirror_home))


def is_plain_base(base: str) -> bool:
    """Is every part of a clone's directory a plain one of our own, as far as we may look?"""
    with contextlib.suppress(OSError):
        return not strange_part(base)
    return False


def is_file_or_scratch(path: str) -> bool:
    """Is this no directory, or one with nothing in it but what a change has made in its scratch?"""
    return kind_of(path) != "directory" or all(re.fullmatch(r"[0-9a-f]{8}", name) for name in entries_of(path))


def find_legacy_leftovers(places: Places, bases: Sequence[str]) -> list[str]:
    """What the earlier program may leave behind."""
    looked = [(places.mirror_home, r"registry\.json\.(lock\Z|tmp-)"), *((base, r"runtime\.backup-") for base in bases)]
    return [path for place, names in looked for path in paths_in(place) if re.match(names, os.path.basename(path))]


def find_orphan_wrappers(bases: Mapping[str, str], ids: Collection[str], places: Places) -> dict[str, str]:
    """Those of our wrappers whose clones aren't there any more: for each, why it stays, or nothing."""
    found = ((path, base, wrapper_at(path)) for path, base in bases.items() if not kind_of(base))
    return {
        path: complaint_about_orphan(path, wrapper, base, places)
        for path, base, wrapper in found
        if wrapper and wrapper.owner not in ids
    }


def find_stale_wrappers(registry: Registry, places: Places) -> dict[str, str]:
    """The commands of clones by names or in directories that they no longer have, each with its clone; only where all
    of them are known for sure."""
    directories = dict.fromkeys([places.bin_dir, *(os.path.dirname(clone.wrapper) for clone in registry.clones)])
    paths = [path for directory in directories for path in paths_in(directory)] if not registry.bad_rows else []
    return {path: owner for path in paths if (owner := stale_owner(path, registry.clones))}


def wrapper_bases(places: Places) -> dict[str, str]:
    """The wrappers that we wrote for this mirror home, in its wrapper directory, and where their clones are or were."""
    bases = {path: wrapper_base(path, places) for path in paths_in(places.bin_dir)}
    return {path: base for path, base in bases.items() if base}


def known_bases(places: Places, wrappers: Mapping[str, str]) -> list[str]:
    """Where clones are or were, going by the mirror home's own directory and by the wrappers."""
    return [*map(base_in_root, paths_in(clones_directory(places))), *wrappers.values()]


def wrapper_base(path: str, places: Places) -> str:
    """The clone directory that a wrapper of this mirror home leads to, or nothing."""
    found = wrapper_at(path)
    if not found or found.owner.startswith("legacy:"):
        return ""
    home, tail = wrapper_setting(found.text, "codex_home"), "/home/.codex"
    is_ours = is_same_directory(wrapper_setting(found.text, "mirror_home"), places.mirror_home)
    return home.removesuffix(tail) if is_ours and os.path.isabs(home) and home.endswith(tail) else ""


def complaint_about_orphan(path: str, wrapper: Wrapper, base: str, places: Places) -> str:
    """Why the wrapper of a clone that isn't there may be of use to someone, or nothing."""
    root = os.path.dirname(base)
    if not wrapper.unedited:
        return "it was edited"
    if wrapper_setting(wrapper.text, "clone") != os.path.basename(path):
        return "it is a copy"
    is_own = is_marked_home(places.mirror_home) and is_same_directory(os.path.dirname(root), clones_directory(places))
    return "" if is_own and not kind_of(root) else f"{root} may be on a disk that isn't mounted"


# --- Inspection -----------------------------------------------------------------------------------

STATUS_SECONDS = 5


class Facts:
    """What is so about a clone, or about the mirror home, without judgement: each fact of its kind's table, looked up
    when it is first asked for, and once. A list is told by its first few items. Why one can't be looked up is kept, and
    raised again for whoever asks for it or for what follows from it: no other fact is lost by that."""

    def __init__(self, kind: str, context: Context, **known: Any) -> None:
        self.kind, self.context, self.force = kind, context, False
        self.errors: dict[str, OSError] = {}
        vars(self).update(known)

    def __getattr__(self, name: str) -> Any:
        if name not in FACTS[self.kind]:
            raise AttributeError(name)
        if name in self.errors:
            raise self.errors[name]
        try:
            setattr(self, name, FACTS[self.kind][name](self))
        except OSError as error:
            self.errors[name] = error
            raise
        return vars(self)[name]

    def look_up(self, names: Iterable[str]) -> None:
        for name in names:
            self.get(name)

    def get(self, name: str) -> Any:
        """A fact, or None where it can't be looked up."""
        with contextlib.suppress(OSError):
            return getattr(self, name)
        return None


class InspectionContext(NamedTuple):
    """What the inspection of one clone needs to know of the others and of the machine, read once for all."""

    clones: tuple[Clone, ...]
    accounts: Mapping[str, Account]
    installed: CodexPackage | None
    advice_on_path: Callable[[str], str]
    shared_by_default: tuple[str, ...]
    deep: bool = False
    volumes: Mapping[str, Sequence[str]] = {}
    above: Callable[[str], tuple[Inode | None, frozenset[Inode]]] = inodes_above


def inspection_context(
    registry: Registry, installed: CodexPackage | None, context: Context, deep: bool = False
) -> InspectionContext:
    """What to know of all clones before each is inspected."""
    accounts = {clone.id: account_of(clone) for clone in registry.clones}
    once = lru_cache(maxsize=None)(partial(path_fix, context=context))  # It reads rc files, and may start zsh.
    shares = default_shares(context, registry) if registry.clones else ()
    above = lru_cache(maxsize=None)(inodes_above)
    return InspectionContext(registry.clones, accounts, installed, once, shares, deep, mounted_volumes(), above)


def inspect_clones(
    clones: Sequence[Clone], inspection: InspectionContext, context: Context, first: Callable[[], None] = lambda: None
) -> list[Facts]:
    """Collects the facts about clones, and changes nothing; those that take long side by side, what is to be done
    `first` and the others meanwhile."""
    found = [Facts("clone", context, clone=clone, inspection=inspection) for clone in clones]

    def look_up_all(names: Iterable[str], first: Callable[[], None] = lambda: None) -> None:
        first()
        for facts in found:
            facts.look_up(names)

    run_parallel(lambda facts: facts.look_up(FACTS_WAITED_FOR), found, lambda: look_up_all(FACTS_AT_HAND, first))
    look_up_all(FACTS["clone"])
    return found


def start_failure(facts: Facts) -> str:
    """What went wrong when the clone was started, unless a missing part or a damaged login says why."""
    is_explained = (
        facts.missing or facts.absent or facts.noexec or facts.open_variables or auth_status_of(facts) != "unknown"
    )
    return "" if is_explained or facts.damaged_login else failure_text(facts.status)


def account_change(facts: Facts) -> str:
    """Whose a clone is now, and whose it was after its last `codex-mirror login`, where that is another account."""
    then, now = facts.clone.account, facts.account
    if not then or not is_known(then) or not is_known(now):
        return ""
    is_same = then._replace(since=0, plan="") == now._replace(since=0, plan="")
    return "" if is_same else f"it is logged in as {account_text(now)}, but codex-mirror logged in {account_text(then)}"


def auth_status_of(facts: Facts) -> str:
    """`logged_in`, `not_logged_in` or `unknown`: what Codex says, unless the file shows that it holds no login."""
    code, out, err = facts.get("status") or (None, b"", b"")
    if code == 0:
        return "not_logged_in" if facts.get("account") == Account("none") else "logged_in"
    return "not_logged_in" if code == 1 and b"Not logged in" in err + out else "unknown"


def damaged_paths(clone: Clone, clones: Sequence[Clone]) -> Iterator[str]:
    """Every file of a clone's runtimes that differs from its manifest, with the other clones that share it."""
    others = [other for other in clones if other.id != clone.id]
    for runtime in runtimes_kept(clone):
        for path, file in damaged_files(runtime, manifest_of(runtime.path)):
            names = dict.fromkeys(other.name for other, _ in runtimes_sharing(path, file, others))
            yield f"{path} (the same file as in {', '.join(names)})" if names else path


def runtimes_sharing(path: str, file: PinnedFile, clones: Sequence[Clone]) -> list[tuple[Clone, str]]:
    """The clones with the very same file in a runtime, each with its path there; also that path where it is gone."""
    places = [(clone, os.path.join(one.path, file.path)) for clone in clones for one in runtimes_kept(clone)]
    return [(clone, place) for clone, place in places if place == path or is_same_file(place, path)]


def wrapper_state(clone: Clone, places: Places) -> str:
    """`ok`, `missing`, `foreign`, `edited`, `open`, `outdated` or `not executable`."""
    if trouble := wrapper_trouble(clone) if kind_of(clone.wrapper) else "missing":
        return trouble
    if not os.access(clone.wrapper, os.X_OK):
        return "not executable"
    is_copied = read_or_none(wrapper_copy(clone), WRAPPER_LIMIT) == read_or_none(clone.wrapper, WRAPPER_LIMIT)
    return "ok" if is_copied and is_wrapper_current(clone, places) else "outdated"


def login_status(clone: Clone, context: Context) -> CapturedOutput:
    """What the clone's own Codex says of its login, asked as its user would: by the wrapper's text where it is ours and
    unedited; nobody can put another in its place after the look at it.

    In `/`, since anywhere else Codex (0.169) looks for a `.git` in all directories above, and takes settings that lie
    beside one for a project's."""
    env = {name: value for name, value in context.env.items() if name != "CODEX_MIRROR_CLI"}
    if not os.path.isdir(codex_home_of(clone)):
        return CapturedOutput(126, b"", b"its CODEX_HOME is missing")
    if strange_part(base_of(clone)):
        return CapturedOutput(126, b"", b"its directory isn't its own")
    wrapper = wrapper_at(clone.wrapper)
    if wrapper and wrapper.unedited and wrapper.owner == clone.id:
        program = Program(("/bin/sh", "-c", wrapper.text, clone.wrapper, "login", "status"), env)
    else:
        program = launch_program(clone, context.places, env, ("login", "status"))
    return capture(program.argv, program.env, "/", start_seconds(STATUS_SECONDS))


def inspect_mirror_home(context: Context, alone: bool = False) -> Facts:
    """Collects the facts about the mirror home and the wrapper directory, and changes nothing.

    What another writer has in its hands is no leftover; `alone` says that we hold the lock ourselves."""
    with contextlib.nullcontext(True) if alone else share_lock(lock_file(context.places)) as is_quiet:
        found = registry_or_refusal(context.places)
        is_ours = not found[1] or isinstance(found[1], RegistryError)
        known: dict[str, Any] = {} if is_quiet and is_ours else dict.fromkeys(FACTS_OF_WRITERS, ())
        facts = Facts("mirror home", context, found=found, **known)
        facts.look_up(FACTS["mirror home"])
    return facts


def registry_or_refusal(places: Places) -> tuple[Registry, MirrorError | None]:
    """The registry, or an empty one and why it can't be read."""
    try:
        return read_registry(places), None
    except MirrorError as error:
        return Registry(), error


def directories_off_path(clones: Sequence[Clone], context: Context) -> list[str]:
    """The directories that aren't on PATH: the one for new commands, and those of commands that no shell finds."""
    unfound = [clone for clone in clones if not any(find_on_path(clone.name, context.env.get("PATH", "")))]
    own = [os.path.dirname(clone.wrapper) for clone in unfound if not home_claiming(clone, context.places)]
    directories = [context.places.bin_dir, *filter(os.path.isdir, own)]
    return [directory for directory in dict.fromkeys(directories) if not is_on_path(directory, context.env)]


def tracked_files(directory: str, context: Context) -> list[str]:
    """The files in a directory of ours that a repository around it has all the same."""
    around = next((one for one in directories_above(directory) if kind_of(os.path.join(one, ".git"))), "")
    git = next(find_on_path("git", context.env.get("PATH", "")), "") if around else ""
    if not git:
        return []
    env = {name: value for name, value in context.env.items() if not name.startswith("GIT_")}
    argv = (git, "-c", "core.fsmonitor=false", "ls-files", "-z", "--", ".")
    listed = capture(argv, env, directory, STATUS_SECONDS).out.split(b"\0")
    return [os.path.join(directory, os.fsdecode(name)) for name in listed if name]


def candidate_bases(facts: Facts) -> set[str]:
    """Where a clone's directory may be, going by the registry, the mirror home and the wrappers."""
    return {*known_bases(facts.context.places, facts.wrappers), *map(base_of, facts.registry.clones)}


FACTS_AT_HAND: Mapping[str, Callable[[Facts], Any]] = {
    "name": lambda f: f.clone.name,
    "pinned": lambda f: f.clone.runtime.version,
    "bin_dir": lambda f: os.path.dirname(f.clone.wrapper),
    "path_setup": lambda f: f.inspection.advice_on_path(f.bin_dir) if f.off_path or f.shadow_off_path else "",
    "directories": lambda f: [base_of(f.clone), home_of(f.clone), codex_home_of(f.clone), runtimes_of(f.clone)],
    "base": lambda f: base_of(f.clone),
    "unreadable": lambda f: list(dict.fromkeys(filter(None, map(unreadable_part, parts_to_read(f.clone))))),
    "each_unreadable": lambda f: [(path, advice_on_rights(path, f.base)) for path in f.unreadable],
    "strange": lambda f: strange_part(f.base) if f.unreadable else complaint_about_base(f.clone),
    "gone": lambda f: "" if f.unreadable or kind_of(f.base) else f.base,
    "names": lambda f: () if f.unreadable else names_binding(f.clone, f.inspection.clones, f.context.places),
    "elsewhere": lambda f: "" if f.unreadable or f.names else base_elsewhere(f.clone),
    "mv_back": lambda f: move_back(f.clone, f.elsewhere),
    "claimed": lambda f: f.names or f.elsewhere or home_claiming(f.clone, f.context.places),
    "moved": lambda f: move_complaint(f.names),
    "hazards": lambda f: hazards_of_clone(f.clone, f.context.places),
    "each_hazard": lambda f: told_hazards(f.hazards, by_group=False),
    "each_group_hazard": lambda f: told_hazards(f.hazards, by_group=True),
    "absent": lambda f: [path for path in f.directories if not os.path.isdir(path)],
    "read_only": lambda f: [path for path in f.directories if os.path.isdir(path) and not is_writable(path)],
    "open_to_others": lambda f: [path for path in f.directories[:3] if is_open_to_others(path)],
    "manifest": lambda f: manifest_of(f.clone.runtime.path),
    "recorded": lambda f: f.manifest is not None,
    "missing": lambda f: complaints_about_runtime(f.clone.runtime, f.manifest),
    "unrecorded": lambda f: "" if f.recorded or f.missing else "its Codex's files",
    "unknown_runtimes": lambda f: [path for path in unneeded_runtimes(f.clone) if not is_provably_pinned(path)],
    "of_others": lambda f: entries_of_others(base_of(f.clone)),
    "give_back": lambda f: f"sudo chown -R -h {os.geteuid()}:{os.getegid()} {shell_quote(base_of(f.clone))}",
    "noexec": lambda f: list(filter(is_noexec, (base_of(f.clone), f.bin_dir))),
    "each_ownerless": lambda f: told_ownerless((base_of(f.clone),), f.inspection.volumes, f.context.places),
    "each_in_cloud": lambda f: told_in_cloud(base_of(f.clone), f.context.places),
    "package_version": lambda f: recorded_version(f.clone.runtime),
    "other_version": lambda f: f.package_version if f.package_version != f.pinned else "",
    "misnamed_runtime": lambda f: f.clone.runtime.path if is_misnamed(f.clone.runtime) else "",
    "unused": lambda f: unused_runtimes(f.clone),
    "open_variables": lambda f: open_variables(f.clone),
    "newer": lambda f: newer_version(f.inspection.installed, f.clone),
    "wrapper": lambda f: wrapper_state(f.clone, f.context.places),
    "each_closed_bin_dir": lambda f: directories_without_commands([f.bin_dir], closed=True),
    "missing_wrapper": lambda f: f.clone.wrapper if f.wrapper == "missing" and not f.each_closed_bin_dir else "",
    "foreign_wrapper": lambda f: f.clone.wrapper if f.wrapper == "foreign" else "",
    "open_wrapper": lambda f: f.clone.wrapper if f.wrapper == "open" else "",
    "edited_wrapper": lambda f: f.clone.wrapper if f.wrapper == "edited" else "",
    "locked_wrapper": lambda f: f.clone.wrapper if f.wrapper == "not executable" and not f.noexec else "",
    "outdated_wrapper": lambda f: f.clone.wrapper if f.wrapper == "outdated" else "",
    "executable": lambda f: executable_found(f.clone, f.context.env),
    "shadow": lambda f: "" if f.executable[1] else f.executable[0],
    "on_path": lambda f: f.executable[1] or is_on_path(f.bin_dir, f.context.env),
    "shadow_on_path": lambda f: f.shadow if f.on_path else "",
    "shadow_off_path": lambda f: "" if f.on_path else f.shadow,
    "off_path": lambda f: "" if f.on_path or f.shadow else off_path_text(f.bin_dir),
    "loose": lambda f: complaints_about_pin(f.clone),
    "servers": lambda f: visible_servers(f.clone),
    "sharer": lambda f: sharing_clone(base_of(f.clone), f.inspection.clones, f.context.places, f.inspection.above),
    "missing_helpers": lambda f: missing_helpers(f.clone),
    **{"git_not_copied": lambda f: git_not_copied(f.clone), "git_kept": lambda f: git_kept(f.clone)},
    "new_shares": lambda f: new_shares(f.clone, f.inspection.shared_by_default),
    "gone_directories": lambda f: [path for path in f.clone.directories if not os.path.isdir(path)],
    "settings_links": lambda f: settings_links_of(f.clone, f.context.places),
    "unlinked_settings": lambda f: list(f.settings_links.missing),
    "replaced_settings": lambda f: [tail for tail in f.settings_links.own if tail in f.clone.settings_links],
    "dangling_settings": lambda f: list(f.settings_links.gone),
    "home_trust": lambda f: trust_of_home(f.clone, f.context.places),
    "trusted_home": lambda f: f.context.places.user_home if f.home_trust == "trusted" else "",
    "undecided_home": lambda f: "" if f.home_trust else f.context.places.user_home,
    "overrides": lambda f: hidden_login_variables(f.clone, f.context.env),
    "account": lambda f: f.inspection.accounts[f.clone.id],
    "account_change": account_change,
    "twins": lambda f: [
        f"'{one.name}'"
        for one in f.inspection.clones
        if one.id != f.clone.id and is_same_account(f.account, f.inspection.accounts[one.id])
    ],
}
FACTS_WAITED_FOR: Mapping[str, Callable[[Facts], Any]] = {
    "status": lambda f: login_status(f.clone, f.context),
    "lax_ignore": lambda f: lax_ignore_file(f.base) if kind_of(f.base) == "directory" else "",
    "tracked": lambda f: tracked_files(f.base, f.context) if not is_below(f.base, f.context.places.mirror_home) else [],
    "damaged": lambda f: list(damaged_paths(f.clone, f.inspection.clones)) if f.inspection.deep else [],
}
FACTS_OF_WRITERS: Mapping[str, Callable[[Facts], Any]] = {
    "unsettled": lambda f: unfinished_plans(f.context.places),
    "unsettled_size": lambda f: size_of_unfinished(f.unsettled),
    "leftovers": lambda f: list(find_leftovers(f.context.places, f.registry)),
    "strays": lambda f: {} if f.broken else unregistered_bases(f.bases, f.registry, f.context.places),
    "orphans": lambda f: [base for base, why in f.strays.items() if not why],
    "copies": lambda f: [f"{at} (of {root_in_base(at)})" for at in f.strays if not f.copy[0] and is_copy_here(at)],
    "away": lambda f: [*map(base_elsewhere, f.registry.clones)],
    "astray": lambda f: [
        f"{base} ({why})"
        for base, why in f.strays.items()
        if why and base not in f.away and not is_copy_here(base) and not is_copied_base(base, f.context.places)
    ],
    "unclaimed_wrappers": lambda f: (
        {} if f.broken else find_orphan_wrappers(f.wrappers, claimed_values(f.registry, "id"), f.context.places)
    ),
    "stale_wrappers": lambda f: find_stale_wrappers(f.registry, f.context.places),
    "stale_commands": lambda f: [f"{path} (of '{owner}')" for path, owner in dict(f.stale_wrappers).items()],
    "orphan_wrappers": lambda f: [path for path, why in f.unclaimed_wrappers.items() if not why],
    "kept_wrappers": lambda f: [
        f"{path} ({why})" for path, why in f.unclaimed_wrappers.items() if why and path not in f.leftovers
    ],
}
FACTS: Mapping[str, Mapping[str, Callable[[Facts], Any]]] = {
    "clone": {
        **FACTS_AT_HAND,
        **FACTS_WAITED_FOR,
        "damaged_login": lambda f: login_of(f.clone) if f.account.kind == "unknown" and f.status.code == 1 else "",
        "failure": start_failure,
        "lacks_node": lambda f: f.clone.runtime.kind == "npm-package" and f.status.code in (126, 127),
        "failure_of_codex": lambda f: "" if f.lacks_node else f.failure,
        "failure_of_node": lambda f: f.failure if f.lacks_node else "",
        "each_unread": lambda f: errors_with_advice(f.errors.values()),
    },
    "mirror home": {
        "home": lambda f: f.context.places.mirror_home,
        "registry_file": lambda f: registry_file(f.context.places),
        "found": lambda f: registry_or_refusal(f.context.places),
        "registry": lambda f: f.found[0],
        "broken": lambda f: f.found[1],
        "broken_registry": lambda f: f.broken.message if isinstance(f.broken, RegistryError) else "",
        "refusal": lambda f: ("", "") if not f.broken or f.broken_registry else (f.broken.message, f.broken.hint),
        "each_bad_row": lambda f: [row_complaint(bad) for bad in f.registry.bad_rows],
        "wrappers": lambda f: wrapper_bases(f.context.places),
        "bases": lambda f: sorted(base for base in candidate_bases(f) if kind_of(base) == "directory"),
        **FACTS_OF_WRITERS,
        "legacy_leftovers": lambda f: find_legacy_leftovers(f.context.places, f.bases),
        "strange_shim": lambda f: complaint_about_shim(f.context.places),
        "codex_before_shim": lambda f: codex_before_shim(f.context.places, f.context.env),
        "open_to_others": lambda f: [f.home] if is_open_to_others(f.home) else [],
        "moved": lambda f: move_complaint(new_names(f.registry.clones, f.context.places)),
        "copy": lambda f: copy_found(f.registry.clones, f.context.places),
        "hazards": lambda f: hazards_on_way(f.home, f.context.places.trusted) if os.path.isdir(f.home) else (),
        "each_group_hazard": lambda f: told_hazards(f.hazards, by_group=True),
        "bin_dir": lambda f: f.context.places.bin_dir,
        "each_ownerless": lambda f: told_ownerless((f.home, f.bin_dir), mounted_volumes(), f.context.places),
        "each_in_cloud": lambda f: told_in_cloud(f.home, f.context.places),
        "bins": lambda f: bin_directories(f.registry.clones, f.context.places),
        "each_unwritable_bin_dir": lambda f: directories_without_commands(f.bins, closed=False),
        "each_bin_hazard": lambda f: told_hazards(hazards_of_bin_directories(f.registry.clones, f.context.places)),
        "tracked": lambda f: tracked_files(f.home, f.context),
        "lax_ignore": lambda f: lax_ignore_file(f.home),
        "read_only": lambda f: complaint_about_writing(f.context.places, "login.lock"),
        "unwritable": lambda f: ("", "") if f.read_only[1] == f.refusal[1] else f.read_only,
        "each_git_home": lambda f: settings_below_home(f.registry.clones, f.context.places),
        "off_path": lambda f: directories_off_path(f.registry.clones, f.context),
        "each_off_path": lambda f: [(off_path_text(one), path_fix(one, f.context)) for one in f.off_path],
        "each_unread": lambda f: errors_with_advice(f.errors.values()),
    },
}


# --- Repair ---------------------------------------------------------------------------------------


def commit_repair(change: Change, clone: Clone, what: str, registry: Registry | None = None) -> list[str]:
    """Commits a repair of a clone, which its log tells; and what was done, in words."""
    change.describe(f"doctor --fix {clone.name}: {what}")
    change.commit(registry or change.registry)
    return [f"{clone.name}: {what}"]


def repair_directories(context: Context, facts: Facts) -> list[str]:
    """Makes missing directories of a clone's home again, and all of them private and writable."""
    with begin_clone_change(context, "doctor --fix", facts.name) as (change, clone):
        for directory in home_directories(clone):
            make_directories(directory)
        files = {config_file(codex_home_of(clone)): new_config(context.places), updater_file(clone): UPDATER_SETTINGS}
        for path, content in files.items():
            if not kind_of(path):
                write_whole(path, content)
        done = commit_repair(change, clone, "restored its directories, and made them private")
    return [*done, *change.unfinished]


def repair_rights(context: Context, facts: Facts) -> list[str]:
    """Lets the user read what is a clone's and the user's own, from the outside in; the rights of others stay."""
    done: list[str] = []
    tried: list[str] = []
    root = facts.clone.root
    with begin_change(context, "doctor --fix") as change:
        for path in parts_to_read(facts.clone):
            while (part := unreadable_part(path)) and (part == root or is_below(part, root)):
                kind = kind_of(part)
                if part in tried or kind not in ("directory", "file") or os.stat(part).st_uid != os.geteuid():
                    break
                tried.append(part)
                refuse_strange_way(part)
                os.chmod(part, stat.S_IMODE(os.stat(part).st_mode) | (0o700 if kind == "directory" else 0o600))
                done.append(f"{facts.name}: you may read {part} again")
        log_repairs(context.places, change.id, done)
    return done


def repair_pin(context: Context, facts: Facts) -> list[str]:
    """Puts the settings back that hold a clone's pin; what else is in its config.toml stays."""
    with begin_clone_change(context, "doctor --fix", facts.name) as (change, clone):
        config = read_config(codex_home_of(clone))
        if not complaints_about_pin(clone) and trust_of_home(clone, context.places) == "untrusted":
            return []
        wanted = pinned_config(change, clone, context, config or new_config(context.places), foreign=False)
        stage_distrusting_profiles(change, clone)
        stage_config(change, clone, config, wanted)
        change.make_room(os.path.dirname(updater_file(clone)), 0o700)
        change.stage(updater_file(clone), UPDATER_SETTINGS, 0o600, replaces=True)
        done = commit_repair(change, clone, "restored the settings that hold its pin")
    return [*done, *change.unfinished]


def repair_wrapper(context: Context, facts: Facts) -> list[str]:
    """Writes a clone's command again, where what lies there is its own or nothing."""
    with begin_clone_change(context, "doctor --fix", facts.name) as (change, clone):
        stage_wrapper(change, clone)
        done = commit_repair(change, clone, f"rewrote its command {clone.wrapper}")
    return change.unfinished or done


def write_helpers(context: Context, facts: Facts) -> list[str]:
    """Writes what the clone's shells and its logins need, where nothing of the user's is in the place."""
    with begin_clone_change(context, "doctor --fix", facts.name) as (change, clone):
        missing = write_missing_helpers(clone)
        done = commit_repair(change, clone, f"wrote {short_list(missing)}")
    return [*done, *change.unfinished]


def derive_git(context: Context, facts: Facts) -> list[str]:
    """Replaces the links to the user's git configuration, where they are still ours, by copies of the clone's own."""
    with begin_clone_change(context, "doctor --fix", facts.name) as (change, clone):
        links = [link_of_share(clone, share, context.places) for share in shared_git(clone)]
        for link in filter(None, links):
            remove_file(link)
        refresh_git(clone, context.places, context.env)
        done = commit_repair(change, clone, "its git configuration is now a copy, which follows yours")
    left = [f"{clone.name}: {share} is the clone's own link, and was left alone" for share in git_not_copied(clone)]
    return [*(left or done), *change.unfinished]


def link_new_settings(context: Context, facts: Facts) -> list[str]:
    """Links what has come to the settings that a clone shares since they were linked."""
    with begin_clone_change(context, "doctor --fix", facts.name) as (change, clone):
        missing = settings_links_of(clone, context.places).missing
        changed, _ = stage_settings_links(change, clone, clone.shared_settings)
        done = commit_repair(change, clone, f"linked {short_list(missing)}", with_clone(change.registry, changed))
    return [*done, *change.unfinished]


def end_server(context: Context, facts: Facts) -> list[str]:
    """Ends the servers in a clone's background; with `--force` also those that sessions have joined."""
    with begin_clone_change(context, "doctor --fix", facts.name) as (change, clone):
        if ended := stop_server(clone, "doctor --fix", facts.force):
            commit_repair(change, clone, "; ".join(one.partition(": ")[2] for one in ended))
    return [*ended, *change.unfinished]


def remove_unused_runtimes(context: Context, facts: Facts) -> list[str]:
    """Removes the runtimes of a clone that nothing needs any more and no Codex uses."""
    with begin_clone_change(context, "doctor --fix", facts.name) as (change, clone):
        if unused := unused_runtimes(clone):
            change.extend_plan(to_delete=unused)
            commit_repair(change, clone, f"removed {short_list(unused)}")
    return [*(f"{clone.name}: removed {path}" for path in unused if not kind_of(path)), *change.unfinished]


class LostFileError(MirrorError):
    """The pinned bytes of a file are nowhere on this machine any more."""


def repair_runtime(context: Context, facts: Facts) -> list[str]:
    """Gives a clone its pinned Codex again: file by file from what is here, else all of it, from wherever it comes."""
    try:
        return repair_files(context, facts.name)
    except LostFileError as error:
        return restore_runtime(context, facts.name, error)


@fetching_first
def restore_runtime(context: Context, name: str, lost: LostFileError) -> list[str]:
    """Pins exactly the version anew that a clone had. Raises MirrorError when it is another runtime of its that lacks a
    file."""
    with begin_clone_change(context, "doctor --fix", name) as (change, clone):
        manifest = manifest_of(clone.runtime.path)
        if manifest is not None and not damaged_files(clone.runtime, manifest):
            raise lost
        other = f"codex-mirror update {name} --from PATH"
        source = package_of_version(change, context, clone.runtime.version, clone.root, doubted=True, way_out=other)
        runtime = pin_runtime(change, source, clone, context, doubted=True)
        change_runtime(change, clone, runtime, clone.previous)
    return [f"{clone.name}: pinned Codex {runtime.version} again", *change.unfinished]


def repair_files(context: Context, name: str) -> list[str]:
    """Gives every damaged file of a runtime a new inode with the pinned bytes, in all runtimes that share it. Raises
    LostFileError."""
    with begin_clone_change(context, "doctor --fix", name) as (change, clone):
        if manifest_of(clone.runtime.path) is None:
            raise LostFileError(f"there is no record of the files of '{clone.name}'")
        files = {
            path: (one, file)
            for one in runtimes_kept(clone)
            for path, file in damaged_files(one, manifest_of(one.path))
        }
        if not files:
            return [f"{clone.name}: its Codex is complete again"]
        packages = [source.package for source in repair_packages(change, context)]
        for path, (runtime, file) in files.items():
            if path not in (staged.target for staged in change.plan.staged):
                stage_repaired_file(change, runtime, file, packages)
        done = commit_repair(change, clone, f"restored the pinned content of {short_list(list(files))}")
    return [*done, *change.unfinished]


def repair_packages(change: Change, context: Context) -> list[CodexPackage]:
    """The packages in which a file with the right bytes may be found."""
    found = [
        package_of_clone(clone._replace(runtime=one))
        for clone in change.registry.clones
        for one in runtimes_kept(clone)
    ]
    installed = installed_without_starting(context.env)
    return [*found, *([installed] if installed else [])]


def stage_repaired_file(change: Change, runtime: Runtime, file: PinnedFile, packages: Sequence[str]) -> None:
    """Stages a new inode with the pinned bytes for every runtime that shares this file. Raises MirrorError."""
    path, tail = os.path.join(runtime.path, file.path), file.path.removeprefix("package/")
    shared = runtimes_sharing(path, file, change.registry.clones)
    for clone, target in shared:
        inside = [one for one in directories_above(os.path.dirname(target)) if is_below(one, base_of(clone))]
        if strange := next((one for one in inside if kind_of(one) not in ("directory", "")), ""):
            raise MirrorError(f"{strange} is not a directory of the runtime", "move it away first", REFUSED)
    good = next((one for package in packages if has_bytes_of(one := os.path.join(package, tail), file)), "")
    if not good:
        hint = f"codex-mirror update {shared[0][0].name} --codex {runtime.version}"
        raise LostFileError(f"no undamaged copy of {path} was found", hint)
    change.extend_plan(clones=[clone for clone, _ in shared])
    first = ""
    for temporary in stage_files(change, [target for _, target in shared], replaces=True):
        if not first or not make_link(first, temporary):
            copy_file(good, temporary, file.mode)
            os.utime(temporary, ns=(file.mtime_ns, file.mtime_ns))
        first = first or temporary


def repair_mirror_home(context: Context, facts: Facts) -> list[str]:
    """Finishes what was left unfinished, makes the mirror home private, and takes away what belongs to nobody."""
    done, places = [], context.places
    with begin_change(context, "doctor --fix") as change:
        done += [f"made {places.mirror_home} private"] if facts.open_to_others else []
        fresh = inspect_mirror_home(context, alone=True)
        # A journal that this run has set aside is shown as a leftover first.
        aside = [path for path in fresh.leftovers if path.endswith(".journal") and path not in facts.leftovers]
        left = [path for path in fresh.leftovers if path not in aside]
        for path in left:
            discard(path)
        for path in (*fresh.orphan_wrappers, *fresh.stale_wrappers):
            remove_file(path)
        removed = dict.fromkeys((*facts.leftovers, *left, *fresh.orphan_wrappers, *fresh.stale_wrappers))
        done += [f"removed {path}" for path in removed]
        done += [f"set aside an unfinished change: {path}" for path in aside]
        done += [f"finished or cleared {path}" for path in facts.unsettled if not kind_of(path) and not aside]
        log_repairs(places, change.id, done)
    return done


def log_repairs(places: Places, change_id: str, done: Sequence[str]) -> None:
    """Writes into the mirror home's log what was repaired of no single clone."""
    with contextlib.suppress(OSError):
        add_to_log(home_log(places), change_id, [f"- - doctor --fix: {what}" for what in done])


def repair_registry(context: Context, facts: Facts) -> list[str]:
    """Takes clones back into the registry by the rows in their own directories: those that it has lost, and those whose
    row in it is broken."""
    with begin_change(context, "doctor --fix") as change:
        registry, left = with_own_rows(change.registry, context.places)
        returned = [clone for clone in registry.clones if clone not in change.registry.clones]
        done = [f"{clone.name}: added the clone in {base_of(clone)} to the registry again" for clone in returned]
        if returned:
            change.describe(f"doctor --fix: {'; '.join(done)}")
            change.commit(registry)
    stays = ["the broken entries were left alone: no clone was found for them"] if registry.bad_rows else []
    return [*done, *stays, *left]


def rebuild_registry(context: Context, facts: Facts) -> list[str]:
    """Makes a broken registry again from the one before, the clones' rows and their wrappers; keeps the broken one.

    Where it doesn't show which change was the last, a journal can be neither finished nor cleared: it is set aside, and
    what it made stays."""
    places, path = context.places, registry_file(context.places)
    with mirror_home_lock(context, "doctor --fix"):
        number = new_id()
        aside = f"{path}.broken-{number}"
        registry, left = with_own_rows(previous_registry(places), places, is_before=True)
        registry = registry._replace(last_change="")
        with contextlib.suppress(OSError):
            if mark := re.search(rb'"lastChange": "([0-9a-f]+)"', read_whole(path)[:4096]):
                registry = registry._replace(last_change=mark[1].decode())
        if not registry.last_change and kind_of(journal_file(places)):
            os.rename(journal_file(places), unreadable_journal_name(places))
        if kind_of(path) == "file":
            if not make_link(path, aside):
                copy_file(path, aside, 0o600)
        elif kind_of(path):
            os.rename(path, aside)
        with earlier_lock(context):
            write_registry(places, registry, keep_previous=False)
        rebuilt = f"rebuilt the registry with {count_text(len(registry.clones), 'clone')}"
        log_repairs(places, number, [rebuilt])
    return [f"{rebuilt}; the broken one is {aside}" if kind_of(aside) else rebuilt, *left]


def previous_registry(places: Places) -> Registry:
    """The registry before the last change; an empty one where it can't be read."""
    with contextlib.suppress(OSError, MirrorError):
        previous = registry_file(places) + ".previous"
        return registry_from(read_whole(previous), places, previous)
    return Registry()


def with_own_rows(registry: Registry, places: Places, is_before: bool = False) -> tuple[Registry, list[str]]:
    """The registry with the rows in the clones' own directories: in the place of broken ones, and at its end; and why
    some stay out, in words.

    In the registry before the last change they take the place of all rows. One of its clones may be on a disk that
    isn't here now; one whose directory alone is gone was removed."""
    own, rows = rows_in_clones(places), []
    for entry in registry.entries:
        row = own.pop(text_in(entry.row, "id"), None)
        if isinstance(entry, Clone) and not is_before:
            rows.append(entry.row)
        elif row or isinstance(entry, BadRow) or may_still_exist(entry, places):
            rows.append(row or entry.row)
    entries = entries_from([*rows, *own.values()], places)
    lost = [entry for entry in entries[len(rows) :] if isinstance(entry, BadRow)]
    left = [f"left {base_in_root(text_in(one.row, 'rootPath'))} alone: {one.why}" for one in lost]
    return registry._replace(entries=tuple(entry for entry in entries if entry not in lost)), left


def may_still_exist(clone: Clone, places: Places) -> bool:
    """Is the clone's directory there without a row of its own, or where one can't look now? A disk that isn't mounted
    may leave an empty directory in its place; who removes a clone removes its wrapper, too."""
    base, parent = base_of(clone), os.path.dirname(clone.root)
    if kind_of(base) == "directory":
        return id_in_base(base) in ("", clone.id)
    is_elsewhere = not is_same_directory(parent, clones_directory(places))
    return not os.path.isdir(parent) or (is_elsewhere and is_wrapper_of(clone, clone.wrapper))


def rows_in_clones(places: Places) -> dict[str, Any]:
    """The rows that the clones' own directories hold, by id."""
    found: dict[str, Any] = {}
    for base in dict.fromkeys(known_bases(places, wrapper_bases(places))):
        row = read_json_object(os.path.join(base, "clone.json"))
        if base_in_root(text_in(row, "rootPath")) == base and not complaint_about_place(base, places):
            found[text_in(row, "id")] = row
    return found


# --- Diagnosis ------------------------------------------------------------------------------------


class Finding(NamedTuple):
    """One thing that may be wrong, with a clone or with the mirror home: the evidence and the advice name facts in
    braces, and nothing is wrong where one in the evidence is empty; each item of a fact `each_…` is a problem of its
    own. The repair is what `doctor --fix` does, which says in words what it has done."""

    id: str
    severity: str
    evidence: str
    advice: str
    repair: Callable[[Context, Facts], list[str]] | None = None


FIX, FIX_HOME, UPDATE = "codex-mirror doctor {name} --fix", "codex-mirror doctor --fix", "codex-mirror update {name}"
LAX_IGNORE = "the git repository around it could commit logins: {lax_ignore} doesn't prevent that"
IGNORE_ADVICE = "replace its content by *, or remove it: the next change writes it again"
UNREAD = "not all of it can be examined: {each_unread[0]}"
# What can be seen of a clone whose directory is gone or not its own: what lies behind a link there isn't the clone's.
SEEN_FROM_OUTSIDE = (
    *("directory-lost", "directory-foreign", "directory-unsafe", "wrapper-shadowed", "path", "noexec", "home-moved"),
    *("directory-unreadable", "unreadable"),
)
FINDINGS: Mapping[str, tuple[Finding, ...]] = {
    "clone": (
        Finding("home-moved", "error", "{moved[0]}", "{moved[1]}"),
        Finding("directory-moved", "error", "its directory was moved to {elsewhere}", "{mv_back}"),
        Finding("directory-unreadable", "error", "it can't be examined: you may not read {each_unreadable[0]}",
                "{each_unreadable[1]}", repair_rights),
        Finding("directory-foreign", "error", "{strange}", "put the clone's own directory back"),
        Finding("directory-unsafe", "error", "{each_hazard[0]}", "{each_hazard[1]}"),
        Finding("git-tracked", "error", "git tracks files of it: {tracked}", "git rm -r --cached {base}"),
        Finding("git-ignore", "warning", LAX_IGNORE, IGNORE_ADVICE),
        Finding("directory-lost", "error", "{gone} is gone, with the clone's login and sessions",
                "mount its disk, restore it from a backup, or codex-mirror remove {name}"),
        Finding("directory-missing", "error", "its directories are missing: {absent}", FIX, repair_directories),
        Finding("directory-read-only", "error", "it can't be written: {read_only}", FIX, repair_directories),
        Finding("noexec", "error", "its file system is mounted noexec, so no program can be started: {noexec}",
                "mount that file system with exec, or keep clones and their commands on another one"),
        Finding("runtime-incomplete", "error", "its Codex is incomplete or was changed: {missing}",
                FIX, repair_runtime),
        Finding("runtime-damaged", "error", "its Codex differs from what was pinned: {damaged}",
                "codex-mirror doctor {name} --deep --fix", repair_runtime),
        Finding("runtime-version", "error", "its Codex is {other_version}, but {pinned} was pinned", UPDATE),
        Finding("wrapper", "error", "its command can't be reached: you may not search {each_closed_bin_dir[0]}",
                "{each_closed_bin_dir[1]}"),
        Finding("wrapper", "error", "its command {missing_wrapper} is missing", FIX, repair_wrapper),
        Finding("wrapper", "error", "{foreign_wrapper} isn't its command, but another program",
                "move that file away, then " + FIX),
        Finding("wrapper", "error", "its command {edited_wrapper} was edited, so it is neither used nor replaced",
                "move that file away, then " + FIX),
        Finding("wrapper", "error", "its command {open_wrapper} is writable by others",
                "chmod go-w {open_wrapper}"),
        Finding("wrapper", "error", "its command {locked_wrapper} can't be executed", FIX, repair_wrapper),
        Finding("variables-open", "error",
                "others may have written its variables, so it isn't started: {open_variables}",
                "check that file, then chmod go-w {open_variables}; or remove it"),
        Finding("login-damaged", "error", "its login can't be read: {damaged_login}",
                "codex-mirror login {name}"),
        Finding("start", "error", "its Codex doesn't start: {failure_of_codex}",
                "codex-mirror run {name} -- login status"),
        Finding("start", "error", "its Codex doesn't start: {failure_of_node}", "install Node, or " + UPDATE),
        Finding("home-trusted", "error",
                "it trusts {trusted_home}, so settings in its .codex can delete the login or start another Codex",
                FIX, repair_pin),
        Finding("wrapper-outdated", "warning", "its command is out of date: {outdated_wrapper}",
                FIX, repair_wrapper),
        Finding("wrapper-shadowed", "warning", "'{name}' starts {shadow_on_path}, which comes first on PATH",
                "codex-mirror rename {name} {name}-2, or put {bin_dir} first on PATH"),
        Finding("wrapper-shadowed", "warning", "'{name}' starts {shadow_off_path}, which comes first on PATH",
                "{path_setup}"),
        Finding("foreign-files", "warning", "other users own files in it, as after sudo: {of_others}",
                "{give_back}"),
        Finding("directory-unsafe", "warning", "{each_group_hazard[0]}", "{each_group_hazard[1]}"),
        Finding("no-owners", "warning", "{each_ownerless[0]}", "{each_ownerless[1]}"),
        Finding("in-cloud", "warning", "{each_in_cloud[0]}", "{each_in_cloud[1]}"),
        Finding("login-shared", "error", "its login lies in a directory that '{sharer}' shares",
                "codex-mirror set {sharer} --unshare ENTRY"),
        Finding("directory-open", "warning", "other users may read it: {open_to_others}", FIX, repair_directories),
        Finding("pin-loose", "warning", "its Codex may update itself, because of: {loose}", FIX, repair_pin),
        Finding("server-running", "warning",
                "a background server that isn't pinned is running, and its sessions use it: {servers}",
                FIX, end_server),
        Finding("same-account", "warning",
                "same account as {twins}: refresh tokens are single-use, so one login may end the other",
                "codex-mirror login {name}, with another account"),
        Finding("account-changed", "warning", "{account_change}",
                "codex-mirror set {name} --accept-account, or if that is wrong codex-mirror login {name}"),
        Finding("login-files", "warning",
                "its shells may not find your programs; missing or outdated: {missing_helpers}", FIX, write_helpers),
        Finding("git-config", "warning", "git behaves differently in it; not copied: {git_not_copied}",
                FIX, derive_git),
        Finding("settings-unlinked", "warning", "shared settings aren't linked yet: {unlinked_settings}",
                FIX, link_new_settings),
        Finding("settings-replaced", "warning",
                "shared settings were replaced by its own: {replaced_settings}",
                "move them away, then " + FIX + "; or codex-mirror set {name} --unshare-settings ENTRY"),
        Finding("settings-gone", "warning", "shared settings are missing in ~/.codex: {dangling_settings}",
                "put them back, or codex-mirror set {name} --unshare-settings ENTRY"),
        Finding("shares-new", "info", "a new clone would also share: {new_shares}",
                "codex-mirror set {name} --share default"),
        Finding("git-kept", "info", "edited both in the clone and outside; the clone keeps its own: {git_kept}",
                "remove that file to have yours; it is copied again at the next start"),
        Finding("directory-gone", "info", "it is set for directories that don't exist: {gone_directories}",
                "codex-mirror use --unset DIR"),
        Finding("home-undecided", "info",
                "if you let its Codex trust {undecided_home}, settings in .codex there apply to it", FIX, repair_pin),
        Finding("runtime-misnamed", "info",
                "{misnamed_runtime} contains Codex {pinned}: the earlier codex-mirror updated it in place", UPDATE),
        Finding("runtime-unrecorded", "info", "no record of {unrecorded}, so changes to it can't be noticed", UPDATE),
        Finding("runtime-unused", "info", "a Codex that is no longer needed: {unused}",
                FIX, remove_unused_runtimes),
        Finding("runtime-unused", "info",
                "in its runtime directory, but not pinned by codex-mirror: {unknown_runtimes}",
                "delete it if you don't need it"),
        Finding("login-override", "info", "hidden from it, because it would change the login: {overrides}",
                "unset it, unless another program needs it"),
        Finding("path", "info", "{off_path}", "{path_setup}"),
        Finding("newer-codex", "info", "{pinned} → {newer} available", UPDATE),
        Finding("unreadable", "error", UNREAD, "{each_unread[1]}"),
    ),
    "mirror home": (
        Finding("registry", "error", "{broken_registry}", FIX_HOME, rebuild_registry),
        Finding("registry", "error", "{refusal[0]}", "{refusal[1]}"),
        Finding("registry-row", "error", "{each_bad_row}", FIX_HOME + ", or fix it in {registry_file}",
                repair_registry),
        Finding("home-moved", "error", "{moved[0]}", "{moved[1]}"),
        Finding("mirror-home-copy", "error", "{copy[0]}", "{copy[1]}"),
        Finding("git-tracked", "error", "git tracks files of it: {tracked}", "git rm -r --cached {home}"),
        Finding("git-ignore", "warning", LAX_IGNORE, IGNORE_ADVICE),
        Finding("mirror-home-read-only", "error", "{unwritable[0]}", "{unwritable[1]}"),
        Finding("unsettled", "warning", "an unfinished change: {unsettled}", FIX_HOME, repair_mirror_home),
        Finding("unsettled-files", "info", "until then, the unfinished change takes {unsettled_size} of disk space",
                FIX_HOME),
        Finding("leftovers", "warning", "left over by a killed change: {leftovers}", FIX_HOME, repair_mirror_home),
        Finding("orphan-clone", "warning", "clones that aren't in the registry: {orphans}",
                FIX_HOME, repair_registry),
        Finding("orphan-clone", "warning", "copies of clones, whose logins are in use there: {copies}",
                "remove them by hand: one login in two places ends"),
        Finding("orphan-clone", "warning", "clones that can't be added to the registry where they are: {astray}",
                "put it back; or codex-mirror import DIR/home/.codex --name NEW --with-sessions --move-login"),
        Finding("stale-command", "warning", "old commands that their clones no longer use: {stale_commands}",
                FIX_HOME, repair_mirror_home),
        Finding("orphan-wrapper", "warning", "commands of clones that don't exist: {orphan_wrappers}",
                FIX_HOME, repair_mirror_home),
        Finding("orphan-wrapper", "warning",
                "commands without a clone, left alone: {kept_wrappers}",
                "mount the clone's disk, or remove them by hand"),
        Finding("directory-unsafe", "warning", "{each_group_hazard[0]}", "{each_group_hazard[1]}"),
        Finding("no-owners", "warning", "{each_ownerless[0]}", "{each_ownerless[1]}"),
        Finding("in-cloud", "warning", "{each_in_cloud[0]}", "{each_in_cloud[1]}"),
        Finding("wrapper-directory", "warning", "{each_bin_hazard[0]}, so its commands could be replaced",
                "{each_bin_hazard[1]}"),
        Finding("wrapper-directory", "warning", "no command can be written to {each_unwritable_bin_dir[0]}",
                "{each_unwritable_bin_dir[1]}"),
        Finding("mirror-home-open", "warning", "other users may read it: {open_to_others}",
                FIX_HOME, repair_mirror_home),
        Finding("shim-edited", "warning", "{strange_shim}, so it may start another Codex",
                "move it away, then codex-mirror shim install"),
        Finding("shim-shadowed", "warning", "codex is {codex_before_shim} in this shell, not the shim",
                "open a new shell, or codex-mirror shim install"),
        Finding("legacy-leftovers", "info", "left by the earlier program: {legacy_leftovers}",
                "remove them by hand when it isn't running"),
        Finding("path", "info", "{each_off_path[0]}", "{each_off_path[1]}"),
        Finding("git-repository", "info", "{each_git_home[0]}", "{each_git_home[1]}"),
        Finding("unreadable", "error", UNREAD, "{each_unread[1]}"),
    ),
}  # fmt: skip
SEVERITIES = ("error", "warning", "info")
HOME_MOVED = "home-moved"
MOVED = (HOME_MOVED, "directory-moved")


def findings_for(facts: Facts) -> Iterator[Finding]:
    """The rows that go for these facts."""
    is_clone = facts.kind == "clone"
    outside = SEEN_FROM_OUTSIDE if is_clone and not is_seen_inside(facts) else ()
    seen = MOVED if is_clone and facts.get("claimed") else outside
    hidden = "unreadable" if is_clone and facts.get("each_unreadable") else ""  # It says why.
    return (one for one in FINDINGS[facts.kind] if (not seen or one.id in seen) and one.id != hidden)


def is_seen_inside(facts: Facts) -> bool:
    """Is the clone's directory there, its own, and may we read it?"""
    try:
        return not (facts.unreadable or facts.gone or facts.strange)
    except OSError:
        return False


def diagnose(facts: Facts) -> tuple[Problem, ...]:
    """What is wrong, worst first."""
    problems = [problem for finding in findings_for(facts) for problem in problems_of(finding, facts)]
    if any(problem.id == HOME_MOVED for problem in problems):
        problems = [one for one in problems if one.id == HOME_MOVED or not is_explained_by_move(facts, one)]
    return tuple(sorted(problems, key=lambda problem: SEVERITIES.index(problem.severity)))


def is_explained_by_move(facts: Facts, problem: Problem) -> bool:
    """Is a problem there only because the mirror home has another name?"""
    return facts.kind == "clone" or problem.id in (
        "mirror-home-copy",
        "orphan-clone",
        "orphan-wrapper",
        "stale-command",
    )


def problems_of(finding: Finding, facts: Facts) -> Iterator[Problem]:
    """The problems that one finding is with these facts: none, one, or as many as an `each_…` fact has items."""
    several = [name for name in placeholders_in(finding.evidence)[0] if name.startswith("each_")]
    with contextlib.suppress(OSError):  # Such facts are a finding of their own.
        for item in getattr(facts, several[0]) if several else [None]:
            items = dict.fromkeys(several, item)
            if what := in_words(finding.evidence, facts, items, is_needed=True):
                yield Problem(finding.id, finding.severity, what, in_words(finding.advice, facts, items))


@cache
def placeholders_in(text: str) -> tuple[list[str], list[str]]:
    """The facts that a text of the table names, and the places where it does; both are asked for every clone."""
    return re.findall(r"\{(\w+)", text), re.findall(r"\{[^}]+\}", text)


def in_words(text: str, facts: Facts, items: Mapping[str, Any], is_needed: bool = False) -> str:
    """The text with the facts that it names; where each is needed and one is empty, nothing."""
    names, places = placeholders_in(text)
    named = {name: items[name] if name in items else getattr(facts, name) for name in names}
    if is_needed and not all(named.values()):
        return ""
    shown = {name: short_list(value) if isinstance(value, list) else value or "" for name, value in named.items()}
    fields = (place.format_map(shown) for place in places)
    return "" if is_needed and not all(fields) else text.format_map(shown)


def health_of(facts: Facts) -> Health:
    """What doctor says of a clone with these facts."""
    clone = facts.clone
    return Health(
        clone.name,
        auth_status_of(facts),
        not (facts.get("read_only") or facts.get("absent")),
        clone.runtime.path,
        clone.wrapper,
        facts.get("account") or Account("unknown"),
        diagnose(facts),
    )


def make_repairs(context: Context, facts: Facts, force: bool = False) -> list[tuple[str, int]]:
    """Makes each repair that the findings name, on its own: what was done, or why it wasn't, each with an exit code."""
    facts.force = force
    if facts.kind == "clone" and facts.get("claimed"):
        return []
    found = (one.repair for one in findings_for(facts) if one.repair and any(problems_of(one, facts)))
    notes: list[tuple[str, int]] = []
    for needed in dict.fromkeys(found):
        try:
            notes += [(note, DONE) for note in needed(context, facts)]
        except (MirrorError, OSError) as error:
            notes.append((error_line_with_hint(error), error.code if isinstance(error, MirrorError) else FAILED))
    return notes


def inspect_unchanged(
    clones: Sequence[Clone],
    registry: Registry,
    context: Context,
    deep: bool,
    first: Callable[[], None],
) -> list[Facts]:
    """The facts of the clones as they are in the registry; those that changed meanwhile are inspected again."""
    facts: list[Facts] = []
    for _ in range(3 if clones else 0):
        around = inspection_context(registry, installed_without_starting(context.env), context, deep)
        facts = inspect_clones(clones, around, context, first)
        registry = read_registry(context.places)
        now = {clone.id: clone for clone in registry.clones}
        clones = [now[clone.id] for clone in clones if clone.id in now]
        if [one.clone for one in facts] == clones:
            break
    return [one for one in facts if one.clone in clones]


# --- Reports --------------------------------------------------------------------------------------


def path_notice(context: Context, directory: str = "") -> list[str]:
    """The notice, with the command that helps, that the shell won't find the wrappers."""
    directory = directory or context.places.bin_dir
    if is_on_path(directory, context.env):
        return []
    return [off_path_text(directory), ": ".join(path_advice(directory, context))]


def first_path_notice(clone: Clone, context: Context) -> list[str]:
    """The notice for the first of the clones whose commands are in this directory; the others needn't hear it again."""
    notice, directory = path_notice(context), os.path.dirname(clone.wrapper)
    others = (one for one in read_registry(context.places).clones if one.id != clone.id) if notice else ()
    return [] if any(os.path.dirname(one.wrapper) == directory for one in others) else notice


def is_command(program: str, env: Mapping[str, str]) -> bool:
    """Does a shell find the program as it calls itself? Not when it came through a pipe and isn't installed."""
    return program != "codex-mirror" or any(find_on_path(program, env.get("PATH", "")))


def clone_keys(clone: Clone) -> dict[str, object]:
    """What every JSON document on one clone says of it."""
    return {"name": clone.name, "id": clone.id, "path": clone.root}


def made_lines(how: str, clone: Clone) -> tuple[str, ...]:
    """A new clone, and where it is."""
    made = f"{how} '{clone.name}' with Codex {clone.runtime.version}"
    shared = ", ".join(clone.shared) if clone.home == "isolated" else "your HOME"
    return (made, f"  clone    {clone.root}", f"  command  {clone.wrapper}", f"  shares   {shared or 'nothing'}")


def home_notices(clone: Clone, context: Context) -> list[str]:
    """What a new clone can't do, and how it could."""
    return [*git_login_note(clone, context.places, context.env), *node_notice(clone), *temporary_notice(clone, context)]


def temporary_notice(clone: Clone, context: Context) -> list[str]:
    """The notice that the clone lies where its Codex warns at every start (0.120 to 0.171)."""
    directory = os.path.realpath(context.env.get("TMPDIR") or "/tmp")
    if not is_below(os.path.realpath(clone.root), directory):
        return []
    return [f"'{clone.name}' is in the temporary directory {directory}: its Codex warns about that at every start"]


def node_notice(clone: Clone) -> list[str]:
    if clone.runtime.kind != "npm-package":
        return []
    return [
        f"no native Codex was found: '{clone.name}' has the JavaScript package, and needs node on PATH whenever it runs"
    ]


def secrets_notice(codex_home: str, where: str) -> tuple[str, ...]:
    """A line on the secrets in the settings of this home, if there are any."""
    with contextlib.suppress(MirrorError, OSError):
        if names := secrets_in(own_settings(codex_home)):
            return (f"secrets {where}: {short_list(names)}",)
    return ()


def brought_notice(settings_from: str, context: Context) -> tuple[str, ...]:
    """A line on the secrets that came with `--settings-from`, if there are any."""
    if not settings_from:
        return ()
    source = settings_source(settings_from, read_registry(context.places), context.places)
    return secrets_notice(source, "were imported too")


def version_text(clone: Clone, installed: CodexPackage | None) -> str:
    """The pinned version, and the installed one where that is newer."""
    newer = installed and is_newer(installed.version, clone.runtime.version)
    return f"{clone.runtime.version} → {installed.version} available" if installed and newer else clone.runtime.version


def list_row(clone: Clone, installed: CodexPackage | None, now: float) -> tuple[str, ...]:
    account = account_of(clone)
    left = left_percent(usage_of(clone, account, rollouts_of(clone)), now)
    return (
        clone.name,
        account_text(account),
        age_text(account, now).removesuffix(" old") or "-",
        "-" if left is None else f"{left:.0f} %",
        version_text(clone, installed),
        clone.root,
    )


def list_data(clone: Clone) -> dict[str, Any]:
    """The clone's row, with what a status bar shows: who is logged in now, what is left, and how it stands."""
    account = account_of(clone)
    left = left_percent(usage_of(clone, account, rollouts_of(clone)), time.time())
    known = None if account.kind == "none" else {key: value for key, value in account._asdict().items() if value}
    can_start = os.path.isfile(clone.runtime.entry) and os.path.isdir(codex_home_of(clone))
    return {**clone_row(clone), "account": known, "left": left, "state": state_word(can_start, account, left)}


def state_word(can_start: bool, account: Account, left: float | None) -> str:
    """How a clone stands, in a word."""
    if not can_start:
        return "broken"
    return "logged-out" if account.kind == "none" else "used-up" if left == 0 else "ready"


def clone_lines(clone: Clone, places: Places, installed: CodexPackage | None) -> list[str]:
    """Everything about a clone, a line each."""
    account = account_of(clone)
    used_in = [escape_invisible(with_tilde(path, places.user_home)) for path in clone.directories]
    facts = {
        "id": clone.id,
        "root": clone.root,
        "home": home_of(clone) if clone.home == "isolated" else f"shared ({places.user_home})",
        "command": clone.wrapper,
        "Codex": version_text(clone, installed),
        "runtime": clone.runtime.path + (" (needs node)" if clone.runtime.kind == "npm-package" else ""),
        "previous": clone.previous.version if clone.previous else "-",
        "login": ", ".join(filter(None, (account_text(account), age_text(account, time.time())))),
        "workspace": account.workspace or "-",
        "shared": ", ".join(clone.shared) or "-",
        "settings": ", ".join(clone.shared_settings) or "-",
        "set for": ", ".join((*used_in, *["all else"] * clone.is_default)) or "-",
        "keep env": ", ".join(clone.keep_env) or "-",
        "env": ", ".join(clone_variables(clone)) or "-",
        "created": clone.created,
        "updated": clone.updated,
    }
    return [clone.name, *(f"  {key:<10} {value}" for key, value in facts.items())]


def update_text(updated: UpdateResult) -> str:
    """What an update did, in one line."""
    before, after = updated.before.runtime, updated.after.runtime
    if not updated.changed:
        return f"{updated.after.name}: already at {after.version}"
    if before.version == after.version:
        again = "restored" if after == updated.before.previous else "pinned again"
        return f"{updated.after.name}: {after.version} {again}"
    return f"{updated.after.name}: {before.version} → {after.version}"


def old_processes_text(updated: UpdateResult) -> list[str]:
    """What to know of the Codex processes that were ended, and of those that go on with the runtime of before."""
    name, version, who = updated.after.name, updated.before.runtime.version, ""
    try:
        if updated.changed:
            pids = codex_pids_in(updated.before.runtime.path, "")
            who = user_of_home(codex_home_of(updated.after), pids, codex_pids_of(updated.after))
    except UnseenProcessesError as error:
        return [*updated.ended, f"{name}: a Codex that is running in it stays on {version}; {error.message}"]
    return [*updated.ended, *([f"{name}: the running Codex ({who}) stays on {version}"] if who else [])]


NO_CLONES = "there are no clones yet; next: codex-mirror create work"


def report_of_doctor(healths: Sequence[Health], general: Sequence[Problem], notes: Sequence[str]) -> Outcome:
    """Doctor's findings for people and as JSON; exit code 1 when anything is wrong."""
    lines: list[str] = []
    in_common: dict[Problem, list[str]] = {}
    commons = [{one: common_to(one, health) for one in health.problems if one not in general} for health in healths]
    for health, common in zip(healths, commons, strict=True):
        for problem in dict.fromkeys(common.values()):
            in_common.setdefault(problem, []).append(health.name)
    for health, common in zip(healths, commons, strict=True):
        warned = any(map(needs_action, health.problems))
        sign, state = ("✗", "broken") if not health.ok else ("!", "warning") if warned else ("✓", "ok")
        is_seen = not any(problem.id in MOVED for problem in health.problems)  # Else its login lies elsewhere.
        login = (account_text(health.account), age_text(health.account, time.time())) if is_seen else ()
        lines.append(f"{sign} {health.name}: {', '.join(filter(None, (state, *login)))}")
        own = [one for one, problem in common.items() if len(in_common[problem]) == 1]
        lines += problem_lines(own, everything=len(healths) == 1)
    for names in dict.fromkeys(tuple(names) for names in in_common.values() if len(names) > 1):
        shared = [for_all_of(problem, names) for problem, those in in_common.items() if tuple(those) == names]
        if said := problem_lines(shared, everything=False):
            lines += [f"{short_list(names)}:", *said]
    lines += ["codex-mirror:", *problem_lines(general)] if general else []
    if not healths and not any(map(needs_action, general)):
        lines.append(NO_CLONES)
    data = [health_row(health) for health in healths]
    if any(needs_action(problem) for problem in general):
        data.append(health_row(Health("codex-mirror", "unknown", True, "", "", Account("none"), tuple(general))))
    wrong = any(needs_action(problem) for health in healths for problem in health.problems) or len(data) > len(healths)
    return Outcome(FAILED if wrong else DONE, tuple(lines), tuple(notes), data=data)


def common_to(problem: Problem, health: Health) -> Problem:
    """The problem with NAME for the clone's name in what helps and in the paths of its own, so that it is equal to that
    of another clone."""
    name, bin_dir = rf"{re.escape(health.name)}(?![\w.-])", re.escape(os.path.dirname(health.wrapper_path))
    own_paths = rf"/{name}(?=/\.codex-mirror)|(?<={bin_dir})/{name}"
    what, fix = (re.sub(own_paths, "/NAME", text) for text in (problem.what, problem.fix))
    return problem._replace(what=what, fix=re.sub(rf"(?<![\w./-]){name}", "NAME", fix))


def for_all_of(problem: Problem, names: Sequence[str]) -> Problem:
    """The problem that these clones have in common, with one command for all of them where there is one."""
    fix = problem.fix.replace("codex-mirror doctor NAME --fix", "codex-mirror doctor --fix")
    return problem._replace(fix=re.sub(r"codex-mirror update NAME\Z", f"codex-mirror update {' '.join(names)}", fix))


def needs_action(problem: Problem) -> bool:
    return problem.severity != "info"


def problem_lines(problems: Sequence[Problem], everything: bool = True) -> list[str]:
    """The problems for people; what needs no action is only shown when everything is asked for."""
    signs = {"error": "✗", "warning": "!", "info": "·"}
    lines = []
    for problem in problems:
        if everything or problem.fix or needs_action(problem):
            lines.append(f"  {signs[problem.severity]} {problem.what} [{problem.id}]")
            lines += [f"      {problem.fix}"] if problem.fix else []
    return lines


def health_row(health: Health) -> dict[str, Any]:
    return {
        "name": health.name,
        "ok": health.ok,
        "runtimePath": health.runtime_path,
        "wrapperPath": health.wrapper_path,
        "authStatus": health.auth_status,
        "writable": health.writable,
        "errors": [problem.what for problem in health.problems if problem.severity == "error"],
        "problems": [problem._asdict() for problem in health.problems],
        "account": {key: value for key, value in health.account._asdict().items() if value},
    }


def usage_table(usages: Sequence[tuple[Clone, Usage]], now: float) -> Table:
    """Left, a bar of it, each window by its length with its reset, the figures' age, and the plan."""
    lengths = {300, 10080, *(window.minutes for _, one in usages for window in one.windows)}
    names = list(dict.fromkeys(map(window_name, sorted(lengths))))
    heading = ("NAME", "LEFT", "", *(f"{name.upper()} (RESET)" for name in names), "AS OF", "PLAN")
    return Table(heading, tuple((clone.name, *usage_cells(one, names, now)) for clone, one in usages))


def usage_cells(one: Usage, names: Sequence[str], now: float) -> tuple[str, ...]:
    left = left_percent(one, now)
    if left is None:
        has_none = one.why in (NO_FIGURES["none"], NO_FIGURES["api-key"])
        return ("-" if has_none else "unknown", "", *("-" for _ in names), "-", "-")
    age = now - one.as_of
    return (
        f"{left:.0f} %",
        usage_bar(left),
        *(window_text(one, name, now) for name in names),
        "now" if age < 1 else f"{duration_text(age)} ago",
        one.plan or "-",
    )


def usage_notes(clone: Clone, one: Usage, now: float) -> list[str]:
    """What the table can't say: why nothing is known, what is used up, how the credits stand."""
    said = [one.why, one.reached if is_used_up(one, now) else "", one.credits]
    return [f"{clone.name}: {text}" for text in said if text]


def usage_bar(left: float, width: int = 10) -> str:
    full = round(left * width / 100)
    return "█" * full + "░" * (width - full)


def window_text(one: Usage, name: str, now: float) -> str:
    """What is left of the window of that length, and when it resets."""
    for window in one.windows:
        if window_name(window.minutes) == name:
            reset = "fresh" if window.resets_at <= now else f"in {duration_text(window.resets_at - now)}"
            return f"{100 - used_percent(window, now):.0f} % ({reset})"
    return "-"


def usage_row(clone: Clone, account: Account, one: Usage, now: float) -> dict[str, Any]:
    windows = [
        {
            "name": window_name(window.minutes),
            "minutes": window.minutes,
            "used": used_percent(window, now),
            "left": 100 - used_percent(window, now),
            "resetsAt": timestamp_text(window.resets_at),
        }
        for window in one.windows
    ]
    return {
        "name": clone.name,
        "left": left_percent(one, now),
        "windows": windows,
        "asOf": timestamp_text(one.as_of) if one.as_of else None,
        "plan": one.plan or None,
        "reached": one.reached if is_used_up(one, now) else None,
        "credits": one.credits or None,
        "why": one.why or None,
        "account": {key: value for key, value in account._asdict().items() if value},
    }


def report_of_versions(known: Sequence[str], latest: str, installed: str, clones: Sequence[Clone]) -> Outcome:
    """The versions that are known and those that are here, the newest first; for people and as JSON."""
    pinned: dict[str, list[str]] = {version: [] for version in (*known, installed, latest) if version}
    for clone in clones:
        pinned.setdefault(clone.runtime.version, []).append(clone.name)
    ordered, said = sorted(pinned, key=version_key, reverse=True), {}
    for version in ordered:
        known_as = {"latest": version == latest, "installed": version == installed, "revoked": is_revoked(version)}
        said[version] = ", ".join(word for word, is_so in known_as.items() if is_so)
    rows = tuple((version, ", ".join(pinned[version]), said[version]) for version in ordered)
    data = {
        "latest": latest or None,
        "installed": installed or None,
        "platform": platform_names()[0],
        "versions": [
            {"version": version, "pinnedBy": pinned[version]} | ({"revoked": True} if is_revoked(version) else {})
            for version in ordered
        ],
    }
    return Outcome(table=Table(("VERSION", "PINNED BY", ""), rows), data=data)


def report_of_plan(plan: Plan, failed: Sequence[str] = ()) -> Outcome:
    """What a change would do, that was only planned, and what of it would fail."""
    planned = dict.fromkeys((*plan.parents, *plan.made))
    made = [path for path in planned if plan.id not in os.path.basename(path) and not kind_of(path)]
    staged = list(dict.fromkeys(one.target for one in plan.staged))
    deeds = {"make": made, "write": staged, "move": [one.source for one in plan.moved], "delete": list(plan.to_delete)}
    lines = [f"would {deed:<6} {path}" for deed, paths in deeds.items() for path in paths]
    lines.append(f"nothing was changed: this was a dry run of '{plan.what}'")
    data = {"dryRun": deeds, **({"failed": list(failed)} if failed else {})}
    return Outcome(FAILED if failed else DONE, tuple(lines), tuple(failed), data=data)


# --- Run and login --------------------------------------------------------------------------------

WITH_KEY = "--with-api-key"
# What is fed on stdin, and the kind of login that it becomes.
FED_KINDS = {WITH_KEY: "api-key", "--with-access-token": "access-token"}
NO_NEW_LOGIN = {"status", "help", "--help", "-h"}


def run(context: Context, *, name: str = "", arguments: Sequence[str] = ()) -> Outcome:
    """Becomes the clone's Codex."""
    clone = startable_clone(context, name, arguments)
    return Outcome(
        program=launch_program(clone, context.places, context.env, arguments), notes=hiding_notice(clone, context)
    )


def exec_program(context: Context, *, name: str = "", arguments: Sequence[str] = ()) -> Outcome:
    """Becomes a program, or the user's shell, in the clone's environment."""
    clone = startable_clone(context, name)
    words = tuple(arguments) or (context.env.get("SHELL") or "/bin/sh",)
    program = Program(words, shell_environment(clone, context.places, context.env))
    notes = () if arguments else (f"this shell is in '{clone.name}': its HOME, login and Codex; to leave it: exit",)
    return Outcome(program=program, notes=(*notes, *hiding_notice(clone, context)))


def bound_clone(registry: Registry, context: Context, arguments: Sequence[str] = ()) -> Clone:
    """The clone of the directory where a Codex with these arguments works. Raises MirrorError USAGE where there is
    none."""
    directory = directory_of_work(arguments)
    if clone := binding_of(registry, directory, context.env).clone:
        return clone
    where = with_tilde(directory, context.places.user_home) if directory else "a directory that was removed"
    hint = "name one, or set one for this directory: codex-mirror use NAME"
    raise MirrorError(f"no clone given, and none is set for {where}", hint, USAGE)


def startable_clone(context: Context, name: str, arguments: Sequence[str] = ()) -> Clone:
    """The clone, or without a name that of the directory where a Codex with these arguments works, when it can be
    started. Raises MirrorError."""
    registry = read_registry(context.places)
    clone = clone_named(registry, name) if name else bound_clone(registry, context, arguments)
    refuse_hazards(codex_home_of(clone), context.places, strict=False)
    refuse_copy(clone, context.places)
    refuse_open_variables(clone)
    if not os.path.isfile(clone.runtime.entry) or not os.path.isdir(codex_home_of(clone)):
        raise MirrorError(f"a part of '{clone.name}' is missing", f"codex-mirror doctor {clone.name} --fix", FAILED)
    if (shared_git(clone) or kind_of(git_directory(clone))) and not is_git_fresh(clone, context.env):
        with contextlib.suppress(OSError, MirrorError):  # What is there will do, where nothing can be written.
            refresh_git(clone, context.places, context.env)
    return clone


def hiding_notice(clone: Clone, context: Context) -> tuple[str, ...]:
    return tuple(
        f"{clone.name}: hiding {variable}, which would change the login"
        for variable in hidden_login_variables(clone, context.env)
    )


def env_lines(context: Context, *, name: str = "", shell: str = "", unset: bool = False) -> Outcome:
    """The clone's environment for `eval`, wherever that will be: all that the clone sets, what else differs from ours,
    and what must be unset; with `unset` the way out of it. What the shell had of its own it remembers without
    telling it to any program: a key that is hidden stays hidden."""
    clone = startable_clone(context, name)
    changes, hidden = leaving_changes(clone, context) if unset else entering_changes(clone, context)
    data = {"set": changes, "unset": hidden}
    shell = shell or shell_of(context.env)
    if shell == "json":
        return Outcome(stream=lambda file: write_text(file, json.dumps(data, indent=2)), data=data)
    say = ENV_LINES["fish" if shell == "fish" else "sh"]
    quote = fish_quote if shell == "fish" else shell_quote
    keys = hidden_variables(clone)
    changed = (*clone_variables(clone), "CODEX_MIRROR_BIN_DIR", "CODEX_MIRROR_HOME")
    is_inside = bool(context.env.get("CODEX_MIRROR_CLONE"))
    lines = [] if unset else [say["keep"].format(key) for key in (*keys, *(() if is_inside else changed))]
    lines += [say["keep first"].format(key) for key in SHELL_TEXTS if key in changes and not unset]
    lines += [say["set"].format(key, quote(value)) for key, value in changes.items()]
    lines += [say["unset"].format(key) for key in hidden]
    lines += [say["restore"].format(key) for key in dict.fromkeys((*changed, *SHELL_TEXTS))] if unset else []
    lines += [say["restore unless set"].format(key) for key in keys] if unset else []
    return Outcome(stream=lambda file: write_text(file, "\n".join(lines)), data=data)


# Words for `eval`, by shell. In fish a universal variable would be erased for good, and in all shells: it is covered by
# an empty one.
ENV_LINES = {
    "sh": {
        "set": "export {0}={1}",
        "unset": "unset {0}",
        "keep": (keep := '[ -z "${{{0}:-}}" ] || cm_kept_{0}=${0}'),
        "keep first": '[ -n "${{cm_kept_{0}:-}}" ] || ' + keep,
        "restore": (restore := '[ -z "${{cm_kept_{0}:-}}" ] || {{ export {0}="$cm_kept_{0}"; unset cm_kept_{0}; }}'),
        "restore unless set": '[ -n "${{{0}:-}}" ] || ' + restore,
    },
    "fish": {
        "set": "set -gx {0} {1};",
        "unset": "set -eg {0}; set -qU {0}; and set -gx {0} '';",
        "keep": (fish_keep := 'test -z "${0}"; or set -g cm_kept_{0} ${0};'),
        "keep first": f"set -q cm_kept_{{0}}; or begin; {fish_keep} end;",
        "restore": (fish_restore := "set -q cm_kept_{0}; and set -gx {0} $cm_kept_{0}; and set -eg cm_kept_{0};"),
        "restore unless set": f'test -n "${{0}}"; or begin; {fish_restore} end;',
    },
}


def entering_changes(clone: Clone, context: Context) -> tuple[dict[str, str], list[str]]:
    """What must be set, and what unset, for this environment to become the clone's."""
    wanted, own = (shell_environment(clone, context.places, env) for env in (context.env, {}))
    changes = {key: value for key, value in wanted.items() if key in own or context.env.get(key) != value}
    hidden = [key for key in (*hidden_variables(clone), *context.env) if key not in wanted]
    return changes, list(dict.fromkeys(hidden))


def leaving_changes(clone: Clone, context: Context) -> tuple[dict[str, str], list[str]]:
    """What must be set, and what unset, for the clone's environment to become the user's own again."""
    env, user = context.env, context.places.user_home
    outside = outside_environment(env)
    entries = env.get("PATH", "").split(":")
    fronts = {one for each in read_registry(context.places).clones for one in front_of_path(each).split(":")}
    path = ":".join(one for one in entries if one not in fronts)
    default = {"CODEX_MIRROR_HOME": f"{user}/.codex-mirror", "CODEX_MIRROR_BIN_DIR": f"{user}/.local/bin"}
    chosen = {key: env[key] for key, usual in default.items() if env.get(key, usual) != usual}
    own = [key for key in OUTER_VARIABLES if is_inside_isolated(env) and (key in env or USERS + key in env)]
    changes = {"HOME": user, "PATH": path, **chosen, **{key: outside[key] for key in own if key in outside}}
    ours = ("CODEX_HOME", "CODEX_MIRROR_CLONE", "CODEX_MIRROR_PATH", *default, "CODEX_MIRROR_USER_HOME")
    gone = (*own, *ours, *(USERS + key for key in OUTER_VARIABLES if USERS + key in env), *clone_variables(clone))
    return changes, [key for key in dict.fromkeys(gone) if key not in changes]


def write_text(file: BinaryIO, text: str) -> None:
    """Writes text for a program: byte for byte, also what isn't UTF-8."""
    file.write(os.fsencode(text) + b"\n")


def log_in(context: Context, *, name: str, arguments: Sequence[str] = ()) -> Outcome:
    """Runs the clone's `codex login` and remembers who is logged in then; one login in the browser at a time."""
    clone = startable_clone(context, name)
    refuse_strange_clone(clone, context.places)
    program = launch_program(clone, context.places, context.env, ("login", *arguments))
    without_browser = {"--device-auth", *NO_NEW_LOGIN, *FED_KINDS} & set(arguments)
    with contextlib.nullcontext() if without_browser else login_turn(context, clone):
        if not without_browser:
            ways = f"codex-mirror login {name} --device-auth, or printenv KEY | codex-mirror login {name} {WITH_KEY}"
            context.report(f"logging in '{name}'; without a browser: {ways}", 0, 0)
        code = run_child(program, "/")
    account, is_login = account_of(clone), not NO_NEW_LOGIN & set(arguments)
    is_new = code == DONE and is_known(account) and account != clone.account
    notes: tuple[str, ...] = ()
    if is_new or (is_login and code == DONE):
        what = "login" if is_login else "note the login of"
        notes = remember_account(context, clone, account if is_known(account) else clone.account, what)
    notes = (login_text(name, code, account), *notes) if is_login else notes
    return Outcome(code, notes=notes, about=clone_keys(clone))


def login_text(name: str, code: int, account: Account) -> str:
    """How a login ended, in a line."""
    if code == DONE and account.kind != "none":
        return f"'{name}' is logged in: {account_text(account)}"
    how = f"failed (exit code {code})" if code else "ended"
    how = "was cancelled" if code in (INTERRUPTED, 128 + signal.SIGTERM) else how
    who = "not logged in" if account.kind == "none" else account_text(account)
    return f"the login of '{name}' {how}; {who}"


def remember_account(context: Context, clone: Clone, account: Account | None, what: str) -> tuple[str, ...]:
    """Remembers in the registry who was logged in last through `codex-mirror login`, if anybody still is, and in the
    log what was done; why that failed, in words."""
    try:
        with begin_change(context, f"{what} {clone.name}") as change:
            current = clone_with_id(change.registry, clone)
            verify_clone_directory(current, change.places)
            change.extend_plan(clones=[current])
            renew_wrapper(change, current)
            change.commit(with_clone(change.registry, current._replace(account=account)))
    except (MirrorError, OSError) as error:
        return (f"the account could not be recorded: {error_line(error)}",)
    return ()


def question_of_login(context: Context, *, name: str, arguments: Sequence[str] = ()) -> Question | None:
    """Codex drops the login of before when it begins a new one, and not when that has succeeded (seen with 0.169). What
    it is fed takes the place of what was there, which costs nothing where that is of the same kind."""
    clone = clone_named(read_registry(context.places), name)
    account, tokens = account_of(clone), read_json_object(login_of(clone)).get("tokens")
    fed = next((kind for option, kind in FED_KINDS.items() if option in arguments), "")
    holds_more = account.kind == "api-key" and bool(text_in(tokens, "refresh_token"))  # A key with a ChatGPT login.
    if NO_NEW_LOGIN & set(arguments) or account.kind == "none" or (account.kind == fed and not holds_more):
        return None
    damaged = f"the login of '{name}' is damaged: its auth.json can't be read"
    before = damaged if account.kind == "unknown" else f"'{name}' is logged in ({account_text(account)})"
    at_once = "Codex drops that login at once, even if the new one fails"
    losses = (before, "the new login takes its place" if fed else at_once)
    hint = f"codex-mirror login --yes {name} {' '.join(map(quote_if_needed, arguments))}".rstrip()
    return Question(losses, f"log '{name}' in again?", stdin_taken=bool(fed), hint=hint)


@contextlib.contextmanager
def login_turn(context: Context, clone: Clone) -> Iterator[None]:
    """The turn for a login in the browser: Codex always listens on port 1455, and a second login cancels the first."""
    lock = os.path.join(context.places.mirror_home, "login.lock")
    try:
        with hold_lock(lock, f"login {clone.name}", 0, lambda holder: None):
            yield
    except MirrorError as error:
        if error.code != BUSY:
            raise
        hint = f"finish that login first, or use codex-mirror login {clone.name} --device-auth"
        raise MirrorError(f"{error.message}, and a second login in the browser would cancel it", hint, BUSY) from None


def log_out(context: Context, *, name: str, local: bool = False, force: bool = False) -> Outcome:
    """Has Codex log the clone out, which revokes a login at the server; with `local` the login is only dropped here."""
    clone = clone_named(read_registry(context.places), name) if local else startable_clone(context, name)
    refuse_strange_clone(clone, context.places)
    if not force:
        refuse_running(clone, "log out")
    account, login = account_of(clone), login_file(codex_home_of(clone))
    if local and account.kind == "keyring":
        raise MirrorError(
            f"the login of '{clone.name}' is in the keyring", f"codex-mirror logout {clone.name}", REFUSED
        )
    code, lines, had_login = DONE, [f"'{clone.name}' is not logged in"], account.kind != "none"
    if kind_of(login) and local:
        remove_file(login)
        lines = [LOCAL_LOGOUT.get(account.kind, LOCAL_LOGOUT[""]).format(clone.name)]
    elif kind_of(login) or account.kind == "keyring":
        code, lines = run_child(launch_program(clone, context.places, context.env, ("logout",)), "/"), []
    is_out = (clone.account or had_login) and account_of(clone).kind == "none"
    notes = remember_account(context, clone, None, "logout --local" if local else "logout") if is_out else ()
    return Outcome(code, tuple(lines), notes, about=clone_keys(clone))


# What a logout does to each kind of login (Codex 0.171 asks the server to revoke a ChatGPT login, and no other).
LOCAL_LOGOUT = {
    "none": "'{}' was not logged in; removed its empty auth.json",
    "chatgpt": "deleted the login of '{}' here; it stays valid on the server",
    "unknown": "deleted the login of '{}' here, which couldn't be read",
    "": "deleted the login of '{}' here; it isn't revoked, and stays valid elsewhere",
}
LOGOUT = {
    "chatgpt": "Codex will revoke the login of '{}' ({}) at the server and delete it here",
    "keyring": "Codex will delete the login of '{}' ({}), and revoke it at the server if it is a ChatGPT login",
    "unknown": "Codex will delete the login of '{}', which can't be read here",
    "": "Codex will delete the login of '{}' ({}) here; it isn't revoked, and stays valid elsewhere",
}


def question_of_logout(context: Context, *, name: str, local: bool = False, force: bool = False) -> Question | None:
    """What a logout would lose; None when nobody is logged in."""
    clone = clone_named(read_registry(context.places), name)
    refuse_copy(clone, context.places)
    account = account_of(clone)
    if account.kind == "none" or (local and account.kind == "keyring"):
        return None
    who = account_text(account)
    hint = f"codex-mirror logout --yes {clone.name}{' --local' if local else ''}{' --force' if force else ''}"
    if local:
        losses = [f"the login of '{name}' ({who}) is deleted in this clone only"]
        return Question(tuple(losses), f"delete the login of '{name}' here?", hint=hint)
    losses = [LOGOUT.get(account.kind, LOGOUT[""]).format(name, who)]
    if account.kind in ("chatgpt", "keyring"):
        one = f"codex-mirror logout {name} --local"
        losses.append(f"this may end other logins of the same account; {one} deletes only this one")
    return Question(tuple(losses), f"log '{name}' out?", hint=hint)


# --- Directory commands ---------------------------------------------------------------------------


def use(
    context: Context, *, name: str = "", directory: str = "", default: bool = False, unset: bool = False
) -> Outcome:
    if unset:
        name, directory = "", directory or name
    if default and directory:
        raise MirrorError("--default takes no directory", USE_HELP, USAGE)
    if not name and not unset:
        if default:
            raise MirrorError("--default needs a clone", "codex-mirror use --default NAME", USAGE)
        return list_bindings(context)
    path = name_on_disk(os.path.realpath(path_from(directory, context.places))) if directory else ""
    if not default and not directory and not (path := current_directory()):
        raise MirrorError("the current directory was removed", "name a directory, or change to another", FAILED)
    if name and path and not os.path.isdir(path):
        raise MirrorError(f"{path} is not a directory", USE_HELP, FAILED)
    before, left = bind_directory(context, name, path)
    where = f"in {with_tilde(path, context.places.user_home)} and below" if path else "as the default"
    if unset and not before:
        return Outcome(lines=(f"no clone was set {where}",), about={"path": path or None})
    strange = complaint_about_shim(context.places)
    has_shim = bool(kind_of(shim_file(context.places))) and not strange
    what = "codex" if has_shim else "codex-mirror run"
    return Outcome(
        FAILED if left else DONE,
        (f"{what} now starts '{name}' {where}" if name else f"no clone is set {where} any more",),
        (*left, *(() if has_shim else filter(None, (strange or (name and SHIM_HINT),)))),
        about={**(clone_keys(clone_named(read_registry(context.places), name)) if name else {}), "path": path or None},
    )


SHELLS = ("bash", "zsh", "fish", "sh")
USE_HELP = "codex-mirror use --help"
SHIM_HINT = "to have codex follow this too: codex-mirror shim install"


def list_bindings(context: Context) -> Outcome:
    """Which directories have which clone, and which clone all others have."""
    clones, home = read_registry(context.places).clones, context.places.user_home
    bound = sorted((path, clone.name) for clone in clones for path in clone.directories)
    default = next((clone.name for clone in clones if clone.is_default), None)
    data = {"default": default, "directories": [{"path": path, "name": name} for path, name in bound]}
    rows = [(with_tilde(path, home) if context.terminal else path, name) for path, name in bound]
    rows += [("everywhere else" if context.terminal else "*", default)] if default else []
    lines = () if rows or not context.terminal else ("no clone is set anywhere; to set one: codex-mirror use NAME",)
    return Outcome(lines=lines, table=Table(("DIRECTORY", "CLONE"), tuple(rows)) if rows else None, data=data)


def which(context: Context, *, directory: str = "") -> Outcome:
    home = context.places.user_home
    path = os.path.realpath(path_from(directory, context.places)) if directory else current_directory()
    clone, because, bound = binding_of(read_registry(context.places), path, context.env)
    data = {"name": clone.name if clone else None, "because": because, "path": bound or None}
    if not clone:
        where = with_tilde(path, home) or "a directory that was removed"
        return Outcome(FAILED, notes=(f"no clone is set for {where}; to set one: codex-mirror use NAME",), data=data)
    why = {
        "directory": f"{with_tilde(bound, home)}, set for this directory",
        "default": "the default",
        "inside": "this shell runs inside it",
    }
    line = f"{clone.name} — {why[because]}" if context.terminal else clone.name
    return Outcome(lines=(line,), data=data, notes=shim_shadow(context))


def shim_install(context: Context, *, shell: str = "") -> Outcome:
    directory, shell = checked_bin_dir(shim_directory(context.places), context.places), shell or shell_of(context.env)
    with begin_change(context, "shim install") as change:
        if strange := complaint_about_shim(context.places):
            raise MirrorError(strange, "move it away first", REFUSED)
        change.make_room(directory, 0o700)
        shim = shim_file(context.places)
        change.extend_plan(made=[staged_name(shim, change.id)])
        write_new(staged_name(shim, change.id), shim_text(change.registry, context.places), 0o755)
        os.replace(staged_name(shim, change.id), shim)
        change.note_done()
    paths = shim_rc_files(shell, context.env, context.places.user_home, os.uname().sysname)
    line = path_line(directory, shell, FRONT_LINES)
    changed, refused = edit_rc_files(context, "shim install", paths, lambda _: [line], SHIM_MARKS)
    lines = [f"{path} now puts {directory} first on PATH" for path in changed]
    lines += [] if changed or refused else [f"{directory} is already put first on PATH, by {short_list(paths)}"]
    if changed:
        lines.append(f"to use it in this shell: {reload_line(shell, changed[0], is_own=True)}")
    return Outcome(REFUSED if refused else DONE, tuple(lines), tuple(refused), about={"path": directory})


def shim_remove(context: Context) -> Outcome:
    system, home = os.uname().sysname, context.places.user_home
    paths = [path for shell in SHELLS for path in shim_rc_files(shell, context.env, home, system) if kind_of(path)]
    changed, refused = edit_rc_files(context, "shim remove", list(dict.fromkeys(paths)), lambda _: [], SHIM_MARKS)
    directory, shim = shim_directory(context.places), shim_file(context.places)
    with begin_change(context, "shim remove"):
        if strange := complaint_about_shim(context.places):
            refused.append(strange)
        elif kind_of(shim):
            remove_file(shim)
            changed.append(shim)
        remove_empty(directory)
    lines = [f"removed the shim from {path}" if path != shim else f"removed {shim}" for path in changed]
    lines = lines or ["there was no shim"]
    return Outcome(REFUSED if refused else DONE, tuple(lines), tuple(refused), about={"path": directory})


def shim_shadow(context: Context) -> tuple[str, ...]:
    """The notice that another codex comes before the installed shim on PATH."""
    first = codex_before_shim(context.places, context.env)
    hint = "open a new shell, or codex-mirror shim install"
    return (f"codex is {first} in this shell, not the shim; {hint}",) if first else ()


# --- Session commands -----------------------------------------------------------------------------


def session_title(session: Session) -> str:
    """The first words of a session in one line."""
    return "(compressed)" if session.is_compressed else " ".join(session.prompt.split())[:500]


def session_table(sessions: Sequence[Session], clones: Sequence[Clone], context: Context, now: float) -> Table:
    """Sessions for people, with as much of each id as tells it from all others, and of the prompt as there is room."""
    ids, size = {one.id for one in sessions_of(clones)}, 8
    while size < 36 and len({one[:size] for one in ids}) < len(ids):
        size += 1
    rows = []
    for one in sessions:
        age = f"{duration_text(now - one.updated)} ago"
        place = cut_or_pad(escape_invisible(with_tilde(one.meta.cwd, context.places.user_home)), 24).rstrip() or "-"
        prompt = ("[archived] " if one.is_archived else "") + escape_invisible(session_title(one))
        rows.append([age, one.clone.name, place, prompt, one.id[:size]])
    heading = ("WHEN", "CLONE", "DIRECTORY", "PROMPT", "ID")
    taken = sum(max(cell_width(row[column]) + 2 for row in (heading, *rows)) for column in (0, 1, 2)) + size
    room = max(context.width - taken - 2, 16)
    cells = tuple((*row[:3], cut_or_pad(row[3], room).rstrip(), row[4]) for row in rows)
    return Table(heading, cells)


def session_row(session: Session) -> dict[str, Any]:
    meta = session.meta
    return {
        "id": session.id,
        "clone": session.clone.name,
        "cwd": meta.cwd or None,
        "started": meta.started or None,
        "updated": timestamp_text(session.updated),
        "prompt": session.prompt or None,
        "archived": session.is_archived,
        "path": session.path,
        "codex": meta.version or None,
        "account": meta.workspace or None,
    }


def show_usage(
    context: Context, *, name: str = "", fresh: bool = False, timeout: float = 15, best: bool = False
) -> Outcome:
    if not 0 < timeout < 3600:
        raise MirrorError(f"--timeout {timeout:g} is not a number of seconds", "--timeout 15", USAGE)
    registry = read_registry(context.places)
    clones = [clone_named(registry, name)] if name else list(registry.clones)
    answers = run_parallel(partial(fresh_usage, context, timeout), clones) if fresh else [FreshAnswer() for _ in clones]
    now = time.time()
    usages: list[tuple[Clone, Usage]] = []
    notes, data = [], []
    for clone, answer in zip(clones, answers, strict=True):
        account = account_of(clone)
        one = answer.usage._replace(as_of=now) if answer.usage else usage_of(clone, account, rollouts_of(clone))
        usages.append((clone, one))
        said = answer.why or answer.error
        notes += usage_notes(clone, one._replace(why=said or one.why), now)
        data.append({**usage_row(clone, account, one, now), "fresh": bool(answer.usage), "error": answer.error or None})
    if not clones and not best:
        notes.append(NO_CLONES)
    if best:
        failed = [f"{row['name']}: {row['error']}" for row in data if row["error"]]
        return best_of([(clone, left_percent(one, now)) for clone, one in usages], failed, fresh)
    code = FAILED if any(answer.error for answer in answers) else DONE
    return Outcome(code, table=usage_table(usages, now), data=data, notes=tuple(notes))


def best_of(left: Sequence[tuple[Clone, float | None]], notes: Sequence[str], fresh: bool = False) -> Outcome:
    """The name with the most left, the first where several have as much; `notes` say which couldn't be asked."""
    known = [(percent, clone.name) for clone, percent in left if percent is not None]
    if not known:
        unknown = "no clone's limits are known"
        why = unknown if fresh else f"{unknown} yet; to ask the server: codex-mirror usage --best --fresh"
        return Outcome(FAILED, notes=(*notes, why if left else NO_CLONES), data={"name": None})
    name = max(known, key=lambda one: one[0])[1]
    return Outcome(FAILED if notes else DONE, (name,), tuple(notes), data={"name": name})


def list_sessions(context: Context, *, name: str = "", here: bool = False, grep: str = "", limit: int = 30) -> Outcome:
    if limit < 0:
        raise MirrorError(f"--limit {limit} is not a number of sessions", "--limit 30, or --limit 0 for all", USAGE)
    registry, now = read_registry(context.places), time.time()
    clones = [clone_named(registry, name)] if name else list(registry.clones)
    found = newest_sessions(clones, limit, within=names_of_current_directory(context) if here else (), words=grep)
    data = [session_row(one) for one in found]
    if not context.terminal:
        rows = tuple(
            (one.id, one.clone.name, timestamp_text(one.updated), one.meta.cwd, session_title(one)) for one in found
        )
        return Outcome(table=Table(("ID", "CLONE", "UPDATED", "DIRECTORY", "PROMPT"), rows), data=data)
    lines = () if found else ("no sessions here yet",) if here or grep or name else ("no sessions yet",)
    return Outcome(lines=lines, table=session_table(found, clones, context, now) if found else None, data=data)


def names_of_current_directory(context: Context) -> tuple[str, ...]:
    """The names of the current directory that a session may have been started with."""
    names = [current_directory(), context.env.get("PWD", "")]
    return tuple(name for name in names if name and is_same_directory(name, "."))


def hand_over(context: Context, *, session_id: str, name: str, fork: bool = False, force: bool = False) -> Outcome:
    done = hand_over_session(context, session_id, name, fork=fork, force=force)
    source, copy = done.source, done.copy
    data = {"id": copy.id, "from": source.clone.name, "to": name, "path": copy.path, "leftOut": done.left_out}
    wrapper = copy.clone.wrapper
    command = copy.clone.name if is_on_path(os.path.dirname(wrapper), context.env) else shell_quote(wrapper)
    made = f"handed session {source.id} over from '{source.clone.name}' to '{name}'"
    lines = (made,) if done.is_new else ()
    session = shell_quote(copy.id) if re.search(r"[^\w-]", copy.id) else copy.id
    return Outcome(
        FAILED if done.unfinished else DONE,
        (*lines, f"next: {command} {'unarchive' if copy.is_archived else 'resume'} {session}"),
        (*done.unfinished, *done.notes),
        data=data,
    )


def resume(
    context: Context,
    *,
    session_id: str = "",
    last: bool = False,
    here: bool = False,
    into: str = "",
    arguments: Sequence[str] = (),
) -> Outcome:
    clones = read_registry(context.places).clones
    chosen = None if session_id else chosen_session(context, clones, last, here)
    copies = sessions_with_id(clones, chosen.id if chosen else session_id)
    session = with_meta(session_in_clone(context, copies, into) if into else chosen or newest_copy(copies))
    clone = startable_clone(context, session.clone.name)
    if is_of_another_account(session):
        context.report(f"another account made this session: '{clone.name}' continues a copy that it can read", 0, 0)
        session = report_handover(context, hand_over_session(context, session.id, clone.name, fork=True, own=True))
    cwd = session.meta.cwd
    if cwd and not os.path.isdir(cwd):
        context.report(f"{cwd} no longer exists; continuing in the current directory", 0, 0)
        cwd = ""
    program = launch_program(clone, context.places, context.env, ("resume", session.id, *arguments))
    if cwd:
        program = program._replace(cwd=cwd, env={**program.env, "PWD": cwd})
    return Outcome(program=program, notes=hiding_notice(clone, context))


def chosen_session(context: Context, clones: Sequence[Clone], last: bool, here: bool) -> Session:
    """The newest session, in the clone that it came to last, or the one of the newest ten that a person chooses. Raises
    MirrorError."""
    places = names_of_current_directory(context) if here else ()
    found = newest_sessions(clones, 1 if last or here else 10, within=places, can_go_on=True)
    if not found:
        what, hint = ("for this directory", LIST_SESSIONS) if here else ("yet", "codex-mirror run NAME starts one")
        raise MirrorError(f"there is no session {what}", hint, NOT_FOUND)
    if last or here:
        copies = [one for one in sessions_of(clones) if one.id == found[0].id and can_be_resumed(one)]
        return told_copy(context, last_placed_copy(copies), copies)
    number = context.choose(align_table(session_table(found, clones, context, time.time()), context.width), "number: ")
    if not 0 <= number < len(found):
        hint = f"use codex-mirror resume with an ID, --last or --here; {LIST_SESSIONS}"
        raise MirrorError("no session was chosen", hint, USAGE)
    return found[number]


def told_copy(context: Context, chosen: Session, copies: Sequence[Session]) -> Session:
    """The chosen copy; where others were written at the same time, that is said."""
    others = [f"'{one.clone.name}'" for one in copies if one is not chosen and one.updated == chosen.updated]
    if others:
        names = ", ".join(others)
        context.report(f"that session is also in {names}; continuing in '{chosen.clone.name}', which got it last", 0, 0)
    return chosen


def session_in_clone(context: Context, copies: Sequence[Session], name: str) -> Session:
    """The session in that clone, handed over first where the newest copy is elsewhere."""
    own = next((one for one in copies if one.clone.name == name), None)
    others = max((one.updated for one in copies if one is not own), default=0.0)
    if own and (own.updated > others or (own.updated == others and not is_of_another_account(with_meta(own)))):
        return own
    return report_handover(context, hand_over_session(context, copies[0].id, name))


def report_handover(context: Context, done: Handover) -> Session:
    """The copy that a handover made; what is to be known of it is said first. Raises MirrorError."""
    if done.unfinished:
        raise MirrorError(done.unfinished[0], "codex-mirror doctor shows what is left to fix")
    for note in done.notes:
        context.report(note, 0, 0)
    return done.copy


# --- Commands -------------------------------------------------------------------------------------

# A handler takes the arguments of its row in the command table, whose summary says what it is for. A docstring here
# adds what the row doesn't promise.

VERSIONS_SHOWN = 15


def create(
    context: Context,
    *,
    name: str = "",
    name_option: str = "",
    root: str = "",
    source: str = "",
    home: str = "isolated",
    share: Sequence[str] = (),
    keep_env: Sequence[str] = (),
    settings_from: str = "",
    share_settings: Sequence[str] = (),
    allow_incomplete: bool = False,
    codex: str = "",
    force: bool = False,
) -> Outcome:
    """Makes a clone and says what to do next."""
    if name and name_option and name != name_option:
        raise MirrorError(f"two names were given: '{name}' and '{name_option}'", "give one", USAGE)
    if not (name or name_option):
        raise MirrorError("a new clone needs a name", "codex-mirror create work", USAGE)
    checked, wanted = new_clone_name(name or name_option), wanted_from(source, codex, allow_incomplete, force)
    request = NewClone(checked, root, wanted, home, tuple(share), tuple(keep_env), settings_from)
    request = request._replace(share_settings=tuple(dict.fromkeys(map(checked_setting, share_settings))))
    clone, left = create_clone(context, request)
    return Outcome(
        code=FAILED if left else DONE,
        data=clone_row(clone),
        lines=(*made_lines("created", clone), f"next: {login_command(clone, context)}"),
        notes=(
            *left,
            *own_notices(settings_links_of(clone, context.places).own),
            *brought_notice(settings_from, context),
            *home_notices(clone, context),
            *first_path_notice(clone, context),
        ),
    )


def own_notices(tails: Iterable[str]) -> list[str]:
    return [f"{tail} is the clone's own file, and stays" for tail in tails]


def login_command(clone: Clone, context: Context) -> str:
    """What a shell finds that logs the clone in: its own command when this program is none."""
    if is_command(context.program, context.env):
        return f"codex-mirror login {clone.name}"
    return (
        f"{clone.name if is_on_path(os.path.dirname(clone.wrapper), context.env) else shell_quote(clone.wrapper)} login"
    )


def list_clones(context: Context, *, name: str = "", full: bool = False) -> Outcome:
    registry = read_registry(context.places)
    if name:
        registry = Registry((clone_named(registry, name),))
    lines: list[str] = []
    table = None
    if full:
        installed = installed_without_starting(context.env)
        lines = [line for clone in registry.clones for line in clone_lines(clone, context.places, installed)]
    elif not context.terminal:
        short = tuple((clone.name, clone.runtime.version, clone.root) for clone in registry.clones)
        table = Table(("NAME", "CODEX", "ROOT"), short)
    elif registry.entries:
        installed, now = installed_without_starting(context.env), time.time()
        rows = tuple(list_row(clone, installed, now) for clone in registry.clones)
        table = Table(("NAME", "ACCOUNT", "AGE", "LEFT", "CODEX", "ROOT"), rows)
    else:
        lines = [NO_CLONES]
    notes = tuple(map(row_complaint, registry.bad_rows))
    return Outcome(lines=tuple(lines), table=table, data=lambda: list(map(list_data, registry.clones)), notes=notes)


def set_clone(
    context: Context,
    *,
    name: str,
    home: str = "",
    share: Sequence[str] = (),
    unshare: Sequence[str] = (),
    keep_env: Sequence[str] = (),
    no_keep_env: Sequence[str] = (),
    settings_from: str = "",
    share_settings: Sequence[str] = (),
    unshare_settings: Sequence[str] = (),
    env: Sequence[str] = (),
    no_env: Sequence[str] = (),
    accept_account: bool = False,
) -> Outcome:
    """Changes what is given and nothing else; what the clone has of its own stays."""
    request = CloneChanges(home, tuple(share), tuple(unshare), tuple(keep_env), tuple(no_keep_env), settings_from)
    request = request._replace(share_settings=tuple(share_settings), unshare_settings=tuple(unshare_settings))
    request = request._replace(env=tuple(env), no_env=tuple(no_env), accept_account=accept_account)
    if not any(request):
        raise MirrorError("no change was given", "codex-mirror set --help lists what can be changed", USAGE)
    has_changed, own, left = change_clone(context, name, request)
    line = f"changed '{name}'" if has_changed else f"nothing to change in '{name}'"
    notes = (*own_notices(own), *brought_notice(settings_from, context), *left)
    keys = clone_keys(clone_named(read_registry(context.places), name))
    return Outcome(FAILED if left else DONE, (line,), notes, about={**keys, "changed": has_changed})


def remove(context: Context, *, name: str, force: bool = False) -> Outcome:
    """Removes a clone with all that is in it, and says what of it is left."""
    clone = clone_named(read_registry(context.places), name)
    in_keyring = keeps_login_in_keyring(codex_home_of(clone))
    notes = [f"the login of '{clone.name}' stays in the system's keyring"] if in_keyring else []
    notes += filter(None, [complaint_about_wrapper(clone)])
    if not kind_of(base_of(clone)):
        notes.append(f"{base_of(clone)} wasn't found; on a disk that isn't mounted, its login and sessions stay")
    _, ended, left = remove_clone(context, name, force)
    code, line = FAILED if left else DONE, f"removed '{clone.name}'"
    return Outcome(code, (line,), (*ended, *left, *notes), about=clone_keys(clone))


def question_of_removal(context: Context, *, name: str, force: bool = False) -> Question | None:
    """What would be lost with the clone; None when that is nothing."""
    clone = clone_named(read_registry(context.places), name)
    refuse_copy(clone, context.places)
    name, account = clone.name, account_of(clone)
    sessions = [path for _, path in rollouts_of(clone, (".jsonl", ".jsonl.zst"))]
    has_login = account.kind not in ("none", "keyring")
    losses = [f"its login: {account_text(account)}"] if has_login else []
    if sessions:
        size = size_text(sum(map(size_of, sessions)))
        losses.append(f"{count_text(len(sessions), 'session')}, {size} in {codex_home_of(clone)}")
    if own := own_files(clone):
        losses.append(f"{count_text(len(own), 'file')} of its own, {size_text(sum(map(size_of, own)))}")
        losses.append(f"the largest is {max(own, key=size_of)}")
        losses.append(f"the newest is {max(own, key=modified_at)}")
    if not losses:
        return None
    if keeps_login_in_keyring(codex_home_of(clone)):  # Its config.toml, which says so, is among the losses.
        losses.append(f"its login stays in the system's keyring; to log out first: codex-mirror logout {name}")
    with contextlib.suppress(UnseenProcessesError):
        if force and (pids := codex_pids_of(clone)):
            losses.append(f"and the Codex that is running in it is stopped (pid {', '.join(map(str, pids))})")
    return Question((f"removing '{name}' deletes", *losses), f"remove '{name}'?", name if has_login else "")


def update(
    context: Context,
    *,
    names: Sequence[str] = (),
    everything: bool = False,
    source: str = "",
    allow_incomplete: bool = False,
    force: bool = False,
    codex: str = "",
) -> Outcome:
    """Pins a Codex in clones; where one fails, it goes on with the next."""
    wanted = wanted_from(source, codex, allow_incomplete, force)
    if bool(names) == everything:
        raise MirrorError("name the clones to update, or --all", "codex-mirror update --all", USAGE)
    registry = read_registry(context.places)
    targets = list(dict.fromkeys(names)) or [clone.name for clone in registry.clones]
    if context.dry_run:
        rehearse_each(targets, lambda name: update_clone(context, name, wanted, force))
    results = list(update_each(context, targets, wanted, force, everything))
    if names and len(targets) == 1 and isinstance(results[0][1], Exception):
        raise results[0][1]
    lines = [update_text(one) for _, one in results if isinstance(one, UpdateResult)]
    notes = [row_complaint(bad) for bad in registry.bad_rows if everything]
    failed: dict[str, list[str]] = {}
    for name, one in results:
        if isinstance(one, UpdateResult):
            notes += [*one.left, *old_processes_text(one)]
        else:
            failed.setdefault(error_line_with_hint(one), []).append(name)
    notes += [f"{', '.join(hindered)}: {why}" for why, hindered in failed.items()]
    data = [update_row(name, one) for name, one in results]
    whole = all(one["ok"] for one in data) and not (everything and registry.bad_rows)
    lines = lines if data else ["there are no clones to update"]
    return Outcome(DONE if whole else FAILED, tuple(lines), tuple(notes), data=data)


def update_each(
    context: Context, names: Sequence[str], wanted: Wanted, force: bool, is_all: bool
) -> Iterator[tuple[str, UpdateResult | MirrorError | OSError]]:
    """Updates one after the other, to the same Codex; each name with what came of it. Of all clones, one that somebody
    removed meanwhile is left out."""
    for name in names:
        try:
            updated = update_clone(context, name, wanted, force)
        except (MirrorError, OSError) as error:
            if not (is_all and isinstance(error, MirrorError) and error.code == NOT_FOUND):
                yield name, error
            continue
        yield name, updated
        if wanted.codex == LATEST:
            wanted = wanted._replace(codex=updated.after.runtime.version)
        elif updated.changed and not (wanted.source or wanted.codex) and not installed_without_starting(context.env):
            wanted = wanted._replace(source=updated.after.name)


def update_row(name: str, updated: UpdateResult | MirrorError | OSError) -> dict[str, object]:
    if not isinstance(updated, UpdateResult):
        return {"name": name, "ok": False, "error": error_line(updated)}
    before, after = (clone.runtime.version for clone in (updated.before, updated.after))
    return {**clone_keys(updated.after), "ok": not updated.left, "before": before, "after": after}


def list_versions(context: Context, *, everything: bool = False) -> Outcome:
    """The versions of Codex that there are, and in any case those that are here."""
    registry, installed = read_registry(context.places), installed_without_starting(context.env)
    latest, known, notes = "", list[str](), tuple[str, ...]()
    try:
        latest, known = ask_sources(context, known_versions)
    except FetchError as error:
        if error.kind not in ("offline", "unreachable"):
            raise
        notes = (f"other versions aren't known: {error.message}",)
    if not everything:
        known = [version for version in known if "-" not in version][:VERSIONS_SHOWN]
    return report_of_versions(known, latest, installed.version if installed else "", registry.clones)._replace(
        notes=notes
    )


def roll_back(context: Context, *, name: str, force: bool = False) -> Outcome:
    updated = roll_back_clone(context, name, force)
    notes = (*updated.left, *old_processes_text(updated))
    return Outcome(FAILED if updated.left else DONE, (update_text(updated),), notes, about=update_row(name, updated))


def rename_command(context: Context, *, name: str, new_name: str) -> Outcome:
    clone, left, kept = rename_clone(context, name, new_name)
    renamed = f"'{name}' is now '{clone.name}', and its command {clone.wrapper}"
    return Outcome(FAILED if left else DONE, (renamed,), (*left, *kept), about=clone_keys(clone))


def doctor(context: Context, *, name: str = "", fix: bool = False, deep: bool = False, force: bool = False) -> Outcome:
    """Inspects all clones, or one, and the mirror home; with `fix` repairs what it can and looks again."""
    done = make_repairs(context, inspect_mirror_home(context)) if fix and not name else []
    registry, refusal = registry_or_refusal(context.places)
    if refusal and name:
        raise refusal
    clones = [clone_named(registry, name)] if name else list(registry.clones)
    homes: list[Facts] = []

    def look_at_home() -> None:
        if not homes and not name:
            homes.append(inspect_mirror_home(context))

    facts = inspect_unchanged(clones, registry, context, deep, look_at_home)
    look_at_home()
    hidden, waiting = {one.clone.id for one in facts if one.get("unreadable")}, facts if fix else []
    while waiting:
        done += [note for one in waiting for note in make_repairs(context, one, force)]
        registry, ids = read_registry(context.places), {one.clone.id for one in facts}
        clones = [clone for clone in registry.clones if clone.id in ids]
        facts = inspect_unchanged(clones, registry, context, deep, look_at_home)
        waiting = [one for one in facts if one.clone.id in hidden and not one.get("unreadable")]
        hidden = set()  # What was wrong in them shows only now.
    healths, problems = list(map(health_of, facts)), [problem for home in homes for problem in diagnose(home)]
    if fix:
        problems = without_tried_fixes(problems, deep)
        healths = [one._replace(problems=tuple(without_tried_fixes(one.problems, deep))) for one in healths]
    outcome = report_of_doctor(healths, problems, [note for note, _ in done])
    return outcome._replace(code=BUSY) if any(code == BUSY for _, code in done) else outcome


def without_tried_fixes(problems: Iterable[Problem], deep: bool) -> list[Problem]:
    """The problems that `doctor --fix` left, without the advice to run it again: a note says why it failed."""
    tried = r"codex-mirror doctor( \S+)?( --deep)? --fix" if deep else r"codex-mirror doctor( \S+)? --fix"
    return [one._replace(fix="") if re.fullmatch(tried, one.fix) else one for one in problems]


def show_log(context: Context, *, name: str = "") -> Outcome:
    """Shows them under the names of now; a clone is found by those of then, too, and when it is gone."""
    registry, now = read_registry(context.places), time.time()
    names = {clone.id: str(clone.name) for clone in registry.clones}
    found = [(one, names.get(one.id, one.name)) for one in logged_changes(registry, context.places)]
    if name:
        found = [(one, called) for one, called in found if name in (one.name, called)]
        if not found:
            clone_named(registry, name)
    data = [{"time": one.time, "clone": called, "id": one.id, "what": one.what} for one, called in found]
    ages = [f"{duration_text(now - timestamp_from(one.time))} ago" for one, _ in found if context.terminal]
    times = ages or [one.time for one, _ in found]
    rows = tuple((when, called, one.what) for when, (one, called) in zip(times, found, strict=True))
    lines = () if rows or not context.terminal else ("no changes yet",)
    return Outcome(lines=lines, table=Table(("WHEN", "CLONE", "WHAT"), rows) if rows else None, data=data)


def move_home_command(context: Context) -> Outcome:
    clones, left = move_home(context)
    lines = tuple(f"{clone.name}: {clone.root}" for clone in clones)
    lost = [f"'{clone.name}' has its login in the keyring, under the old name: codex-mirror login {clone.name}"
            for clone in clones if keeps_login_in_keyring(codex_home_of(clone))]  # fmt: skip
    lines = lines or ("nothing to do: no home directory was moved",)
    has_shim = clones and kind_of(shim_file(context.places))
    shim = ["to update the shim as well: codex-mirror shim install"] if has_shim else []
    notes = (*left, *lost, *shim, *path_notice(context))
    return Outcome(FAILED if left else DONE, lines, notes, data={"moved": list(map(clone_keys, clones))})


def question_of_move(context: Context) -> Question | None:
    """What could be lost with a home that isn't provably the same directory, since a copy of it elsewhere may be in
    use; or that is only mounted here, and has its old name outside."""
    clones = read_registry(context.places).clones
    names = new_names(clones, context.places)
    moved = [moved_clone(clone, names, context.places) for clone in clones]
    logins = [f"'{clone.name}'" for clone in moved if account_of(clone).kind not in ("none", "keyring")]
    for old, new in names:
        if is_mounted_as(os.path.realpath(new), old, mounts_listed() or ()):
            losses = (
                f"{new} is mounted here, and may still be {old} outside, on this machine or another;",
                f"where these would no longer start: {short_list([clone.name for clone in clones])}",
            )
            link = f"ln -s {quote_if_needed(new)} {quote_if_needed(old)}"
            way_out = f"{link}; or codex-mirror {MOVE_HOME} --yes, if it has no other name"
            return Question(losses, f"update the clones to {new}?", hint=way_out)
    if not names or not logins or is_marked_here(context.places.mirror_home):
        return None
    losses = (
        f"{names[0][0]} isn't here any more; if it is still in use elsewhere, on another disk or machine,",
        f"each of these logins would be used in two places, which ends it: {short_list(logins)}",
    )
    return Question(losses, "is this the only one?", hint=f"codex-mirror {MOVE_HOME} --yes, if this is the only one")


def wrapper_install(context: Context, *, bin_dir: str = "") -> Outcome:
    directory = checked_bin_dir(bin_dir, context.places)
    results = install_wrappers(context, directory)
    lines = [f"{clone.name}: {os.path.join(directory, clone.name)}" for clone, problem in results if not problem]
    notes = [f"{clone.name}: {problem}" for clone, problem in results if problem]
    notes += map(row_complaint, read_registry(context.places).bad_rows)
    code = FAILED if notes else DONE
    notes += [] if results or notes else [NO_CLONES]
    notes += path_notice(context, directory)
    return Outcome(code, tuple(lines), tuple(notes), about={"path": directory})


# --- Path commands --------------------------------------------------------------------------------


def path_status(context: Context, *, bin_dir: str = "", shell: str = "", rc_file: str = "") -> Outcome:
    """Which of the directories with commands are on PATH, where new ones go and where the clones' are, or the one that
    is asked for; and which ones the rc files put there."""
    directory = checked_bin_dir(bin_dir, context.places)
    clones = () if bin_dir else registry_or_refusal(context.places)[0].clones
    directories = dict.fromkeys([directory, *(os.path.dirname(clone.wrapper) for clone in clones)])
    on_path = {one: is_on_path(one, context.env) for one in directories}
    lines = [f"{one} is {'' if is_on else 'not '}on PATH" for one, is_on in on_path.items()]
    paths = rc_paths(context, shell, rc_file)
    if file := github_path(context.env, shell, rc_file):
        paths = []
        lines += [f"{file} puts {one} on PATH in the next step" for one in on_path if one in lines_of(file)]
    blocks = {path: directories_in_rc_file(path, context.places.user_home) for path in paths}
    for path, named in blocks.items():
        why = "" if named else why_not_edited(path)
        lacks = f"{path} has no codex-mirror block" + (f": {why}" if why else "")
        lines.append(f"{path} puts {short_list(named)} on PATH" if named else lacks)
    off = [one for one, is_on in on_path.items() if not is_on]
    advice = [(one, *path_advice(one, context, shell, rc_file)) for one in off]
    notes = [f"{how.replace(' it ', f' {one} ').replace(' it,', f' {one},')}: {what}" for one, how, what in advice]
    files = {path: directory in named for path, named in blocks.items()}
    data = {"binDir": directory, "onPath": on_path[directory], "files": files, "directories": on_path, "named": blocks}
    return Outcome(FAILED if notes else DONE, tuple(lines), data=data, notes=tuple(notes))


def path_setup(context: Context, *, bin_dir: str = "", shell: str = "", rc_file: str = "") -> Outcome:
    """Puts a directory in front of PATH in the rc files; those that the block names already stay."""
    directory = checked_bin_dir(bin_dir, context.places)
    if file := github_path(context.env, shell, rc_file):
        if directory not in lines_of(file):
            if context.dry_run:
                raise DryRun(Plan("", "path setup", staged=(StagedFile("", file, True, ""),)))
            with open(file, "ab") as job:
                cut_off = b"" if (read_or_none(file) or b"\n").endswith(b"\n") else b"\n"
                job.write(cut_off + os.fsencode(directory) + b"\n")
        line = f"the next steps of this job find the commands in {directory}"
        return Outcome(lines=(line,), about={"path": directory})
    strange = "" if shell or rc_file else unknown_shell(context.env)
    shell = shell or ("fish" if rc_file.endswith(".fish") else shell_of(context.env))
    paths = rc_paths(context, shell, rc_file)

    def put_in_front(present: dict[str, str]) -> list[str]:
        # Those that aren't there stay as well: a bin directory is made with the first clone.
        line = path_line(directory, shell, home=context.places.user_home)
        others = {one: there for one, there in present.items() if one != directory}
        return [*others.values(), present.get(directory, line)]

    changed, refused = edit_rc_files(context, "path setup", paths, put_in_front)
    lines = [f"{path} now puts {directory} on PATH" for path in changed]
    if not changed and not refused:
        lines.append(f"{directory} is already put on PATH, by {short_list(paths)}")
    if strange:
        lines.append(f"{strange} may not read that file: configure it to look for commands in {directory}")
    elif changed:
        lines.append(f"to use it in this shell: {reload_line(shell, changed[0], not rc_file)}")
    return Outcome(REFUSED if refused else DONE, tuple(lines), tuple(refused), about={"path": directory})


def path_remove(context: Context, *, bin_dir: str = "", shell: str = "", rc_file: str = "") -> Outcome:
    """Takes the block, or one directory of it, out of the rc files again."""
    home, directory = context.places.user_home, path_from(bin_dir, context.places) if bin_dir else ""
    clones = () if bin_dir else registry_or_refusal(context.places)[0].clones
    own = {directory or context.places.bin_dir, *(os.path.dirname(clone.wrapper) for clone in clones)}
    shells = [shell] if shell or rc_file else SHELLS
    paths = list(dict.fromkeys(path for one in shells for path in rc_paths(context, one, rc_file) if kind_of(path)))
    if directory:
        paths = [path for path in paths if directory in directories_in_rc_file(path, home)]

    def leave_others(present: dict[str, str]) -> list[str]:
        return [line for one, line in present.items() if one not in own]

    changed, refused = edit_rc_files(context, "path remove", paths, leave_others)
    others = {path: directories_in_rc_file(path, home) for path in changed}
    lines = [
        f"removed {directory or ('our line' if others[path] else 'the codex-mirror block')} from {path}"
        for path in changed
    ]
    kept = list(dict.fromkeys(one for path in paths for one in directories_in_rc_file(path, home) if not directory))
    lines += [
        f"{one} stays on PATH; to remove it: codex-mirror path remove --bin-dir {shell_quote(one)}" for one in kept
    ]
    if not changed and not refused and not kept:
        lines.append(f"no codex-mirror block names {directory}" if directory else "there was no codex-mirror block")
    about = {"path": directory or context.places.bin_dir}
    return Outcome(REFUSED if refused else DONE, tuple(lines), tuple(refused), about=about)


# --- Import commands ------------------------------------------------------------------------------


def export_clone(context: Context, *, name: str, output: str = "", with_login: bool = False) -> Outcome:
    """Writes an export into a new file, or to stdout, and never over a file."""
    clone = clone_named(read_registry(context.places), name)
    refuse_strange_clone(clone, context.places)
    if with_login and (account := account_of(clone)).kind in ("none", "keyring"):
        what = f"the login of '{name}' can't be exported: {account_text(account)}"
        raise MirrorError(what, "leave --with-login out", REFUSED)
    doubled = "the export holds the login: it works in one place only, so don't use it here any more"
    warning = (*((doubled,) if with_login else ()), *secrets_notice(codex_home_of(clone), "are in the export"))
    if output == "-":
        if context.terminal or sys.stdout is None:
            hint = f"codex-mirror export {name} -o FILE, or a pipe"
            raise MirrorError("an export is not written to a terminal", hint, USAGE)
        return Outcome(stream=lambda file: pack_export(file, clone, with_login), notes=warning)
    path = path_from(output or usual_export(name), context.places)
    export_to_file(context, name, path, with_login)
    line = f"exported '{name}' to {path} ({size_text(os.stat(path).st_size)})"
    return Outcome(lines=(line,), notes=warning, about={**clone_keys(clone), "path": path})


def import_clone(
    context: Context,
    *,
    path: str,
    name: str = "",
    source: str = "",
    move_login: bool = False,
    with_sessions: bool = False,
    codex: str = "",
    force: bool = False,
) -> Outcome:
    """Makes a clone from an export, or from a Codex home, whose login moves only when that is asked for."""
    wanted = wanted_from(source, codex, force=force)
    where = import_source(context, path, move_login or with_sessions)
    if not os.path.isdir(where):
        try:
            archive, agreed = opened_export(where, context.places.user_home)
            clone, left = import_export(context, archive, name, wanted, agreed)
            said: tuple[str, ...] = ()
        finally:
            opened_export.cache_clear()
    else:
        clone, left = import_home(context, name, wanted, ImportedHome(where, with_sessions, move_login))
        moved = move_login and not os.path.exists(login_file(where))
        said = (f"the login was moved: {where} is logged out, and its auth.json set aside there",) if moved else ()
        said += secrets_notice(where, "were imported too")
    is_in = account_of(clone).kind not in ("none", "unknown")
    following = f"codex-mirror run {clone.name}" if is_in else login_command(clone, context)
    lines = (*made_lines("imported", clone), f"next: {following}")
    notes = (*said, *left, *node_notice(clone), *first_path_notice(clone, context))
    return Outcome(FAILED if left else DONE, lines, notes, about=clone_keys(clone))


def is_file_or_pipe(path: str) -> bool:
    """Does the path lead to bytes that come to an end: those of a file, or of a program at the other end of a pipe?"""
    with contextlib.suppress(OSError, ValueError):
        mode = os.stat(path).st_mode
        return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)
    return False


def import_source(context: Context, path: str, is_about_home: bool) -> str:
    """The file, pipe or directory to import; for `-`, which is stdin, a name that no file has. Raises MirrorError."""
    where = "" if path == "-" else path_from(path, context.places)
    if not where and (sys.stdin is None or sys.stdin.isatty()):
        raise MirrorError("stdin is a terminal, not an export", "pipe an export in, or name its file", USAGE)
    if not where or is_file_or_pipe(where):
        if is_about_home:
            raise MirrorError(
                "--move-login and --with-sessions are for a Codex home, not for an export", "leave them out", USAGE
            )
    elif not os.path.isdir(where):
        hint = "import takes an export, - for stdin, or a Codex home such as ~/.codex"
        raise MirrorError(f"{where} {complaint_about_kind(where)}", hint)
    return where


@lru_cache(maxsize=1)
def opened_export(path: str, user_home: str) -> tuple[BinaryIO, tuple[str, ...]]:
    """An export, and what it brings that must be agreed to. What comes through a pipe comes once, may take hours, and
    is whole before anybody has to wait for us."""
    archive: BinaryIO = open(path or 0, "rb", closefd=bool(path))  # noqa: SIM115
    if not os.path.isfile(path):
        with archive:
            archive = spool(archive, IMPORT_LIMIT)
    return archive, dangers_of_export(archive, user_home)


def question_of_import(
    context: Context,
    *,
    path: str,
    name: str = "",
    source: str = "",
    move_login: bool = False,
    with_sessions: bool = False,
    codex: str = "",
    force: bool = False,
) -> Question | None:
    """What an export brings that runs, sends or unlocks something, or a login; one's own home is not asked for."""
    where = import_source(context, path, move_login or with_sessions)
    if os.path.isdir(where):
        return None
    if os.path.isfile(where):
        opened_export.cache_clear()  # It may be another one by now; what came through a pipe is kept.
    _, dangers = opened_export(where, context.places.user_home)
    if not dangers:
        return None
    hint = f"codex-mirror import {quote_if_needed(path)} --yes, if you know who made it and want all of that"
    return Question(("this export contains:", *dangers), "import it?", stdin_taken=not where, hint=hint)


# --- Command rows ---------------------------------------------------------------------------------


class Argument(NamedTuple):
    """One argument of a command: its flags, or its name; what it means; and the rest for argparse."""

    flags: tuple[str, ...]
    help: str
    options: Mapping[str, Any] = {}


def optional_word(name: str, value: str, help: str, **more: Any) -> Argument:
    """A word that may be left out."""
    return Argument((name,), help, {"metavar": value, "nargs": "?", "default": "", **more})


def flag_argument(*flags: str, help: str, **more: Any) -> Argument:
    """An option without a value."""
    return Argument(flags, help, {"action": "store_true", "default": False, **more})


def option_argument(*flags: str, help: str, value: str = "", **more: Any) -> Argument:
    """An option with one value; without a placeholder its choices are shown."""
    return Argument(flags, help, {**({"metavar": value} if value else {}), "default": "", **more})


def repeated_argument(*flags: str, value: str, help: str) -> Argument:
    """An option that can be given again."""
    return Argument(flags, help, {"action": "append", "metavar": value, "default": []})


class Command(NamedTuple):
    """A row of the command table; `asks` says that its answer is data, which `--quiet` keeps, and `passes_on`
    that what follows the `name`, or only what follows a `--`, is not ours."""

    words: tuple[str, ...]
    summary: str
    handler: Callable[..., Outcome]
    arguments: tuple[Argument, ...] = ()
    examples: tuple[str, ...] = ()
    asks: bool = False
    passes_on: str = ""
    confirm: Callable[..., Question | None] | None = None
    can_be_dry: bool = False


COMMON = (
    flag_argument("--json", help="print one JSON document"),
    flag_argument("-y", "--yes", help="don't ask"),
    flag_argument("-q", "--quiet", help="print only data and errors"),
    flag_argument("--redact", help="hide e-mail addresses"),
    flag_argument("--debug", help="show where in the program an error comes from"),
)
TOPICS = {
    "environment": (
        "CODEX_MIRROR_HOME             where the clones are (~/.codex-mirror)",
        "CODEX_MIRROR_BIN_DIR          where the clones' commands are (~/.local/bin)",
        "CODEX_MIRROR_OFFLINE          1 turns off all network requests",
        "CODEX_MIRROR_CODEX_URL        the only registry or release page to fetch Codex from",
        "CODEX_MIRROR_LOCK_TIMEOUT     seconds to wait for another change (30)",
        "CODEX_MIRROR_CLI              the codex-mirror through which the clones' commands start Codex",
        "CODEX_MIRROR_PYTHON           the Python to run codex-mirror with, 3.10 or newer",
        "CODEX_MIRROR_TRUST_DIRECTORY  directories to accept though others can write them, separated by :",
        "CODEX_MIRROR_QUIET            1: the shim doesn't say which clone it starts",
        "NO_COLOR                      no colour in the menu",
        "",
        "set inside a clone: CODEX_MIRROR_CLONE (its name), CODEX_MIRROR_USER_HOME (your HOME)",
    ),
    "exit-codes": (
        "  0  done",
        "  1  failed, or problems found",
        "  2  wrong usage",
        "  3  no such clone",
        "  5  refused: it already exists, isn't ours, is unsafe, or something would be lost",
        "  6  busy: another change is running, or the clone is in use",
        " 70  a bug in codex-mirror",
        "130  interrupted",
        "",
        "run, exec, login and resume exit with the code of the program that they start",
    ),
    "files": (
        "~/.codex-mirror/registry.json          the list of clones",
        "~/.codex-mirror/clones/NAME            a clone, unless create --root puts it elsewhere",
        "NAME/.codex-mirror/home/.codex         its login, settings and sessions",
        "NAME/.codex-mirror/runtime             its pinned Codex",
        "~/.local/bin/NAME                      its command",
    ),
}
HELP_FLAG = flag_argument("-h", "--help", help="show this help")
VERSION_FLAG = flag_argument("-V", "-v", "--version", help="show the version")


def common_arguments(command: Command) -> tuple[Argument, ...]:
    """The options that a command promises; one that starts another program has no JSON to print."""
    return COMMON[1:] if command.passes_on == "name" else COMMON


def split_behind_options(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The common options before the command, and the words from the command on."""
    flags = [flag for argument in COMMON for flag in argument.flags]
    first = next((index for index, word in enumerate(words) if word not in flags), len(words))
    return list(words[:first]), list(words[first:])


# --- Completion -----------------------------------------------------------------------------------

# Each asks the program, which prints what the shell adds of its own (files, directories or nothing), then a line
# `word⇥meaning` for every word that could stand at the cursor; the shell picks those that fit what was typed.
COMPLETIONS = {
    "bash": r"""# Completes the words of @names@; made by `codex-mirror completion bash`.
@function@() {
  local more="" word kind=-f IFS=$' \t\n'
  COMPREPLY=()
  {
    IFS=$'\t' read -r more _
    while IFS=$'\t' read -r word _; do
      if [[ -n $word && $word == "${2-}"* ]]; then COMPREPLY+=("$word"); fi
    done
  } <<<"$(command @program@ completion bash -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)"
  if [[ $more != files ]]; then compopt +o default 2>/dev/null; fi
  if [[ $more == directories ]]; then
    kind=-d
    compopt -o dirnames 2>/dev/null
  fi
  if [[ -n $more && ${#COMPREPLY[@]} -gt 0 ]]; then
    while IFS= read -r word; do
      if [[ -n $word ]]; then COMPREPLY+=("$word"); fi
    done <<<"$(compgen "$kind" -- "${2-}")"
  fi
  return 0
}
complete -o default -F @function@ @names@
""",
    "zsh": r"""#compdef @names@
# Completes the words of @names@; made by `codex-mirror completion zsh`.
@function@() {
  local -a answer offers
  local line ret=1
  answer=("${(@f)$(command @program@ completion zsh -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
  for line in "${(@)answer[2,-1]}"; do
    offers+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done
  if [[ $PREFIX == --*=* ]]; then compset -P '--[^=]#='; fi
  if (( $#offers )); then _describe 'word' offers && ret=0; fi
  case $answer[1] in
    files*) _files && ret=0 ;;
    directories*) _path_files -/ && ret=0 ;;
  esac
  return ret
}
# An autoloaded file is called to complete; one that is sourced only says what it completes.
if (( $+compstate )); then @function@ "$@"; else compdef @function@ @names@; fi
""",
    "fish": r"""# Completes the words of @names@; made by `codex-mirror completion fish`.
function @function@
    set -l word (commandline -ct)
    set -l before (commandline -opc)
    set -e before[1]
    set -l program @program@
    command -q $program[1]; or return
    set -l answer (command $program completion fish -- $before "$word" 2>/dev/null)
    set -l option (string match -r -- '^--[^=]*=' "$word")
    set -l value (string replace -r -- '^--[^=]*=' '' "$word")
    begin
        string join \n -- $answer[2..-1]
        switch "$answer[1]"
            case 'files*'
                __fish_complete_path "$value"
            case 'directories*'
                __fish_complete_directories "$value" ''
        end
    end | while read -l line
        printf '%s\n' "$option$line"
    end
end
for name in @names@
    complete -c $name -f -a '(@function@)'
end
""",
}


def completion_text(shell: str, names: Sequence[str], program: Sequence[str]) -> str:
    """The script that completes the commands of these names by asking the program that these words start.

    The names are plain: letters, digits, `.`, `+`, `_` and `-`."""
    quote = fish_quote if shell == "fish" else shell_quote
    filled = {
        "@names@": " ".join(names),
        "@function@": "_" + re.sub(r"\W", "_", names[0]),
        "@program@": " ".join(map(quote, program)),
    }
    return re.sub("@[a-z]+@", lambda match: filled[match.group()], COMPLETIONS[shell].rstrip("\n"))


# What the words of an argument's placeholder say of its values: lying on the disk, or known to us.
VALUES_ON_DISK = {"FILE": "files", "PATH": "files", "DIR": "directories"}
KNOWN_VALUES: Mapping[str, Callable[[Places, str], list[tuple[str, str]]]] = {
    "NAME": lambda places, word: names_with_accounts(read_registry(places).clones, word),
    "ENTRY": lambda places, word: [
        (name, "")
        for name in ("none", *entries_of(places.user_home))
        if name not in NEVER_SHARED and re.fullmatch(r"[\w.][\w.+-]*", name)
    ],
    "SETTING": lambda places, word: [(entry, "") for entry in SHARABLE_SETTINGS],
    "VERSION": lambda places, word: [(clone.runtime.version, clone.name) for clone in read_registry(places).clones],
    LATEST: lambda places, word: [(LATEST, "the newest")],
    "VAR": lambda places, word: [(variable, "") for variable in HIDDEN_VARIABLES],
    "SHARED": lambda places, word: [
        (share, clone.name) for clone in read_registry(places).clones for share in clone.shared
    ],
    "KEPT": lambda places, word: [
        (one, clone.name) for clone in read_registry(places).clones for one in clone.keep_env
    ],
}

DESCRIBED_CLONES = 50  # More than fit on a screen.

# What the shell may offer of its own (`files`, `directories` or nothing), and words with their meanings.
Offers = tuple[str, list[tuple[str, str]]]


def names_with_accounts(clones: Sequence[Clone], word: str) -> list[tuple[str, str]]:
    """The clones' names, each with its account; of a crowd's, only with those that begin with this word and are no
    crowd, since the login of every clone is a file of its own."""
    fitting = clones if len(clones) <= DESCRIBED_CLONES else [one for one in clones if one.name.startswith(word)]
    told = {one.name: account_text(account_of(one)) for one in fitting} if len(fitting) <= DESCRIBED_CLONES else {}
    return [(one.name, told.get(one.name) or f"Codex {one.runtime.version}") for one in clones]


def split_unfinished_line(line: str) -> list[str]:
    """The words of an unfinished command line as the shell would pass them; the last is the one at its end."""
    import shlex

    for end in ("", "\\", "'", '"'):
        with contextlib.suppress(ValueError):
            words = shlex.split(line + end)
            return words if not line[-1:].isspace() or end else [*words, ""]
    return []


def completions_for(commands: Sequence[Command], words: Sequence[str], places: Places) -> Offers:
    """What could stand in place of the last of these words, whatever of it is typed already."""
    *before, word = list(words) or [""]
    given, before = split_behind_options(before)
    for command in commands:
        if tuple(before[: len(command.words)]) == command.words:
            return completions_of_command(command, [*given, *before[len(command.words) :]], word, places)
    if not before and word.startswith("-"):
        free = [argument for argument in (HELP_FLAG, VERSION_FLAG, *COMMON) if not {*argument.flags} & {*given}]
        return "", [(flag, argument.help) for argument in free for flag in argument.flags]
    if before[:1] == ["help"]:
        before = before[1:]
        following = {} if before else {topic: f"help on {topic}" for topic in TOPICS}
    else:
        following = {} if before else {"help": "show what a command does, or a topic"}
    for command in commands:
        if list(command.words[: len(before)]) == before:
            first, *rest = command.words[len(before) :]
            others = [following[first]] if first in following else []
            following[first] = ", ".join([*others, " ".join(rest)]) if rest else command.summary
    return "", list(following.items())


def completions_of_command(command: Command, before: Sequence[str], word: str, places: Places) -> Offers:
    """What could stand behind a command and these words of it: values where one is due, else options."""
    options = {
        flag: one
        for one in (*command.arguments, *common_arguments(command), HELP_FLAG)
        for flag in one.flags
        if flag.startswith("-")
    }
    due = [one for one in command.arguments if not one.flags[0].startswith("-")]
    given, values, waiting, ended = words_before_cursor(before, options)
    if command.passes_on == "name" and values:
        return "files", []
    if not waiting and not ended and word.startswith("--") and "=" in word:
        waiting = options.get(word.partition("=")[0], HELP_FLAG)
    if waiting:
        return values_for(waiting, places, word.partition("=")[2] if word.startswith("--") else word)
    if due and len(values) >= len(due) and due[-1].options.get("nargs") != "*":
        due = []
    if due and (ended or not word.startswith("-")):
        more, known = values_for(due[min(len(values), len(due) - 1)], places, word)
        if more or known:
            return more, [(value, meaning) for value, meaning in known if value not in values]
    once = [one for one in given if one.options.get("action") != "append"]
    return "", [(flag, one.help) for flag, one in options.items() if one not in once and not ended]


def words_before_cursor(
    words: Sequence[str], options: Mapping[str, Argument]
) -> tuple[list[Argument], list[str], Argument | None, bool]:
    """The options and the values in these words, the option that still waits for its value, and was there a `--`?"""
    given: list[Argument] = []
    values: list[str] = []
    waiting: Argument | None = None
    ended = False
    for word in words:
        if waiting:
            waiting = None
        elif ended or word == "-" or not word.startswith("-"):
            values.append(word)
        elif word == "--":
            ended = True
        elif option := options.get(word.partition("=")[0]):
            given.append(option)
            waiting = option if "=" not in word and option.options.get("action", "append") == "append" else None
    return given, values, waiting, ended


def values_for(argument: Argument, places: Places, word: str) -> Offers:
    """What an argument can be, as its choices or its placeholder say, where this much of it is typed."""
    kinds = str(argument.options.get("metavar", "")).split("|")
    known = [(choice, "") for choice in argument.options.get("choices", ())]
    known += [value for kind in kinds if kind in KNOWN_VALUES for value in KNOWN_VALUES[kind](places, word)]
    return next((VALUES_ON_DISK[kind] for kind in kinds if kind in VALUES_ON_DISK), ""), known


def names_and_start(program: str) -> tuple[list[str], list[str]]:
    """The commands to complete, and the words that start this program wherever the user will be."""
    import shlex

    words = shlex.split(program)
    name = os.path.basename(words[-1])
    names = [name] if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name) else []
    if len(words) > 1:
        return ["codex-mirror", *names], [sys.executable or words[0], "-I", "-S", os.path.abspath(words[-1])]
    return names or ["codex-mirror"], [os.path.abspath(words[0])] if "/" in words[0] else words


def completion_handler(commands: Callable[[], Sequence[Command]]) -> Callable[..., Outcome]:
    """The handler of `completion` over these commands, of which it is one itself."""

    def completion(context: Context, *, shell: str, arguments: Sequence[str] = ()) -> Outcome:
        """The shell's script, or, for that script, what could stand where the cursor is behind these words."""
        if arguments:
            words = split_unfinished_line(arguments[0])[1:] if shell == "bash" else arguments
            more, offers = completions_for(commands(), words, context.places)
            return Outcome(table=Table(("WORD", "MEANING"), ((more, ""), *offers)))
        text = completion_text(shell, *names_and_start(context.program))
        return Outcome(lines=tuple(text.split("\n")), stream=lambda file: write_text(file, text))

    return completion


# --- Command table --------------------------------------------------------------------------------


completion: Callable[..., Outcome] = completion_handler(lambda: COMMANDS)

NAMES = {"metavar": "NAME", "type": str.strip}
NAME_OF_CLONE = Argument(("name",), "the clone", NAMES)
BOUND_CLONE = optional_word("name", "NAME", "the clone; default: the one set for this directory", type=str.strip)
ANY_CLONE = optional_word("name", "NAME", "only this clone", type=str.strip)
FROM = option_argument(
    "--from",
    value="PATH|NAME",
    help="take Codex from a command, package directory, .tar.gz or clone",
    dest="source",
)
CODEX = option_argument(
    "--codex", value="VERSION|latest", help="take this version of Codex; fetched if no clone has it"
)
INCOMPLETE = flag_argument("--allow-incomplete", help="accept a Codex without its helper programs")
FORCE = flag_argument("--force", help="even while its Codex is running")
REVOKED = flag_argument("--force", help="accept a Codex whose certificate Apple has revoked")
END_ALL = flag_argument("--force", help="stop the Codex that is running in the clone")
BIN_DIR = option_argument("--bin-dir", value="DIR", help="the directory of the clones' commands (~/.local/bin)")
SHELL = option_argument("--shell", choices=SHELLS, help="the shell (default: $SHELL)")
RC_FILE = option_argument("--rc-file", value="FILE", help="the rc file (default: the shell's own)")
HOME_KIND = option_argument("--home", choices=HOMES, default="isolated", help="a HOME of its own (default), or yours")
SHARE = repeated_argument("--share", value="ENTRY", help="share this entry of your home, or 'none'; can be repeated")
DRY_RUN = flag_argument("--dry-run", help="only show what would be made, written, moved and deleted")
SHARE_SETTINGS = repeated_argument(
    "--share-settings", value="SETTING", help=f"share these settings of ~/.codex: {', '.join(SHARABLE_SETTINGS)}"
)
KEEP_ENV = repeated_argument("--keep-env", value="VAR", help="don't hide this variable from the clone")
SETTINGS = option_argument("--settings-from", value="DIR|NAME", help="copy the settings of a clone or Codex home")

COMMANDS: tuple[Command, ...] = (
    Command(("create",), "make a clone with its own pinned Codex, HOME and login", create,
            (optional_word("name", "NEW", "the clone's name, which becomes a command"),
             option_argument("--name", value="NEW", help="the same as NEW", dest="name_option"),
             option_argument("--root", value="DIR", help="where to put the clone (~/.codex-mirror/clones/NEW)"),
             *(FROM, CODEX, HOME_KIND, SHARE, SHARE_SETTINGS, KEEP_ENV, SETTINGS, INCOMPLETE, REVOKED)),
            ("codex-mirror create work", "codex-mirror create client --root ~/client"), can_be_dry=True),
    Command(("list",), "show the clones", list_clones,
            (ANY_CLONE, flag_argument("--full", help="everything about each clone"),),
            ("codex-mirror list", "codex-mirror list --json"), asks=True),
    Command(("run",), "run a clone's Codex; everything after the name goes to it", run,
            (BOUND_CLONE,),
            ("codex-mirror run work", "codex-mirror run work exec 'fix the tests'"), passes_on="name"),
    Command(("exec",), "run any program, or your shell, in a clone's environment", exec_program,
            (BOUND_CLONE,), ("codex-mirror exec work -- git status",), passes_on="name"),
    Command(("env",), "print a clone's environment, for eval", env_lines,
            (BOUND_CLONE, option_argument("--shell", choices=(*SHELLS, "json"), help=SHELL.help),
             flag_argument("--unset", help="print what leaves it again")),
            ('eval "$(codex-mirror env work)"',), asks=True),
    Command(("login",), "log a clone in; everything after the name goes to codex login", log_in,
            (NAME_OF_CLONE,),
            ("codex-mirror login work", "printenv KEY | codex-mirror login work --with-api-key"), passes_on="name",
            confirm=question_of_login),
    Command(("logout",), "log a clone out", log_out,
            (NAME_OF_CLONE, flag_argument("--local", help="only delete the login here; don't revoke it"), FORCE),
            ("codex-mirror logout work --local",), confirm=question_of_logout),
    Command(("usage",), "show what is left of each clone's rate limits", show_usage,
            (ANY_CLONE, flag_argument("--fresh", help="ask the server, with the clone's own Codex"),
             option_argument("--timeout", value="SECONDS", type=float, default=15.0, help="how long to wait (15)"),
             flag_argument("--best", help="print the name of the clone with the most left")),
            ("codex-mirror usage", "codex-mirror usage work --fresh --json"), asks=True),
    Command(("sessions",), "show the sessions of all clones, newest first", list_sessions,
            (ANY_CLONE, flag_argument("--here", help="only those of this directory and below"),
             option_argument("--grep", value="TEXT", help="only those with TEXT in their prompt or directory"),
             option_argument("--limit", value="N", type=int, default=30, help="how many at most (30; 0 for all)")),
            ("codex-mirror sessions", "codex-mirror sessions work --grep parser --json"), asks=True),
    Command(("resume",), "continue a session, in its directory and with the clone that has it", resume,
            (optional_word("session_id", "ID", "the session's id, or the beginning of it"),
             flag_argument("--last", help="the newest session of all clones"),
             flag_argument("--here", help="the newest session of this directory and below"),
             option_argument("--in", value="NAME", help="in this clone, after a handover if need be", dest="into")),
            ("codex-mirror resume 01a222f7-aacf", "codex-mirror resume --last --in personal"), passes_on="--"),
    Command(("handover",), "copy a session to another clone, so that its account can continue it", hand_over,
            (Argument(("session_id",), "the session's id, or the beginning of it", {"metavar": "ID"}),
             Argument(("name",), "the clone that gets it", NAMES),
             flag_argument("--fork", help="copy it as a session with a new id"),
             flag_argument("--force", help="replace the copy there, even if it is open")),
            ("codex-mirror handover 01a222f7-aacf personal",), can_be_dry=True),
    Command(("doctor",), "find what is wrong, and fix it with --fix", doctor,
            (ANY_CLONE, flag_argument("--fix", help="fix what can be fixed without losing anything"),
             flag_argument("--deep", help="check every byte of the pinned Codex"), END_ALL),
            ("codex-mirror doctor", "codex-mirror doctor work --fix"), asks=True, can_be_dry=True),
    Command(("update",), "pin the installed Codex, or any version, in clones", update,
            (Argument(("names",), "the clones", {**NAMES, "nargs": "*"}),
             flag_argument("--all", help="every clone", dest="everything"), *(FROM, CODEX, INCOMPLETE, END_ALL)),
            ("codex-mirror update work", "codex-mirror update --all"), can_be_dry=True),
    Command(("versions",), "show the available versions of Codex, and which clones have them", list_versions,
            (flag_argument("--all", help="all versions, with pre-releases", dest="everything"),),
            ("codex-mirror versions", "codex-mirror versions --all --json"), asks=True),
    Command(("rollback",), "undo the last update of a clone; again to redo it", roll_back,
            (NAME_OF_CLONE, END_ALL), ("codex-mirror rollback work",)),
    Command(("rename",), "give a clone another name", rename_command,
            (NAME_OF_CLONE, Argument(("new_name",), "its new name", {"metavar": "NEW"})),
            ("codex-mirror rename work office",), can_be_dry=True),
    Command((MOVE_HOME,), "adapt the clones to a home directory that was moved or renamed", move_home_command,
            (), (f"codex-mirror {MOVE_HOME}",), can_be_dry=True, confirm=question_of_move),
    Command(("log",), "show what was changed in all clones or one, newest last", show_log,
            (optional_word("name", "NAME", "only this clone, which may have been removed", type=str.strip),),
            ("codex-mirror log", "codex-mirror log work --json"), asks=True),
    Command(("set",), "change a clone: its HOME, what it shares, its variables and settings", set_clone,
            (NAME_OF_CLONE, option_argument("--home", choices=HOMES, help=HOME_KIND.help),
             repeated_argument("--share", value="ENTRY", help="share this entry of your home, or 'default'"),
             repeated_argument("--unshare", value="SHARED", help="stop sharing this entry"), KEEP_ENV, SHARE_SETTINGS,
             repeated_argument("--unshare-settings", value="SETTING", help="stop sharing these settings"),
             flag_argument("--accept-account", help="accept the account that is logged in now"),
             repeated_argument("--env", value="VAR=VALUE",
                               help="set a variable in the clone; not part of an export"),
             repeated_argument("--no-env", value="VAR", help="remove that variable"),
             repeated_argument("--no-keep-env", value="KEPT", help="hide this variable again"), SETTINGS),
            ("codex-mirror set work --share .npmrc", "codex-mirror set work --settings-from ~/.codex"),
            can_be_dry=True),
    Command(("export",), "write a clone's settings and sessions into one file", export_clone,
            (NAME_OF_CLONE, option_argument("-o", "--output", value="FILE", help="the file to write, or - for stdout"),
             flag_argument("--with-login", help="include the login, which works in one place only")),
            ("codex-mirror export work -o work.tar.gz",
             "codex-mirror export work -o - | ssh host codex-mirror import - --yes")),
    Command(("import",), "make a clone from an export or from a Codex home", import_clone,
            (Argument(("path",), "an export, - for stdin, or a Codex home", {"metavar": "FILE|DIR|-"}),
             option_argument("--name", value="NEW", help="the new clone's name"), FROM, CODEX,
             flag_argument("--move-login", help="move the login out of a Codex home"),
             flag_argument("--with-sessions", help="copy the sessions of a Codex home"), REVOKED),
            ("codex-mirror import work.tar.gz", "codex-mirror import ~/.codex --name own --with-sessions"),
            confirm=question_of_import, can_be_dry=True),
    Command(("remove",), "remove a clone with its login and sessions", remove,
            (NAME_OF_CLONE, END_ALL),
            ("codex-mirror remove work",), confirm=question_of_removal, can_be_dry=True),
    Command(("use",), "set the clone for a directory: run, exec and env use it there", use,
            (optional_word("name", "NAME", "the clone; without it, list what is set", type=str.strip),
             optional_word("directory", "DIR", "the directory, with all below it (default: the current one)"),
             flag_argument("--default", help="set the clone for all other directories"),
             flag_argument("--unset", help="remove the clone set for DIR or the current directory")),
            ("codex-mirror use work", "codex-mirror use --default personal"), can_be_dry=True),
    Command(("which",), "show which clone is set for a directory", which,
            (optional_word("directory", "DIR", "the directory (default: the current one)"),),
            ("codex-mirror which", "codex-mirror which ~/client"), asks=True),
    Command(("shim", "install"), "make the command codex start the clone set for the directory", shim_install,
            (SHELL,), ("codex-mirror shim install",)),
    Command(("shim", "remove"), "undo shim install", shim_remove, (), ("codex-mirror shim remove",)),
    Command(("wrapper", "install"), "write the clones' commands again, or into another directory",
            wrapper_install,
            (BIN_DIR,), ("codex-mirror wrapper install --bin-dir ~/bin",), can_be_dry=True),
    Command(("path", "status"), "show whether the directory of the clones' commands is on PATH", path_status,
            (BIN_DIR, SHELL, RC_FILE), ("codex-mirror path status",), asks=True),
    Command(("path", "setup"), "put the directory of the clones' commands on PATH, in the rc file", path_setup,
            (BIN_DIR, SHELL, RC_FILE), ("codex-mirror path setup",), can_be_dry=True),
    Command(("path", "remove"), "take the directory of the clones' commands out of the rc files", path_remove,
            (BIN_DIR, SHELL, RC_FILE), ("codex-mirror path remove",), can_be_dry=True),
    Command(("completion",), "print the completions for a shell", completion,
            (Argument(("shell",), "bash, zsh or fish", {"choices": tuple(COMPLETIONS), "metavar": "SHELL"}),),
            ('eval "$(codex-mirror completion bash)"', "codex-mirror completion fish | source"), passes_on="--"),
)  # fmt: skip


COMMANDS = tuple(row._replace(arguments=(*row.arguments, DRY_RUN)) if row.can_be_dry else row for row in COMMANDS)
FIRST_WORDS = {"help", *(row.words[0] for row in COMMANDS)}


# --- Suggestions ----------------------------------------------------------------------------------

# What people type who come from other programs, and the command that does it here.
COMMANDS_ELSEWHERE = {
    word: command
    for command, words in {
        "create": "new add clone init mk make mkdir copy cp duplicate install",
        "remove": "rm delete del destroy drop erase",
        "list": "ls status show info ps whoami clones account profile user inspect get describe view",
        "login": "auth signin sign-in authenticate token apikey api-key key",
        "logout": "signout sign-out revoke",
        "usage": "limit quota left remaining credit rate-limit",
        "use": "switch select default local global",
        "which": "current active where whence",
        "update": "upgrade pin bump sync",
        "versions": "release ls-remote outdated",
        "rollback": "revert undo downgrade",
        "run": "start open launch codex chat",
        "exec": "shell sh bash zsh fish attach enter activate",
        "env": "printenv deactivate",
        "rename": "mv move",
        "set": "config configure setting edit share unshare",
        "doctor": "check fix repair health clean cleanup prune gc verify",
        "sessions": "history chats conversation thread search find grep",
        "resume": "continue reopen",
        "handover": "transfer handoff fork",
        "export": "backup save dump",
        "import": "restore load migrate",
        "log": "event audit journal change",
        "path setup": "setup init-shell",
        "shim install": "rehash reshim",
        "completion": "complete",
        "help": "doc man command example topic ?",
    }.items()
    for word in words.split()
}
INSTALL_LINE = f"curl -fsSL {REPOSITORY.replace('github.com', 'raw.githubusercontent.com')}/main/install.sh | sh"
NO_SELF_UPDATE = ("codex-mirror doesn't update itself", f"to install the newest: {INSTALL_LINE}")
ABOUT_ITSELF = {
    **dict.fromkeys(("self-update", "selfupdate", "self-upgrade", "self"), NO_SELF_UPDATE),
    **dict.fromkeys(
        ("uninstall", "self-uninstall", "purge"),
        ("", f"codex-mirror remove NAME removes a clone; to remove the program: {INSTALL_LINE} -s -- --uninstall"),
    ),
    "version": ("", "codex-mirror --version shows its own version, codex-mirror versions those of Codex"),
    **dict.fromkeys(("menu", "tui", "ui", "gui", "dashboard"), ("", "codex-mirror without a command opens the menu")),
}
# What other programs put before the command, and the programs themselves.
NOUNS_ELSEWHERE = {"auth", "account", "clone", "profile", "config", "container", "context", "codex-mirror"}
NOUNS_ELSEWHERE |= {"codex", "gh", "git", "npm", "nvm", "pyenv", "docker", "kubectl", "aws"}
# What loses something is suggested only to those who as good as typed it.
DESTRUCTIVE = {"remove", "logout", "rollback", "--force", "--yes", "--move-login"}


def word_meant(word: str, words: Iterable[str], least: float = 0.7) -> str:
    """The one of these words that was probably meant, dashes or none; or nothing. What loses something is meant only
    where a letter is missing or too many, or two changed places: `remov`, not `remote`."""
    typed, bare = word.lower().strip("-"), {one.strip("-"): one for one in words}

    def is_slip(one: str) -> bool:
        longer, shorter = sorted((typed, one), key=len, reverse=True)
        return sorted(typed) == sorted(one) or shorter in (
            longer[:index] + longer[index + 1 :] for index in range(len(longer))
        )

    known = [one for one in bare if COMMANDS_ELSEWHERE.get(one, bare[one]) not in DESTRUCTIVE or is_slip(one)]
    return bare.get(nearest_word(typed, known, least), "")


def option_meant(word: str, options: Collection[str]) -> str:
    """The option that was meant by one that there isn't, or by a word that lacks its dashes; or nothing."""
    if word.startswith("-"):
        return "" if word in options or len(word) == 2 else word_meant(word, options)
    return f"--{word}" if f"--{word}" in options and f"--{word}" not in DESTRUCTIVE else ""


def flags_of(command: Command) -> list[str]:
    """The long options of a command, also those that every command takes."""
    arguments = (*command.arguments, *common_arguments(command), HELP_FLAG)
    return [flag for one in arguments for flag in one.flags if flag.startswith("--")]


def joined_command(word: str, following: str) -> str:
    """The command that was typed as two words (`roll back`, `move home`), or nothing."""
    joined = (f"{word}{dash}{following}" for dash in ("", "-"))
    return next((one for one in joined if following and one in FIRST_WORDS), "")


def command_called(word: str) -> str:
    """The command of exactly this name, here or elsewhere, or nothing."""
    word = word.lower()
    here = word if word in FIRST_WORDS else ""
    return here or COMMANDS_ELSEWHERE.get(word) or COMMANDS_ELSEWHERE.get(word.removesuffix("s"), "")


def command_meant(word: str) -> str:
    """The command that a word means elsewhere, is written like, or begins with; or nothing."""
    parts = tuple(re.split("[-_:]", word.lower()))
    if any(parts == command.words for command in COMMANDS):
        return " ".join(parts)
    return (
        command_called(word) or word_meant(word, sorted(FIRST_WORDS)) or (parts[0] if parts[0] in FIRST_WORDS else "")
    )


# argparse's complaints, of all its versions, and what we say instead.
ARGPARSE_COMPLAINTS = (
    (r"the following arguments are required: (.*)", "missing: {0}"),
    (r"unrecognized arguments: (-\S+).*", "there is no option '{0}'"),
    (r"unrecognized arguments: (.*)", "too many arguments: {0}"),
    (r"argument (?:-\w/)?(\S+): expected (?:one|at least one) argument", "{0} needs a value"),
    (r"argument (?:-\w/)?(\S+): invalid choice: '(.*)' \(choose from (.*)\)", "{0} can't be '{1}'; use one of {2}"),
    (r"argument (?:-\w/)?(\S+): invalid (?:int|float) value: '(.*)'", "{0} needs a number, not '{1}'"),
    (r"argument (?:-\w/)?(\S+): ignored explicit argument .*", "{0} takes no value"),
)


def usage_error(complaint: str, options: Collection[str], program: str) -> MirrorError:
    """What argparse complains of in plain words, with the option that was probably meant."""
    for pattern, text in ARGPARSE_COMPLAINTS:
        if found := re.fullmatch(pattern, complaint, re.S):
            what, *rest = found.groups()
            complaint = text.format(what, *(one.replace("'", "") for one in rest))
            if guess := option_meant(re.split("[= ]", what)[0], options):
                return MirrorError(complaint, f"did you mean '{guess}'?", USAGE)
            break
    return MirrorError(complaint, f"{program} --help", USAGE)


def unknown_option(words: Sequence[str]) -> MirrorError:
    """The error for an option where a command is due: its command comes first, or it was misspelled."""
    word, flag = words[0], words[0].partition("=")[0]
    owners = [" ".join(row.words) for row in COMMANDS if any(flag in argument.flags for argument in row.arguments)]
    if owners:
        owner = next((one for one in owners if one in words), "")
        these = "" if owner else f": {short_list(owners)}"
        hint = f"codex-mirror {owner or owners[0]} --help"
        return MirrorError(f"'{flag}' goes after its command{these}", hint, USAGE)
    bare = flag.strip("-").lower()
    if hint := ABOUT_ITSELF.get(bare, ("", ""))[1]:
        return MirrorError(f"there is no option '{flag}'", hint, USAGE)
    if guess := command_called(bare):
        return MirrorError(f"there is no option '{flag}'", f"did you mean 'codex-mirror {guess}'?", USAGE)
    flags = [flag for one in (HELP_FLAG, VERSION_FLAG, *COMMON) for flag in one.flags if flag.startswith("--")]
    return usage_error(f"unrecognized arguments: {word}", flags, "codex-mirror")


def unknown_command(words: Sequence[str], clones: Collection[str]) -> MirrorError:
    """The error for a word that is no command, with what its writer probably wanted."""
    word, following = words[0], words[1] if words[1:] else ""
    if word.startswith("-"):
        return unknown_option(words)
    if not word.strip():
        return MirrorError("the command is empty (is a variable unset?)", "codex-mirror --help", USAGE)
    if word in clones:
        meant = command_called(following)
        takes_it = any(
            meant == row.words[0] and NAMES.items() <= one.options.items() for row in COMMANDS for one in row.arguments
        )
        hint = f"did you mean 'codex-mirror {meant} {word}'?" if takes_it else f"codex-mirror run {word} starts it"
        return MirrorError(f"'{word}' is a clone, not a command", hint, USAGE)
    unknown = f"there is no command '{word}'"
    if word.lower() in ABOUT_ITSELF:
        what, hint = ABOUT_ITSELF[word.lower()]
        return MirrorError(what or unknown, hint, USAGE)
    first, *rest = word.split()
    if rest and command_called(first):
        return MirrorError(unknown, f"did you mean 'codex-mirror {word.strip()}', without the quotes?", USAGE)
    is_noun = word.lower().removesuffix("s") in NOUNS_ELSEWHERE
    guess = joined_command(word, following) or (command_called(following) if is_noun else "") or command_meant(word)
    if not guess and (clone := nearest_word(word, clones)):
        guess = f"run {clone}"
    if not guess:
        guess = COMMANDS_ELSEWHERE.get(word_meant(word, COMMANDS_ELSEWHERE, 0.85), "")
    hint = f"did you mean 'codex-mirror {guess}'?" if guess else "codex-mirror --help lists the commands"
    return MirrorError(unknown, hint, USAGE)


def likelier_hint(command: Command, words: Sequence[str], is_missing: bool) -> str:
    """What was meant where words that a command has no use for lack a dash or have a blank in them: `doctor fix`, which
    names a clone that is missing, and `log out`; or nothing."""
    if words and (joined := joined_command(command.words[-1], words[0])):
        return f"did you mean 'codex-mirror {' '.join((joined, *words[1:]))}'?"
    flags = flags_of(command) if is_missing else ()
    guess = next(filter(None, (option_meant(word, flags) for word in words if not word.startswith("-"))), "")
    return f"did you mean '{guess}'?" if guess else ""


def names_of_clones() -> list[str]:
    """The names of the clones, as far as they can be read, for a better error."""
    with contextlib.suppress(MirrorError, OSError):
        return [clone.name for clone in read_registry(known_places(os.environ)).clones]
    return []


# --- Command line ---------------------------------------------------------------------------------

EXAMPLES = (
    "codex-mirror create work",
    "codex-mirror login work",
    'work "explain this repository"',
    "codex-mirror doctor --fix",
)


def with_program_name(text: str, program: str) -> str:
    """The text with the command lines in it as this caller would type them, here and not on another machine; the marks
    of our blocks are none."""
    firsts = {"--help", "--version", *(command.words[0] for command in COMMANDS)}
    return re.sub(
        r"(?<![\w./-])(?<!ssh host )(?<!# >>> )(?<!# <<< )codex-mirror(?= ([\w-]+))",
        lambda found: program if found[1] in firsts else found[0],
        text,
    )


def advice_with_program_name(data: Any, program: str) -> Any:
    """What doctor found, as data, with the command lines in what helps as this caller would type them."""
    if isinstance(data, list):
        return [advice_with_program_name(one, program) for one in data]
    if not isinstance(data, dict):
        return data
    named = {"fix": with_program_name(data["fix"], program)} if isinstance(data.get("fix"), str) else {}
    problems = {"problems": advice_with_program_name(data["problems"], program)} if "problems" in data else {}
    return {**data, **named, **problems}


class HelpAsked(Exception):
    """The words of a command ask for its help, which is the text of this."""


def parser_of(command: Command, program: str) -> Any:
    """The parser of this one command; its complaints are ours to say, and so is its help. Raises HelpAsked."""
    import argparse

    flags = flags_of(command)

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise usage_error(message, flags, self.prog)

        def print_help(self, file: object = None) -> NoReturn:
            raise HelpAsked(self.format_help())

    lines = ["examples:", *(f"  {with_program_name(line, program)}" for line in command.examples), ""]
    name = "[NAME] [--]" if BOUND_CLONE in command.arguments else "NAME"
    parser = Parser(
        prog=f"{program} {' '.join(command.words)}",
        usage=f"%(prog)s [options] {name} [ARGS…]" if command.passes_on == "name" else None,
        description=command.summary[0].upper() + command.summary[1:] + ".",
        epilog="\n".join((*lines, f"see also: {program} help environment, {program} help exit-codes")),
        # With a width of its own it doesn't load `shutil` to ask for the terminal's.
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=28, width=100),
        allow_abbrev=False,
    )
    for argument in (*command.arguments, *COMMON):
        is_shown = argument not in COMMON or argument in common_arguments(command)
        help = argument.help if is_shown else argparse.SUPPRESS
        parser.add_argument(*argument.flags, help=help, **argument.options)
    parser.color = False  # type: ignore[attr-defined]  # From Python 3.14 on it has escape sequences on a terminal.
    return parser


def parse_plain_words(command: Command, words: Sequence[str]) -> dict[str, Any] | None:
    """What the parser would make of words without options, or None where it must be asked.

    `list`, `run work` and their like start in two thirds of the time without loading argparse."""
    due = [argument for argument in command.arguments if not argument.flags[0].startswith("-")]
    odd = any(argument.options.get("nargs") == "*" for argument in due)
    odd |= any(word not in argument.options.get("choices", [word]) for argument, word in zip(due, words, strict=False))
    needed = sum("nargs" not in argument.options for argument in due)
    if odd or not needed <= len(words) <= len(due) or any(word.startswith("-") for word in words):
        return None
    values: dict[str, Any] = {}
    for argument in (*command.arguments, *COMMON):
        name = argument.options.get("dest") or argument.flags[-1].lstrip("-").replace("-", "_")
        values[name] = argument.options.get("default")
    given = {one.flags[0]: one.options.get("type", str)(word) for one, word in zip(due, words, strict=False)}
    return {**values, **given}


def help_text(program: str, word: str = "") -> str:
    """The program's own help, or that of the commands which begin with this word, from the command table."""
    rows = [command for command in COMMANDS if word in ("", command.words[0])]
    width = max(len(" ".join(command.words)) for command in COMMANDS)
    lines = [f"  {' '.join(command.words):<{width}}  {command.summary}" for command in rows]
    if word:
        more = f"`{program} {word} COMMAND --help` shows more about a command."
        return "\n".join([f"usage: {program} {word} COMMAND …", "", *lines, "", more])
    lines = [
        f"usage: {program} [-h] [-V] [COMMAND …]",
        "",
        "Clones of the official Codex CLI, each with its own login, HOME and program.",
        "",
        *lines,
        "",
        f"Without a command it opens a menu; `{program} help COMMAND` shows more.",
        "",
        "every command takes:",
        *(f"  {', '.join(argument.flags):<{width}}  {argument.help}" for argument in COMMON),
        "",
        "examples:",
        *(f"  {with_program_name(line, program)}" for line in EXAMPLES),
        "",
        f"more: {', '.join(f'{program} help {topic}' for topic in TOPICS)}",
        f"      {REPOSITORY}",
    ]
    return "\n".join(lines)


def help_about(words: Sequence[str], program: str, clones: Callable[[], Collection[str]] = tuple) -> str:
    """The help on a command, on a family of them, or on a topic. Raises MirrorError USAGE."""
    if not words or words[0] == "help":
        return help_text(program)
    if words[0] in TOPICS:
        return "\n".join(TOPICS[words[0]])
    if tuple(words) in {command.words[:-1] for command in COMMANDS if command.words[1:]}:
        return help_text(program, words[0])
    if len(words) == 1 and not command_meant(words[0]) and (topic := nearest_word(words[0], TOPICS)):
        raise MirrorError(f"there is no topic '{words[0]}'", f"did you mean 'codex-mirror help {topic}'?", USAGE)
    return str(parser_of(command_named(words, clones)[0], program).format_help()).rstrip("\n")


def command_named(argv: Sequence[str], clones: Callable[[], Collection[str]] = tuple) -> tuple[Command, list[str]]:
    """The command that these words begin with, and the words behind it; `clones` gives the names of those that there
    are. Raises MirrorError USAGE."""
    for command in COMMANDS:
        if tuple(argv[: len(command.words)]) == command.words:
            return command, list(argv[len(command.words) :])
    family = [command.words[1] for command in COMMANDS if argv[0] == command.words[0]]
    if not family:
        raise unknown_command(argv, clones())
    guess = word_meant(argv[1], family) if argv[1:] else ""
    hint = f"did you mean 'codex-mirror {argv[0]} {guess}'?" if guess else f"codex-mirror {argv[0]} --help"
    is_there = argv[1:] and not argv[1].startswith("-")
    what = f"there is no '{argv[0]} {argv[1]}', only" if is_there else f"'{argv[0]}' needs a subcommand:"
    raise MirrorError(f"{what} {', '.join(family)}", hint, USAGE)


def complete_line(line: str, name: str, names: Collection[str]) -> tuple[Command, list[str]]:
    """The command of a line that was typed as for a shell, and its words, in which a missing NAME is this clone's.
    Raises MirrorError."""
    import shlex

    try:
        words = shlex.split(line)
    except ValueError as error:
        raise MirrorError(f"this line can't be read: {error}", code=USAGE) from None
    given, words = split_behind_options(words[words[:1] == ["codex-mirror"] :])
    command, rest = command_named(words or [""])
    rest = [*given, *rest]
    due = [argument for argument in command.arguments if not argument.flags[0].startswith("-")]
    place = next((index for index, one in enumerate(due) if one.options.get("metavar") == "NAME"), -1)
    options = {flag: one for one in (*command.arguments, *COMMON) for flag in one.flags if flag.startswith("-")}
    is_passing = command.passes_on == "name"
    values = [word for word in rest[:1] if word in names] if is_passing else words_before_cursor(rest, options)[1]
    is_missing = len(values) == place or (0 <= place < len(values) < len(due) and values[place] not in names)
    without = {"--all", "--best", *(["--unset"] if command.words == ("use",) else [])}  # Which need no clone.
    if name and place >= 0 and is_missing and not without & {*rest}:
        at = 0 if is_passing else rest.index(values[place]) if len(values) > place else len(rest)
        rest.insert(at, name)
    return command, rest


def split_before_the_rest(command: Command, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our words, and those that are passed on; one `--` right before them is dropped."""
    dash = words.index("--") if "--" in words else len(words)
    name = next((index for index, word in enumerate(words) if not word.startswith("-")), len(words))
    if command.passes_on == "name":  # A clone's name may be left out only where nothing or `--` follows.
        end = dash if dash < name and BOUND_CLONE in command.arguments else name + 1
    else:
        end = dash if command.passes_on else len(words)
    rest = list(words[end:])
    return list(words[:end]), rest[1:] if rest[:1] == ["--"] else rest


def refuse_empty_words(command: Command, words: Sequence[str], program: str) -> None:
    """Refuses a value that is empty, as a variable that isn't set leaves it: it must not mean that none was given.

    Raises MirrorError USAGE."""
    for before, word in zip([command.words[-1], *words], words, strict=False):
        value = word.partition("=")[2] if word.startswith("-") and "=" in word else word
        if not value.strip():
            what = word.strip() or before
            kinds = {one.options.get("metavar") for one in command.arguments if not one.flags[0].startswith("-")}
            bare = "the name" if kinds and kinds <= {"NAME", "NEW"} else "an argument"
            what = f"the value of {what.rstrip('=')}" if what.startswith("-") else bare
            raise MirrorError(
                f"{what} is empty (is a variable unset?)", f"{program} {' '.join(command.words)} --help", USAGE
            )


def parse_arguments(command: Command, words: Sequence[str], program: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The handler's keyword arguments, and the common options."""
    ours, rest = split_before_the_rest(command, words)
    refuse_empty_words(command, ours, program)
    values = parse_plain_words(command, ours) or vars(parser_of(command, program).parse_args(ours))
    common = {argument.flags[-1][2:]: values.pop(argument.flags[-1][2:]) for argument in COMMON}
    common["dry-run"] = values.pop("dry_run", False)
    return {**values, "arguments": rest} if command.passes_on else values, common


# --- Model ----------------------------------------------------------------------------------------

SMALLEST_ROWS, SMALLEST_COLUMNS = 10, 40
GUARD_SECONDS = 0.3
MESSAGES_KEPT, SESSIONS_LISTED = 500, 200
# The conditions of a clone, the worst first: sign and style.
STATES = {
    **{"broken": ("✗", "bad"), "warning": ("!", "warn"), "no login": ("○", "warn"), "update": ("!", "accent")},
    **{"checking": ("…", "dim"), "ok": ("✓", "plain")},
}
Stamp = tuple[tuple[int, ...], ...]  # How files and directories are, by stat alone.


class Size(NamedTuple):
    """The size of a terminal, in cells; where it is too small to see what one does, only leaving is possible."""

    rows: int
    columns: int

    @property
    def is_too_small(self) -> bool:
        return self.rows < SMALLEST_ROWS or self.columns < SMALLEST_COLUMNS


class CloneView(NamedTuple):
    """What the menu knows of one clone; None is what it doesn't know yet. `used` is Unix seconds, 0 for never; `states`
    are the words for its condition, the worst first, `words` what it is found by, and `stamp` says how the files that
    are `watched` were; `glanced` and `examined` say when files and health were looked at, on a clock of its own."""

    clone: Clone
    newer: str = ""
    account: Account | None = None
    usage: Usage | None = None
    used: float | None = None
    problems: tuple[Problem, ...] | None = None
    variables: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    stamp: Stamp = ()
    states: tuple[str, ...] = ("checking",)
    words: str = ""
    glanced: float = 0.0
    examined: float = 0.0

    def learn(self, **facts: Any) -> CloneView:
        """The view with these facts, and what follows from them."""
        view = self._replace(**facts)
        severities = {problem.severity for problem in view.problems or ()}
        holds = ("error" in severities, "warning" in severities, view.account == Account("none"), bool(view.newer))
        states = tuple(word for word, is_so in zip(STATES, holds, strict=False) if is_so)
        states = states or ("checking" if view.problems is None else "ok",)
        account = account_text(view.account) if view.account else ""
        words = "\n".join((view.clone.name, account, *states, *view.clone.directories)).lower()
        return view._replace(states=states, words=words)

    def left(self, now: float) -> float | None:
        return left_percent(self.usage, now) if self.usage else None

    @property
    def state(self) -> Span:
        sign, style = STATES[self.states[0]]
        return Span(f"{sign} {self.states[0]}", style)


ORDERS: Mapping[str, Callable[[CloneView, float], Any]] = {
    "NAME": lambda view, now: view.clone.name.lower(),
    "LEFT": lambda view, now: -(-1 if (left := view.left(now)) is None else left),
    "STATE": lambda view, now: [*STATES].index(view.states[0]),
    "USED": lambda view, now: -(view.used or 0),
}


class Stakes(NamedTuple):
    """What a command would cost: the id of the clone that it is about, and the question to ask, if any."""

    clone_id: str
    question: Question | None = None


class Effect(NamedTuple):
    """What an update asks of the world: `words` are a command line, done for `each` of these clones; `fed` is a secret
    for its stdin, kept nowhere else, `agreed` what was said yes to, and `then` the command line that follows it."""

    kind: str
    words: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    job: int = 0
    fed: str = ""
    agreed: Stakes | None = None
    then: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The command in short, without the value of a variable, which nothing shows."""
        words = (*self.words, *(self.each if len(self.each) < 2 else [count_text(len(self.each), "clone")]))
        return " ".join(re.sub(r"(?s)\A((?:--env=)?[A-Za-z_]\w*)=.*", r"\1", word) for word in words)


Step = tuple["Model", tuple[Effect, ...]]
Message: TypeAlias = "Callable[[Model], Step]"


class Item(NamedTuple):
    """A line of a list: its label, what choosing it does, a note, and a value for a field."""

    label: str
    deed: Message = lambda model: (model, ())
    note: str = ""
    value: str = ""


class Input(NamedTuple):
    """A line to type, which may be a secret: `then` goes on with it and with the value of the chosen item, or says what
    is wrong with it; that is shown once it was `refused`, or where it is `live`, at every key that is typed."""

    label: str
    then: Callable[[Model, str, str], Step | str]
    line: TypedLine = TypedLine()
    secret: bool = False
    live: bool = False
    refused: bool = False


class Verb(NamedTuple):
    """What keys do in some modes, characters only where none are typed: in deed, in the help, and with a `word` in the
    footer, where a lower rank stays longer."""

    modes: str
    keys: tuple[str, ...]
    word: str
    help: str
    deed: Message
    rank: int = 9


class Dialog(NamedTuple):
    """A box over the table: lines to read, a line to type, items to choose from, verbs of its own; `at` is the selected
    item, or the first line in sight. A guarded one takes no key that came before it was `painted` for a while; one that
    can `renew` itself follows what becomes known; one with a name stays open when a command begins."""

    title: str
    lines: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    input: Input | None = None
    verbs: tuple[Verb, ...] = ()
    name: str = ""
    at: int = 0
    guarded: bool = False
    painted: float = 0.0
    renew: Callable[[Model], Dialog | None] | None = None


class Model(NamedTuple):
    """Everything that the menu shows, and all that decides what a key means. `dialogs` is a pile, the last on top;
    `here` is the working directory, `newest` the Codex that would be fetched, `stakes` and `sessions` (with their
    clone's name) what was asked for last, `jobs` what is under way in the background and how far it is, and `awaited`
    the one whose end the user waits for."""

    places: Places
    size: Size = Size(24, 80)
    ascii: bool = False
    program: str = "codex-mirror"
    redact: bool = False
    here: str = ""
    rows: tuple[CloneView, ...] = ()
    broken: str = ""
    installed: str = ""
    watched: tuple[str, ...] = ()
    stamp: Stamp = ()
    newest: str = ""
    has_codex_home: bool = False
    on_path: bool = False
    selected: str = ""
    sort: str = ""
    sought: TypedLine = TypedLine()
    is_finding: bool = False
    is_large: bool = False
    dialogs: tuple[Dialog, ...] = ()
    commands: frozenset[str] = frozenset()
    stakes: Stakes | None = None
    sessions: tuple[str, Sequence[Session]] = ("", ())
    jobs: tuple[tuple[Effect, str], ...] = ()
    started: int = 0
    awaited: int = 0
    status: str = ""
    messages: tuple[tuple[float, tuple[str, ...]], ...] = ()
    now: float = 0.0
    beat: int = 0
    is_leaving: bool = False
    over: str = ""
    glanced: float = 0.0

    @property
    def top(self) -> Dialog | None:
        return self.dialogs[-1] if self.dialogs else None

    @property
    def is_home(self) -> bool:
        """Is nothing open over the table, or over the menu that stands there while there are no clones?"""
        return not self.dialogs or self.dialogs[-1].name == "home"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(view.clone.name for view in self.rows)

    @property
    def shown(self) -> tuple[CloneView, ...]:
        """The clones that are looked for, by name, account, state or directory, in the chosen order."""
        wanted, rows = self.sought.text.strip().lower(), self.rows
        rows = tuple(view for view in rows if wanted in view.words) if wanted else rows
        return tuple(sorted(rows, key=lambda view: ORDERS[self.sort](view, self.now))) if self.sort else rows

    @property
    def current(self) -> CloneView | None:
        """The selected clone, or the first one when that isn't shown."""
        rows = self.shown
        return next((view for view in rows if view.clone.id == self.selected), rows[0] if rows else None)

    def become(self, **changes: Any) -> Step:
        return self._replace(**changes), ()

    def ask(self, dialog: Dialog, *effects: Effect) -> Step:
        """The model with one more dialog, and what that needs to know."""
        return self._replace(dialogs=(*self.dialogs, dialog)), effects

    def follow(self, renew: Callable[[Model], Dialog | None], *effects: Effect) -> Step:
        """The model with one more dialog, which is made anew whenever something has become known."""
        dialog = renew(self)
        return self.ask(dialog._replace(renew=renew), *effects) if dialog else (self, effects)

    def with_top(self, **changes: Any) -> Step:
        return self._replace(dialogs=(*self.dialogs[:-1], self.dialogs[-1]._replace(**changes))), ()

    def mark_painted(self, at: float) -> Model:
        """The model whose top dialog is on the screen since then."""
        return self.with_top(painted=at)[0] if self.dialogs and not self.dialogs[-1].painted else self

    def close_all(self, *effects: Effect) -> Step:
        """The model with nothing open but what stays open."""
        return self._replace(dialogs=tuple(one for one in self.dialogs if one.name)), effects

    def displayable(self, text: str) -> str:
        """A text as this user may see it: commands as they are typed here, and e-mails hidden where that is wished."""
        text = with_program_name(text, self.program)
        return mask_emails(text) if self.redact else text

    def refuse(self, text: str) -> Step:
        """The model that says why nothing is done, in a box: keys that were typed ahead were meant for what would have
        come instead."""
        dialog = Dialog("Nothing was done", (self.displayable(text),), guarded=True)
        return self.tell(text)[0]._replace(status="").ask(dialog)

    def tell(self, *texts: str) -> Step:
        """The model whose status line says this, all of it on the list of messages too."""
        if not (texts := tuple(self.displayable(text) for text in texts if text)):
            return self, ()
        more = f"  ({len(texts) - 1} more: !)" if len(texts) > 1 else ""
        return self.become(status=f"{texts[0]}{more}", messages=(*self.messages, (self.now, texts))[-MESSAGES_KEPT:])


# --- Table ----------------------------------------------------------------------------------------

MEASURED_ROWS = 50  # A column is as wide as so many want it; measuring thousands would make every key slow.
PANE_LINES = 6


class Column(NamedTuple):
    """A column of the table: the lower its rank, the longer it stays; from `least` cells it can be read, and it gets
    `most` of them at most. A cell has what it says and its style, for so many cells."""

    heading: str
    rank: int
    least: int
    most: int
    cell: Callable[[Model, CloneView, int], tuple[str, str]]


COLUMNS = (
    Column("NAME", 0, 8, 64, lambda model, view, width: (view.clone.name, "bold")),
    Column("ACCOUNT", 3, 10, 60, lambda model, view, width: (account_in_short(model, view), "plain")),
    Column("LEFT", 2, 5, 16, lambda model, view, width: left_span(view.left(model.now), view.usage, width)),
    Column("RESETS", 4, 6, 6, lambda model, view, width: (reset_text(model, view), "plain")),
    Column("CODEX", 5, 8, 19, lambda model, view, width: (version_in_table(view, width), "plain")),
    Column("STATE", 1, 10, 10, lambda model, view, width: view.state),
    Column("USED", 6, 6, 6, lambda model, view, width: (used_text(model, view), "plain")),
)


def account_in_short(model: Model, view: CloneView) -> str:
    account = view.account
    return model.displayable(account_text(account._replace(plan="", workspace=""))) if account else "…"


def left_span(left: float | None, usage: Usage | None, width: int = 16) -> Span:
    if left is None:
        return Span("…" if usage is None else "-")
    bar = f"{usage_bar(left, min(width - 6, 10))} " if width >= 10 else ""
    return Span(f"{bar}{left:3.0f} %", "plain" if left >= 20 else "warn" if left > 0 else "bad")


def reset_text(model: Model, view: CloneView) -> str:
    """When the window of which the least is left begins anew."""
    windows = view.usage.windows if view.usage else ()
    wait = max(windows, key=lambda one: used_percent(one, model.now)).resets_at - model.now if windows else 0
    return duration_text(wait) if wait > 0 else "…" if view.usage is None else "-"


def version_in_table(view: CloneView, width: int) -> str:
    version, newer = view.clone.runtime.version, view.newer
    return version if not newer else f"{version} → {newer}" if width > len(version + newer) + 2 else f"{version}↑"


def used_text(model: Model, view: CloneView, ago: str = "") -> str:
    return ago_text(model.now - view.used, ago) if view.used else "…" if view.used is None else "never"


def ago_text(seconds: float, ago: str = " ago") -> str:
    return f"{duration_text(seconds)}{ago}" if seconds >= 60 else "now"


def columns_for(model: Model, rows: Sequence[CloneView], width: int) -> tuple[list[tuple[Column, int]], int]:
    """The most important columns, as many as fit, each with its width, and the gap between them: what is left goes to
    names and accounts, then to the narrowest."""
    kept: dict[Column, int] = {}
    wanted: dict[Column, int] = {}
    room, gap = width - 2, 1 if width < 100 else 2
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        texts = (
            escape_invisible(column.cell(model, view, column.most)[0])
            for view in rows[:: len(rows) // MEASURED_ROWS + 1]
        )
        want = min(max(len(column.heading) + 1, *map(cell_width, texts), 0), column.most)
        size = min(want, column.least)
        if size + gap > room:
            break
        wanted[column], kept[column], room = want, size, room - size - gap
    while room > 0 and (hungry := [column for column in kept if kept[column] < wanted[column]]):
        kept[min(hungry, key=lambda column: (column.most < 60, kept[column]))] += 1
        room -= 1
    return [(column, kept[column]) for column in COLUMNS if column in kept], gap


def rows_in_view(count: int, selected: int, height: int) -> list[tuple[int, Span]]:
    """Which of so many rows are seen, with the selected one among them, and what each begins with: where more rows
    follow there is a sign."""
    first = min(max(selected - height // 2, 0), max(count - height, 0))
    seen = range(first, min(first + height, count))
    rows: list[tuple[int, Span]] = []
    for index in seen:
        more = "↑" if seen[0] == index > 0 else "↓" if seen[-1] == index < count - 1 else " "
        rows.append((index, Span(f"▸{more}", "chosen") if index == selected else Span(f"{more} ", "dim")))
    return rows


def table_rows(model: Model, rows: Sequence[CloneView], here: CloneView, size: Size) -> list[Row]:
    columns, gap = columns_for(model, rows, size.columns)
    headings = (fit(one.heading + "↓" * (one.heading == model.sort), width + gap) for one, width in columns)
    found: list[Row] = [(Span("  " + "".join(headings), "dim"),)]
    for index, sign in rows_in_view(len(rows), rows.index(here), size.rows - 1):
        cells = ((*column.cell(model, rows[index], width), width) for column, width in columns)
        chosen = sign.style == "chosen"
        spans = (Span(fit(text, width) + " " * gap, "chosen" if chosen else style) for text, style, width in cells)
        found.append((sign, *spans))
    return found


def pane_rows(model: Model, view: CloneView, size: Size) -> list[Row]:
    """What there is to know of one clone, the most important first: who, what is left, where, what is wrong and what
    mends it; what needs no deed is left to doctor."""
    facts: list[Row] = [(Span(f"{key:<9}", "dim"), *row) for key, row in fact_rows(model, view, size.columns - 9)]
    room, first = max(size.rows - PANE_LINES + 2, 2), PANE_LINES - 2
    problems = [one for one in view.problems or () if one.fix or needs_action(one)]
    wrong, by_key = list[Row](), " ".join(mending_words(view))
    for index, problem in enumerate(problems):  # Paths start at the clone.
        sign, style = {"error": ("✗", "bad"), "warning": ("!", "warn")}.get(problem.severity, ("·", "plain"))
        what = model.displayable(f"{sign} {problem.what}".replace(f" {view.clone.root}/", " "))
        is_by_key = problem.fix == f"codex-mirror {by_key}"
        fix = f"  f fixes it: {by_key}" if is_by_key else model.displayable(f"  {problem.fix}")
        is_last = problem.fix and problem.fix not in [one.fix for one in problems[index + 1 :]]
        fixes = wrap_texts([fix] if is_last else [], size.columns, max(room // 2, 1))
        wrong += [(Span(line, style),) for line in wrap_texts([what], size.columns, room - len(fixes))]
        wrong += [(Span(line, "accent"),) for line in fixes]
    rows = [*facts[:first], *wrong, *facts[first:]]
    if first + len(wrong) > size.rows:
        last = rows[size.rows - 1]
        rows[size.rows - 1 :] = [(*(last if last[0].style == "accent" else ()), Span("  … d tells all of it", "dim"))]
    return [cut_row(row, 0, size.columns) for row in rows[: size.rows]]


def mending_words(view: CloneView) -> tuple[str, ...]:
    """The command that mends the worst of what is wrong with a clone, where one does so by itself."""
    name, problems = view.clone.name, view.problems or ()
    mends = [problem.fix for problem in sorted(problems, key=lambda one: one.severity != "error")]
    mends += [f"codex-mirror {word} {name}" for word in ("update", "login") if word in view.states[0]]
    ways = (("doctor", name, "--fix"), ("login", name), ("update", name))
    known = {f"codex-mirror {' '.join(words)}": words for words in ways}
    return next((known[one] for one in mends if one in known), ())


def fact_rows(model: Model, view: CloneView, width: int) -> Iterator[tuple[str, Row]]:
    """What is known of a clone, line by line: the account, both windows and the directories first."""
    clone, home, account, usage = view.clone, model.places.user_home, view.account or Account(""), view.usage or Usage()
    workspace = f"workspace {account.workspace[:8]}" if account.workspace else ""
    who = (account_in_short(model, view), account.plan or usage.plan, workspace, age_text(account, model.now))
    where = [*(with_tilde(path, home) for path in clone.directories), *["all other directories"] * clone.is_default]
    yield "account", (Span(shorten(", ".join(filter(None, who)), width)),)
    windows = usage.windows
    for window in windows:
        wait, ago = window.resets_at - model.now, model.now - usage.as_of
        more = (usage.reached if is_used_up(usage, model.now) else "", usage.credits, ago_text(ago))
        texts = (f"resets in {duration_text(wait)}" if wait > 0 else "fresh", *more[: 3 * (window == windows[0])])
        said = Span(shorten(f" left, {', '.join(filter(None, texts))}", width - 16))
        yield window_name(window.minutes), (left_span(100 - used_percent(window, model.now), usage), said)
    why = (usage.why or usage.reached or usage.credits or "-").replace("--fresh asks", "a asks")
    yield from [("left", (Span("…" if view.usage is None else why),)), ("", ())][len(windows) :]
    for key, value in {
        "used in": ", ".join(where) or "no directory",
        "Codex": version_in_table(view, 99) + (f" (previous: {clone.previous.version})" if clone.previous else ""),
        "used": used_text(model, view, " ago"),
        "command": with_tilde(clone.wrapper, home),
        "clone": with_tilde(clone.root, home),
        "shares": ", ".join(clone.shared) or "-",
    }.items():
        yield key, (Span(shorten(model.displayable(value), width)),)


# --- Dialogs --------------------------------------------------------------------------------------


def values_of(words: Sequence[str]) -> tuple[Command, dict[str, Any], dict[str, Any]]:
    """The command of these words, its handler's arguments and the common options, as the command line has them."""
    command, rest = command_named(words)
    return (command, *parse_arguments(command, rest, "codex-mirror"))


def begin_command(model: Model, *words: str, **more: Any) -> Step:
    """A command on its way: what it would cost is found out first, and asked; then it is done in the background, or by
    Codex on the terminal. One that changes a clone waits until another one on it has ended."""
    effect, command = Effect("do", words, **more), command_named(words)[0]
    about = {*model.names} & {*words[1:], *effect.each}
    busy = [job.title for job, _ in model.jobs if about & {*job.words[1:], *job.each}]
    model, _ = model.close_all()
    if busy and not command.asks and command.handler not in (run, exec_program):
        return model.refuse(f"{effect.title}: {busy[0]} is still running")
    if command.handler is log_in and FED_KINDS.keys() & {*words} and not effect.fed:
        feed = lambda model, text, value: begin_command(model, *words, fed=text)  # noqa: E731
        line = Input("API key" if WITH_KEY in words else "access token", feed, secret=True)
        return model.ask(Dialog(effect.title, ("it goes to Codex, and nowhere else",), input=line))
    is_free = effect.agreed or {"-y", "--yes", "--dry-run"} & {*words}
    if command.handler is remove and about and not is_free:
        clone_id = next(view.clone.id for view in model.rows if view.clone.name in about)
        return model._replace(stakes=None).follow(partial(removal_dialog, words, clone_id), Effect("ask", words))
    if command.confirm and not is_free:
        return start_job(model, effect._replace(kind="ask"))
    if command.handler in (run, exec_program, log_in, log_out, resume):
        return model, (effect._replace(kind="lend"),)
    return start_job(model, effect)


def start_job(model: Model, effect: Effect) -> Step:
    """The model with one more job, which is waited for until a key is pressed, and the effect that does it."""
    effect = effect._replace(job=model.started + 1)
    jobs = (*model.jobs, (effect._replace(fed=""), ""))
    return model._replace(started=effect.job, awaited=effect.job, jobs=jobs), (effect,)


def to_begin(*words: str, **more: Any) -> Message:
    return lambda model: begin_command(model, *words, **more)


NOT_PIPED = "pipes don't work in the menu"
PASSING = "|".join(command.words[0] for command in COMMANDS if command.passes_on == "name")  # What follows isn't ours.
NOT_NOW = Item("not now", lambda model: model.close_all())


def ask_argument(
    model: Model, words: tuple[str, ...], flag: str, usual: str = "", *, now: Sequence[str] = (), drop: str = ""
) -> Step:
    """Asks for an argument of a command, as its row in the table describes it: by a line to type or, where there are
    choices or something is so `now`, by a list."""
    argument = next(one for one in command_named(words)[0].arguments if flag in one.flags)
    kind, prefix = argument.options.get("metavar", ""), f"{flag}=" if flag.startswith("-") else ""
    choices = argument.options.get("choices", SHARABLE_SETTINGS if kind == "SETTING" else ())

    def go_on(model: Model, text: str, value: str) -> Step | str:
        complaint = complaint_about_new_name(model, text) if kind == "NEW" else NOT_PIPED if text == "-" else ""
        return complaint or begin_command(model, *words, f"{prefix}{text}")

    label = "new name" if kind == "NEW" else kind.lower()
    line = Input(label, go_on, TypedLine(usual, len(usual)), live=kind == "NEW")
    typing = Dialog(" ".join(words), (argument.help,), input=line)
    items = [Item(one, to_begin(*words, f"{prefix}{one}")) for one in choices if one not in now]
    items += [Item(f"remove {one}", to_begin(*words, f"{drop}={one}")) for one in now if drop]
    items += [] if choices else [Item("another…", lambda model: model.ask(typing))]
    dialog = typing._replace(input=None, items=tuple(items)) if choices or now else typing
    return model.ask(dialog, *[Effect("commands")] * (kind == "NEW"))


def open_line(model: Model, usual: str = "") -> Step:
    """A line for any command, as one would type it in a shell."""
    name, names = model.current.clone.name if model.current else "", model.names

    def go_on(model: Model, text: str, value: str) -> Step | str:
        try:
            text = re.sub(r"\Acodex-mirror\s+", "", text)
            if text in VERSION_FLAG.flags:
                return model.close_all()[0].tell(f"codex-mirror {__version__}")
            if found := re.match(rf"help\b(.*)|(?!.* -- |(?:{PASSING}) +[^-])(?:(.*) )?(?:-h|--help)$", text):
                told = help_about((found[1] or found[2] or "").split(), model.program)
                return model.close_all()[0].ask(Dialog("Help", tuple(told.splitlines())))
            command, rest = complete_line(text, name, names)
            parse_arguments(command, rest, model.program)
        except HelpAsked as asked:
            return model.close_all()[0].ask(Dialog("Help", tuple(str(asked).splitlines())))
        except MirrorError as error:
            return error_line_with_hint(error)
        is_piped = {"-", "--output=-"} & {*rest} and not command.passes_on
        return NOT_PIPED if is_piped else begin_command(model, *command.words, *rest)

    lines = (f"without a NAME it means {name}; type help for the commands" if name else "type help for the commands",)
    return model.ask(Dialog("Command", lines, input=Input("codex-mirror", go_on, TypedLine(usual, len(usual)))))


def complaint_about_new_name(model: Model, text: str) -> str:
    """Why no clone may get this name, as far as that is known by now."""
    try:
        name = new_clone_name(text)
        refuse_taken_name(Registry(tuple(view.clone for view in model.rows)), name)
    except MirrorError as error:
        return error.message
    return f"'{name}' is already a command" if name in model.commands else ""


def codex_line(model: Model) -> str:
    if model.installed:
        return f"a new clone gets Codex {model.installed}, as installed"
    if model.newest[:1].isdigit():
        return f"fetches Codex {model.newest}, the newest: none is installed"
    how = f"and none can be fetched: {model.newest}" if model.newest else "so the newest is fetched (…)"
    return f"no Codex is installed, {how}"


def quick_clone(model: Model, text: str = "", said: Sequence[str] = ()) -> Step:
    effects = (Effect("commands"), *[Effect("newest")] * (not model.installed and not model.newest))
    return model.follow(partial(create_dialog, text=text, said=said), *effects)


def create_dialog(model: Model, text: str = "", said: Sequence[str] = ()) -> Dialog:
    """The name of a new clone; the working directory is offered, and another place."""

    def go_on(model: Model, text: str, value: str) -> Step | str:
        if complaint := complaint_about_new_name(model, text):
            return complaint
        if value == "place":
            place = with_tilde(os.path.join(clones_directory(model.places), text), model.places.user_home)
            return ask_argument(model, ("create", text), "--root", place)
        return begin_command(model, "create", text, then=("use", text, model.here) if value else ())

    here = with_tilde(model.here, model.places.user_home)
    items = [Item("create it")]
    items += [] if here in ("", "~") else [Item(f"create it, and use it in {here} and below", value="here")]
    items += [Item("create it in another place…", value="place")]
    line = Input("name", go_on, TypedLine(text, len(text)), live=True)
    return Dialog("Quick Clone", (*said, codex_line(model)), tuple(items), line)


def ask_login(model: Model, name: str, *said: str) -> Step:
    items = (
        Item("log in in the browser", to_begin("login", name)),
        Item("log in with a device code", to_begin("login", name, "--device-auth"), "in any other browser"),
        Item("log in with an API key…", to_begin("login", name, WITH_KEY)),
    )
    return model.ask(Dialog(f"Log in {name}", said, (*items, NOT_NOW) if said else items, guarded=bool(said)))


def fix_what_is_wrong(model: Model) -> Step:
    """What mends the selected clone: a login, an update, or doctor; and where that has nothing, the registry."""
    view = model.current
    if model.broken and (not view or view.states[0] == "ok"):
        return begin_command(model, "doctor", "--fix")
    if not view:
        return model.become(status="no clone is selected")
    name, words = view.clone.name, mending_words(view)
    if view.states[0] in ("ok", "checking"):
        why = "nothing to fix" if view.states[0] == "ok" else "it is still being checked"
        return model.refuse(f"{name}: {why}")
    if words[:1] == ("login",):
        return ask_login(model, name)
    return begin_command(model, *(words or ("doctor", name, "--fix")))


def removal_dialog(words: tuple[str, ...], clone_id: str, model: Model) -> Dialog:
    """The field in which a clone's name is typed to remove it; what would be lost comes when it is known."""
    name, known = next(word for word in words[1:] if word[:1] != "-"), model.stakes
    losses: tuple[str, ...] = ("… checking what would be lost",)
    if not known or known.clone_id != clone_id:
        known = Stakes(clone_id)
    else:
        losses = known.question.losses if known.question else ("nothing of value would be lost",)

    def go_on(model: Model, text: str, value: str) -> Step | str:
        go = begin_command(model, *words, agreed=known)
        return go if text == name else f"type {name} to remove it, or Esc to go back"

    return Dialog(f"Remove {name}?", tuple(map(model.displayable, losses)), input=Input(f"type {name}", go_on))


def settings_dialog(model: Model, clone_id: str) -> Dialog:
    """How a clone lives; it stays open, since the next key would be about another clone."""
    if not (view := next((one for one in model.rows if one.clone.id == clone_id), None)):
        return Dialog("Settings", ("this clone is gone",), name="settings")
    clone, items = view.clone, []
    for label, flag, drop, now in (
        ("home", "--home", "", (clone.home,)),
        ("shares", "--share", "--unshare", clone.shared),
        ("shared settings", "--share-settings", "--unshare-settings", clone.shared_settings),
        ("not hidden", "--keep-env", "--no-keep-env", clone.keep_env),
        ("own variables", "--env", "--no-env", view.variables),
        ("settings from", "--settings-from", "", ()),
    ):
        ask = partial(ask_argument, words=("set", clone.name), flag=flag, now=now, drop=drop)
        items.append(Item(f"{label:<16} {model.displayable(', '.join(now) or '-')}", ask))
    return Dialog(f"Settings of {clone.name}", items=tuple(items), name="settings")


def sessions_dialog(model: Model, name: str) -> Dialog:
    """A clone's sessions: Enter goes on with one, `h` hands it over."""
    items, home, (owner, found) = [], model.places.user_home, model.sessions
    if owner != name:
        return Dialog(f"Sessions of {name}", items=(Item("… being read"),))
    width = max((min(cell_width(with_tilde(one.meta.cwd, home)), 24) for one in found), default=0)
    for one in found:
        age, place = f"{duration_text(model.now - one.updated)} ago", fit(with_tilde(one.meta.cwd, home), width)
        words = f"{'[archived] ' if one.is_archived else ''}{session_title(one) or one.id}"
        label = model.displayable(f"{age:<10} {place}  {words}")
        items.append(Item(label, to_begin("resume", one.id, "--in", name), value=one.id))
    verbs = (Verb("list", ("h",), "h hand over", "hand it over to another clone", ask_receiver, 1),)
    said = {0: "no sessions yet", SESSIONS_LISTED: f"the newest {SESSIONS_LISTED}"}.get(len(items))
    return Dialog(f"Sessions of {name}", (said,) if said else (), tuple(items), verbs=verbs if items else ())


def ask_receiver(model: Model) -> Step:
    dialog, items = model.dialogs[-1], []
    for view in (view for view in model.rows if view.clone.name != model.sessions[0]):
        left, name = view.left(model.now), view.clone.name
        note = f"{account_in_short(model, view)}{'' if left is None else f', {left:.0f} % left'}"
        items.append(Item(name, to_begin("handover", dialog.items[dialog.at].value, name), note))
    if not items:
        return model.refuse("there is no other clone to hand it over to")
    return model.ask(Dialog("Hand over to", items=tuple(items)))


def ask_update_all(model: Model) -> Step:
    older = tuple(view.clone.name for view in model.rows if view.newer)
    how_many = count_text(len(older or model.names), "clone")
    if not model.rows or (model.installed and not older):
        none = f"{how_many}, none older than Codex {model.installed}"
        return model.refuse(none if model.rows else model.broken.partition("\n")[0] or "there are no clones yet")
    go = to_begin("update", each=older) if older else to_begin("update", "--all")
    title = f"Update {how_many} to {f'Codex {model.installed}' if older else 'the newest Codex'}?"
    lines = (short_list(older or model.names, 8), "each keeps its previous Codex: b goes back to it")
    return model.ask(Dialog(title, lines, (Item("update", go), NOT_NOW), guarded=True))


def ask_path_setup(model: Model) -> Step:
    state = f"it is {'on PATH already' if model.on_path else 'not on PATH yet'}"
    lines = (f"puts {model.places.bin_dir} on PATH, in your shell's rc file", state)
    items = (Item("set it up", to_begin("path", "setup")), NOT_NOW)
    return model.ask(Dialog("Shell PATH Setup", lines, items, guarded=True))


def show_about(model: Model) -> Step:
    codex = f"Codex        {model.installed or 'not found on PATH'}"
    places = (f"mirror home  {model.places.mirror_home}", f"commands     {model.places.bin_dir}")
    about = f"codex-mirror {__version__}, Python {sys.version.split()[0]}, license MIT"
    return model.ask(Dialog("About", (about, *places, codex, REPOSITORY)))


def main_menu(model: Model, name: str = "") -> Dialog | None:
    """The earlier program's menu; as the home of who has no clones yet it says which Codex they get."""
    items = (
        Item("Quick Clone", lambda model: quick_clone(model.close_all()[0]), "a new clone with its own login"),
        Item("Manage Clones", lambda model: model.close_all(), "accounts, limits, versions"),
        Item("Update All Clones", lambda model: ask_update_all(model.close_all()[0]), "pin the installed Codex in all"),
        Item("Diagnostics", to_begin("doctor"), "find what is wrong, and fix it"),
        Item("Shell PATH Setup", ask_path_setup, "so that the shell finds the clones"),
        Item("Star on GitHub", lambda model: model.close_all(Effect("browse")), "say that you like it"),
        Item("About", show_about, "version, places, license"),
        Item("Exit", ask_exit),
    )
    lines = [codex_line(model), *([] if model.installed else ["next: codex-mirror create work, or n here"])]
    lines += ["i brings ~/.codex along: its settings and sessions"] if model.has_codex_home else []
    menu = Dialog("codex-mirror", tuple(map(model.displayable, lines)) if name else (), items, name=name)
    return None if name and (model.rows or model.broken) else menu


def ask_exit(model: Model) -> Step:
    items = (
        Item("Skip and Exit", lambda model: (model, (Effect("leave"),))),
        Item("Star and Exit", lambda model: (model, (Effect("star and leave"),))),
    )
    return leave(model) if model.jobs else model.ask(Dialog("Exit", ("Do you like it?",), items, guarded=True))


def leave(model: Model) -> Step:
    """Leaves, and asks only while work is under way; the default is what loses nothing."""
    if not model.jobs:
        return model, (Effect("leave"),)
    items = (
        Item("wait here", lambda model: model.close_all()[0].become(is_leaving=False)),
        Item("leave when it is done", lambda model: model.close_all()[0].become(is_leaving=True, messages=())),
        Item("leave now", lambda model: (model, (Effect("leave"),)), "it is stopped; the next command tidies up"),
    )
    lines = tuple(f"{job.title} is still running" for job, _ in model.jobs)
    return model.ask(Dialog("Leave?", lines, items, guarded=True))


# --- Update ---------------------------------------------------------------------------------------


def move_selection(model: Model, by: int) -> Step:
    """The selection, or what is read, moved up or down as far as that goes."""
    dialog, rows, here = model.top, model.shown, model.current
    if dialog:
        texts = () if dialog.items else dialog.lines
        lines = [line for text in texts for line in wrap_text(text, model.size.columns - 4)]
        last = len(dialog.items) - 1 if dialog.items else len(lines) - model.size.rows + 4
        return model.with_top(at=max(min(dialog.at + by, last), 0))
    index = min(max(rows.index(here) + by, 0), len(rows) - 1) if here else 0
    return model.become(selected=rows[index].clone.id if here else "")


def step_from_line(model: Model, dialog: Dialog, field: Input) -> Step | str:
    """What goes on with what was typed, or what is wrong with it."""
    text, item = field.line.text.strip(), dialog.items[dialog.at] if dialog.items else Item("")
    return field.then(model, text, item.value) if text else "type something, or Esc to go back"


def choose_item(model: Model) -> Step:
    """Does what is selected, or goes on with what was typed."""
    dialog = model.dialogs[-1]
    if not dialog.input:
        return dialog.items[dialog.at].deed(model)
    step = step_from_line(model, dialog, dialog.input)
    return model.with_top(input=dialog.input._replace(refused=True)) if isinstance(step, str) else step


def change_table(model: Model, **changes: Any) -> Step:
    """The table changed, but with the selection on the clone where it is seen now."""
    selected = model.current.clone.id if model.current else model.selected
    return model.become(**{"selected": selected, **changes})


def sort_next(model: Model) -> Step:
    names = ("", *ORDERS)
    order = names[(names.index(model.sort) + 1) % len(names)]
    said = f"sorted by {order.lower()}" if order else "in the order they were made"
    return change_table(model, sort=order, status=said)


def go_back(model: Model) -> Step:
    """Leaves what is open; on the table it only clears the filter."""
    return change_table(model, sought=TypedLine()) if model.is_home else model.become(dialogs=model.dialogs[:-1])


def on_clone(deed: Callable[[Model, CloneView], Step]) -> Message:
    return lambda model: deed(model, model.current) if model.current else model.become(status="no clone is selected")


def begin_here(*words: str) -> Message:
    return on_clone(lambda model, view: begin_command(model, *words, view.clone.name))


def ask_fresh(model: Model, everybody: bool = False) -> Step:
    names = model.names if everybody or not model.current else (model.current.clone.name,)
    return start_job(model, Effect("fresh", ("usage", "--fresh"), names))


def show_messages(model: Model) -> Step:
    ages = ((f"{duration_text(model.now - at):>6} ago  ", texts) for at, texts in reversed(model.messages))
    lines = [f"{' ' * len(age) if number else age}{text}" for age, texts in ages for number, text in enumerate(texts)]
    return model.ask(Dialog("Messages", tuple(lines) or ("nothing has happened yet",)))


def show_keys(model: Model) -> Step:
    """The keys of this screen, to read, and where they are those of the table, to choose from."""
    verbs, is_home = verbs_here(model), model.is_home
    labels = tuple(f"{', '.join(verb.keys):<12}  {verb.help}" for verb in verbs)
    deeds = [lambda model, verb=verb: verb.deed(model.close_all()[0]) for verb in verbs]
    return model.ask(Dialog("Keys", items=tuple(map(Item, labels, deeds))) if is_home else Dialog("Keys", labels))


ALL_MODES = "table home list text line find"
MOVES = (
    Verb("table home list line find", ("up", "k"), "", "one up", partial(move_selection, by=-1)),
    Verb("text", ("up", "k"), "↑↓ scroll", "one up", partial(move_selection, by=-1)),
    Verb(ALL_MODES, ("down", "j"), "", "one down", partial(move_selection, by=1)),
    Verb("table home list text", ("pgup",), "", "a page up", partial(move_selection, by=-10)),
    Verb("table home list text", ("pgdn",), "", "a page down", partial(move_selection, by=10)),
    Verb("table home list text", ("home", "g"), "", "to the first", partial(move_selection, by=-(1 << 30))),
    Verb("table home list text", ("end", "G"), "", "to the last", partial(move_selection, by=1 << 30)),
)
EVERYWHERE = (
    Verb(ALL_MODES, ("ctrl-l",), "", "draw the screen again", lambda model: (model, (Effect("redraw"),))),
    Verb(ALL_MODES, ("ctrl-z",), "", "suspend; fg comes back", lambda model: (model, (Effect("suspend"),))),
    Verb(ALL_MODES, ("ctrl-c",), "", "leave at once", lambda model: (model, (Effect("interrupt"),))),
)
VERBS = (
    Verb("table", ("enter", "r"), "Enter run", "start its Codex", begin_here("run"), 0),
    Verb("home list", ("enter",), "Enter choose", "do what is selected", choose_item, 0),
    Verb("line", ("enter",), "Enter continue", "continue with this", choose_item, 0),
    Verb("find", ("enter",), "Enter keep", "keep the filter", partial(change_table, is_finding=False), 0),
    Verb("find", ("esc",), "Esc clear", "clear it", partial(change_table, is_finding=False, sought=TypedLine()), 1),
    Verb("text", ("esc", "q", "enter"), "Esc back", "go back", go_back, 1),
    Verb("list line", ("esc", "q"), "Esc back", "go back", go_back, 1),
    Verb("table", ("l",), "l log in", "log in", on_clone(lambda model, view: ask_login(model, view.clone.name)), 3),
    Verb("table", ("f",), "f fix", "fix what isn't ok", fix_what_is_wrong, 3),
    Verb("table home", ("n",), "n new", "a new clone", quick_clone, 4),
    Verb("table home", ("/",), "/ find", "find by name, account, state or directory",
         partial(change_table, is_finding=True, sought=TypedLine()), 4),
    Verb("table home", ("m",), "m menu", "the menu", lambda model: model.follow(main_menu), 2),
    Verb("table home list text", ("?",), "? keys", "these keys", show_keys, 1),
    Verb("table", ("u",), "u update", "update to the installed Codex", begin_here("update"), 6),
    Verb("table", ("s", "h"), "s sessions", "its sessions: continue one, or hand it over", on_clone(
        lambda model, view: model._replace(sessions=("", ())).follow(
            partial(sessions_dialog, name=view.clone.name), Effect("sessions", (view.clone.name,)))), 7),
    Verb("table", ("x",), "x remove", "remove", begin_here("remove"), 8),
    Verb("table", ("t",), "t settings", "settings", on_clone(
        lambda model, view: model.follow(partial(settings_dialog, clone_id=view.clone.id))), 8),
    Verb("table", ("a",), "", "ask now what is left of its limits", ask_fresh),
    Verb("table", ("d",), "", "doctor: everything about its health", begin_here("doctor")),
    Verb("table", ("b",), "", "roll back to the previous Codex", begin_here("rollback")),
    Verb("table", ("R",), "", "rename", on_clone(
        lambda model, view: ask_argument(model, ("rename", view.clone.name), "new_name", view.clone.name))),
    Verb("table", ("e",), "", "export into a file", on_clone(lambda model, view: ask_argument(
        *(model, ("export", view.clone.name), "--output", usual_export(view.clone.name))))),
    Verb("table", ("S",), "", "a shell in it", begin_here("exec")),
    Verb("table", ("L",), "", "log out", on_clone(lambda model, view: begin_command(model, "logout", view.clone.name)
         if view.account != Account("none") else model.refuse(f"{view.clone.name}: not logged in"))),
    Verb("table home", ("q",), "q leave", "leave", leave, 5),
    Verb("table home", ("U",), "U update all", "update all that have an older Codex", ask_update_all),
    Verb("table home", (":",), ": command", "any command, as in a shell", open_line),
    Verb("table home", ("!",), "! messages", "what has happened", show_messages),
    Verb("table home", ("o",), "o sort", "sort by name, left, state, last used", sort_next),
    Verb("table home", ("tab",), "", "large details", lambda model: model.become(is_large=not model.is_large)),
    Verb("table home", ("A",), "", "ask now what is left of all limits", partial(ask_fresh, everybody=True)),
    Verb("table home", ("D",), "", "doctor, for everything", to_begin("doctor")),
    Verb("table home", ("i",), "", "import a Codex home or an export",
         lambda model: open_line(model, f"import {'~/.codex --with-sessions --name ' * model.has_codex_home}")),
    Verb("table home", ("f5", "ctrl-r"), "", "refresh everything",
         lambda model: (model._replace(status="refreshing"), (Effect("look"),))),
    Verb("table home", ("esc",), "", "clear the filter", go_back),
    *MOVES,
    *EVERYWHERE,
)  # fmt: skip


def mode_of(model: Model) -> str:
    """Which keys count now."""
    if model.is_home:
        return "find" if model.is_finding else "home" if model.dialogs else "table"
    return "line" if model.dialogs[-1].input else "list" if model.dialogs[-1].items else "text"


def verbs_here(model: Model) -> tuple[Verb, ...]:
    mode = mode_of(model)
    return (*(model.top.verbs if model.top else ()), *(verb for verb in VERBS if mode in verb.modes))


def press(model: Model, key: str, at: float) -> Step:
    """What a key means here, which came at that time: the model after it, and what it asks of the world. Pure.

    Alt and a letter mean nothing on the table or where one types; elsewhere they are Esc, and then the letter."""
    dialog, mode = model.top, mode_of(model)
    is_typed = mode in ("line", "find") and len(key) == 1
    verb = next((verb for verb in verbs_here(model) if key in verb.keys and not is_typed), None)
    if verb and verb in EVERYWHERE:
        return verb.deed(model)
    if key.startswith("alt-"):
        return press(press(model, "esc", at)[0], key[4:], at) if mode in ("list", "text") else (model, ())
    is_unseen = dialog and dialog.guarded and not (dialog.painted and at - dialog.painted >= GUARD_SECONDS)
    is_asking = any(job.kind == "ask" and job.job == model.awaited for job, _ in model.jobs)
    if (is_unseen or is_asking) and key != "esc":
        return model, ()
    model = model._replace(status="", awaited=0 if verb not in MOVES else model.awaited) if verb else model
    if model.size.is_too_small and not (verb and {"esc", "q"} & {*verb.keys}):
        return model, ()
    if verb:
        return verb.deed(model)
    if mode == "find":
        return change_table(model, sought=model.sought.edit(key))
    if dialog and dialog.input:  # What is no verb here is typed.
        return model.with_top(input=dialog.input._replace(line=dialog.input.line.edit(key), refused=dialog.input.live))
    return model, ()


def update_model(model: Model, message: Message) -> Step:
    """The model after a message, be it a key or what the world has to say, and what that asks of the world; its dialogs
    are made anew, with what was typed and selected in them. Where one comes to another screen, it is looked again; and
    where one leaves when all is done, nothing that is open is taken away."""
    after, effects = message(model)
    dialogs: list[Dialog] = []
    for old in after.dialogs:
        if new := old.renew(after) if old.renew else old:
            line = new.input and old.input and new.input._replace(line=old.input.line, refused=old.input.refused)
            dialogs.append(new._replace(input=line, at=old.at, painted=old.painted, renew=old.renew))
    after = after._replace(dialogs=tuple(dialogs))
    is_over = after.is_leaving and not after.jobs and after.is_home and not after.is_finding
    effects += (Effect("glance"),) * (len(dialogs) != len(model.dialogs)) + (Effect("leave"),) * is_over
    return after, effects


# --- News -----------------------------------------------------------------------------------------


def arrive(model: Model, registry: Registry | None, broken: str, **facts: Any) -> Step:
    """The registry was read, and maybe which Codex is installed, and nobody has looked later: what is known of clones
    that are still the same stays, and so does the selection, or goes to the clone in its place."""
    if facts.get("glanced", model.glanced) < model.glanced:
        return model, ()
    model = model._replace(broken=broken, **facts)
    known, codex = {view.clone.id: view for view in model.rows}, model.installed
    clones = registry.clones if registry else [view.clone for view in model.rows]
    newer = (codex if is_newer(codex, clone.runtime.version) else "" for clone in clones)
    views = zip((known.get(clone.id, CloneView(clone)) for clone in clones), clones, newer, strict=True)
    rows = tuple(view.learn(clone=clone, newer=new) for view, clone, new in views)
    ids, before = [view.clone.id for view in rows], [view.clone.id for view in model.shown]
    if model.selected in before and model.selected not in ids:
        place = before.index(model.selected)
        near = (one for one in (*before[place:], *before[:place][::-1]) if one in ids)
        model = model._replace(selected=next(near, ""))
    has_home = any(one.name == "home" for one in model.dialogs)
    home = () if has_home else model._replace(rows=rows, dialogs=()).follow(partial(main_menu, name="home"))[0].dialogs
    return model.become(rows=rows, dialogs=(*home, *model.dialogs))


def learn(model: Model, clone_id: str, **facts: Any) -> Step:
    """Something was found out about a clone; what is known from a later look stays, and of the figures of one account
    the newer ones."""

    def learned(view: CloneView) -> CloneView:
        if any(facts.get(clock, getattr(view, clock)) < getattr(view, clock) for clock in ("glanced", "examined")):
            return view
        usage = facts.get("usage", view.usage)
        is_same = facts.get("account", view.account) == view.account
        is_older = view.usage and usage and usage.as_of < view.usage.as_of
        return view.learn(**{**facts, "usage": view.usage if is_older and is_same else usage})

    rows = tuple(learned(view) if view.clone.id == clone_id else view for view in model.rows)
    return model.become(rows=rows, now=max(model.now, facts.get("used") or 0))


def progress(model: Model, number: int, said: str) -> Step:
    return model.become(jobs=tuple((job, said if job.job == number else before) for job, before in model.jobs))


def end_job(model: Model, effect: Effect, *lines: str) -> tuple[Model, bool]:
    """The model without a job that ended and with what came of it on the list of messages; is that to be shown now,
    because the user waited for it?"""
    jobs = tuple(pair for pair in model.jobs if pair[0].job != effect.job)
    is_awaited = effect.kind == "lend" or 0 < effect.job == model.awaited
    return model._replace(jobs=jobs).tell(*lines)[0], is_awaited and not model.is_leaving


def finish(model: Model, effect: Effect, outcome: Outcome) -> Step:
    """A command has ended: what it did is on the list of messages, and where that is waited for, it is shown. What went
    wrong is among the notes, which come first then, as what a repair did."""
    went_well, is_repair = outcome.code == DONE, {"doctor", "--fix"} <= {*effect.words}
    parts = (outcome.lines, outcome.notes) if went_well and not is_repair else (outcome.notes, outcome.lines)
    said = [*dict.fromkeys(line for part in parts for line in part)]
    said = said or [f"{effect.title}: {'done' if went_well else 'failed'}"]
    model, is_awaited = end_job(model, effect, *said)
    if not is_awaited:
        return model, ()
    (command, values, common), lines = values_of(effect.words), tuple(map(model.displayable, said))
    name = str(values.get("name") or values.get("name_option") or "")
    made = next((view for view in model.rows if view.clone.name == name), None)
    if made and went_well and command.handler in (create, import_clone):
        model = model._replace(selected=made.clone.id)
        if not common["json"] and made.account in (None, Account("none")):
            return ask_login(model, name, *lines)
    if not went_well and effect.words == ("create", name):
        return quick_clone(model, name, lines)
    if went_well and command.handler is hand_over and isinstance(outcome.data, dict) and not common["json"]:
        go = to_begin("resume", outcome.data["id"], "--in", name)
        items = (Item(f"continue it as {name}", go), NOT_NOW)
        return model.ask(Dialog("Handed over", lines, items, guarded=True))
    together = "; ".join(line.strip() for line in lines)
    is_short = cell_width(together) <= model.size.columns - 2
    if went_well and is_short and (is_repair or effect.kind == "fresh" or not command.asks):
        return model.become(status=together)
    again = partial(open_line, usual=" ".join(map(quote_if_needed, effect.words)))
    verbs = (Verb("text", (":",), ": change", "change the line, and try again", again, 0),)
    if command.handler is doctor and not is_repair:
        mend = to_begin("doctor", "--fix", *effect.words[1:])
        verbs = (Verb("text", ("f",), "f fix", "fix what can be fixed", mend, 0),)
    has_none = went_well or is_repair or effect.each
    return model._replace(status="").ask(Dialog(effect.title, lines, verbs=() if has_none else verbs, guarded=True))


def fail(model: Model, effect: Effect, error: MirrorError) -> Step:
    hint = (f"hint: {error.hint}",) if error.hint else ()
    return finish(model, effect, Outcome(FAILED, notes=(f"{effect.title} failed: {error.message}".lstrip(), *hint)))


def ask_question(model: Model, effect: Effect, stakes: Stakes) -> Step:
    """What a command would cost is known: the dialog that asks, with no as the default, and asks again when that
    changed; where it costs nothing, it is done. A removal that is open learns of it."""
    model, is_awaited = end_job(model._replace(stakes=stakes), effect)
    if not effect.agreed and not effect.job:
        return model, ()
    if effect.agreed or not is_awaited:
        why = "what would be lost has changed" if effect.agreed else "nothing was done: another command was begun"
        model, _ = model.tell(f"{effect.title}: {why}")
    if not is_awaited:
        return model, ()
    if effect.words[0] == "remove" and stakes.clone_id:
        return model.follow(partial(removal_dialog, effect.words, stakes.clone_id))
    go = to_begin(*effect.words, fed=effect.fed, agreed=stakes)
    if not stakes.question:
        return go(model)
    items, verbs = (NOT_NOW._replace(label="no"), Item("yes", go)), (Verb("list", ("y",), "y yes", "yes", go, 0),)
    lines = tuple(map(model.displayable, stakes.question.losses))
    return model.ask(Dialog(stakes.question.text, lines, items, verbs=verbs, guarded=True))


# --- View -----------------------------------------------------------------------------------------

SPINNER = "|/-\\"


def layout_of(model: Model, size: Size) -> tuple[int, Size, Size, bool]:
    """The height of header and footer, each; what room the table has, which is what it needs, and what the pane, six
    lines at least and what is left; and is the pane beside the table? Below 60×12 there is none."""
    edge, rows = 2 if size.rows >= 16 else 1, model.shown
    room, part = size.rows - 2 * edge, size.columns * 3 // 5
    if size.columns >= 150 and not model.is_large and len(columns_for(model, rows, part)[0]) == len(COLUMNS):
        return edge, Size(room, part), Size(room - 1, size.columns - part - 3), True
    if size.rows < 12 or size.columns < 60:
        return edge, Size(room, size.columns), Size(0, 0), False
    table = 2 if model.is_large else max(min(len(rows) + 1, room - PANE_LINES - 1), 2)
    return edge, Size(table, size.columns), Size(room - table - 1, size.columns - 2), False


def clones_in_sight(model: Model) -> list[CloneView]:
    rows, here, height = model.shown, model.current, layout_of(model, model.size)[1].rows - 1
    return [rows[index] for index, _ in rows_in_view(len(rows), rows.index(here), height)] if here else []


def view_model(model: Model, size: Size) -> tuple[Row, ...]:
    """The model as rows of spans: exactly as many rows as the terminal has, none wider than it is. Pure."""
    if size.is_too_small:
        here = f"this terminal has {size.columns}×{size.rows}"
        text = f"codex-mirror needs {SMALLEST_COLUMNS}×{SMALLEST_ROWS} cells; {here}"
        rows: list[Row] = [(Span(line),) for line in wrap_text(text, max(size.columns, 1))]
    else:
        edge = layout_of(model, size)[0]
        room = Size(size.rows - 2 * edge, size.columns)
        body = [*body_rows(model, size, room), *[()] * room.rows][: room.rows]
        rows = [*header_rows(model, size)[:edge], *body, *footer_rows(model, size)[-edge:]]
        rows = rows if model.is_home else lay_over(rows, box_rows(model, model.dialogs[-1], size), size.columns)
    rows = [cut_row(row, 0, size.columns) for row in [*rows, *[()] * size.rows][: size.rows]]
    return tuple(map(in_ascii, rows)) if model.ascii else tuple(rows)


def header_rows(model: Model, size: Size) -> list[Row]:
    """How many clones there are in which state, the installed Codex, PATH; or while one looks for some, the filter."""
    count, row = count_text(len(model.rows), "clone"), tuple[Span, ...]()
    if model.is_finding or model.sought.text:
        line = model.sought.row(24) if model.is_finding else (Span(escape_invisible(model.sought.text), "bold"),)
        row = (Span(" / ", "accent"), *line, Span(f"  {len(model.shown)} of {count}", "title"))
    else:
        words = [word for view in model.rows for word in view.states]
        counts = [(word, words.count(word)) for word in STATES if word != "ok" and word in words]
        texts = {word: count_text(n, word) if word in ("update", "warning") else f"{n} {word}" for word, n in counts}
        parts = [Span(count if model.rows or not model.broken else "no registry", "title")]
        parts += [Span(text, STATES[word][1]) for word, text in texts.items()]
        parts += [Span(f"Codex {model.installed}" if model.installed else "no Codex")]
        for part in (*parts, Span("PATH ✓") if model.on_path else Span("PATH !", "warn")):
            more = (*row, Span(" · " if row else " ", "dim"), part)
            row = more if width_of(more) < size.columns else row
    name = f"codex-mirror {__version__} "
    if width_of(row) + len(name) + 2 <= size.columns:
        row = (*fill_row(row, size.columns - len(name)), Span(name, "dim"))
    return [row, (Span("─" * size.columns, "dim"),)]


def footer_rows(model: Model, size: Size) -> list[Row]:
    """What happened or is under way, and the verbs that make sense for the selected row."""
    states = model.current.states if model.current else ()
    mend = mending_words(model.current) if model.current else ()
    dull = {"l": "no login" not in states and mend[:1] != ("login",), "u": "update" not in states}
    dull |= {"f": states[:1] in ((), ("ok",)) and not model.broken, **dict.fromkeys("/mU", not model.rows)}
    verbs = [verb for verb in verbs_here(model) if verb.word and not (model.is_home and dull.get(verb.keys[0]))]
    verbs = [verb for verb in verbs if states or verb.modes != "table" or verb.keys == ("f",)]
    job, how_far = model.jobs[-1] if model.jobs else (Effect(""), "")
    count = f"{len(model.jobs)} at work" if model.jobs[1:] else "leaving when it is done" if model.is_leaving else ""
    work = f"{SPINNER[model.beat % len(SPINNER)]} {': '.join(filter(None, (count, job.title, how_far)))}"
    status, is_low = "  ".join(filter(None, (model.status, work if model.jobs else ""))), size.rows < 16
    most = size.columns * 3 // 5 if is_low else size.columns - 2
    said = (Span(f" {shorten(status, most)} ", "bold"),) if status else ()
    room = size.columns - is_low * width_of(said)
    while len(verbs) > 1 and sum(cell_width(verb.word) + 2 for verb in verbs) > room:
        verbs.remove(max(reversed(verbs), key=lambda verb: verb.rank))
    words = [verb.word.partition(" ") for verb in verbs]
    keys = [span for key, _, word in words for span in (Span(f" {key}", "accent"), Span(f" {word} "))]
    return [(*said, *keys)] if is_low else [said, tuple(keys)]


def body_rows(model: Model, screen: Size, size: Size) -> list[Row]:
    """What is wrong with the registry, the table of clones, and the selected one's details; or the menu instead."""
    rows, here, (_, room, pane, is_beside) = model.shown, model.current, layout_of(model, screen)
    if model.dialogs and model.dialogs[0].name == "home":
        menu = dialog_rows(model, model.dialogs[0], Size(size.rows - 1, size.columns - 4))
        return [*[()] * (size.rows >= 12), *((Span("  "), *row) for row in menu)]
    what, _, fix = model.displayable(f"✗ {model.broken}" if model.broken else "").partition("\n")
    fixes, most = wrap_texts([fix] if fix else [], size.columns - 2, size.rows // 2), size.rows // 5 + 1
    lines = wrap_texts([what] if what else [], size.columns - 2, max((most if here else size.rows) - len(fixes), 1))
    table: list[Row] = [(Span(f" {line}", "bad"),) for line in (*lines, *fixes)]
    if not here:
        nothing = "no clone matches; Esc clears the filter" if model.rows else "" if model.broken else "… being read"
        return [*table, (), (Span(f"  {shorten(nothing, size.columns - 3)}"),)]
    height = room.rows - len(table) * (not pane.rows or is_beside)
    table += [*table_rows(model, rows, here, room._replace(rows=height)), *[()] * size.rows][:height]
    details, name = pane_rows(model, here, pane), Span(shorten(here.clone.name, size.columns // 3), "bold")
    if is_beside:
        pairs = zip(table, [(name, Span("  "), here.state), *details, *[()] * size.rows], strict=False)
        return [(*fill_row(row, room.columns), Span(" │ ", "dim"), *detail) for row, detail in pairs]
    rule: Row = (Span("─ ", "dim"), name, Span(" "), here.state, Span(" "))
    rule = (*rule, Span("─" * max(size.columns - width_of(rule), 0), "dim"))
    return [*table, rule, *((Span("  "), *row) for row in details)] if pane.rows else table


def dialog_rows(model: Model, dialog: Dialog, size: Size) -> list[Row]:
    """What a dialog says, or so much of it that the rest is in sight: the line to type with what is wrong with it, and
    as many items as there is room for, the selected one among them."""
    field, typed, width = dialog.input, list[Row](), size.columns
    if field:
        label, line = f"{shorten(field.label, width // 2)}: ", field.line
        step = step_from_line(model, dialog, field) if field.refused else ""
        shown = line._replace(text=re.sub(".", "•", line.text)) if field.secret else line
        wrong = wrap_texts([f"! {step}" if step and isinstance(step, str) else " "], width, 2)
        typed = [(Span(label, "dim"), *shown.row(max(width - cell_width(label), 4)))]
        typed += [(Span(one, "bad"),) for one in wrong]
    if not (dialog.items or field):
        lines = [part for text in dialog.lines for part in wrap_text(text, width)]
        if len(lines) <= size.rows:
            return [(Span(text),) for text in lines]
        top = min(dialog.at, len(lines) - size.rows + 1)
        seen = lines[top : top + size.rows - 1]
        return [*((Span(text),) for text in seen), (Span(f"{top + 1}-{top + len(seen)} of {len(lines)} lines", "dim"),)]
    lines = wrap_texts(dialog.lines, width, size.rows - min(len(dialog.items), 3) - len(typed) - 1)
    rows: list[Row] = [*((Span(text),) for text in lines), *([()] if lines else []), *typed]
    most = min(max((cell_width(escape_invisible(item.label)) for item in dialog.items), default=0), width - 3)
    for index, sign in rows_in_view(len(dialog.items), dialog.at, max(size.rows - len(rows), 1)):
        text = Span(f"{fit(dialog.items[index].label, most)} ", "chosen" if sign.style == "chosen" else "plain")
        rows.append((sign, text, Span(shorten(f" {dialog.items[index].note}", max(width - most - 3, 0)), "dim")))
    return rows


def box_rows(model: Model, dialog: Dialog, size: Size) -> list[Row]:
    """A dialog in a frame with its title, as wide as what it says."""
    parts = (dialog.lines, [item.label for item in dialog.items], [item.note for item in dialog.items])
    lines, labels, notes = (max((cell_width(escape_invisible(text)) for text in part), default=0) for part in parts)
    width = min(max(lines, labels + notes + 7, 64), size.columns - 4)
    title = shorten(dialog.title, width - 2)
    end = Span(f" {'─' * max(width - cell_width(title) - 1, 0)}┐", "dim")
    rows = dialog_rows(model, dialog, Size(size.rows - 3, width))
    inside = [(Span("│ ", "dim"), *fill_row(row, width), Span(" │", "dim")) for row in rows]
    return [(Span("┌─ ", "dim"), Span(title, "title"), end), *inside, (Span(f"└{'─' * (width + 2)}┘", "dim"),)]


# --- Effects --------------------------------------------------------------------------------------


def glance_at(clone: Clone) -> dict[str, Any]:
    """What a clone's own files tell, and which of them change when that does: the login, the newest session file, and
    the directories that a new one would come into."""
    at = time.monotonic()
    account, sessions = account_of(clone), rollouts_of(clone)
    day = max((os.path.dirname(path) for _, path in sessions), default="")
    top = os.path.join(codex_home_of(clone), "sessions")
    above = [path for path in directories_above(day or top) if path == top or is_below(path, top)]
    own = [login_of(clone), clone.wrapper, clone.runtime.entry, os.path.join(base_of(clone), "clone.json")]
    watched = tuple(dict.fromkeys([*own, *(path for _, path in sessions[:1]), *above, top]))
    facts = {"watched": watched, "stamp": stamps_of(watched), "glanced": at, "account": account}
    known = {"variables": tuple(clone_variables(clone)), "usage": usage_of(clone, account, sessions)}
    return {**facts, **known, "used": sessions[0][0] if sessions else 0.0}


class World(NamedTuple):
    """What an effect needs: the context, whose reports are seen where the terminal isn't the menu's, where messages go,
    how work gets a thread, how a browser is opened, and what is done on the terminal after a program's exit."""

    context: Context
    post: Callable[[Message], None]
    spawn: Callable[[Callable[[], None]], None]
    open_browser: Callable[[str], bool]
    after_exit: Callable[[int, bool], None]

    def begin(self, model: Model, effect: Effect) -> None:
        """Begins what was asked for in the background; what comes of it arrives as messages. Nothing here waits."""
        world = self._replace(context=self.context._replace(width=max(model.size.columns - 4, 36)))
        self.spawn(partial(self.perform, effect, partial(getattr(world, effect.kind), model, effect)))

    def perform(self, effect: Effect, work: Callable[[], Any]) -> None:
        """Does work for an effect; an error is a message like any other, as a traceback would lie across the screen."""
        try:
            work()
            return
        except MirrorError as error:
            why = error
        except OSError as error:
            why = MirrorError(error_line(error), hint_for(error))
        except Exception as error:
            bug = f"this is a bug in codex-mirror {__version__}: {error!r}"
            why = MirrorError(bug, f"please report it: {REPOSITORY}/issues", BUG)
        self.post(partial(fail, effect=effect, error=why))

    def stakes_now(self, effect: Effect) -> Stakes | None:
        """What a command that asks would cost now, unless it is just what was agreed to, or --yes was typed."""
        command, values, common = values_of(effect.words)
        if not command.confirm or common["yes"] or common["dry-run"]:
            return None
        is_about_one = command.arguments[0].options.get("metavar") == "NAME"
        clone_id = clone_named(read_registry(self.context.places), values["name"]).id if is_about_one else ""
        stakes = Stakes(clone_id, command.confirm(self.context, **values))
        return None if stakes == effect.agreed else stakes

    def ask(self, model: Model, effect: Effect) -> None:
        self.post(partial(ask_question, effect=effect, stakes=self.stakes_now(effect) or Stakes("")))

    def do(self, model: Model, effect: Effect) -> None:
        """Performs a command, or one for each of several clones, and looks at what has changed."""
        if effect.agreed and (stakes := self.stakes_now(effect)):
            return self.post(partial(ask_question, effect=effect, stakes=stakes))
        each = [((*effect.words, name), f"{n} of {len(effect.each)}, {name}") for n, name in enumerate(effect.each, 1)]
        outcomes: list[Outcome] = []
        try:
            for words, prefix in each or [(effect.words, "")]:
                outcomes.append(self.outcome_of(words, effect.job, prefix))
            if effect.then and outcomes[-1].code == DONE:  # What was made stays, so what fails behind it is a note.
                outcomes.append(self.outcome_of(effect.then, effect.job, effect.then[0])._replace(code=DONE))
        finally:
            self.look(model, effect)
        said = tuple(line for one in outcomes for line in one.lines)
        notes, code = tuple(note for one in outcomes for note in one.notes), max(one.code for one in outcomes)
        return self.post(partial(finish, effect=effect, outcome=Outcome(code, said, notes, data=outcomes[0].data)))

    def outcome_of(self, words: Sequence[str], job: int, prefix: str) -> Outcome:
        """What the command line's own handler did, in lines and notes alone; an error of one of several is a note."""

        def report(what: str, done: int, total: int) -> None:
            amount = f"{size_text(done)} of {size_text(total)}" if total else ""
            self.post(partial(progress, number=job, said=prefix or ": ".join(filter(None, (what, amount)))))

        report("", 0, 0)
        command, values, common = values_of(words)
        try:
            outcome = command.handler(self.context._replace(report=report, dry_run=common["dry-run"]), **values)
        except DryRun as rehearsed:
            outcome = report_of_plan(rehearsed.plan, rehearsed.failed)
        except (MirrorError, OSError) as error:
            if not prefix:
                raise
            return Outcome(FAILED, notes=(f"{words[1]}: {error_line_with_hint(error)}",))
        data = outcome.data() if callable(outcome.data) else outcome.data
        lines = [*outcome.lines, *(align_table(outcome.table, self.context.width) if outcome.table else ())]
        if common["json"] and data is not None:
            lines = json.dumps(data, indent=2).splitlines()
        elif outcome.stream and not lines:
            outcome.stream(text := io.BytesIO())
            lines = os.fsdecode(text.getvalue()).splitlines()
        shown = mask_emails if common["redact"] else str
        return Outcome(outcome.code, tuple(map(shown, lines)), tuple(map(shown, outcome.notes)), data=data)

    def lend(self, effect: Effect) -> None:
        """Runs a command that has the terminal to itself, and waits for it; how it ended goes to the status line."""
        if stakes := self.stakes_now(effect):
            return self.post(partial(ask_question, effect=effect, stakes=stakes))
        command, values, _ = values_of(effect.words)
        if command.handler is log_in and effect.words[2:]:
            self.context.report(f"logging in '{effect.words[1]}' {' '.join(effect.words[2:])}", 0, 0)
        said: contextlib.AbstractContextManager[list[bytes]] = contextlib.nullcontext([])
        with stdin_of(effect.fed), copy_of_stderr() if command.handler is log_in else said as pieces:
            outcome = command.handler(self.context, **values)
        program, notes = outcome.program, outcome.notes
        why = re.findall(r"(?m)^(?:Error|No ).*", os.fsdecode(b"".join(pieces)))[-1:]  # As Codex 0.171 begins it.
        notes = tuple(re.sub(r"exit code \d+", lambda found: why[0] if why else found[0], note) for note in notes)
        for note in notes if program or outcome.code != DONE else ():
            self.context.report(note, 0, 0)
        code = outcome.code
        if program:
            try:
                code = run_child(program, program.cwd or None)
            except OSError as error:
                raise start_error(program, error, command.handler is exec_program) from None
        self.after_exit(code, command.handler in (run, exec_program) and len(effect.words) > 2)
        what = {run: "Codex", resume: "Codex", exec_program: "the program"}.get(command.handler, effect.words[0])
        name = values.get("name") or (program.env.get("CODEX_MIRROR_CLONE") if program else "")
        ended = f"{name}: {what} ended with exit status {code}"
        return self.post(lambda model: model.tell(*(() if program else notes) or (ended,)))

    def fresh(self, model: Model, effect: Effect) -> None:
        """Has the clones' own Codex ask what is left, side by side."""

        def ask(clone: Clone) -> str:
            answer = fresh_usage(self.context, 15, clone)
            if not answer.usage:
                return f"{clone.name}: {answer.why or answer.error}"
            self.post(partial(learn, clone_id=clone.id, usage=answer.usage))
            left = left_percent(answer.usage, time.time())
            return f"{clone.name}: {answer.usage.why if left is None else f'{left:.0f} % left'}"

        lines = run_parallel(ask, [view.clone for view in model.rows if view.clone.name in effect.each])
        self.post(partial(finish, effect=effect, outcome=Outcome(lines=tuple(lines))))

    def newest(self, model: Model, effect: Effect) -> None:
        """Which Codex would be fetched, and how large it is; nothing is asked where one is installed."""
        try:
            version, size = ask_sources(self.context, newest_with_size)
            newest = f"{version} ({size_text(size)})" if size > 0 else version
        except MirrorError as error:
            newest = error.message
        self.post(lambda model: model.become(newest=newest))

    def commands(self, model: Model, effect: Effect) -> None:
        """The names that a new clone's command can't have: they are commands already, or files in its place."""
        names = set(entries_of(self.context.places.bin_dir))
        for directory in {*self.context.env.get("PATH", os.defpath).split(os.pathsep)} - {""}:
            names |= {name for name in entries_of(directory) if os.access(os.path.join(directory, name), os.X_OK)}
        self.post(lambda model: model.become(commands=frozenset(names)))

    def sessions(self, model: Model, effect: Effect) -> None:
        clone = clone_named(read_registry(self.context.places), effect.words[0])
        found = newest_sessions([clone], SESSIONS_LISTED)
        self.post(lambda model: model.become(sessions=(clone.name, found)))

    def browse(self, model: Model, effect: Effect) -> None:
        what = "thank you, it is open in the browser" if self.open_browser(REPOSITORY) else "no browser could be opened"
        self.post(lambda model: model.tell(f"{what}: {REPOSITORY}"))

    def glance(self, model: Model, effect: Effect) -> None:
        """Looks by stat alone at the clones in sight and at the installed Codex, and reads what has changed, also where
        the effect names the registry."""
        changed = {one.clone.id for one in clones_in_sight(model) if stamps_of(one.watched) != one.stamp}
        if changed or effect.words or stamps_of(model.watched) != model.stamp:
            known = {one.clone.id: one.clone for one in model.rows if one.clone.id not in changed}
            self.spawn(partial(self.perform, effect, partial(self.look_around, known)))

    def look(self, model: Model, effect: Effect) -> None:
        """Looks again at the clones that an effect names, or at all where it names none."""
        names = (*effect.words[1:], *effect.each)
        others = {one.clone.id: one.clone for one in model.rows if one.clone.name not in names}
        self.look_around(others if len(others) < len(model.rows) else {})

    def look_at_registry(self, **facts: Any) -> Registry | None:
        """Reads the registry, enough for a first frame, which arrives with these facts; None where it is broken."""
        context, registry, broken, at = self.context, None, "", time.monotonic()
        try:
            registry = read_registry(context.places)
            bad = short_list([row_complaint(row) for row in registry.bad_rows], 1)
            broken = f"{bad}\ncodex-mirror doctor --fix" if bad else ""
        except (MirrorError, OSError) as error:
            broken = f"{error_line(error)}\n{error.hint if isinstance(error, MirrorError) else hint_for(error)}"
        facts |= {"on_path": is_on_path(context.places.bin_dir, context.env), "glanced": at, "now": time.time()}
        facts |= {"has_codex_home": os.path.isdir(os.path.join(context.places.user_home, ".codex"))}
        self.post(partial(arrive, registry=registry, broken=broken, **facts))
        return registry

    def look_around(self, known: Mapping[str, Clone]) -> None:
        """Sees which Codex is installed, reads the registry, then finds out about the clones that aren't known as they
        are now."""
        context, path = self.context, self.context.env.get("PATH", "")
        found = tuple(find_on_path("codex", path))[:3]
        watched = (*found, *map(os.path.realpath, found), *path.split(os.pathsep))
        stamp, installed = stamps_of(watched), installed_without_starting(context.env)
        version = installed.version if installed else ""
        registry = self.look_at_registry(installed=version, watched=watched, stamp=stamp)
        if registry and not registry.clones and not installed:
            self.newest(Model(context.places), Effect("newest"))
        clones = [clone for clone in registry.clones if known.get(clone.id) != clone] if registry else []
        for clone in clones:
            with contextlib.suppress(OSError):
                self.post(partial(learn, clone_id=clone.id, **glance_at(clone)))
        inspection = inspection_context(registry or Registry(), installed, context)

        def check_health(clone: Clone) -> None:
            at = time.monotonic()
            try:
                problems = health_of(*inspect_clones([clone], inspection, context)).problems
            except (OSError, MirrorError) as error:
                problems = (Problem("unreadable", "error", error_line(error), ""),)
            self.post(partial(learn, clone_id=clone.id, problems=problems, examined=at))

        self.spawn(partial(self.perform, Effect("look"), lambda: run_parallel(check_health, clones)))


# --- Terminal -------------------------------------------------------------------------------------

STAT_SECONDS, GLANCE_SECONDS = 1.0, 15.0
BEAT_SECONDS = 0.12
ESCAPE_SECONDS = 0.025  # How long the rest of an arrow key may take after its first byte.
LONG_SECONDS = 1.0  # And the rest of a paste, or of an answer: one whose end never comes must not keep all keys.
PASTE_ON, PASTE_OFF = b"\x1b[?2004h", b"\x1b[?2004l"  # Pastes come in brackets, and plain again.
UNDONE = b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[<u"  # No mouse, and keys as they were.
IMITATED = (  # What newer terminals, of which a machine may not know yet, imitate.
    (r"(screen|tmux)\b", "screen-256color"),
    (r"(xterm|alacritty|contour|foot|ghostty|iterm2?|kitty|konsole|rio|vte|wezterm)\b", "xterm-256color"),
)


@lru_cache
def terminal_type(named: str) -> str:
    """The type of terminal that curses draws for: the one named, or where this machine doesn't know it, as one that is
    newer, the one that it imitates; nothing where neither will do."""
    import curses

    imitated = (known for pattern, known in IMITATED if re.match(pattern, named))
    for kind in (named, *imitated):
        with contextlib.suppress(curses.error):
            curses.setupterm(kind)
            return kind if curses.tigetstr("cup") and curses.tigetstr("clear") else ""
    return ""


def complaint_about_terminal() -> str:
    """Why the menu can't be shown here, or nothing."""
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        return "the menu needs a terminal; without one,"
    named = os.environ.get("TERM", "")
    try:
        if terminal_type(named):
            return ""
    except ImportError:
        return "the menu needs Python's curses; without it,"
    if named in ("", "dumb", "unknown"):
        return "the menu needs a terminal that it can draw on (TERM names none);"
    return f"the menu can't be drawn on a terminal of the type TERM={named}; set TERM=xterm-256color, or"


def terminal_size() -> Size:
    """The size as the terminal says it, now; one that doesn't know its own (a serial line says 0) has the usual one."""
    try:
        size = os.get_terminal_size(1)
    except OSError:
        return Size(24, 80)
    return Size(size.lines or 24, size.columns or 80)


def read_keys() -> list[str]:
    """The keys that were pressed; a lone Esc is one as soon as it is clear that no arrow key comes after it."""
    import select

    keys: list[str] = []
    rest = b""
    while True:
        data = b""
        with contextlib.suppress(OSError):
            data = os.read(0, 1 << 16)
        if not data:
            raise SystemExit(128 + signal.SIGHUP)
        if rest == b"\x1b" and data[:1] not in b"[O":  # What came in two pieces is Esc and a key; Alt comes in one.
            keys, rest = [*keys, "esc"], b""
        found, rest = keys_in(rest + data, final=False)
        keys += found
        seconds = LONG_SECONDS if re.match(LONG_BEGUN, rest) else ESCAPE_SECONDS
        if not rest or not select.select([0], [], [], seconds)[0]:
            return [*keys, *keys_in(rest, final=True)[0]]


def tidy_after(code: int, had_arguments: bool) -> None:
    """After a program's exit: what a killed one left set is undone, and what was said by one that failed, or that was
    given arguments, can be read."""
    if code > 128:
        os.write(1, UNDONE)
    if had_arguments or code not in (DONE, INTERRUPTED):
        os.write(1, b"\npress Enter to go back to the menu ")
        with contextlib.suppress(KeyboardInterrupt):
            os.read(0, 1 << 10)


class Inbox(NamedTuple):
    """Where workers leave messages; a byte in the pipe wakes the loop, and a signal writes its number there."""

    messages: list[Message]
    ear: int
    console: int

    def post(self, message: Message) -> None:
        self.messages.append(message)
        with contextlib.suppress(OSError):
            os.write(self.console, b"\0")

    def wait(self, seconds: float) -> tuple[list[str], bytes, list[Message]]:
        """Sleeps until there is something to do, at most so long: keys, the numbers of signals, and messages."""
        import select

        keys, signals = read_keys() if 0 in select.select([0, self.ear], [], [], seconds)[0] else [], b""
        with contextlib.suppress(BlockingIOError):
            signals = os.read(self.ear, 1 << 16)
        return keys, signals, [self.messages.pop(0) for _ in range(len(self.messages))]


class Screen:
    """The terminal in the hands of curses, and what each style looks like on it."""

    def __init__(self, stack: contextlib.ExitStack, wake: int, env: Mapping[str, str]) -> None:
        import curses
        import termios

        self.curses, self.termios, self.stack, self.wake, self.env = curses, termios, stack, wake, env
        self.before, self.attributes = termios.tcgetattr(0), {"plain": 0, "dim": curses.A_DIM, "bold": curses.A_BOLD}
        self.window: Any = None
        stack.enter_context(self.taken())

    def start(self) -> None:
        """Starts curses, once, for a type of terminal that it knows."""
        curses = self.curses
        os.environ["TERM"] = terminal_type(self.env["TERM"])
        self.window = curses.initscr()
        os.environ["TERM"] = self.env["TERM"]
        curses.raw()
        curses.noecho()
        accent, bad, warn = 0, curses.A_BOLD, curses.A_BOLD
        with contextlib.suppress(curses.error):
            if not self.env.get("NO_COLOR"):
                curses.start_color()
                curses.use_default_colors()
                for number, colour in enumerate((curses.COLOR_CYAN, curses.COLOR_RED, curses.COLOR_YELLOW), 1):
                    curses.init_pair(number, colour, -1)
                if curses.has_colors():
                    accent, bad, warn = map(curses.color_pair, (1, 2, 3))
        self.attributes |= {"accent": accent, "title": accent | curses.A_BOLD, "bad": bad | curses.A_BOLD, "warn": warn}
        self.attributes |= dict.fromkeys(("chosen", "cursor"), curses.A_REVERSE)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Takes the terminal: the alternate screen, pastes in brackets, no cursor, everything drawn anew; whatever
        happens it is given back as it was, and one without an alternate screen wiped: no menu is left on it."""
        curses, ends = self.curses, (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
        told = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
        handlers = {number: signal.getsignal(number) for number in (*ends, *told)}
        try:
            signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
            if self.window is None:
                self.start()
            for number in told:
                signal.signal(number, lambda number, frame: None)
            signal.signal(signal.SIGQUIT, interrupted_by)
            self.resize()
            with contextlib.suppress(curses.error):
                curses.curs_set(0)
            self.window.refresh()
            os.write(1, PASTE_ON)
            yield
        finally:
            for number in ends:
                signal.signal(number, signal.SIG_IGN)
            with contextlib.suppress(curses.error, OSError):
                if not curses.tigetstr("smcup"):  # Written at once: no buffer of C's is emptied at our exit.
                    os.write(1, re.sub(rb"\$<[^>]*>", b"", curses.tigetstr("clear")))
                curses.endwin()
                os.write(1, PASTE_OFF)
            with contextlib.suppress(self.termios.error):
                self.termios.tcsetattr(0, self.termios.TCSADRAIN, self.before)
            signal.set_wakeup_fd(-1)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def resize(self) -> Size:
        """The size of now, for which everything is drawn anew."""
        size = terminal_size()
        self.curses.resizeterm(size.rows, size.columns)
        self.window.clear()
        return size

    def lend(self, work: Callable[[], None]) -> None:
        """Does this on the terminal as it was before the menu, signals included, and takes it again."""
        self.stack.close()
        work()
        self.stack.enter_context(self.taken())

    def paint(self, rows: Sequence[Row]) -> None:
        self.window.erase()
        for y, row in enumerate(rows):
            x = 0
            for span in row:
                text = escape_invisible(span.text)
                # The last cell of the last line is drawn, though curses complains that the cursor can't go on.
                with contextlib.suppress(self.curses.error):
                    self.window.addstr(y, x, text, self.attributes[span.style])
                x += cell_width(text)
        self.window.refresh()


def show_menu(context: Context, browse: Callable[[str], bool], redact: bool) -> Outcome:
    ear, console = os.pipe()
    os.set_blocking(ear, False)
    os.set_blocking(console, False)
    inbox = Inbox([], ear, console)
    world = World(context, inbox.post, start_in_background, browse, tidy_after)
    model = Model(context.places, program=context.program, redact=redact, here=current_directory(), now=time.time())
    with contextlib.ExitStack() as stack:
        screen = Screen(stack, console, context.env)
        knows_unicode = str(screen.window.encoding).upper().replace("-", "") == "UTF8"  # As the locale has it.
        world.look_at_registry()
        model = run_loop(model._replace(size=terminal_size(), ascii=not knows_unicode), inbox, world, screen)
    lines = [text for _, texts in model.messages for text in texts] if model.is_leaving else []
    lines += [f"the repository: {REPOSITORY}"] if model.over == "star and leave" and not browse(REPOSITORY) else []
    return Outcome(lines=tuple(lines))


def run_loop(model: Model, inbox: Inbox, world: World, screen: Screen) -> Model:
    """The one loop: waits, folds in what came, paints what changed; the model in which the menu was left."""
    painted: Model | None = None
    registry = [registry_file(world.context.places)]
    stamp, looked, glanced = stamps_of(registry), time.monotonic(), time.monotonic()
    while not model.over:
        wait = min(BEAT_SECONDS if model.jobs else STAT_SECONDS, max(looked + STAT_SECONDS - time.monotonic(), 0))
        keys, signals, messages = inbox.wait(0 if painted is None else wait)
        at = time.monotonic()
        is_due = at - glanced >= GLANCE_SECONDS
        model = model._replace(now=time.time()) if signals or keys or is_due else model
        for number, kind in ((signal.SIGTSTP, "suspend"), (signal.SIGCONT, "redraw")):  # kill -STOP asks nobody.
            model = carry_out(model, Effect(kind), world, screen) if number in signals else model
        if signals and terminal_size() != model.size:
            model = model._replace(size=screen.resize())
        if at - looked >= STAT_SECONDS:
            before, stamp, looked = stamp, stamps_of(registry), at
            if before != stamp:
                world.glance(model, Effect("glance", ("registry",)))
        if is_due:
            glanced = at
            world.glance(model, Effect("glance"))
        model = model._replace(beat=model.beat + 1) if model.jobs else model
        waiting: list[Message] = [*messages, *(partial(press, key=key, at=at) for key in keys)]
        while waiting and not model.over:
            model, effects = update_model(model, waiting.pop(0))
            for effect in effects:
                model = carry_out(model, effect, world, screen)
                if effect.kind == "lend":  # Keys that were typed behind a program's start were meant for it.
                    waiting = [message for message in waiting if message in messages]
        if model is not painted and not model.over:
            screen.paint(view_model(model, model.size))
            if painted is None:
                world.begin(model, Effect("look"))
            model = painted = model.mark_painted(time.monotonic())
    return model


def carry_out(model: Model, effect: Effect, world: World, screen: Screen) -> Model:
    """Carries out an effect; those that need the terminal itself here, the others in the background."""
    if effect.kind == "interrupt":
        raise KeyboardInterrupt
    if effect.kind in ("leave", "star and leave"):
        return model._replace(over=effect.kind)
    if effect.kind in ("redraw", "suspend"):
        screen.lend(lambda: os.kill(0, signal.SIGTSTP) if effect.kind == "suspend" else None)
    elif effect.kind == "lend":
        wide = world._replace(context=world.context._replace(width=model.size.columns))
        screen.lend(partial(world.perform, effect, partial(wide.lend, effect)))
        world.begin(model, effect._replace(kind="look"))
    else:
        world.begin(model, effect)
        return model
    return model._replace(size=terminal_size(), now=time.time(), beat=model.beat + 1)


# --- Main -----------------------------------------------------------------------------------------


def program_name(argv0: str) -> str:
    """How the user starts this program: its command's name, its path, or Python or uv with its path."""
    name = os.path.basename(argv0)
    if name in ("", "-", "-c") or argv0.startswith(("/dev/fd/", "/proc/")):
        return "codex-mirror"
    real, found = os.path.realpath(argv0), find_on_path(name, os.environ.get("PATH", ""))
    if any(is_same_file(os.path.realpath(path), real) for path in found):
        return shell_quote(name) if re.search(r"[^\w.-]", name) else name
    started_itself = not name.endswith(".py") or os.environ.get("_") == argv0
    if "/" in argv0 and os.access(argv0, os.X_OK) and started_itself:
        return shell_quote(argv0) if re.search(r"[^\w./-]", argv0) else argv0
    starter = "uv run" if "UV_RUN_RECURSION_DEPTH" in os.environ else "python3"  # Its python3 may be too old.
    return f"{starter} {shell_quote(argv0) if re.search(r'[^A-Za-z0-9_./-]', argv0) else argv0}"


class Console:
    """What is said to people: data on stdout, everything else on stderr, and no control character ever."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.name = os.path.basename(sys.argv[0]) if program != "codex-mirror" else program
        self.quiet = self.debug = self.redact = self.as_json = self.progress = self.told_source = False
        self.held: list[str] = []
        self.changes: list[str] = []
        self.reported, self.since, self.shown = "", 0.0, 0.0

    def say(self, text: str, to_stderr: bool = False) -> None:
        """Says one line."""
        self.put(self.for_eyes(text), to_stderr)

    def for_eyes(self, text: str) -> str:
        """The text as it may be shown: nothing in it can act, and with --redact it has no address."""
        return mask_emails(escape_invisible(text)) if self.redact else escape_invisible(text)

    def say_named(self, text: str, to_stderr: bool = False) -> None:
        """Says one line with commands as this caller types them; once, where to get a program that is none yet."""
        self.say(with_program_name(text, self.program), to_stderr)
        if not self.told_source and with_program_name(text, "") != text and not is_command(self.program, os.environ):
            self.told_source = True
            self.say(f"there is no codex-mirror on PATH; how to install it: {REPOSITORY}", to_stderr=True)

    def put(self, text: str, to_stderr: bool = False) -> None:
        """Says lines that may be shown as they are."""
        stream = sys.stderr if to_stderr else sys.stdout
        self.end_progress()
        if to_stderr and self.as_json and not (stream and stream.isatty()):
            self.held.append(text)
        elif stream is not None:
            with contextlib.suppress(OSError) if to_stderr else contextlib.nullcontext():
                print(text, file=stream, flush=to_stderr)

    def say_lines(self, text: str, to_stderr: bool = False) -> None:
        """Says a text of our own, line by line."""
        for line in text.splitlines():
            self.say(line, to_stderr)

    def end_progress(self) -> None:
        if self.progress:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self.progress = False

    def report(self, what: str, done: int, total: int) -> None:
        """Shows progress as one line on a terminal, some ten times a second; a wait is said everywhere."""
        if not total:
            self.say_named(what, to_stderr=True)
        elif not self.quiet and sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            now = time.monotonic()
            if what != self.reported:
                self.reported, self.since, self.shown = what, now, 0.0
            if done >= total or now - self.shown >= 0.1:
                self.progress, self.shown = True, now
                much = f"{done * 100 // total} %, {size_text(done)} of {size_text(total)}"
                fast = f"{size_text(done / max(now - self.since, 0.001))}/s"
                print(f"\r{escape_invisible(what)}: {much}, {fast}\x1b[K", end="", file=sys.stderr, flush=True)

    def choose(self, lines: Sequence[str], prompt: str) -> int:
        """Shows a heading and numbered lines and asks for a number; counted from 0, and -1 for none of them."""
        if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
            return -1
        for number, line in enumerate(lines):
            self.say(f"{number or '':>3}  {line}", to_stderr=True)
        print(prompt, end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline().strip()
        return int(answer) - 1 if answer.isdecimal() else -1

    def complain(self, error: MirrorError) -> None:
        """Says what is wrong and what to do; with --debug also where it was found."""
        if self.debug:
            import traceback

            self.say_lines("".join(traceback.format_tb(sys.exc_info()[2])), to_stderr=True)
        if self.as_json:
            said = {"ok": False, "error": error.message, "hint": with_program_name(error.hint, self.program)}
            document = {**said, "code": error.code, "lines": [*self.held, *error.lines]}
            self.as_json = False
            self.put(json.dumps(mask_emails_in_data(document) if self.redact else document, indent=2), to_stderr=True)
            return
        self.say(f"{self.name}: {error.message}", to_stderr=True)
        if error.hint:
            self.say_named(f"hint: {error.hint}", to_stderr=True)
        for line in error.lines:
            self.say(line, to_stderr=True)

    def end(self, text: str, code: int) -> int:
        """Says how it ended where that was no error of ours, the last line in a word, and gives the exit code."""
        *lines, last = text.splitlines()
        if self.as_json:
            self.complain(MirrorError(last, code=code, lines=lines))
        else:
            self.say_lines(text, to_stderr=True)
        return code

    def release(self) -> None:
        """Says what was held back for the one document that an error would have been."""
        self.as_json = False
        for text in self.held:
            self.put(text, to_stderr=True)
        self.held = []

    def render(self, outcome: Outcome, as_json: bool, terminal: bool, width: int) -> None:
        """Says what a command did."""
        self.end_progress()
        is_bytes = outcome.stream is not None and outcome.data is None and not outcome.lines
        if as_json and not outcome.program and not is_bytes:
            texts = {"lines": outcome.lines, "notes": outcome.notes}
            named = {key: [with_program_name(line, self.program) for line in text] for key, text in texts.items()}
            data = outcome.data() if callable(outcome.data) else outcome.data
            said = {"ok": outcome.code == DONE, **named, **outcome.about}
            data = said if data is None else advice_with_program_name(data, self.program)
            print(json.dumps(mask_emails_in_data(data) if self.redact else data, indent=2))
        elif outcome.stream and sys.stdout is not None:
            outcome.stream(sys.stdout.buffer)
        elif outcome.table is not None:
            self.tabulate(outcome.table, terminal, width)
        elif not self.quiet:
            for line in outcome.lines:
                self.say_named(line)
        for note in () if self.quiet and outcome.code == DONE else outcome.notes:
            self.say_named(note, to_stderr=True)

    def tabulate(self, table: Table, terminal: bool, width: int) -> None:
        """Says a table: aligned under its heading on a terminal, else a line of tab-separated cells for each row."""
        rows = tuple(tuple(map(self.for_eyes, row)) for row in table.rows)
        lines = align_table(table._replace(rows=rows), width) if terminal else map("\t".join, rows)
        if rows:
            self.put("\n".join(lines))


def consent(question: Question) -> bool:
    """Asks on the terminal before something is lost; the default is no. Raises MirrorError when nobody can answer."""
    with contextlib.ExitStack() as stack:
        answers = sys.stdin if sys.stdin and sys.stdin.isatty() else None
        if not answers and question.stdin_taken:
            with contextlib.suppress(OSError):
                answers = stack.enter_context(open("/dev/tty", encoding="utf-8", errors="replace"))
        if not (answers and sys.stderr and sys.stderr.isatty()):
            raise MirrorError("not confirmed: no terminal to ask on", question.hint, REFUSED)
        prompt = f"type '{question.word}' to confirm: " if question.word else f"{question.text} [y/N] "
        print(escape_invisible(prompt), end="", file=sys.stderr, flush=True)
        answer = answers.readline().strip()
    return answer == question.word if question.word else answer.lower() in ("y", "yes")


def run_command(
    command: Command, values: Mapping[str, Any], common: Mapping[str, Any], context: Context, console: Console
) -> int:
    """Runs one command to its exit code; does not return when the process becomes another program."""
    if command.handler not in (run, exec_program, completion, doctor) and not context.dry_run:
        recover_first(context)
    if context.dry_run:
        values = {**values, "fix": False} if command.handler is doctor else values
    elif command.confirm and not confirm_losses(partial(command.confirm, context, **values), common["yes"], console):
        console.say("nothing was changed", to_stderr=True)
        return REFUSED
    try:
        outcome = command.handler(context, **values)
    except DryRun as rehearsed:
        outcome = report_of_plan(rehearsed.plan, rehearsed.failed)
    if outcome.program and not (sys.stderr and sys.stderr.isatty()):
        outcome = outcome._replace(notes=())
    console.quiet &= not command.asks
    console.render(outcome, common["json"], context.terminal, context.width)
    if outcome.program:
        console.release()
        try:
            replace_process(outcome.program)
        except OSError as error:
            raise start_error(outcome.program, error, command.handler is exec_program) from None
    return outcome.code


def confirm_losses(confirm: Callable[[], Question | None], yes: bool, console: Console) -> bool:
    """Says what would be lost, and asks; and once more when by the time of the answer it is something else."""
    asked, question = None, confirm()
    while question and question != asked:
        for loss in () if yes and console.quiet else question.losses:
            console.say_named(loss, to_stderr=True)
        if not yes and not consent(question):
            return False
        asked, question = question, None if yes else confirm()
    return True


def recover_first(context: Context) -> None:
    """Finishes what a killed change left, when no other change is under way."""
    with contextlib.suppress(MirrorError, OSError):
        check_mirror_home(context.places)
        if unfinished_plans(context.places) or kind_of(earlier_lock_file(context.places)):
            with hold_lock(lock_file(context.places), "settle", 0, lambda holder: None):
                recover(context.places)


def unwind_on_signals() -> None:
    """Lets signals unwind `with` blocks; one that was ignored before we came (nohup) stays so."""
    heard = {signal.SIGTERM: interrupted_by, signal.SIGHUP: interrupted_by, signal.SIGINT: signal.default_int_handler}
    for number, handler in heard.items():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def menu_or_help(console: Console) -> int:
    """The menu, or where none can be shown the help and the hint to use commands."""
    if complaint := complaint_about_terminal():
        console.say_lines(help_text(console.program), to_stderr=True)
        console.say(f"hint: {complaint} use the commands above", to_stderr=True)
        return USAGE
    places, env = known_places(os.environ), callers_environment()
    context = Context(places, env, console.program, True, report=console.report, choose=console.choose)
    recover_first(context)
    outcome = show_menu(context, open_in_browser, console.redact)
    console.render(outcome, False, True, context.width)
    return outcome.code


def open_in_browser(address: str) -> bool:
    """Opens an address in a browser with a window of its own, by a process whose output reaches nobody's terminal."""
    script = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"
    env = {name: value for name, value in os.environ.items() if name != "TERM"}  # Else it would try text browsers.
    return capture([sys.executable, "-I", "-c", script, address], env, "/", 10).code == 0


def dispatch(argv: list[str], console: Console) -> int:
    """The exit code for this command line."""
    common_words, argv = split_behind_options(argv)
    if not argv:
        console.debug, console.redact = "--debug" in common_words, "--redact" in common_words
        return menu_or_help(console)
    if argv[0] in ("-h", "--help", "help"):
        console.say_lines(
            help_about([word for word in argv[1:] if not word.startswith("-")], console.program, names_of_clones)
        )
        return DONE
    if argv[0] in VERSION_FLAG.flags:
        console.say(f"codex-mirror {__version__}")
        return DONE
    if argv[1:2] in (["-h"], ["--help"]) and (argv[0],) in {command.words[:-1] for command in COMMANDS}:
        console.say_lines(help_text(console.program, argv[0]))
        return DONE
    console.as_json = "--json" in (*common_words, *argv)
    command, words = command_named(argv, names_of_clones)
    ours = split_before_the_rest(command, [*common_words, *words])[0]
    console.as_json = "--json" in ours
    try:
        return answer_command(command, [*common_words, *words], console)
    except MirrorError as error:
        if error.code in (USAGE, NOT_FOUND):
            error.hint = likelier_hint(command, ours[len(common_words) :], error.code == NOT_FOUND) or error.hint
        raise


def answer_command(command: Command, words: Sequence[str], console: Console) -> int:
    """The exit code of a command with these words behind it."""
    try:
        values, common = parse_arguments(command, words, console.program)
    except HelpAsked as asked:
        console.say_lines(str(asked))
        return DONE
    console.quiet, console.debug, console.redact = common["quiet"], common["debug"], common["redact"]
    terminal = bool(sys.stdout and sys.stdout.isatty())
    width = os.get_terminal_size(sys.stdout.fileno()).columns if terminal else 80
    says = (console.report, console.changes.append, console.choose)
    context = Context(known_places(os.environ), callers_environment(), console.program, terminal, width, *says)
    context = context._replace(dry_run=common["dry-run"])
    return run_command(command, values, common, context, console)


def main(argv: list[str] | None = None) -> int:
    """Answers a command line, and gives its exit code."""
    return flush_output(exit_code_of(argv))


def exit_code_of(argv: list[str] | None) -> int:
    """Answers a command line; the only place where an error becomes text and an exit code."""
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    console = Console(program_name(sys.argv[0]))
    try:
        unwind_on_signals()
        code = dispatch(argv, console)
        console.release()
        return code
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except (MirrorError, OSError) as error:
        ignore_signals()
        told = error if isinstance(error, MirrorError) else MirrorError(error_line(error), hint_for(error))
        console.complain(told)
        return told.code
    except KeyboardInterrupt as end:
        ignore_signals()
        fates = filter(None, [*(f"'{what}' was done" for what in console.changes), *map(str, end.args)])
        return console.end(": ".join(filter(None, ("interrupted", "; ".join(fates)))), INTERRUPTED)
    except Exception:
        import traceback

        return console.end(f"{traceback.format_exc()}this is a bug in codex-mirror: {REPOSITORY}/issues", BUG)


def ignore_signals() -> None:
    """A second Ctrl-C doesn't cut off the last words."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def flush_output(code: int) -> int:
    """The exit code, once both streams have taken everything; also a full disk or a reader that left is told by it."""
    for number, stream in ((2, sys.stderr), (1, sys.stdout)):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            if number == 1 and isinstance(error, BrokenPipeError):
                return 128 + signal.SIGPIPE
            if number == 1 and sys.stderr is not None and code == DONE:
                print(f"codex-mirror: stdout: {error.strerror}", file=sys.stderr)
            code = code or FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
