"""Check the licences of what is installed against a list: `python -m tests.packaging.licences`, part of `make audit`.

Every distribution must state a licence of the list, or one of several to choose from. Its metadata has it as an SPDX
expression, or in older forms as free text or a classifier.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from importlib.metadata import Distribution, distributions

from license_expression import ExpressionError, get_spdx_licensing

ALLOWED = frozenset(
    {
        "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
        "CNRI-Python", "ISC", "MIT", "MIT-CMU", "PSF-2.0", "Zlib",
        # Binding for changes to their own files only; we import them as they are.
        "LGPL-3.0-only", "MPL-2.0",
    }
)  # fmt: skip
# By name, as their licences are not of SPDX's list.
ALLOWED_PACKAGES = {
    "nvidia-*": "CUDA's libraries, which torch's ordinary build needs; NVIDIA's licence allows their use",
    "cuda-*": "as nvidia-*",
}
OWN = "adamss"
# Older forms. A classifier may name a family; every licence of these families is on the list.
SPDX = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache software": "Apache-2.0",
    "3-clause bsd": "BSD-3-Clause",
    "bsd": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "isc (iscl)": "ISC",
    "mozilla public 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation": "PSF-2.0",
}
_LICENSING = get_spdx_licensing()


def refused(installed: Iterable[Distribution]) -> list[str]:
    """Describe each distribution whose licence is not on the list."""
    lines = []
    for distribution in installed:
        name = distribution.metadata["Name"]
        if name != OWN and not any(fnmatch(name.lower(), pattern) for pattern in ALLOWED_PACKAGES):
            stated = statements(distribution)
            if not any(is_allowed(statement) for statement in stated):
                lines.append(f"{name} {distribution.version}: {' | '.join(stated) or 'states no licence'}")
    return sorted(lines)


def statements(distribution: Distribution) -> list[str]:
    """List what the metadata says of the licence: the SPDX expression alone, or else classifiers or free text."""
    metadata = distribution.metadata
    if expression := metadata.get_all("License-Expression"):
        return list(expression)
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.count(" :: ") > 1]
    texts = [text.strip() for text in metadata.get_all("License") or []]
    return named or [text.splitlines()[0][:100] for text in texts if text]  # a whole licence begins with its name


def is_allowed(statement: str) -> bool:
    """Tell whether an expression, or a name in an older form, can be met with licences of the list."""
    short = re.sub(r" licen[cs]e\b", "", statement, flags=re.IGNORECASE).lower().strip()
    try:
        expression = _LICENSING.parse(SPDX.get(short, short), validate=True)
    except ExpressionError:
        return False
    return expression is not None and _met(expression)


def _met(expression: object) -> bool:
    parts = getattr(expression, "args", ())
    if isinstance(expression, _LICENSING.OR):
        return any(_met(part) for part in parts)
    if isinstance(expression, _LICENSING.AND):
        return all(_met(part) for part in parts)
    return str(expression) in ALLOWED


def main() -> int:
    """Print the distributions that are refused; return the exit status."""
    installed = list(distributions())
    lines = refused(installed)
    if lines:
        print("Licences that are not on the list of tests/packaging/licences.py:", *lines, sep="\n  ", file=sys.stderr)
        return 1
    print(f"Licences of {len(installed)} packages are on the list.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
