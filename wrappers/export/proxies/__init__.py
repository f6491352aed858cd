"""How reads and writes of observation terms, action terms and policies are caught and answered.

Nothing here outlives a run: objects get their classes and attributes back when it ends.
"""
