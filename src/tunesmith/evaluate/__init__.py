"""Evaluation: generation, choice likelihoods, metrics, statistics, comparison."""
