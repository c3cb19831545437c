"""Alembic's own command line in a checkout's root, without a file of its own named, and beside the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from service.shared.database.engine import make_engine
from service.shared.database.schema import known_revisions, migrations_folder
from service.shared.settings import Settings

ROOT = Path(__file__).parents[4]


@pytest.mark.slow
def test_alembic_goes_up_and_back_in_the_root(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "ADAMSS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    # One process for all: it imports what `alembic` imports once.
    lines = ["upgrade head", "downgrade -1", "downgrade base", "upgrade head"]
    code = f"from alembic.config import main\nfor line in {lines}:\n    main(line.split())\n    main(['current'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    head, previous = _newest(2)
    assert done.stdout.split() == [head, "(head)", previous, head, "(head)"]
    engine = make_engine(Settings(home=home).resolved_database_url)
    assert {"jobs", "projects"} < set(inspect(engine).get_table_names())
    engine.dispose()


def test_revisions_are_known_without_alembic() -> None:
    assert known_revisions() == tuple(_newest(len(known_revisions()) + 1))
    code = "import sys, worker.main; print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_root_and_the_package_name_the_same_migrations() -> None:
    """The package's `alembic.ini` is what an installed wheel has, whose `pyproject.toml` is left out."""
    package = migrations_folder()
    own = Config(toml_file=str(ROOT / "pyproject.toml")).get_alembic_option("script_location")
    installed = Config(str(package / "alembic.ini")).get_alembic_option("script_location")
    assert own is not None
    assert installed is not None
    assert Path(own).resolve() == Path(installed).resolve() == package.resolve()


def _newest(count: int) -> list[str]:
    scripts = ScriptDirectory(str(migrations_folder())).walk_revisions()
    return [script.revision for script, _ in zip(scripts, range(count), strict=False)]
