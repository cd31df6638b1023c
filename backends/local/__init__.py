"""A model that the transformers library runs in this process."""
