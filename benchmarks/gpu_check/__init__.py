"""`make gpu-check`: one command that shows what AdaMSS does on a machine with a GPU, in six minutes."""
