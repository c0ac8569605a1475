"""From the bytes of a file to a square 8-bit grey image."""
