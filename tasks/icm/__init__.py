"""Internal Coherence Maximization (Wen et al., arXiv 2506.10139): labels that explain each other best."""
