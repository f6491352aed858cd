"""What can be done with recorded episodes: look, check, put together, convert, replay."""
