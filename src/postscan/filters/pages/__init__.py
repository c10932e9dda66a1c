"""Pages: what runs in worker processes to put scanned pages together and to make them searchable.

Nothing here is imported by the server itself, which thus has no image decoder loaded (abuse case 30).
"""
