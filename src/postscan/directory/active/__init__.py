"""Active Directory: people, groups and scan processes of a Windows domain, read and written over LDAP."""
