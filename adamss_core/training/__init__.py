"""A whole fine-tune: `run(RunRequest, Reporter) -> RunResult`.

`request` and `errors` need no torch; `run` imports it.
"""
