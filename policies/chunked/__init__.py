"""Policies that return chunks of actions: whom to ask when, and what is executed."""
