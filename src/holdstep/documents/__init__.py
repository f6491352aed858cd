"""Files that people write, in YAML: read safely, with every problem and where it is."""
