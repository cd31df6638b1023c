"""Local vLLM servers: their configuration files, the demonstration model, and their processes."""
