"""Every row of the matrix on both set-ups; `FAULTS=all` runs all of them, without it only the quick ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import compose
from tests.faults.postgres import Postgres
from tests.faults.previous_release import unpack
from tests.faults.topology import SetUp, Topology
from tests.worker.redis_server import RedisServer

ALL = os.environ.get("FAULTS") == "all"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick(*set_ups): part of `make test` on these set-ups")
    config.addinivalue_line("markers", "only(*set_ups): the fault is not one of the other set-up")
    config.addinivalue_line("markers", "core: needs the real core in its training processes")
    config.addinivalue_line("markers", "unmigrated: begins with a database without tables")
    config.addinivalue_line("markers", "core_in_full: has it where the whole matrix is run")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "topology" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        metafunc.parametrize("set_up", only.args if only else ["embedded", "production"], scope="function")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if ALL:
        return
    here = Path(__file__).parent
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        (kept if here not in item.path.parents or _is_quick(item) else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def _is_quick(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("quick")
    if mark is None:
        return False
    set_up = getattr(item, "callspec", None) and item.callspec.params.get("set_up")  # type: ignore[attr-defined]
    return not set_up or not mark.args or set_up in mark.args


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    program, *options = compose.command("redis", compose.SECRETS)
    assert program == "redis-server"
    server = RedisServer(tmp_path, options, compose.SECRETS["REDIS_PASSWORD"])
    yield server
    server.stop()


@pytest.fixture(scope="session")
def previous_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the release before this one."""
    folder = tmp_path_factory.mktemp("previous")
    if (reason := unpack(folder)) is not None:
        pytest.skip(reason)
    return folder


@pytest.fixture
def topology(
    request: pytest.FixtureRequest,
    set_up: SetUp,
    tmp_path: Path,
    tiny_model: Path,
    tiny_facts: dict[str, Any],
) -> Iterator[Topology]:
    """A service that is not started yet.

    Where it is the run that suffers, the whole matrix has the real core in its training processes. Elsewhere, and in
    most of the quick part, a stand-in that needs no torch takes its place.
    """
    servers: dict[str, Any] = {}
    if set_up == "production":
        servers = {"postgres": request.getfixturevalue("own_postgres"), "redis": request.getfixturevalue("redis")}
    wanted = ("core", "core_in_full") if ALL else ("core",)
    fake = not any(request.node.get_closest_marker(name) for name in wanted)
    migrated = request.node.get_closest_marker("unmigrated") is None
    made = Topology(
        tmp_path / "home", set_up, model=tiny_model, facts=tiny_facts, fake=fake, migrated=migrated, **servers
    )
    yield made
    made.close()
