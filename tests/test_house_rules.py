"""The law of the house, enforced: a room may use only the rooms above it, and every heavy module has one door.

Each rule is a function from source text to the list of its trespasses; `RULES` holds the program to all of them, and
`TRESPASSES` plants one of each kind in a small house to show that it is caught.
"""

from __future__ import annotations

import ast
import bisect
import functools
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from helpers import PROGRAM, Home, Mirror, run

# Takes source text, gives the list of its trespasses, each beginning `line N: `.
Rule = Callable[[str], "list[str]"]

BANNER_WIDTH = 100
LONGEST_FUNCTION = 40
LARGEST_ROOM = 350
NOWHERE = "nowhere"
DOORS = {
    "subprocess": "Processes",
    "threading": "Processes",
    "concurrent": "Processes",
    "multiprocessing": "Processes",
    "shutil": "Disk",
    "tempfile": "Archives",
    "fcntl": "Disk",
    "hashlib": "Files",
    "_sha2": "Files",
    "tarfile": "Archives",
    "sqlite3": "Moved homes",
    "urllib.request": "Connections",
    "http": "Connections",
    "ssl": "Connections",
    "curses": "Terminal",
    "webbrowser": "Main",
    "importlib": NOWHERE,
}
# Ways of becoming or starting a program that need no import of their own.
OS_DOOR = ("Processes", re.compile(r"exec[lv]p?e?|execv|posix_spawnp?|spawn\w+|fork(pty)?|system|popen"))
BUILTIN_DOORS = {"print": "Main", "__import__": NOWHERE, "globals": NOWHERE, "eval": NOWHERE, "exec": NOWHERE}
METHOD_DOORS = {"addstr": "Terminal", "addnstr": "Terminal", "insstr": "Terminal"}
# None of these may be loaded by `list`: each costs a good part of a bare interpreter's start.
HEAVY = (
    "dataclasses inspect subprocess tempfile shutil curses logging uuid asyncio threading concurrent.futures hashlib "
    "tarfile typing urllib.request http.client ssl"
).split()


# --- reading a house ---


class Room(NamedTuple):
    """One room: its title and the line of its heading, counted from 1."""

    title: str
    line: int


HEADER = Room("the header", 0)


class House(NamedTuple):
    """A source text and what was read from it once for all rules."""

    lines: list[str]
    tree: ast.Module
    rooms: list[Room]

    def floor(self, node: ast.AST) -> int:
        """The position on the page of the room in which the node stands; 0 is the header, above the first room."""
        return bisect.bisect_right([room.line for room in self.rooms], line_of(node)) - 1

    def room(self, node: ast.AST) -> str:
        """The title of the room in which the node stands."""
        return self.rooms[self.floor(node)].title


@functools.cache
def house(source: str) -> House:
    """Reads the source as Python 3.10 does."""
    lines = source.splitlines()
    found = [Room(line[6:].rstrip("- "), number) for number, line in enumerate(lines, 1) if line.startswith("# --- ")]
    return House(lines, ast.parse(source, feature_version=(3, 10)), [HEADER, *found])


def line_of(node: ast.AST) -> int:
    line: int = getattr(node, "lineno", 0)
    return line


Function = (ast.FunctionDef, ast.AsyncFunctionDef)
Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def names_bound_in(statements: list[ast.stmt]) -> set[str]:
    """The names that these statements bind in their own scope, not in those of functions and classes in them."""
    bound, elsewhere = set(), set()
    todo: list[ast.AST] = list(statements)
    while todo:
        node = todo.pop()
        bound.update(names_bound_by(node))
        if isinstance(node, ast.Global):
            elsewhere.update(node.names)
        if not isinstance(node, (*Function, *Comprehension, ast.ClassDef, ast.Lambda)):
            todo.extend(ast.iter_child_nodes(node))
    return bound - elsewhere


def names_bound_by(node: ast.AST) -> list[str]:
    """The names that this very node binds."""
    if isinstance(node, ast.Name):
        return [node.id] if not isinstance(node.ctx, ast.Load) else []
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, Comprehension):
        return [inner.target.id for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
    name = getattr(node, "rest" if isinstance(node, ast.MatchMapping) else "name", None)
    return [name] if isinstance(name, str) and not isinstance(node, ast.alias) else []


class GlobalUses(ast.NodeVisitor):
    """Finds every use of a name that Python looks up in the module: (name, node), annotations included."""

    def __init__(self) -> None:
        self.found: list[tuple[str, ast.AST]] = []
        self.scopes: list[tuple[type[ast.AST], set[str]]] = []

    def is_local(self, name: str) -> bool:
        """Names of a class body are seen in the body itself but not from the functions in it."""
        inward = enumerate(reversed(self.scopes))
        return any(name in names for depth, (kind, names) in inward if depth == 0 or kind is not ast.ClassDef)

    def visit_all(self, nodes: list[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def visit_inside(self, kind: type[ast.AST], names: set[str], nodes: list[ast.AST]) -> None:
        self.scopes.append((kind, names))
        self.visit_all(nodes)
        self.scopes.pop()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and not self.is_local(node.id):
            self.found.append((node.id, node))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.visit_all([*node.decorator_list, *filter(None, [node.returns])])
        self.visit(node.args)
        self.visit_inside(type(node), parameters(node.args) | names_bound_in(node.body), [*node.body])

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)
        self.visit_inside(ast.Lambda, parameters(node.args), [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self.visit_inside(ast.ClassDef, names_bound_in(node.body), [*node.body])

    def visit_comprehension_of(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        targets = [inner for part in node.generators for inner in ast.walk(part.target)]
        self.visit(node.generators[0].iter)
        self.visit_inside(type(node), {n.id for n in targets if isinstance(n, ast.Name)}, [*ast.iter_child_nodes(node)])

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_comprehension_of


def parameters(args: ast.arguments) -> set[str]:
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, [args.vararg, args.kwarg])]
    return {arg.arg for arg in every}


# --- the rules ---


def rooms_use_only_what_stands_above(source: str) -> list[str]:
    """Law 1: each name that is used is defined in the same room or above it, and in one room alone."""
    plan = house(source)
    defined: dict[str, ast.stmt] = {}
    trespasses = []
    for statement in plan.tree.body:
        for name in sorted(names_bound_in([statement])):
            first = defined.setdefault(name, statement)
            if plan.floor(first) != plan.floor(statement):
                trespasses.append(_at(plan, statement, f"defines `{name}`, which {plan.room(first)} defines already"))
    uses = GlobalUses()
    uses.visit(plan.tree)
    for name, node in uses.found:
        if name in defined and plan.floor(defined[name]) > plan.floor(node):
            where = f"{plan.room(defined[name])} (line {line_of(defined[name])})"
            trespasses.append(_at(plan, node, f"uses `{name}`, which is defined below it in {where}"))
    return trespasses


def headings_are_banners(source: str) -> list[str]:
    """Every line that begins like a heading is one, of exactly 100 columns, and no two are alike."""
    plan = house(source)
    trespasses, seen = [], set()
    for room in plan.rooms[1:]:
        line = plan.lines[room.line - 1]
        if line != f"# --- {room.title} ".ljust(BANNER_WIDTH, "-") or not room.title:
            wanted = f"`# --- Title ---…` of {BANNER_WIDTH} columns"
            trespasses.append(f"line {room.line}: the heading of {room.title or 'a room'} isn't {wanted}: {line!r}")
        if room.title in seen:
            trespasses.append(f"line {room.line}: {room.title} is a room already")
        seen.add(room.title)
    return trespasses if seen else ["line 1: no room has a heading"]


def docstring_lists_the_rooms(source: str) -> list[str]:
    """Law 2: the floor plan in the module's docstring is the list of the headings, in order."""
    plan = house(source)
    listed = floor_plan(ast.get_docstring(plan.tree, clean=False) or "")
    if not listed:
        return ["line 1: the module's docstring has no lines `    Room   promise`"]
    titles = [room.title for room in plan.rooms[1:]]
    return [
        f"line 1: the floor plan has {here or 'nothing'} where the headings have {there or 'nothing'}"
        for here, there in _differences(listed, titles)
    ]


def floor_plan(docstring: str) -> list[str]:
    """The titles in the first indented block of lines with a gap: what stands before a gap of two spaces or more.

    Lines that begin with a Roman numeral name a part of the house; lines without a gap go on with a promise.
    """
    titles: list[str] = []
    for line in docstring.split("\n"):
        if titles and re.match(r"(?![IV]+ )\S", line):
            break
        found = re.match(r" +(\S+(?: \S+)*) {2,}\S", line)
        titles += [found[1]] if found else []
    return titles


def functions_are_short(source: str) -> list[str]:
    """Law 3: no function is longer than 40 lines."""
    plan = house(source)
    long = [(node, node.end_lineno or 0) for node in ast.walk(plan.tree) if isinstance(node, Function)]
    return [
        _at(plan, node, f"has `{node.name}` of {end - node.lineno + 1} lines, more than {LONGEST_FUNCTION}")
        for node, end in long
        if end - node.lineno + 1 > LONGEST_FUNCTION
    ]


def rooms_are_small(source: str) -> list[str]:
    """A room of more than 350 lines wants to be two."""
    plan = house(source)
    ends = [room.line for room in plan.rooms[2:]] + [len(plan.lines) + 1]
    return [
        f"line {room.line}: {room.title} has {end - room.line} lines, more than {LARGEST_ROOM}"
        for room, end in zip(plan.rooms[1:], ends, strict=True)
        if end - room.line > LARGEST_ROOM
    ]


def heavy_modules_have_one_door(source: str) -> list[str]:
    """Law 4: a heavy module is imported inside functions of its own room, and nowhere else."""
    plan = house(source)
    inside = {id(node) for function in _all(plan, *Function) for node in ast.walk(function)}
    for_types = {id(node) for block in _all(plan, ast.If) if _is_for_types(block) for node in ast.walk(block)}
    trespasses = []
    for node, module in imports(plan):
        door = DOORS.get(module) or DOORS.get(module.partition(".")[0])
        if door is None or id(node) in for_types:
            continue
        if plan.room(node) != door:
            trespasses.append(_at(plan, node, f"imports {module}, whose only door is {door}"))
        elif id(node) not in inside:
            trespasses.append(_at(plan, node, f"imports {module} when it is loaded; a door is inside a function"))
    return trespasses


def deeds_have_one_door(source: str) -> list[str]:
    """Law 4, for what needs no import: os.exec* and its kin, print, addstr, and the ways round this law."""
    plan = house(source)
    deeds = [*_os_deeds(plan)]
    uses = GlobalUses()
    uses.visit(plan.tree)
    deeds += [(node, name, BUILTIN_DOORS[name]) for name, node in uses.found if name in BUILTIN_DOORS]
    for node in _all(plan, ast.Attribute):
        if isinstance(node, ast.Attribute) and node.attr in METHOD_DOORS:
            deeds.append((node, node.attr, METHOD_DOORS[node.attr]))
    abroad = [(node, name, door) for node, name, door in deeds if plan.room(node) != door]
    return [_at(plan, node, f"uses `{name}`, whose only door is {door}") for node, name, door in abroad]


def only_the_standard_library(source: str) -> list[str]:
    """Law 6: nothing is imported that doesn't come with Python."""
    plan = house(source)
    return [
        _at(plan, node, f"imports {module or '.'}, which isn't in the standard library")
        for node, module in imports(plan)
        # tomllib: from 3.11 on; _sha2: from 3.12 on.
        if module.partition(".")[0] not in {*sys.stdlib_module_names, "tomllib", "_sha2"}
    ]


def speaks_python_3_10(source: str) -> list[str]:
    """Law 6: the grammar is that of Python 3.10."""
    try:
        ast.parse(source, feature_version=(3, 10))
    except SyntaxError as error:
        return [f"line {error.lineno}: {error.msg}"]
    return []


# A function that does is a verb; one that answers is a noun, or a question that begins with is_ or has_. These are
# neither, and can't be told from the data of the same name. Other participles are known by their end.
NO_NAMES = frozenset(
    "about above after along among apart around before begun behind below beside between beyond chosen for_eyes found "
    "gone halves_of hidden_from inside kept known led listed_row made meanwhile named_for near off offered_to onto "
    "outside over put ready said seen set_aside shown taken told told_by under upon within without written written_out "
    "carried_out read_so_far leave_alone_from_now_on".split()
)
PARTICIPLE = re.compile(r"(?!(feed|need|seed|speed|bring|ring|string|ping)\Z)[a-z]+(ed|ing)\Z")


def _functions(plan: House) -> list[ast.FunctionDef]:
    """The functions of the house that stand by themselves; not methods."""
    return [node for node in plan.tree.body if isinstance(node, ast.FunctionDef)]


def functions_are_verbs_or_nouns(source: str) -> list[str]:
    """Law 7: no function is called by a bare participle or preposition."""
    plan = house(source)
    return [
        _at(plan, node, f"has a function `{node.name}`: a verb says what it does, a noun or is_/has_ what it answers")
        for node in _functions(plan)
        if node.name in NO_NAMES or PARTICIPLE.match(node.name)
    ]


def a_name_is_one_thing(source: str) -> list[str]:
    """Law 7: a function's name is no variable, parameter or field elsewhere."""
    plan = house(source)
    functions = {node.name: plan.room(node) for node in _functions(plan)}
    names: list[tuple[ast.AST, str]] = []
    for node in ast.walk(plan.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node, node.id))
        elif isinstance(node, ast.arg):
            names.append((node, node.arg))
    return [
        _at(plan, node, f"has a variable `{name}`, which is a function of {functions[name]}")
        for node, name in names
        if name in functions
    ]


RULES: list[Rule] = [
    speaks_python_3_10,
    headings_are_banners,
    rooms_use_only_what_stands_above,
    docstring_lists_the_rooms,
    functions_are_short,
    rooms_are_small,
    heavy_modules_have_one_door,
    deeds_have_one_door,
    only_the_standard_library,
    functions_are_verbs_or_nouns,
    a_name_is_one_thing,
]


def imports(plan: House) -> Iterator[tuple[ast.AST, str]]:
    """Every module that is imported anywhere; a relative import has an empty name."""
    for node in ast.walk(plan.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, "" if node.level else node.module or ""


def _at(plan: House, node: ast.AST, trespass: str) -> str:
    return f"line {line_of(node)}: {plan.room(node)} {trespass}"


def _all(plan: House, *kinds: type[ast.AST]) -> list[ast.AST]:
    return [node for node in ast.walk(plan.tree) if isinstance(node, kinds)]


def _is_for_types(block: ast.AST) -> bool:
    return isinstance(block, ast.If) and ast.unparse(block.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _os_deeds(plan: House) -> Iterator[tuple[ast.AST, str, str]]:
    door, deeds = OS_DOOR
    for node in ast.walk(plan.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and deeds.fullmatch(node.attr):
            yield node, f"os.{node.attr}", door
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from ((node, f"os.{a.name}", door) for a in node.names if deeds.fullmatch(a.name))


def _differences(listed: list[str], titles: list[str]) -> list[tuple[str, str]]:
    length = max(len(listed), len(titles))
    padded = (names + [""] * (length - len(names)) for names in (listed, titles))
    return [(here, there) for here, there in zip(*padded, strict=True) if here != there][:1]


# --- the program keeps the law ---


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_program_keeps(rule: Rule) -> None:
    trespasses = rule(PROGRAM.read_text(encoding="utf-8"))
    assert not trespasses, "\n" + "\n".join(f"{PROGRAM.name}, {trespass}" for trespass in trespasses)


@pytest.mark.parametrize("args", [["--version"], ["list"], ["list", "--json"]], ids=" ".join)
@pytest.mark.parametrize("clones", [[], ["work"]], ids=["no-clones", "one-clone"])
@pytest.mark.usefixtures("codex")
def test_a_look_at_the_list_loads_nothing_heavy(mirror: Mirror, clones: list[str], args: list[str]) -> None:
    for name in clones:
        mirror("create", name, check=True)
    interpreter, *rest = mirror.argv(*args)
    result = run([interpreter, "-X", "importtime", *rest], env=mirror.env(), check=True)
    loaded = set(re.findall(r"^import time: .*\| +(\S+)$", result.err, re.MULTILINE))
    assert "encodings" in loaded
    assert loaded.isdisjoint(HEAVY), f"{' '.join(args)} loads {sorted(loaded.intersection(HEAVY))}"


def test_an_older_python_is_told_what_is_missing_and_not_shown_a_traceback() -> None:
    ast.parse(PROGRAM.read_text(encoding="utf-8"), feature_version=(3, 8))
    pretend = "import sys; sys.version_info = (3, 9, 6, 'final', 0); exec(compile(sys.stdin.read(), 'x', 'exec'))"
    result = run([sys.executable, "-I", "-c", pretend], env={}, stdin=PROGRAM.read_text(encoding="utf-8"))
    says, hint = result.err.splitlines()
    assert (result.code, says) == (1, "codex-mirror needs Python 3.10 or newer, and this is 3.9")
    assert hint.startswith("hint: start it with a newer one")


@pytest.mark.parametrize("how", ["script", "link", "stdin"])
def test_a_module_lying_beside_the_program_is_not_loaded(home: Home, how: str) -> None:
    dotfiles, elsewhere = home.base / "dotfiles", home.base / "elsewhere"
    dotfiles.mkdir()
    elsewhere.mkdir()
    copy = Path(shutil.copy(PROGRAM, dotfiles))
    source = PROGRAM.read_text(encoding="utf-8")
    # The very first line of a module has to be its import of __future__, so nothing can come before that one.
    for module in {module.partition(".")[0] for _, module in imports(house(source))} - {"__future__"}:
        (dotfiles / f"{module}.py").write_text(f"raise SystemExit('{module} of the dotfiles was loaded')\n")
    link = elsewhere / "codex-mirror"
    link.symlink_to(copy)
    ways: dict[str, tuple[list[str | Path], str | None, Path]] = {
        "script": ([copy, "list"], None, elsewhere),
        "link": ([link, "list"], None, dotfiles),
        "stdin": (["-", "list"], source, dotfiles),
    }
    argv, stdin, cwd = ways[how]
    result = run([sys.executable, *argv], env=home.env, stdin=stdin, cwd=cwd)
    assert (result.code, result.err) == (0, "")


# --- each rule can fail ---

ROOMS = ["Vocabulary", "Disk", "Processes", "Archives", "Registry", "Terminal", "Main"]


def small_house(**planted: str) -> str:
    """A house that keeps the law, with code planted at the end of rooms (`Run_and_login=…`) or of the header."""
    plan = "\n".join(f"    {title:<12}  its promise" for title in ROOMS)
    parts = [f'"""A house.\n\n{plan}\n"""\nfrom __future__ import annotations\nimport os\n']
    parts.append(planted.get("header", ""))
    for title in ROOMS:
        word = title.replace(" ", "_")
        constant = word.upper()
        parts.append(f"# --- {title} ".ljust(BANNER_WIDTH, "-"))
        parts.append(f"{constant} = 1\ndef in_{word.lower()}(): return {constant}\nclass Of{word}: pass")
        parts.append(planted.get(word, ""))
    return "\n".join(parts) + "\n"


LONG = "def long():\n" + "    pass\n" * 40
# For each rule: the room, the code planted there, and what the message says of it.
TRESPASSES: dict[Rule, list[tuple[str, str, str]]] = {
    rooms_use_only_what_stands_above: [
        ("Disk", "def f(): return in_registry()", "Disk uses `in_registry`, which is defined"),
        ("Disk", "def f(): return in_registry()", "below it in Registry (line 37)"),
        ("Disk", "X = REGISTRY", "Disk uses `REGISTRY`"),
        ("Disk", "def f(x: OfRegistry): pass", "Disk uses `OfRegistry`"),
        ("Disk", "def f() -> list[OfRegistry]: pass", "Disk uses `OfRegistry`"),
        ("Disk", "def f():\n    x: OfRegistry = 1", "Disk uses `OfRegistry`"),
        ("Disk", "class X:\n    y: OfRegistry", "Disk uses `OfRegistry`"),
        ("Disk", "class X(OfRegistry): pass", "Disk uses `OfRegistry`"),
        ("Disk", "def f(x=REGISTRY): pass", "Disk uses `REGISTRY`"),
        ("Disk", "@in_registry\ndef f(): pass", "Disk uses `in_registry`"),
        ("Disk", "f = lambda: REGISTRY", "Disk uses `REGISTRY`"),
        ("Disk", "def f(): return [x for x in REGISTRY]", "Disk uses `REGISTRY`"),
        ("Disk", "def f(): return {x: REGISTRY for x in 'a'}", "Disk uses `REGISTRY`"),
        ("Disk", "class X:\n    REGISTRY = 2\n    def f(self): return REGISTRY", "Disk uses"),
        ("Disk", "def f():\n    global REGISTRY\n    REGISTRY += 1\n    return REGISTRY", "Disk"),
        ("Disk", "if os.sep:\n    X = REGISTRY", "Disk uses `REGISTRY`"),
        ("Registry", "def in_disk(): pass", "defines `in_disk`, which Disk defines already"),
        ("header", "X = VOCABULARY", "the header uses `VOCABULARY`"),
    ],
    headings_are_banners: [
        ("Disk", "# --- Too short ---", "the heading of Too short isn't"),
        ("Disk", f"# --- {'-' * 94}", "the heading of a room isn't"),
        ("Main", "# --- Disk ".ljust(100, "-"), "Disk is a room already"),
    ],
    docstring_lists_the_rooms: [
        ("Disk", "# --- Attic ".ljust(100, "-"), "has Processes where the headings have Attic"),
        ("Main", "# --- Attic ".ljust(100, "-"), "has nothing where the headings have Attic"),
    ],
    functions_are_short: [
        ("Disk", LONG, "Disk has `long` of 41 lines"),
        ("Disk", "class X:\n" + re.sub("(?m)^", "    ", LONG), "Disk has `long` of 41 lines"),
    ],
    rooms_are_small: [
        ("Disk", "\n" * LARGEST_ROOM, "Disk has 35"),
        ("Main", "\n" * LARGEST_ROOM, "Main has 35"),
    ],
    heavy_modules_have_one_door: [
        ("Disk", "def f():\n    import subprocess", "imports subprocess, whose only door is Proc"),
        ("Registry", "def f():\n    from shutil import rmtree", "imports shutil, whose only door"),
        ("Disk", "import shutil", "Disk imports shutil when it is loaded"),
        ("header", "import os, tempfile", "the header imports tempfile"),
        ("Disk", "def f():\n    import concurrent.futures", "whose only door is Processes"),
        ("Registry", "def f():\n    import sqlite3", "whose only door is Moved homes"),
        ("Main", "def f():\n    import curses.ascii", "imports curses.ascii, whose only door"),
    ],
    deeds_have_one_door: [
        ("Registry", "def f(): os.execve('x', [], {})", "Registry uses `os.execve`, whose only door"),
        ("Registry", "from os import fork", "Registry uses `os.fork`"),
        ("Registry", "def f(): print('x')", "Registry uses `print`, whose only door is Main"),
        ("Registry", "def f(say=print): say('x')", "Registry uses `print`"),
        ("Main", "def f(w): w.addstr('x')", "Main uses `addstr`, whose only door is Terminal"),
        ("Disk", "def f(): return globals()['in_registry']", "Disk uses `globals`"),
        ("Disk", "def f(): return __import__('shutil')", "Disk uses `__import__`"),
    ],
    functions_are_verbs_or_nouns: [
        ("Disk", "def seen(): pass", "Disk has a function `seen`: a verb says"),
        ("Registry", "def behind(): pass", "Registry has a function `behind`"),
        ("Main", "def named_for(): pass", "Main has a function `named_for`"),
        ("Processes", "def launched(): pass", "Processes has a function `launched`"),
        ("Disk", "def staying(): pass", "Disk has a function `staying`"),
    ],
    a_name_is_one_thing: [
        ("Main", "def f():\n    in_disk = 1", "Main has a variable `in_disk`, which is a function of Disk"),
        ("Disk", "def f(in_registry): pass", "Disk has a variable `in_registry`"),
        ("Disk", "def f(*, in_registry=1): pass", "Disk has a variable `in_registry`"),
        ("Disk", "class X:\n    in_registry: int", "Disk has a variable `in_registry`"),
        ("Disk", "f = [in_registry for in_registry in 'x']", "Disk has a variable `in_registry`"),
        ("Disk", "def f(x):\n    for in_disk in x: pass", "Disk has a variable `in_disk`"),
        ("Disk", "def f(x):\n    with x as in_disk: pass", "Disk has a variable `in_disk`"),
    ],
    only_the_standard_library: [
        ("Disk", "def f():\n    import requests", "Disk imports requests, which isn't"),
        ("header", "from . import helpers", "the header imports ., which isn't"),
    ],
    speaks_python_3_10: [
        ("Disk", "type X = int", "line "),
        ("Disk", "try:\n    pass\nexcept* OSError:\n    pass", "line "),
    ],
}
INNOCENT = [
    ("Disk", "def f(): return later()\ndef later(): return in_disk()"),
    ("Registry", "def f(): return in_disk(), OfDisk, DISK"),
    ("Disk", "def f(REGISTRY): return REGISTRY"),
    ("Disk", "def f(*REGISTRY, **OfRegistry): return REGISTRY, OfRegistry"),
    ("Disk", "def f():\n    REGISTRY = 1\n    def g(): return REGISTRY\n    return g"),
    ("Disk", "def f(x): return [REGISTRY for REGISTRY in x]"),
    ("Disk", "def f(x): return x.REGISTRY + x.f(REGISTRY=1)"),
    ("Disk", "class X:\n    REGISTRY: int = 1\n    Y = REGISTRY"),
    ("Disk", "def f():\n    try: pass\n    except OSError as REGISTRY: return REGISTRY"),
    ("Disk", "def f(x):\n    match x:\n        case [REGISTRY, *OfRegistry]: return REGISTRY, OfRegistry"),
    ("Disk", "def f(x): return any((REGISTRY := y) for y in x) and REGISTRY"),
    ("Disk", "def f():\n    'uses in_registry, print'  # --- not a heading"),
    ("Disk", "def f():\n    import fcntl\n    from shutil import move"),
    ("Archives", "def f():\n    import tarfile"),
    ("Processes", "def f():\n    import threading, concurrent.futures\n    os.execve('x', [], {})"),
    ("Terminal", "def f(window):\n    import curses\n    window.addstr('x')"),
    ("Main", "def f():\n    import webbrowser\n    print('x')"),
    ("header", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import subprocess"),
    ("Disk", "def long():\n" + "    pass\n" * 39),
    ("Disk", "def feed(): pass\ndef hold_lock(): pass\ndef package_of_command(): pass"),
    ("Disk", "class X:\n    def seen(self): return self.in_registry"),
]


@pytest.mark.parametrize(
    ("rule", "room", "code", "says"), [(rule, *row) for rule, rows in TRESPASSES.items() for row in rows]
)
def test_a_planted_trespass_is_caught(rule: Rule, room: str, code: str, says: str) -> None:
    trespasses = rule(small_house(**{room: code}))
    assert any(says in trespass for trespass in trespasses), trespasses
    assert all(re.match(r"line \d+: ", trespass) for trespass in trespasses)


@pytest.mark.parametrize(("room", "code"), [("Disk", ""), *INNOCENT])
def test_what_the_law_allows_is_not_a_trespass(room: str, code: str) -> None:
    source = small_house(**{room: code})
    assert [trespass for rule in RULES for trespass in rule(source)] == []


def test_the_floor_plan_may_name_parts_and_wrap_a_promise() -> None:
    plan = "I Words (pure)\n    Disk   keeps what\n           it keeps\n\nII Tools\n    Shell text   quotes\n"
    assert floor_plan(f"A house.\n\n{plan}\nWhere everything lies:\n    a   b") == ["Disk", "Shell text"]
    assert floor_plan("A house without a plan.\n    Indented, though.") == []
