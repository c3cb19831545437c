"""Spectra of base models: of their weights, and of data sets in them."""
