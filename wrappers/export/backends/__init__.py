"""What turns a pure function into model files: torch, LEAPP."""
