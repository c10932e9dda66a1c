"""Alembic's environment for the job store; run by ``postscan.jobs.migrate`` at every start."""
