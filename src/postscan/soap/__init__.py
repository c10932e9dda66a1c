"""SOAP 1.2, WS-Addressing 2004/08, faults, MTOM/XOP and the one XML parser. No I/O."""
