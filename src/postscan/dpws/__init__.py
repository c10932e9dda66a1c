"""What makes a web service a WSD: the HTTP host and client, discovery, metadata, eventing."""
