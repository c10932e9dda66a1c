"""The control point: client of WS-DSC, follower of its events."""
