"""Readers of published checkpoints: one file a family, chosen from what its folder holds."""
