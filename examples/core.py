"""The core without the service: adapt, train, prune, save, export, merge.

python -m examples.core data/models/minilm
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from peft import AdamssConfig
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from adamss_core import export_lora, get_adamss_model, load_adapter, merge_adapter, save_adapter

TEXTS = ["A joy from start to finish.", "Two hours I will never get back.", "Warm, funny and wise.", "Dull and loud."]
LABELS = [1, 0, 1, 0]
STEPS = 20


def main(base: str, out: str) -> dict[str, Any]:
    config = AdamssConfig(
        r=100, num_subspaces=10, target_modules=["query", "value"], task_type="SEQ_CLS",
        use_asa=True, asa_target_subspaces=60, init_warmup=2, final_warmup=12, mask_interval=2,
    )  # fmt: skip
    model: Any = get_adamss_model(AutoModelForSequenceClassification.from_pretrained(base), config)
    batch = AutoTokenizer.from_pretrained(base)(TEXTS, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=5e-3)
    for step in range(1, STEPS + 1):
        model(**batch, labels=torch.tensor(LABELS)).loss.backward()
        optimizer.step()
        model.base_model.update_and_allocate(step, optimizer=optimizer)  # ASA; AdamssAsaCallback in a Trainer
        optimizer.zero_grad()
    summary: dict[str, Any] = model.base_model.asa_summary()
    print(f"{summary['active']} of {summary['total']} subspaces are left")

    save_adapter(model, Path(out) / "adapter")  # stock PEFT loads it too
    load_adapter(AutoModelForSequenceClassification.from_pretrained(base), Path(out) / "adapter")
    export_lora(model, Path(out) / "lora")  # for PeftModel.from_pretrained, vLLM and the like
    plain: Any = merge_adapter(model)
    plain.save_pretrained(Path(out) / "merged")  # a plain transformers model
    return summary


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "out")
