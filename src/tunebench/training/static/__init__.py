"""Linear classifiers on static embeddings, which need no encoder to predict."""
