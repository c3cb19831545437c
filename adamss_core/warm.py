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

import adamss_core.inspection  # noqa: E402
import adamss_core.prediction  # noqa: E402
import adamss_core.target_matching  # noqa: E402
import adamss_core.training.preview  # noqa: E402
import adamss_core.training.run  # noqa: E402, F401
