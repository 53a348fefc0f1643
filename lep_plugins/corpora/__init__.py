"""Text for continued pre-training, cleaned the way of FineWeb2 (arXiv:2506.20920)."""
