"""File primitives of the core, the worker and the service: whole, durable, hashed and reproducible files.

`atomic` writes files whole or not at all, `fsync` makes them survive a power cut, `hashing` gives sha256 digests,
`zipping` writes reproducible zips, and `walk` lists folders. Needs the standard library only.
"""
