"""Observation terms, policy and action terms traced into one contract and one model."""
