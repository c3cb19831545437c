from __future__ import annotations

from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from tests.packaging import licences


def installed(folder: Path, *lines: str) -> Distribution:
    metadata = folder / "some_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.4", "Name: some-package", "Version: 1.0", *lines])
    )
    return Distribution.at(metadata)


def test_what_is_installed_here_is_on_the_list() -> None:
    assert licences.refused(distributions()) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("License-Expression: GPL-3.0-only", "GPL-3.0-only"),
        ("License-Expression: MIT AND AGPL-3.0-or-later", "MIT AND AGPL-3.0-or-later"),
        ("License-Expression: Apache-2.0 WITH Classpath-exception-2.0", "Apache-2.0 WITH Classpath-exception-2.0"),
        (
            "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
            "GNU General Public License v3",
        ),
        ("Classifier: License :: OSI Approved", "states no licence"),
        ("License: see the file", "see the file"),
        ("Summary: nothing of a licence", "states no licence"),
    ],
)
def test_others_are_refused_by_name(tmp_path: Path, line: str, reason: str) -> None:
    (found,) = licences.refused([installed(tmp_path, line)])
    assert found.startswith(f"some-package 1.0: {reason}")


@pytest.mark.parametrize(
    "lines",
    [
        ["License-Expression: GPL-2.0-only OR MIT"],
        ["License-Expression: (MIT OR GPL-2.0-only) AND BSD-3-Clause"],
        ["License: Apache 2.0 License"],
        ["License: a long text", "Classifier: License :: OSI Approved :: MIT License"],
    ],
)
def test_one_licence_to_choose_is_enough(tmp_path: Path, lines: list[str]) -> None:
    assert licences.refused([installed(tmp_path, *lines)]) == []
