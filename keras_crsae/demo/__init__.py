"""What `keras-crsae demo` runs."""
