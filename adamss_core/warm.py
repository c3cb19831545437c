"""Import what training, predicting, inspecting and previewing need, and do nothing else: for a process that others are
forked from. Without bitsandbytes, so that a job on a quantised base is not forked from it.
"""

from __future__ import annotations

from adamss_core.lean import leave_out_bitsandbytes

leave_out_bitsandbytes()

# Below the call: these import peft.
from transformers import (  # noqa: E402, F401 - resolved lazily, on this import
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.conversion_mapping import get_checkpoint_conversion_mapping  # noqa: E402

import adamss_core.inspection  # noqa: E402
import adamss_core.prediction  # noqa: E402
import adamss_core.target_matching  # noqa: E402
import adamss_core.training.preview  # noqa: E402
import adamss_core.training.run  # noqa: E402, F401

get_checkpoint_conversion_mapping("bert")  # compiles the rules of all architectures, which every first load would
