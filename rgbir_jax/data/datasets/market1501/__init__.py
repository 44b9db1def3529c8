"""Market-1501 for TFDS."""
