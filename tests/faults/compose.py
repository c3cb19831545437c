"""What docker-compose.yml says, for starting the same without Docker and for looking at it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
SECRETS = {"POSTGRES_PASSWORD": "postgres0password", "REDIS_PASSWORD": "redis0password"}


def compose() -> dict[str, Any]:
    file: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return file


def environment(name: str, variables: dict[str, str]) -> dict[str, str]:
    """Of one of its services, with the variables of the `.env` file put in."""
    fields: dict[str, str] = compose()["services"][name]["environment"]
    return {key: fill(str(value), variables) for key, value in fields.items()}


def command(name: str, variables: dict[str, str]) -> list[str]:
    return [fill(str(word), variables) for word in compose()["services"][name]["command"]]


def fill(value: str, variables: dict[str, str]) -> str:
    """`${NAME:?}` must be given, `${NAME:-default}` may."""

    def found(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        return variables.get(name, default) if kind == "-" else variables[name]

    return VARIABLE.sub(found, value)
