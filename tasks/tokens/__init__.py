"""Tokens of a model, counted as it counts them."""
