"""The validation ladder: what is checked before an exported policy is handed over."""
