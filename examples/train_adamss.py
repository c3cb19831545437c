"""A fine-tune in one bare loop: AdaMSS adapters with ASA, without the service and without a Trainer.

python -m examples.train_adamss data/models/minilm out --rows 1600
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import torch
from peft import AdamssConfig, PeftModel
from torch import Tensor
from transformers import AutoModelForSequenceClassification as Classifier
from transformers import AutoTokenizer, get_linear_schedule_with_warmup

from adamss_core import export_lora, get_adamss_model, load_adapter, merge_adapter, save_adapter

REVIEWS = Path(__file__).resolve().parent / "data" / "movie_reviews_demo.csv"
BATCH, EPOCHS, MAX_LENGTH = 16, 1, 64
ADAPTER_RATE, HEAD_RATE = 1e-2, 1e-3  # adapters take about ten times LoRA's rate, a new head does not


def main(base: str, out: Path, rows: int = 4_000, keep: int = 60) -> dict[str, Any]:
    torch.manual_seed(0)

    # Data: texts become tokens once; every fifth row is held out.
    with REVIEWS.open(newline="") as file:
        reviews = list(csv.DictReader(file))[:rows]
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokens = tokenizer([row["text"] for row in reviews], truncation=True, max_length=MAX_LENGTH)["input_ids"]
    labels = torch.tensor([row["label"] == "positive" for row in reviews]).long()  # (rows,)
    held_out = torch.arange(len(reviews)) % 5 == 0
    train, evaluation = torch.where(~held_out)[0], torch.where(held_out)[0]

    def batch(chosen: Tensor) -> dict[str, Tensor]:  # input_ids and attention_mask (batch, tokens), labels (batch,)
        padded = tokenizer.pad({"input_ids": [tokens[i] for i in chosen]}, return_tensors="pt")
        return {**padded, "labels": labels[chosen]}

    # Model: each target weight is decomposed into subspaces; the base is frozen, the new head is trained in full.
    steps = EPOCHS * len(train.split(BATCH))
    config = AdamssConfig(
        r=100, num_subspaces=10, target_modules=["query", "value"], task_type="SEQ_CLS",
        use_asa=True, asa_target_subspaces=keep,  # MiniLM has 120
        init_warmup=steps // 5, final_warmup=4 * steps // 5, mask_interval=max(1, steps // 20),
    )  # fmt: skip
    model: Any = get_adamss_model(Classifier.from_pretrained(base), config)

    # Optimizer: two rates, which rise over the first tenth of the steps and fall to zero.
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    adapter, head = ([value for name, value in trained if ("adamss_" in name) == ours] for ours in (True, False))
    optimizer = torch.optim.AdamW([{"params": adapter, "lr": ADAPTER_RATE}, {"params": head, "lr": HEAD_RATE}])
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)

    # Training: an ordinary step, and one line more. ASA reads the gradients, so it comes before they are cleared.
    model.train()
    order = torch.cat([train[torch.randperm(len(train))] for _ in range(EPOCHS)])
    for step, chosen in enumerate(order.split(BATCH), start=1):
        loss = model(**batch(chosen)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter + head, 1.0)
        optimizer.step()
        model.base_model.update_and_allocate(step, optimizer=optimizer)  # scores subspaces, prunes at mask steps
        schedule.step()
        optimizer.zero_grad()
        if step % max(1, steps // 5) == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}, {model.base_model.asa_summary()['active']} active")

    # Evaluation on the held-out rows.
    @torch.inference_mode()
    def logits(model: Any) -> Tensor:  # (evaluation rows, classes)
        return torch.cat([model.eval()(**batch(chosen)).logits for chosen in evaluation.split(BATCH)])

    expected = logits(model)
    accuracy = (expected.argmax(-1) == labels[evaluation]).float().mean().item()
    summary: dict[str, Any] = model.base_model.asa_summary()
    print(f"accuracy {accuracy:.3f}; {summary['active']} of {summary['total']} subspaces are left")

    # Three ways to take the result along, all with the same outputs.
    save_adapter(model, out / "adapter")
    export_lora(model, out / "lora")
    merge_adapter(model).save_pretrained(out / "merged")  # type: ignore[operator]
    read_again = (
        load_adapter(Classifier.from_pretrained(base), out / "adapter"),  # small; stock PEFT loads it too
        PeftModel.from_pretrained(Classifier.from_pretrained(base), out / "lora"),  # an ordinary LoRA, for any server
        Classifier.from_pretrained(out / "merged"),  # a plain transformers model
    )
    difference = max((logits(other) - expected).abs().max().item() for other in read_again)
    print(f"adapter, LoRA and merged model are in {out}; their logits differ by {difference:.0e} at most")
    return {"accuracy": accuracy, "active": summary["active"], "difference": difference}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="folder or hub id of an encoder")
    parser.add_argument("out", nargs="?", type=Path, default=Path("out"), help="folder of the results")
    parser.add_argument("--rows", type=int, default=4_000, help="reviews to use; every fifth is held out")
    parser.add_argument("--keep", type=int, default=60, help="subspaces that ASA leaves active")
    main(**vars(parser.parse_args()))
