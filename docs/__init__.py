"""The guide and the reference, as HTML: `make docs`."""
