"""A vLLM engine inside this process."""
