"""Measurements: counts and ratios of one run, written as JSON to bench/results/."""
