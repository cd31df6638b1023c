"""Pages for people, self-contained."""
