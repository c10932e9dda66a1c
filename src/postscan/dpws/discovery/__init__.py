"""WS-Discovery 2005/04 over UDP: the answering side, the announcing side and the searching side."""
