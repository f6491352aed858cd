"""Views of an env for RL libraries: each is what one library expects a vector env to be."""
