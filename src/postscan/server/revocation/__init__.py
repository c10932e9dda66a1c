"""Whether a certificate that was good when it was issued still is: lists (RFC 5280) and OCSP (RFC 6960)."""
