"""Where the state of a row lives, and what is done with it."""
