"""A script as its readers would write it: MiniLM under LoRA or PEFT's AdaMSS with transformers' Trainer.

Usage: python -m benchmarks.job_peer ORDER, which `benchmarks.job` writes; prints seconds of wall and of CPU as JSON.
"""

from __future__ import annotations

import csv
import json
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

BEGUN = time.perf_counter()


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    warnings.simplefilter("ignore")
    import torch  # the imports count
    from peft import AdamssConfig, LoraConfig, TaskType, get_peft_model
    from peft.tuners.adamss.asa_callback import AdamssAsaCallback
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    imported = used()
    folder = Path(order["folder"])
    with Path(order["rows"]).open(encoding="utf-8") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    labels = sorted({label for _, label in rows})
    tokenizer = AutoTokenizer.from_pretrained(order["model"])
    encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=order["max_length"])["input_ids"]
    examples = [{"input_ids": i, "labels": labels.index(label)} for i, (_, label) in zip(encoded, rows, strict=True)]
    held_out = order["held_out"]

    model = AutoModelForSequenceClassification.from_pretrained(order["model"], num_labels=len(labels))
    kinds: dict[str, Any] = {"LoRA": LoraConfig, "PEFT AdaMSS": AdamssConfig}
    config = kinds[order["kind"]](task_type=TaskType.SEQ_CLS, **order["config"])
    adapted: Any = get_peft_model(model, config)
    trainer = Trainer(
        model=adapted,
        args=TrainingArguments(
            str(folder / "run"),
            per_device_train_batch_size=order["batch_size"],
            per_device_eval_batch_size=order["batch_size"],
            num_train_epochs=order["epochs"],
            learning_rate=order["learning_rate"],
            warmup_steps=0.06,
            train_sampling_strategy="group_by_length",
            bf16=bool(torch.cpu.get_capabilities().get("avx512_bf16")),
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
            logging_steps=5,
            use_cpu=True,
            dataloader_pin_memory=False,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=examples[held_out:],
        eval_dataset=examples[:held_out],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
        callbacks=[AdamssAsaCallback()] if order["kind"] == "PEFT AdaMSS" else [],
    )
    trainer.train()
    adapted.save_pretrained(folder / "adapter")
    tokenizer.save_pretrained(folder / "adapter")
    merged = adapted.merge_and_unload()
    merged.save_pretrained(folder / "merged")
    tokenizer.save_pretrained(folder / "merged")
    answer = {"imports": imported, "whole": used(), "steps": trainer.state.global_step}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def accuracy(scored: Any) -> dict[str, float]:
    """Return the share of rows whose class is predicted."""
    return {"accuracy": float((scored.predictions.argmax(-1) == scored.label_ids).mean())}


def used() -> dict[str, float]:
    """Return the seconds of wall and of CPU so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"wall": time.perf_counter() - BEGUN, "cpu": usage.ru_utime + usage.ru_stime}


if __name__ == "__main__":
    main()
