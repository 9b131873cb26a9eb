"""Data sets: one file each, found by name, each with `load(config, split) -> Population`."""
