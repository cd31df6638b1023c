"""Agentic Context Engineering (arXiv 2510.04618): playbooks that grow by small edits, learnt from answers."""
