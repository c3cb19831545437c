"""Drives the API by its own schema, over HTTP, call by call and in sequences, as different callers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, Unsatisfiable
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.shared.database.tables import Worker, now
from tests.security.support import Target

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
TIMEOUT = 120.0
ID_PATTERNS = {"job_id": r"\bjob_[a-z0-9]{8,40}\b", "dataset_id": r"\bds_[a-z0-9]{8,40}\b"}
STREAM = r".*/stream$"  # does not end while its job waits, as a job does that a sequence has just submitted


@dataclass
class Tally:
    """What came back, for the numbers that are printed at the end."""

    statuses: Counter[int] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def count(self, case: Any, status: int) -> None:
        self.statuses[status] += 1
        self.operations.add(f"{case.method} {case.path}")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Notes an answer that does not keep to the schema, with the request that it answers, and goes on."""
        try:
            yield
        except (FailureGroup, Failure, Flaky) as error:
            self.problems.append(str(error))


def rules(examples: int, phases: tuple[Phase, ...] = (Phase.generate,)) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=phases,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )


def add_worker(target: Target) -> None:
    """One that is heard from, so that readiness is no 503."""
    moment = now() + timedelta(days=1)
    with target.service.db.write() as session:
        session.add(Worker(id="w", host="h", pid=1, devices=["cpu"], started_at=moment, seen_at=moment))


@dataclass(frozen=True)
class Surface:
    """A running service as its callers know it."""

    url: str
    schema: dict[str, Any]
    ids: dict[str, str]
    keys: dict[str, str]

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"authorization": f"Bearer {self.keys[key]}"}


def surface_of(target: Target, url: str) -> Surface:
    return Surface(url, target.app.openapi(), target.ids, target.keys)


def load(surface: Surface) -> Any:
    schema: Any = schemathesis.openapi.from_dict(surface.schema)
    schema.config.update(base_url=surface.url)
    return schema


def call_each(surface: Surface, key: str | None, examples: int, number: int, tally: Tally) -> None:
    """Every call, with what the schema allows and with what it does not; ids are made up, or those of the target, but
    where that deletes it, or starts a process to load an artifact that is none."""
    headers = surface.headers(key)
    for result in load(surface).get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            strategy = operation.as_strategy(generation_mode=mode)
            # A call without parameters has no wrong ones.
            with tally.kept(), suppress(*([Unsatisfiable] if mode.is_negative else [])):
                _exercise(surface, strategy, headers, rules(examples), number, tally)


def _exercise(
    surface: Surface, strategy: Any, headers: dict[str, str], how: settings, number: int, tally: Tally
) -> None:
    ids = surface.ids

    @seed(number)
    @how
    @given(case=strategy, real=st.booleans())
    def exercise(case: Any, real: bool) -> None:
        if real and case.path_parameters and case.method != "DELETE" and not case.path.endswith("/predict"):
            case.path_parameters.update({name: ids[name] for name in case.path_parameters if name in ids})
        answer = case.call(headers=headers, timeout=TIMEOUT)
        tally.count(case, answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    exercise()


def call_in_sequences(surface: Surface, key: str | None, runs: int, steps: int, number: int, tally: Tally) -> None:
    """Calls that follow on another. Ids that are made up give way to ids that the API has answered."""
    headers = surface.headers(key)
    base: Any = load(surface).exclude(path_regex=STREAM).as_state_machine()
    known = {kind: [surface.ids[kind]] for kind in ID_PATTERNS}

    class Sequences(base):
        def before_call(self, case: Any) -> None:
            for kind, ids in known.items():
                # What the next callers need stays there, and no process is started for an artifact that is none.
                usable = ids[1:] if case.method == "DELETE" or case.path.endswith("/predict") else ids
                if kind in (case.path_parameters or {}) and usable and case.path_parameters[kind] not in ids:
                    case.path_parameters[kind] = usable[tally.statuses.total() % len(usable)]

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers, "timeout": TIMEOUT}

        def validate_response(self, response: Any, case: Any, additional_checks: Any = None, **_: Any) -> None:
            tally.count(case, response.status_code)
            for kind, pattern in ID_PATTERNS.items():
                known[kind] += {*re.findall(pattern, response.content.decode(errors="replace"))} - {*known[kind]}
            case.validate_response(response, checks=CHECKS)

    how = settings(rules(runs), stateful_step_count=steps)
    with tally.kept():
        run_state_machine_as_test(seed(number)(Sequences), settings=how)
