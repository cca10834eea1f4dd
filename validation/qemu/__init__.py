"""Recording the bundled block-I/O trace of a QEMU guest; see README.md."""
