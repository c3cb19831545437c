"""What the papers say of the code is true: paths, commands, states, layers, and the form of decision records."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.shared.database.tables import TERMINAL
from service.shared.jobs.states.transitions import TRANSITIONS

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
PAPERS = [*GUIDES, ROOT / "docs" / "decisions" / "README.md", *DECISIONS]
TOP = {
    "adamss_core",
    "service",
    "worker",
    "migrations",
    "benchmarks",
    "examples",
    "tests",
    "docs",
    "deploy",
    ".ci",
    ".github",
}
MODULES = [path.relative_to(ROOT).as_posix() for name in sorted(TOP) for path in (ROOT / name).rglob("*.py")]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def contents(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_path_exists() -> None:
    """A path from the root exists; a shorter one, such as `gate/access.py`, is the end of a module's path."""
    for paper in PAPERS:
        for path in re.findall(r"`([\w.][\w./-]*)`", paper.read_text(encoding="utf-8")):
            if "/" in path and path.split("/")[0] in TOP:
                assert (ROOT / path).exists(), f"{path} in {name_of(paper)}"
            elif path.endswith(".py"):
                assert any(f"/{module}".endswith(f"/{path}") for module in MODULES), f"{path} in {name_of(paper)}"


def test_every_link_leads_to_a_file() -> None:
    for paper in [*PAPERS, ROOT / ".github" / "pull_request_template.md"]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", paper.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (paper.parent / link).exists(), f"{link} in {name_of(paper)}"


@pytest.mark.parametrize("paper", GUIDES, ids=name_of)
def test_every_make_target_exists(paper: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", contents("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z][a-z-]*)", paper.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name in named if not name.endswith("-")} <= targets  # `make bench-*` names several


# --- architecture -----------------------------------------------------------------------------------------------------


def test_the_state_diagram_has_the_transitions_of_a_job_and_their_functions() -> None:
    diagram = contents("docs/architecture.md").split("stateDiagram-v2")[1].split("```")[0]
    drawn = re.findall(r"^  (\S+) --> (\S+?)(?:: (.+))?$", diagram, re.MULTILINE)
    arrows = [(one.before or "[*]", one.after, ", ".join(one.functions)) for one in TRANSITIONS]
    assert drawn == arrows + [(status, "[*]", "") for status in TERMINAL]


def test_domains_stand_in_the_order_of_the_import_contract() -> None:
    config = tomllib.loads(contents("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in config if contract["name"].startswith("domains of service"))
    drawn = re.search(r"```text\n(.*?)```", contents("docs/architecture.md"), re.DOTALL)
    assert drawn is not None
    assert drawn[1].splitlines() == [layer.replace("service.", "") for layer in layers[2:]]


def test_the_gate_is_described_in_reading_order() -> None:
    files = {
        "RequestMiddleware": "gate/requests.py",
        "ReadLimitMiddleware": "gate/read_limit.py",
        "AccessMiddleware": "gate/access.py",
        "AuditMiddleware": "gate/audit_log.py",
        "BodyLimitMiddleware": "gate/body_limit.py",
    }
    met = re.findall(r"Middleware\((\w+)", contents("service/http/app.py"))
    text = contents("docs/architecture.md")
    assert met == list(files)
    assert sorted(files.values(), key=text.index) == [files[name] for name in met]


# --- decisions and changelog ------------------------------------------------------------------------------------------


def test_a_decision_record_has_its_form() -> None:
    form = r"# (\d+)\. .+\n\nDate: \d{4}-\d\d-\d\d · Status: .+\n\n## Context\n\n(.+)\n\n## Decision\n\n(.+)\n\n"
    for record in DECISIONS:
        match = re.fullmatch(form + r"## Consequences\n\n(.+)\n", record.read_text(encoding="utf-8"), re.DOTALL)
        assert match is not None, record.name
        assert int(match[1]) == int(record.stem[:4]), record.name
        assert all(len(part.splitlines()) <= 10 for part in match.groups()[1:]), record.name


def test_decisions_are_numbered_without_gaps_and_listed_by_title_and_date() -> None:
    assert [int(record.stem[:4]) for record in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    rows = re.findall(
        r"^\| (\d+) \| ([\d-]+) \| \[(.+)\]\((.+)\) \|$", contents("docs/decisions/README.md"), re.MULTILINE
    )
    assert len(rows) == len(DECISIONS)
    for number, date, title, file in rows:
        text = contents(f"docs/decisions/{file}")
        assert text.startswith(f"# {number}. {title}\n\nDate: {date} · ")


def test_the_changelog_begins_with_this_version() -> None:
    version = tomllib.loads(contents("pyproject.toml"))["project"]["version"]
    versions = re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", contents("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == version


# --- the repository's own tools ---------------------------------------------------------------------------------------


def test_the_workflow_calls_ci_run_with_pinned_actions() -> None:
    job: dict[str, Any] = yaml.safe_load(contents(".github/workflows/ci.yml"))["jobs"]["check"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert all(re.search(r"@v\d+$", step["uses"]) for step in job["steps"] if "uses" in step)


def test_hooks_are_local_and_run_the_tools_of_make_lint() -> None:
    repositories = yaml.safe_load(contents(".pre-commit-config.yaml"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    for hook in repositories[0]["hooks"]:
        tool = hook["entry"].split()[0].removeprefix(".venv")
        assert f"$(BIN){tool.removeprefix('/bin')}" in contents("Makefile")


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_issue_forms_ask_for_what_doctor_says(form: str) -> None:
    fields = yaml.safe_load(contents(f".github/ISSUE_TEMPLATE/{form}.yml"))["body"]
    assert any("adamss doctor" in field["attributes"].get("label", "") for field in fields)
