"""HTTP/1.1 for uploads: a strict server that streams bodies through one window a connection.

A server of our own because the upload path decides how fast a page is safe: see ``bench/ingest`` for what it
gains over a general one. Heads are parsed by httptools; framing, limits and time-outs are here.
"""
