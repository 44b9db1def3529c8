"""SYSU-MM01 for TFDS."""
