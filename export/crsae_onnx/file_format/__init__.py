"""The exported file: checksum, metadata, what it says of itself."""
