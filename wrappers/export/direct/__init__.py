"""Export of envs without managers, which mark what they read, keep and write."""
