"""Use of a job's artifacts: the LoRA with stock PEFT, the adapter with adamss_core, the merged model with transformers.

python -m examples.use_artifacts data/models/minilm out
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from adamss_core import load_adapter

SENTENCES = [
    "A warm, funny and deeply felt film that stays with you.",
    "The plot makes no sense and the jokes are painful.",
    "Wonderful performances in a charming story.",
]


def load_all(base: Path, folder: Path) -> dict[str, Any]:
    """Load the trained model from each artifact.

    Args:
        base: the base model's folder.
        folder: folder of the unpacked `adapter`, `lora` and `merged`.
    """
    merged = AutoModelForSequenceClassification.from_pretrained(folder / "merged")
    classes = {"num_labels": merged.config.num_labels, "id2label": merged.config.id2label}

    def fresh() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(base, **classes)

    return {
        "lora, stock PEFT": PeftModel.from_pretrained(fresh(), folder / "lora"),
        "adapter, adamss_core": load_adapter(fresh(), folder / "adapter", is_trainable=False),
        "merged, transformers": merged,
    }


@torch.no_grad()
def probabilities(model: Any, tokenizer: Any, sentences: list[str]) -> Tensor:
    """Compute the class probabilities, (sentences, classes)."""
    inputs = tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
    result: Tensor = model.eval()(**inputs).logits.softmax(-1)
    return result


def classify(base: Path, folder: Path, sentences: list[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Classify with each model; return the probabilities by model, and the class names."""
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # PEFT 0.21 still reads it
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the head of a fresh base is new, which the adapter then fills
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    models = load_all(base, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder / "merged")
    id2label = models["merged, transformers"].config.id2label
    results = {name: probabilities(model, tokenizer, sentences) for name, model in models.items()}
    return results, [id2label[i] for i in range(len(id2label))]


if __name__ == "__main__":
    results, names = classify(Path(sys.argv[1]), Path(sys.argv[2]), SENTENCES)
    for index, sentence in enumerate(SENTENCES):
        print(sentence)
        for way, rows in results.items():
            print(f"  {names[int(rows[index].argmax())]:<10} {float(rows[index].max()):.4f}  {way}")
