"""Tokens of Microsoft Entra ID, for the filters that log on as an app."""
