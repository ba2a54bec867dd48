"""The values: `NamedTuple` stands in for the one of `typing`, which is what readers and mypy see."""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any, NamedTuple

import pytest

import codex_mirror as cm

KINDS = [kind for kind in vars(cm).values() if isinstance(kind, type) and kind.__bases__ == (cm.NamedTuple,)]


def fresh() -> Any:
    """A kind of value of which none was made yet."""

    class Window(cm.NamedTuple):
        minutes: int
        used: float = 1.5
        resets_at: float = 0.0

        @property
        def hours(self) -> float:
            return self.minutes / 60

    return Window


class Window(NamedTuple):
    """What it must be like."""

    minutes: int
    used: float = 1.5
    resets_at: float = 0.0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_value_has_its_fields_and_defaults(kind: Any) -> None:
    value = kind(*range(len(kind._fields)))
    assert (tuple(value), value) == (tuple(range(len(kind._fields))), tuple(value))
    assert (
        value._asdict()
        == {name: getattr(value, name) for name in kind._fields}
        == dict(zip(kind._fields, value, strict=True))
    )
    needed = [name for name in kind._fields if name not in kind._field_defaults]
    assert kind(**dict.fromkeys(needed, 0))[len(needed) :] == tuple(kind._field_defaults.values())
    assert repr(value).startswith(f"{kind.__name__}({kind._fields[0]}=0")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_fields_with_defaults_come_last(kind: Any) -> None:
    """Nothing checks it at run time, and another order would give a default to a field that has none."""
    assert kind._fields[len(kind._fields) - len(kind._field_defaults) :] == tuple(kind._field_defaults)


@pytest.mark.parametrize("first", [lambda kind: kind(300), lambda kind: kind(minutes=300, used=1.5), lambda kind: None])
def test_a_value_is_as_one_of_typing_also_the_first(first: Any) -> None:
    ours, theirs = fresh(), Window
    first(ours)
    assert repr(ours(60)) == repr(theirs(60)) and ours(60) == theirs(60) and hash(ours(60)) == hash(theirs(60))
    assert ours(60)._replace(used=2) == theirs(60)._replace(used=2) == (60, 2, 0.0)
    assert ours(60).hours == 1 and isinstance(ours(60)._replace(used=2), ours)
    match ours(60):
        case ours(minutes, used):
            assert (minutes, used) == (60, 1.5)
        case _:
            pytest.fail("doesn't match its own kind")


@pytest.mark.parametrize("bad", [((), {}), ((1, 2, 3, 4), {}), ((1,), {"minutes": 1}), ((1,), {"hours": 1})])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_value_with_other_fields_cant_be_made(bad: tuple[Any, Any], is_first: bool) -> None:
    ours = fresh()
    if not is_first:
        ours(1)
    with pytest.raises(TypeError, match="argument"):
        ours(*bad[0], **bad[1])


def test_a_value_doesnt_change() -> None:
    with pytest.raises(AttributeError):
        fresh()(60).used = 3


def test_many_threads_may_make_the_first_value_while_garbage_is_collected() -> None:
    before, switched, made = gc.get_threshold(), sys.getswitchinterval(), []

    def make(kind: Any, barrier: threading.Barrier) -> None:
        barrier.wait()
        made.append((repr(kind(60)), kind(60).used))

    gc.set_threshold(1)
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            arguments = fresh(), threading.Barrier(8)
            threads = [threading.Thread(target=make, args=arguments) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        gc.set_threshold(*before)
        sys.setswitchinterval(switched)
    assert made == [(repr(Window(60)), 1.5)] * 400
