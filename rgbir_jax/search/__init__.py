"""Search in a user's own images: ranked lists, and an index of a gallery that is appended to."""
