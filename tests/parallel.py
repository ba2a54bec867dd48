"""Shares the tests among processes (`--processes=N`), with one report of them all.

`auto` is three processes for two cores, since tests also wait.

The helpers are forked when all tests are collected. Every process takes the next group of tests, most of them those of
one function, from a pipe that holds the numbers of all groups, so that nobody is idle before it is empty. What a helper
reports stands in a file of its own, a JSON document a line; the first process reads it between its own groups.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from helpers import LEAKS

SIZE = 4  # Bytes of a number in the pipe.
TOGETHER = ("run", "orphan")  # Fixtures: the tests of one parameter share what is expensive to make.
HELPERS: list[int] = []  # Their pids, as far as this process has forked them.

Group = list[pytest.Item]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processes", default="1", metavar="N", help="share them among N processes (auto: 3 for 2 cores)")


class Helper:
    """A forked process, and the file with what it reports."""

    def __init__(self, pid: int, file: int) -> None:
        self.pid, self.file, self.offset, self.is_done = pid, file, 0, False

    def lines(self) -> list[bytes]:
        """The whole lines that are new."""
        data = os.pread(self.file, 1 << 26, self.offset)
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        return whole.splitlines()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Takes the place of pytest's own loop where there is more than one process."""
    groups = list(groups_of(session.items).values())
    option = session.config.option
    cores = os.cpu_count() or 1
    count = min(cores + cores // 2 if option.processes == "auto" else int(option.processes), len(groups))
    if count < 2 or session.testsfailed or option.collectonly or option.usepdb:
        return None
    shared: Any = session.config
    shared._tmp_path_factory.getbasetemp()
    shared.pluginmanager.getplugin("terminalreporter").showfspath = False
    numbers = pipe_of_numbers(len(groups))
    helpers = [forked(session, groups, numbers) for _ in range(count - 1)]
    try:
        run_groups(session, groups, numbers, helpers)
        while not all(helper.is_done for helper in helpers):
            hear_all(session, helpers)
            time.sleep(0.02)
    finally:
        os.read(numbers, SIZE * len(groups))
        for helper in helpers:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(helper.pid, signal.SIGINT)
                os.waitpid(helper.pid, 0)
    return True


def groups_of(items: list[pytest.Item]) -> dict[object, Group]:
    """The tests that one process runs in one go, in their order."""
    found: dict[object, Group] = {}
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        part = [repr(params[name]) for name in TOGETHER if name in params]
        if not part and item.path.parent.name != "real":
            part = [getattr(item, "originalname", item.name)]
        found.setdefault((item.path, *part), []).append(item)
    return found


def pipe_of_numbers(count: int) -> int:
    """The reading end of a pipe that holds the numbers below `count`, and then ends."""
    reading, writing = os.pipe()
    assert count * SIZE <= 1 << 16, "more groups than a pipe holds"
    os.write(writing, b"".join(number.to_bytes(SIZE, "big") for number in range(count)))
    os.close(writing)
    return reading


def run_groups(session: pytest.Session, groups: list[Group], numbers: int, helpers: list[Helper]) -> None:
    """Runs the groups that this process takes until none is left; each test is told the next, as pytest wants."""
    following = taken_groups(groups, numbers)
    group: Group | None = next(following, None)
    while group:
        after: Group | None = None
        for item, then in zip(group, [*group[1:], None], strict=True):
            # Not before the last one: what this process has taken, no other can take.
            after = after if then else next(following, None)
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=then or (after[0] if after else None))
            end_early(session)
        hear_all(session, helpers)
        group = after


def taken_groups(groups: list[Group], numbers: int) -> Iterator[Group]:
    while number := os.read(numbers, SIZE):
        yield groups[int.from_bytes(number, "big")]


def end_early(session: pytest.Session) -> None:
    """As pytest's own loop does after each test."""
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)


# --- in a helper ---


def forked(session: pytest.Session, groups: list[Group], numbers: int) -> Helper:
    with tempfile.TemporaryFile() as file:
        pid = os.fork()
        if not pid:
            be_a_helper(session, groups, numbers, file.fileno())
        HELPERS.append(pid)
        return Helper(pid, os.dup(file.fileno()))


def be_a_helper(session: pytest.Session, groups: list[Group], numbers: int, file: int) -> NoReturn:
    """Shows nothing on the terminal and never returns to pytest; without its last words it was a failure."""
    config: Any = session.config
    reporter = Reporter(config, file)
    try:
        capture = config.pluginmanager.getplugin("capturemanager")
        if capture.is_globally_capturing():
            capture.stop_global_capturing()
            capture.start_global_capturing()
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(reporter)
        with contextlib.suppress(KeyboardInterrupt, session.Failed, session.Interrupted):
            run_groups(session, groups, numbers, [])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        shared: Any = session
        shared._setupstate.teardown_exact(None)
        reporter.report("end", [LEAKS, getattr(sys.modules.get("faults"), "FIGURES", {})])
    except BaseException:
        reporter.report("error", traceback.format_exc())
    finally:
        os._exit(0)


class Reporter:
    """Writes each report and warning into the file; without a first process there is nobody to write for."""

    def __init__(self, config: pytest.Config, file: int) -> None:
        self.config, self.file, self.parent = config, file, os.getppid()

    def report(self, kind: str, what: object) -> None:
        if os.getppid() != self.parent:
            os._exit(1)
        data = json.dumps([kind, what]).encode() + b"\n"
        while data:
            data = data[os.write(self.file, data) :]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook: Any = self.config.hook
        self.report("report", hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: object) -> None:
        said = f"{warning_message.category.__name__}: {warning_message.message}"
        where = {"when": when, "nodeid": nodeid, "location": location}
        self.report("warning", [said, warning_message.filename, warning_message.lineno, where])


# --- in the first process ---


def hear_all(session: pytest.Session, helpers: list[Helper]) -> None:
    """Takes over what the helpers reported meanwhile."""
    for helper in helpers:
        has_ended = not helper.is_done and os.waitpid(helper.pid, os.WNOHANG) != (0, 0)
        for line in helper.lines():
            hear(session, helper, *json.loads(line))
            end_early(session)
        if has_ended and not helper.is_done:
            session.shouldfail = "a process that ran tests ended too early"
            end_early(session)


def hear(session: pytest.Session, helper: Helper, kind: str, what: Any) -> None:
    hook: Any = session.config.hook
    if kind == "report":
        if isinstance(what["longrepr"], list):  # Why a test was skipped; JSON knows no tuples.
            what["longrepr"] = tuple(what["longrepr"])
        report = hook.pytest_report_from_serializable(config=session.config, data=what)
        hook.pytest_runtest_logreport(report=report)
        if report.when == "teardown":
            hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
    elif kind == "warning":
        said, filename, line, where = what
        message = warnings.WarningMessage(UserWarning(said), UserWarning, filename, line)
        hook.pytest_warning_recorded.call_historic(kwargs={"warning_message": message, **where})
    elif kind == "error":
        session.shouldfail = f"a process that ran tests broke down:\n{what}"
    else:
        leaks, figures = what
        LEAKS.extend(leaks)
        for name, count in figures.items():
            sys.modules["faults"].tally(name, count)
        helper.is_done = True
