"""The recipe of a release: what is audited, written and published."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.faults.compose import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


def recipe(target: str) -> str:
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_release_has_a_wheel_its_bill_of_materials_and_checksums() -> None:
    steps = recipe("release")
    order = ["pip wheel", "[service,quantized]", "$(SBOM) -o dist/sbom.cdx.json $(RELEASE)/bin/python", "SHA256SUMS"]
    places = [steps.index(step) for step in order]
    assert places == sorted(places)
    assert "-c constraints.txt" in steps


def test_what_is_published_was_tested_and_audited_with_network() -> None:
    workflow: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["release"]["steps"] if "run" in step]
    assert commands[:3] == [".ci/run", "make audit STRICT=1", "make release"]
    assert "dist/*" in commands[3]
    assert workflow["permissions"] == {"contents": "write"}


def test_the_audit_is_of_licences_and_of_what_is_pinned() -> None:
    steps = recipe("audit")
    assert "-m tests.packaging.licences" in steps
    assert "-r constraints.txt" in steps
    assert 'test -z "$(STRICT)"' in steps
