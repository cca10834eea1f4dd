"""Theory against simulation, published tables, other software and real systems: scripts that write what they find."""
