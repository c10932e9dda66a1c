"""The scan server: WS-DSP answered with jobs and directory."""
