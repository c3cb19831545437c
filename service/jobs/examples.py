"""Define the specs that the interactive docs offer; only the data set's id must be replaced."""

from __future__ import annotations

from typing import Any

DATASET = "ds_replacewithyours"

JOB_EXAMPLES: dict[str, Any] = {
    "short": {
        "summary": "As little as possible",
        "description": "Everything else has a default. Replace the id by one that POST /datasets answered.",
        "value": {"name": "reviews", "base_model": "minilm", "dataset": {"train": DATASET}},
    },
    "asa": {
        "summary": "With pruning (ASA)",
        "description": 'Half of the subspaces are pruned while it trains; "auto" fits the schedule to the steps.',
        "value": {
            "name": "reviews-asa",
            "task": "text-classification",
            "base_model": "minilm",
            "dataset": {"train": DATASET, "eval_fraction": 0.1, "text": "text", "label": "label"},
            "adamss": {
                "r": 100,
                "num_subspaces": 10,
                "subspace_rank": 1,
                "target_modules": ["query", "value"],
                "use_asa": True,
                "asa_target_subspaces": 60,
                "init_warmup": "auto",
                "final_warmup": "auto",
                "mask_interval": "auto",
            },
            "training": {
                "epochs": 2,
                "batch_size": 32,
                "learning_rate": 0.005,
                "head_learning_rate": 0.001,
                "seed": 0,
            },
            "artifacts": ["adapter", "lora", "merged"],
        },
    },
}
