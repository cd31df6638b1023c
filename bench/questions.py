"""What the throughput benchmark asks, and what the slots server answers."""

import hashlib


def questions(number: int) -> list[str]:
    """Return so many short prompts, the same each time."""
    return [f"Question {index}: what is the colour of it?" for index in range(number)]


def prompt_digest(prompt: str) -> str:
    """Name a prompt."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def answer_to(prompt: str) -> str:
    """Return what the server answers to a prompt."""
    return f" {prompt_digest(prompt)[:16]}"
