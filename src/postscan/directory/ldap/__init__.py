"""LDAP as it is needed to ask an Active Directory: no other room knows the protocol."""
