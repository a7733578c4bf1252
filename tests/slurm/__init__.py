"""Tests that need a Slurm, see recipes/test-slurm.sh."""
