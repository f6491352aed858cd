"""Exported policies run without managers, on any host."""
