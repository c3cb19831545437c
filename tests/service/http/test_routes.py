"""The table of route policies."""

from __future__ import annotations

import pytest

from service.http.routes import DEFAULT, IMAGES_BYTES, POLICIES, policy_of
from service.shared.database.tables import Role
from tests.security.support import paths_of
from tests.service.support import Service


def test_every_policy_is_of_a_route(any_service: Service) -> None:
    """A policy whose route was renamed would guard nothing, and the new name would get the defaults."""
    assert set(POLICIES) <= set(paths_of(any_service.app))


def test_an_unknown_route_gets_the_strict_default() -> None:
    policy = policy_of("/added/later")
    assert policy is DEFAULT
    assert not policy.is_public("GET")
    assert (policy.required_role("GET"), policy.required_role("POST")) == (Role.READ, Role.SUBMIT)
    assert policy.is_read_limited("GET")
    assert not policy.is_read_limited("POST")
    assert (policy.is_audited("GET"), policy.is_audited("DELETE")) == (False, True)


@pytest.mark.parametrize("path", ["/jobs/job_1/predict/more", "/jobs//predict", "/jobs/a/b/predict", "/JOBS/a/predict"])
def test_a_template_matches_its_paths_only(path: str) -> None:
    assert policy_of("/jobs/job_1/predict").body_bytes == IMAGES_BYTES
    assert policy_of(path) is DEFAULT


def test_a_sign_in_is_public_for_its_own_methods_only() -> None:
    policy = policy_of("/signin")
    assert [policy.is_public(method) for method in ("GET", "POST", "DELETE", "HEAD")] == [True, True, False, False]
