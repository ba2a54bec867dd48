"""What the tests with the real Codex share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import discard
from real.installers import Installs


@pytest.fixture(scope="session")
def installs() -> Iterator[Installs]:
    """Real installations on demand; they outlive the session in the directory that CODEX_MIRROR_TEST_CACHE names."""
    if kept := os.environ.get("CODEX_MIRROR_TEST_CACHE"):
        base = Path(os.path.realpath(kept))
        base.mkdir(parents=True, exist_ok=True)
        yield Installs(base)
        return
    base = Path(os.path.realpath(tempfile.mkdtemp(prefix="codex-mirror-installs-")))
    yield Installs(base)
    discard(base)
