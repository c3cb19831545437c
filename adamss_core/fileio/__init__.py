"""File primitives of the core, the worker and the service: whole, durable, hashed and reproducible files.

`atomic` writes files whole or not at all, `fsync` makes them survive a power cut, `hashing` gives sha256 digests,
`zipping` writes reproducible zips, `walk` lists folders, and `run_folder` is the layout of a run's folder. Needs the
standard library only.
"""
