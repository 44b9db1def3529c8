"""Images to features: one pure function, in batches on every device, and kept on disk."""
