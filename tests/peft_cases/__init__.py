"""PEFT's own AdaMSS cases with our tuner in the place of PEFT's: `make compat-peft`.

The cases come from the source distribution of the installed PEFT; nothing of it is kept here.
"""
