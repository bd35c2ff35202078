"""Measures of the whole, each beside its limit in the same run: see `__main__`."""
