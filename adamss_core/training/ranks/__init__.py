"""The processes of one run on several devices: the launcher's part, and ours.

The launcher (`python -m torch.distributed.run --standalone --nproc-per-node N --max-restarts 0`, or any other that
sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT) starts N processes. Rank 0 calls `run` with the job's
reporter; the others call `follow` with the same request (`adamss_core.training.run`). All join the same group here,
make the same steps, and end together.

- `ranks` defines `Ranks`, the form of a single process, which costs nothing.
- `joined` makes the group of several, and tells all ranks the error that ended one of them.
- `shares` divides the rows of a step, and of an evaluation.
- `sharding` divides the frozen base, where a copy does not fit.
- `gradients` adds up what the ranks computed.
- `orders` lets rank 0 decide when to stop and to save.
- `random_streams` gives each rank its own dropout.
- `peers` ends a rank whose fellow has died.
"""

from adamss_core.training.ranks.joined import joined
from adamss_core.training.ranks.ranks import Ranks

__all__ = ["Ranks", "joined"]
